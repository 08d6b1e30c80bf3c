"""Which conditions memberships were worked out from, and how far everybody is: the fact `audiences`.

It is there while there are audiences, and its absence spares every write the upkeep. Each change of a condition begins
a new generation, and so does each day; then everybody is worked out anew (see `rebuilding`). A membership counts that
is of the generation `valid` or a later one; a person of an older one is worked out when somebody asks.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

import orjson
import sqlalchemy as sa

from app.record import facts
from app.record.ids import new_id
from app.record.tables import facts as table
from app.record.tables import iso

FACT = "audiences"
#: the clock and retention change memberships too
EVERY = timedelta(days=1)
#: where everybody is looked for, in this order; the first gathers and puts nobody
SOURCES = ("messages", "consent", "attributes", "inbound", "recipients", "memberships")


class Generation(NamedTuple):
    """The fact's value."""

    current: int
    valid: int
    gathered: bool = False
    """Whether it is known which messages everybody was sent. Until then nobody is in any audience."""
    barrier: int | None = None
    """In PostgreSQL: until every transaction before this one has ended, some may write without upkeep."""
    source: str = SOURCES[0]
    """Where people are being looked for; empty: everybody was found."""
    after: list[str] = []
    """The last one that was found there."""
    began: str = ""
    due: str = ""
    """When the next generation begins by itself."""
    unknown_consent: str = ""
    """The setting that it was worked out with; empty: not known yet."""

    @property
    def text(self) -> str:
        """As it is stored."""
        return orjson.dumps(self._asdict()).decode()


def opened(text: str) -> Generation:
    """The stored text."""
    return Generation(**orjson.loads(text))


def read(conn: sa.Connection) -> Generation | None:
    """As it is now; None: there are no audiences."""
    fact = facts.read(conn, FACT)
    return opened(fact.value) if fact else None


def held(conn: sa.Connection) -> Generation | None:
    """The same, and nobody else changes it until the commit."""
    row = conn.execute(sa.select(table.c.value).where(table.c.name == FACT).with_for_update()).one_or_none()
    return opened(row.value) if row else None


def put(conn: sa.Connection, generation: Generation, now: datetime) -> None:
    """Store it."""
    facts.put(conn, FACT, generation.text, now)


def follow(conn: sa.Connection, *, left: int, added: bool, now: datetime) -> None:
    """An audience was saved (`added`) or deleted, and so many are left; in the transaction that did it.

    What was worked out before counts on where one was only deleted: its name means nothing any more.
    """
    before = held(conn)
    if not left:
        conn.execute(table.delete().where(table.c.name == FACT))
    elif before is None:
        put(conn, _anew(Generation(0, 0), now, invalid=True), now)
    else:
        put(conn, _anew(before, now, invalid=added), now)


def unnamed(conn: sa.Connection, address: str, now: datetime) -> None:
    """The place that a rebuild has reached does not name this person: its source begins anew. Until the commit no step
    of a rebuild finds them, so this comes before they are deleted."""
    generation = held(conn)
    if generation and address in generation.after:
        put(conn, generation._replace(after=[]), now)


def renew(conn: sa.Connection, now: datetime, *, unknown_consent: str | None = None) -> bool:
    """Begin a new generation where the day is over, or consent that nobody gave counts otherwise; whether it did."""
    before = held(conn)
    if before is None:
        return False
    if unknown_consent is not None and before.unknown_consent != unknown_consent:
        known = before._replace(unknown_consent=unknown_consent)
        put(conn, _anew(known, now, invalid=True) if before.unknown_consent else known, now)
        return True
    if not is_due(before, now):
        return False
    put(conn, _anew(before, now, invalid=False), now)
    return True


def is_due(generation: Generation, now: datetime) -> bool:
    """Whether its day is over."""
    return generation.due <= iso(now)


def _anew(before: Generation, now: datetime, *, invalid: bool) -> Generation:
    """`invalid`: what was worked out before counts no more."""
    current = new_id()
    return before._replace(
        current=current,
        valid=current if invalid else before.valid,
        source=SOURCES[1] if before.gathered else SOURCES[0],
        after=[],
        began=iso(now),
        due=iso(now + EVERY),
    )
