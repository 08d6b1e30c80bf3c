"""Everybody is worked out anew, a page at a time: people are found, source by source, and put among the stale.

How far it is stands in the fact `audiences`, so it goes on after a restart, on whichever node. Only who is not yet of
the current generation is put, so nobody is worked out once for each source that knows them. The last source are the
memberships of older generations: of people of whom nothing is recorded any more.

Before the first audience nobody noted which messages somebody was sent, for the notes cost at each message; so first of
all they are gathered from the messages that are kept.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from app.record import generations, memberships
from app.record.generations import SOURCES, Generation
from app.record.ids import new_id
from app.record.sets import Ask
from app.record.tables import memberships as table
from app.record.tables import person_messages, stale_memberships

#: people per step, and messages of which it is noted whose they are
PAGE, GATHERED = 500, 2_000
_PAGES_AT_ONCE = 4


class Seen(NamedTuple):
    """How it stood, as a reader saw it; so what wrote the generation has committed."""

    generation: Generation
    oldest: int
    """In PostgreSQL, every transaction before this one has ended."""
    next: int
    """No transaction has begun to write that is this one or a later one."""


class Page(NamedTuple):
    """Some people of a source."""

    addresses: Sequence[str]
    end: list[str]
    """The last one's key; empty: there is nothing after it."""


_SNAPSHOT = sa.text(
    "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint), "
    "CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)"
)


def look(conn: sa.Connection) -> Seen | None:
    """How it stands; None: there are no audiences."""
    generation = generations.read(conn)
    if generation is None:
        return None
    if conn.dialect.name == "sqlite":  # one writer at a time: who wrote before has committed
        return Seen(generation, 0, 0)
    oldest, following = conn.execute(_SNAPSHOT).one()
    return Seen(generation, oldest, following)


def step(conn: sa.Connection, seen: Seen, now: datetime) -> bool:
    """Find the next people; whether that led further."""
    generation = seen.generation
    if not generation.source or generations.held(conn) != generation:
        return False
    if generation.barrier is None:
        # a transaction that began without the fact may still write without upkeep: wait until all of those have ended
        generations.put(conn, generation._replace(barrier=seen.next), now)
        return True
    if seen.oldest < generation.barrier:
        return False
    for _ in range(_PAGES_AT_ONCE):  # where everybody is there already, a commit for each page would cost the most
        page = _PAGES[generation.source](conn, generation.after)
        generation, put = _further(generation, page.end), _put(conn, page.addresses, generation.current)
        if put or not page.end:
            break
    generations.put(conn, generation, now)
    return True


def _further(generation: Generation, end: list[str]) -> Generation:
    if end:
        return generation._replace(after=end)
    following = SOURCES[SOURCES.index(generation.source) + 1 :]
    is_gathered = generation.gathered or generation.source == SOURCES[0]
    return generation._replace(gathered=is_gathered, source=following[0] if following else "", after=[])


_PUT = Ask(
    "INSERT INTO stale_memberships (address, mark) SELECT c0, c1 FROM given WHERE NOT EXISTS "
    f"(SELECT 1 FROM memberships m WHERE m.address = c0 AND m.generation >= c2) {memberships.ANOTHER_MARK} "
    "RETURNING address",
    ("text", "bigint", "bigint"),
)


def _put(conn: sa.Connection, addresses: Sequence[str], current: int) -> int:
    """How many of them are not worked out yet by the conditions as they are."""
    mark = new_id()
    return len(_PUT.run(conn, [(address, mark, current) for address in sorted(set(addresses))]))


# --- the sources --------------------------------------------------------------------------------------------------

_BY_ADDRESS = "SELECT DISTINCT address FROM {} WHERE address > :after ORDER BY address LIMIT :limit"
_CONSENT = sa.text(
    "SELECT program, address FROM consent WHERE (program, address) > (:program, :address) "
    "ORDER BY program, address LIMIT :limit"
)
_LINKS = sa.text(
    "SELECT address, message_id FROM person_messages WHERE (address, message_id) > (:address, :message_id) "
    "ORDER BY address, message_id LIMIT :limit"
)
_MESSAGES = sa.text("SELECT id, recipient FROM messages WHERE id > :after ORDER BY id LIMIT :limit")
_LINK = Ask(
    f"INSERT INTO person_messages (address, message_id) SELECT c0, c1 FROM given WHERE true {memberships.ONCE} "
    "RETURNING message_id",
    ("text", "bigint"),
)
_UNLINK = Ask(
    "DELETE FROM person_messages WHERE (address, message_id) IN (SELECT c0, c1 FROM given "
    "LEFT JOIN messages m ON m.id = c1 WHERE m.id IS NULL) RETURNING message_id",
    ("text", "bigint"),
)


def _gather(conn: sa.Connection, after: list[str]) -> Page:
    rows = conn.execute(_MESSAGES, {"after": int(after[0]) if after else 0, "limit": GATHERED}).all()
    _LINK.run(conn, [(row.recipient, row.id) for row in rows if row.recipient])
    return Page((), [str(rows[-1].id)] if len(rows) == GATHERED else [])


def _from_consent(conn: sa.Connection, after: list[str]) -> Page:
    program, address = after or ("", "")
    rows = conn.execute(_CONSENT, {"program": program, "address": address, "limit": PAGE}).all()
    return Page([row.address for row in rows], list(rows[-1]) if len(rows) == PAGE else [])


def _from_links(conn: sa.Connection, after: list[str]) -> Page:
    """And forget the links of messages whose retention has ended."""
    address, message_id = after or ("", "0")
    rows = conn.execute(_LINKS, {"address": address, "message_id": int(message_id), "limit": GATHERED}).all()
    gone = {row[0] for row in _UNLINK.run(conn, [tuple(row) for row in rows])}
    end = [rows[-1].address, str(rows[-1].message_id)] if len(rows) == GATHERED else []
    return Page([row.address for row in rows if row.message_id not in gone], end)


def _by_address(of: str) -> Callable[[sa.Connection, list[str]], Page]:
    query = sa.text(_BY_ADDRESS.format(of))

    def page(conn: sa.Connection, after: list[str]) -> Page:
        rows = conn.execute(query, {"after": after[0] if after else "", "limit": PAGE}).scalars().all()
        return Page(rows, [rows[-1]] if len(rows) == PAGE else [])

    return page


_PAGES: Mapping[str, Callable[[sa.Connection, list[str]], Page]] = dict(
    zip(
        SOURCES,
        (_gather, _from_consent, _by_address("profile_attributes"), _by_address("inbound_messages"), _from_links,
         _by_address("memberships")),
        strict=True,
    )
)  # fmt: skip


# --- without audiences --------------------------------------------------------------------------------------------


def forget_some(conn: sa.Connection) -> int:
    """Delete some of what was kept for audiences where there are none any more; how many rows."""
    if generations.held(conn) is not None:
        return 0
    return sum(_some(conn, each) for each in (stale_memberships, table, person_messages))


def _some(conn: sa.Connection, of: sa.Table) -> int:
    these = sa.select(of.c.address).limit(GATHERED).distinct()
    return conn.execute(of.delete().where(of.c.address.in_(these))).rowcount
