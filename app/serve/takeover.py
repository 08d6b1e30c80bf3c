"""Have the running server follow the registry: its lines, couriers, and a record of each keyword list."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import sqlalchemy as sa
import structlog

from app.credential import Credential
from app.errors import BadInput, NotReady
from app.record import ids, last_known, registry
from app.record.last_known import Rows
from app.record.registry import Registered
from app.record.settled import floor
from app.send import Courier, complain, courier
from app.serve.feedback import feedback
from app.serve.parts import Parts
from app.switchboard import Switchboard

log = structlog.get_logger()

#: of no registry: until all have followed, whoever watches it takes it over again
_NO_VERSION = -1


async def take_over(parts: Parts) -> bool:
    """Take over the registry as it is now. Raises BadInput where the key opens none of the stored secrets.

    Whether all follow it. Where one fails, the others do all the same, and it shall be taken over again.
    """
    async with parts.taking_over:  # one at a time, so that an older reading never comes after a newer one
        ids.not_below(await parts.database.read(floor))
        rows = await parts.database.read(last_known.read)
        followed = _follow(parts, rows)
        await parts.writer.run(partial(keep_lists, switchboard=parts.switchboard))
        await asyncio.to_thread(_save, parts, rows)
        if followed:
            parts.switchboard.version = rows.version
    return followed


async def take_over_last_known(parts: Parts) -> bool:
    """Take over the registry as it was last read on this machine, for the database is away. Whether there is one.

    It is of no version, so the real one is taken over as soon as it can be read.
    """
    folder = Path(parts.settings.spool_folder)
    rows = await asyncio.to_thread(last_known.load, folder, parts.vault)
    if rows is not None:
        _follow(parts, rows)
    return rows is not None


def _follow(parts: Parts, rows: Rows) -> bool:
    """Have all follow; whether all do."""
    registered = registry.opened(rows, parts.vault)
    parts.switchboard.connect(registered)
    parts.switchboard.version = _NO_VERSION
    parts.tokens.learn(rows.api_tokens)
    parts.offered.follow(registered)
    followed = [_followed(follow, registered) for follow in parts.followers]
    _tell(parts.switchboard, registered)
    return all(followed)


def _save(parts: Parts, rows: Rows) -> None:
    """For a start while the database is away."""
    if not parts.intake.has_spool:
        return
    try:
        last_known.save(Path(parts.settings.spool_folder), parts.vault, rows)
    except OSError as error:
        complain(
            "the registry could not be kept on this disk; without it no node starts while PostgreSQL is away", error
        )


def _tell(switchboard: Switchboard, registered: Registered) -> None:
    for name, reason in switchboard.broken.items():
        log.error("a webhook cannot hear; providers are told to come again", webhook=name, reason=reason)
    for name, reason in registered.broken_credentials.items():
        log.error("a credential cannot send; its replies wait", credential=name, reason=reason)


def _followed(follow: Callable[[Registered], None], registered: Registered) -> bool:
    try:
        follow(registered)
    except Exception as error:  # noqa: BLE001 - whatever it was, the others have nothing to do with it
        complain("the registry could not be followed; it is tried again", error)
        return False
    return True


def hire(parts: Parts, couriers: dict[str, Courier], registered: Registered) -> None:
    """A courier per credential. One whose credential is as it was stays, with its tokens and connections.

    Raises NotReady where some could not be made and their credentials are not to blame; the others are in place then.
    """
    faults: list[str] = []
    hired = {
        name: _hired(parts, couriers.get(name), registered, credential, faults)
        for name, credential in registered.credentials.items()
    }
    couriers.clear()
    couriers.update({name: found for name, found in hired.items() if found})
    if faults:
        raise NotReady(f"credentials could not be made ready to send: {', '.join(faults)}")


def _hired(
    parts: Parts, old: Courier | None, registered: Registered, credential: Credential, faults: list[str]
) -> Courier | None:
    told = _told_url(parts, registered, credential)
    if old and old.made_of == (credential, told):
        return old
    try:
        return courier(credential, parts.providers.get(credential.provider), parts.client, told)
    except BadInput as error:
        log.warning("a credential cannot send; its replies wait", credential=credential.name, reason=str(error))
    except Exception as error:  # noqa: BLE001 - the other credentials have nothing to do with it
        complain("a credential could not be made ready to send", error, credential=credential.name)
        faults.append(credential.name)
    # where only the feedback URL is another: replies are worth more than receipts
    return old if old and old.made_of[0] == credential else None


def _told_url(parts: Parts, registered: Registered, credential: Credential) -> str:
    """Empty where its webhook is missing or broken: a receipt is worth less than a reply."""
    found = feedback(parts.settings, registered, parts.providers, credential)
    if found.problem:
        log.warning("receipts of a credential come nowhere", credential=credential.name, reason=found.problem)
    return found.url


def keep_lists(conn: sa.Connection, switchboard: Switchboard) -> None:
    """Keep what the keyword lists of all lines were made of: decisions in the ledger name their version."""
    now = datetime.now(UTC)
    for name, line in switchboard.by_name.items():
        registry.keep_list_version(conn, line.rules.list_version, name, line.rules.lists, now)
