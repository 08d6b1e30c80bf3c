"""Dead letters: what ended without having done its work, and waits for a person. Three kinds, none of them shown twice.

| kind    | what                                                                            | what can be done        |
| ------- | ------------------------------------------------------------------------------- | ----------------------- |
| reply   | a row of the outbox that failed for good, or of which nobody knows whether it   | send it again           |
|         | has left (doubtful)                                                             |                         |
| request | a stored request of which something was not understood, or that the database    | mend, and read it again |
|         | refused                                                                         |                         |
| item    | an open entry of the work list whose request does not wait to be read again:    | a change: record it     |
|         | there was none (a change of consent that the database refused), or it was       | again; else act by hand |
|         | understood and what came of it was not (a long message that nobody decided)     | and settle it           |

Blocked and cancelled replies are decided ends, and no dead letters. Entries of the work list whose request is still
undecoded are a part of that request, which is the thing to replay. Any kind can be settled by a person instead.

Lists come newest first. Ids are rising and unique over the kinds, so that one cursor pages through all of them.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.record.tables import outbox, raw_requests, work_list


class Kind(StrEnum):
    """What died."""

    REPLY = "reply"
    REQUEST = "request"
    ITEM = "item"


class DeadLetter(NamedTuple):
    """One of them."""

    id: int
    kind: Kind
    state: str
    """failed or doubtful; undecoded; for an item the kind of its entry: item, address, parked."""
    webhook: str
    credential: str
    """Through which a reply was to leave."""
    since: datetime
    """When the reply was queued, the request or item received."""
    reason: str
    tries: int
    address: str
    """Whom a reply is for; empty: not told apart."""
    text: str
    """What the reply says, or the item as it came; of a request the stored body tells."""
    raw_id: int | None


class Tally(NamedTuple):
    """How many there are of a kind."""

    letters: int
    oldest: datetime | None
    doubtful: int = 0
    """Replies among them that may have left."""


class Outcome(NamedTuple):
    """What became of a dead letter that was replayed or settled."""

    id: int
    kind: Kind | None
    """None: there is none of this id."""
    done: bool
    reason: str = ""
    """Why it is left as it was, or a part of it."""
    new: int = 0
    """Events that a request brought."""
    seen: int = 0
    """Events of a request that were there before."""


NO_SUCH = "there is no dead letter of this id"

# Spelt out, because a partial index is only used where its condition stands word by word in the statement.
_DEAD = sa.text("state IN ('failed', 'doubtful') AND settled_at IS NULL")
_UNDECODED = sa.text("reading = 'undecoded'")
_OPEN = sa.text("resolved_at IS NULL")
# The request of an entry waits to be read again. Asked of each entry, by the request's key: as EXISTS it is a join, of
# which PostgreSQL, when its statistics are old, read all undecoded requests for every entry (100,000 each: 8 minutes).
_its_reading = sa.select(raw_requests.c.reading).where(raw_requests.c.id == work_list.c.raw_id)
_WAITS_WITH_REQUEST = sa.func.coalesce(_its_reading.scalar_subquery(), "") == "undecoded"

_TABLES = {Kind.REPLY: outbox, Kind.REQUEST: raw_requests, Kind.ITEM: work_list}
_ARE_DEAD: dict[Kind, tuple[Any, ...]] = {
    Kind.REPLY: (_DEAD,),
    Kind.REQUEST: (_UNDECODED,),
    Kind.ITEM: (_OPEN, sa.not_(_WAITS_WITH_REQUEST)),
}
_EMPTY: sa.ColumnClause[str] = sa.literal_column("''")
_ZERO: sa.ColumnClause[int] = sa.literal_column("0")
_o, _r, _w = outbox.c, raw_requests.c, work_list.c
# in the order of DeadLetter, without the kind
_COLUMNS: dict[Kind, Sequence[Any]] = {
    Kind.REPLY: (
        _o.id, _o.state, _o.webhook, _o.credential, _o.created_at, _o.reason, _o.attempts, _o.address, _o.text,
        sa.null(),
    ),
    Kind.REQUEST: (_r.id, _r.reading, _r.webhook, _EMPTY, _r.received_at, _r.problem, _ZERO, _EMPTY, _EMPTY, _r.id),
    Kind.ITEM: (_w.id, _w.kind, _w.webhook, _EMPTY, _w.received_at, _w.reason, _ZERO, _EMPTY, _w.item, _w.raw_id),
}  # fmt: skip


def page(
    conn: sa.Connection, kinds: Iterable[Kind] = Kind, *, limit: int, before_id: int | None = None
) -> list[DeadLetter]:
    """A page of the dead letters of these kinds, newest first; `before_id`: the id of the last of the page before."""
    found = [letter for kind in kinds for letter in _page(conn, kind, limit, before_id)]
    return sorted(found, reverse=True)[:limit]


def _page(conn: sa.Connection, kind: Kind, limit: int, before_id: int | None) -> list[DeadLetter]:
    its_id = _TABLES[kind].c.id
    query = sa.select(*_COLUMNS[kind]).where(*_ARE_DEAD[kind]).order_by(its_id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(its_id < before_id)
    return [DeadLetter(row[0], kind, *row[1:]) for row in conn.execute(query)]


def ids(conn: sa.Connection, kind: Kind, *, doubtful: bool = False) -> list[int]:
    """The ids of all of a kind, oldest first. Replies that may have left are among them only where asked for."""
    its_id = _TABLES[kind].c.id
    query = sa.select(its_id).where(*_ARE_DEAD[kind]).order_by(its_id)
    if kind is Kind.REPLY and not doubtful:
        query = query.where(outbox.c.state == "failed")
    return list(conn.execute(query).scalars())


def tallies(conn: sa.Connection) -> dict[Kind, Tally]:
    """How many there are of each kind, and since when."""
    return {kind: _tally(conn, kind) for kind in Kind}


def _tally(conn: sa.Connection, kind: Kind) -> Tally:
    table, are_dead = _TABLES[kind], _ARE_DEAD[kind]
    numbers: list[Any] = [sa.func.count()]
    if kind is Kind.REPLY:
        numbers.append(sa.func.count().filter(outbox.c.state == "doubtful"))
    count, *doubtful = conn.execute(sa.select(*numbers).select_from(table).where(*are_dead)).one()
    since = _COLUMNS[kind][4]
    oldest = conn.execute(sa.select(since).where(*are_dead).order_by(table.c.id).limit(1)).scalar()
    return Tally(count, oldest, *doubtful)


def kinds_of(conn: sa.Connection, wanted: Collection[int]) -> dict[int, Kind]:
    """Of what kind the thing of each id is or was; one that is of none is left out."""
    return {
        found: kind
        for kind, table in _TABLES.items()
        for found in conn.execute(sa.select(table.c.id).where(table.c.id.in_(wanted))).scalars()
    }


def why_no_letter(conn: sa.Connection, entry_id: int) -> str:
    """Why an entry of the work list is no dead letter of its own; empty: it is one."""
    query = sa.select(_w.raw_id, _w.resolved_at, _WAITS_WITH_REQUEST.label("waits")).where(_w.id == entry_id)
    entry = conn.execute(query).one_or_none()
    if entry is None:
        return NO_SUCH
    if entry.resolved_at is not None:
        return "it was settled before"
    return f"its request waits to be read again: replay or settle that, which is {entry.raw_id}" if entry.waits else ""
