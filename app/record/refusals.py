"""Events that the receiver of a stream refused for good: kept by the row that they told of, and sent again on demand.

They hold no copy of the event, so that erasing a person leaves nothing here.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from app.record.ids import new_id
from app.record.tables import stream_refusals

_r = stream_refusals.c


class Refused(NamedTuple):
    """An event that was refused."""

    source: str
    row_id: int
    event_id: str
    reason: str


class Refusal(NamedTuple):
    """One as it is kept."""

    id: int
    stream: str
    source: str
    row_id: int
    event_id: str
    reason: str
    refused_at: datetime
    again_at: datetime | None
    settled_at: datetime | None


_COLUMNS = tuple(_r[name] for name in Refusal._fields)
# spelt out, because a partial index is only used where its condition stands word by word in the statement
_AGAIN = sa.text("again_at IS NOT NULL AND settled_at IS NULL")


def add(conn: sa.Connection, stream: str, refused: Iterable[Refused], now: datetime) -> None:
    """Keep what was refused. An event that was refused before, and came again by a replay, is kept once."""
    for one in refused:
        its = sa.and_(_open(stream), _r.source == one.source, _r.row_id == one.row_id)
        values = {"reason": one.reason, "refused_at": now, "again_at": None}
        if not conn.execute(stream_refusals.update().where(its).values(values)).rowcount:
            row = {"id": new_id(), "stream": stream, **one._asdict(), "refused_at": now}
            conn.execute(stream_refusals.insert(), row)


def settle(conn: sa.Connection, stream: str, source: str, row_ids: Collection[int], now: datetime) -> None:
    """These events were taken after all."""
    its = sa.and_(_open(stream), _r.source == source, _r.row_id.in_(row_ids))
    conn.execute(stream_refusals.update().where(its).values(settled_at=now))


def due(conn: sa.Connection, stream: str, limit: int) -> list[Refusal]:
    """Those that somebody wants to have sent again."""
    query = sa.select(*_COLUMNS).where(_AGAIN, _r.stream == stream).order_by(_r.id).limit(limit)
    return [Refusal(*row) for row in conn.execute(query)]


def ask_again(conn: sa.Connection, stream: str, ids: Collection[int] | None, now: datetime) -> int:
    """Have these sent again, all (None) or those of these ids; how many there are."""
    its = _open(stream) if ids is None else sa.and_(_open(stream), _r.id.in_(ids))
    return conn.execute(stream_refusals.update().where(its).values(again_at=now)).rowcount


def page(conn: sa.Connection, stream: str, *, limit: int, before_id: int | None = None) -> list[Refusal]:
    """A page of what is still refused, newest first."""
    query = sa.select(*_COLUMNS).where(_open(stream)).order_by(_r.id.desc()).limit(limit)
    query = query if before_id is None else query.where(_r.id < before_id)
    return [Refusal(*row) for row in conn.execute(query)]


def count(conn: sa.Connection, stream: str) -> int:
    """How many are still refused."""
    return conn.execute(sa.select(sa.func.count()).where(_open(stream))).scalar_one()


def _open(stream: str) -> "sa.ColumnElement[bool]":
    return sa.and_(_r.stream == stream, _r.settled_at.is_(None))
