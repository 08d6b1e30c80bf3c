"""Have the running server follow the registry: its lines, couriers, and a record of each keyword list."""

from datetime import UTC, datetime
from functools import partial

import sqlalchemy as sa
import structlog

from app.errors import BadInput
from app.record import registry
from app.record.registry import Registered
from app.send import Courier, courier
from app.serve.feedback import feedback_url
from app.serve.parts import Parts
from app.switchboard import Switchboard

log = structlog.get_logger()


async def take_over(parts: Parts) -> None:
    """Take over the registry as it is now. Raises BadInput where the key opens none of the stored secrets."""
    async with parts.taking_over:  # one at a time, so that an older reading never comes after a newer one
        registered = await parts.database.read(partial(registry.load, vault=parts.vault))
        parts.switchboard.connect(registered)
        for follow in parts.followers:
            follow(registered)
    for name, reason in parts.switchboard.broken.items():
        log.error("a webhook cannot hear; providers are told to come again", webhook=name, reason=reason)
    for name, reason in registered.broken_credentials.items():
        log.error("a credential cannot send; its replies wait", credential=name, reason=reason)
    await parts.writer.run(partial(keep_lists, switchboard=parts.switchboard))


def hire(parts: Parts, couriers: dict[str, Courier], registered: Registered) -> None:
    """A courier per credential. One whose credential is as it was stays, with its tokens and connections."""
    before = dict(couriers)
    couriers.clear()
    for name, credential in registered.credentials.items():
        try:
            told = feedback_url(parts.settings, registered, credential)
            old = before.get(name)
            kept = old if old and old.made_of == (credential, told) else None
            provider = parts.providers.get(credential.provider)
            couriers[name] = kept or courier(credential, provider, parts.client, told)
        except BadInput as error:
            log.warning("a credential cannot send; its replies wait", credential=name, reason=str(error))


def keep_lists(conn: sa.Connection, switchboard: Switchboard) -> None:
    """Keep what the keyword lists of all lines were made of: decisions in the ledger name their version."""
    now = datetime.now(UTC)
    for name, line in switchboard.by_name.items():
        registry.keep_list_version(conn, line.rules.list_version, name, line.rules.lists, now)
