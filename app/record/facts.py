"""Facts about the whole installation. One matters to everybody: `restored`, while consent may be older than what people
said, because the database was restored from a backup and not yet compared with the providers' block lists.

| name              | value                                                                              |
| ----------------- | ---------------------------------------------------------------------------------- |
| `restored`        | from which backup; there until every list was compared, or somebody has accepted   |
| `checked …`       | a credential or program whose list was compared since the restore, and by whom     |
| `restored until …`| what ended an earlier `restored`: kept for good                                    |
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from app.events import EVERY_PROGRAM
from app.record.tables import action_calls, facts, outbox

RESTORED = "restored"
_CHECKED = "checked "


class Fact(NamedTuple):
    """Something that holds, and since when."""

    value: str
    since: datetime


class Listening(NamedTuple):
    """A credential whose webhooks hear for a program: its provider may hold a block list for it."""

    credential: str
    program: str


def read(conn: sa.Connection, name: str) -> Fact | None:
    """The fact; None: it does not hold."""
    row = conn.execute(sa.select(facts.c.value, facts.c.since).where(facts.c.name == name)).one_or_none()
    return Fact(*row) if row else None


def put(conn: sa.Connection, name: str, value: str, now: datetime) -> None:
    """It holds from now on, whether or not it did."""
    conn.execute(_put(name, value, now, conn.dialect.name))


def _put(name: str, value: str, now: datetime, dialect: str) -> "sa.Insert":
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    stated = insert(facts).values(name=name, value=value, since=now)
    return stated.on_conflict_do_update(index_elements=["name"], set_={"value": value, "since": now})


# --- restored -----------------------------------------------------------------------------------------------------


def restored(conn: sa.Connection) -> Fact | None:
    """Whether the database was restored and not yet compared. Ask this first and for standings after it: what ends the
    fact was recorded before, so that no standing can be older than the answer."""
    return read(conn, RESTORED)


def withheld(fact: Fact) -> str:
    """Why nobody may be written to, for whoever asked about consent."""
    return (
        f"This database was restored on {fact.since:%Y-%m-%d %H:%M} UTC, and opt-outs after its backup may be missing:"
        " may_send stays false until the provider's block list was compared (textback drift)."
    )


def of_restore(source: str, now: datetime, dialect: str) -> "Sequence[sa.Insert | sa.Update | sa.Delete]":
    """What is written with a restore, in its own transaction: the fact, and an end for every reply that waited.

    A reply that waited when the backup was made has most likely left since; it may not leave twice.
    """
    return (
        _put(RESTORED, source, now, dialect),
        sa.delete(facts).where(facts.c.name.startswith(_CHECKED, autoescape=True)),
        sa.update(outbox)
        .where(outbox.c.state.in_(["pending", "sending"]))
        .values(state="doubtful", reason="restored from a backup; it may have left before", claimed_until=None),
    )


def of_restored_calls(now: datetime) -> "sa.Update":
    """The same of calls of actions, which backups of older releases have none of: each may have been made since.

    `textback calls retry` makes it where it is better made twice than never.
    """
    return (
        sa.update(action_calls)
        .where(action_calls.c.state.in_(["pending", "calling"]))
        .values(
            state="done",
            outcome="internalError",
            problem="restored from a backup; it may have been made before",
            ended_at=now,
            claimed_until=None,
        )
    )


def check_off(
    conn: sa.Connection,
    listening: Iterable[Listening],
    credential: str | None,
    program: str,
    *,
    word: str,
    now: datetime,
) -> list[Listening] | None:
    """A provider's list was compared: what still waits for that; none: the fact is gone. None: it did not hold.

    `credential`: whose list it was; without, the operator means all lists of the program, or of all programs (`*`).
    """
    if restored(conn) is None:
        return None
    put(conn, _CHECKED + (f"credential {credential}" if credential else f"program {program}"), word, now)
    checked = set(conn.execute(sa.select(facts.c.name).where(facts.c.name.startswith(_CHECKED))).scalars())
    left = [each for each in dict.fromkeys(listening) if not _names(each) & checked]
    if not left:
        end(conn, word, now)
    return left


def _names(listening: Listening) -> set[str]:
    programs = (listening.program, EVERY_PROGRAM)
    return {f"{_CHECKED}credential {listening.credential}", *(f"{_CHECKED}program {name}" for name in programs)}


def end(conn: sa.Connection, word: str, now: datetime) -> bool:
    """End `restored`, and keep that it was and who ended it; whether it held."""
    fact = restored(conn)
    if fact is None:
        return False
    put(conn, f"restored until {now.isoformat()}", f"{fact.value}, since {fact.since.isoformat()}; {word}", now)
    ended: Any = sa.or_(facts.c.name == RESTORED, facts.c.name.startswith(_CHECKED, autoescape=True))
    conn.execute(sa.delete(facts).where(ended))
    return True
