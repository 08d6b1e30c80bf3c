"""A ledger with seals, and an administrator who gets at it."""

import itertools
from collections.abc import Iterable
from datetime import timedelta
from functools import partial

import sqlalchemy as sa

from app.record import evidence_key, seals
from app.record.database import Database
from app.record.seals import Seal
from app.record.settled import settled
from app.serve import terminal
from tests.commands import EVIDENCE_KEY
from tests.heard import ALICE, BOB, CHARLIE, NOON, heard, inbound

KEY = evidence_key.derive(EVIDENCE_KEY, evidence_key.SEALS)
#: entries of this very moment are sealed too
AT_ONCE = timedelta(seconds=-1)
#: by it Alice and Charlie are opted out at the end, and Bob is in
STORY = ((ALICE, "START"), (BOB, "STOP"), (CHARLIE, "STOP"), (ALICE, "STOP"), (BOB, "START"), (CHARLIE, "STOP"))


_MINUTES = itertools.count()


def record(database: Database, story: Iterable[tuple[str, str]] = STORY) -> None:
    """What people say, one commit each."""

    async def say(writer: object) -> None:
        for address, text in story:
            at = NOON + timedelta(minutes=next(_MINUTES))
            await writer.record(heard(inbound(text, address=address), at=at))  # type: ignore[attr-defined]

    terminal.write(database, say)


def seal(database: Database, *, most: int = seals.MOST_ENTRIES, slack: timedelta = AT_ONCE) -> Seal | None:
    """One seal, as the chore makes it; None: nothing was to be sealed, or another was faster."""
    now = database.write_now(partial(settled, slack=slack))
    found = database.read_now(partial(seals.next_seal, key=KEY, mark=now.last_id, most=most))
    if found is None or not database.write_now(lambda conn: seals.add(conn, *found)):
        return None
    return found[1]


def sealed(database: Database, *, most: int = 2) -> list[Seal]:
    """The story, sealed two by two."""
    record(database)
    made = []
    while one := seal(database, most=most):
        made.append(one)
    return made


def tamper(database: Database, *statements: str) -> None:
    """As an administrator can: the triggers go first, and come back afterwards."""
    tables = ("ledger", "seals", "evidence")

    def act(conn: sa.Connection) -> None:
        if conn.dialect.name == "postgresql":
            for table in tables:
                conn.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            for statement in statements:
                conn.exec_driver_sql(statement)
            for table in tables:
                conn.exec_driver_sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")
            return
        triggers = conn.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").all()
        for name, _ in triggers:
            conn.exec_driver_sql(f"DROP TRIGGER {name}")
        for statement in statements:
            conn.exec_driver_sql(statement)
        for _, sql in triggers:
            conn.exec_driver_sql(sql)

    database.write_now(act)


def ids_of(database: Database) -> list[int]:
    """The ids of the ledger's entries, oldest first."""
    return database.read_now(lambda conn: list(conn.exec_driver_sql("SELECT id FROM ledger ORDER BY id").scalars()))
