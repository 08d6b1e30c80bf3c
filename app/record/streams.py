"""How far streams have told of what was recorded: cursors over tables, claimed by one process at a time.

A stream keeps no copy of any event. Per source it has the `position`, up to which all was told, and the ids `ahead` of
it that were told early (see `app.send.streams.cursor`). Setting the position back tells everything since again.
A claim is a lease that its holder knows by a word of its own. Whoever changes a position from outside takes the lease
away with it; the holder's next save then changes nothing, and it begins from what is written here.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa

from app.errors import BadInput
from app.record.ids import first_id_at
from app.record.tables import registrations, stream_positions, stream_refusals
from app.stream import Source

_p = stream_positions.c
#: how far the clocks of two nodes may differ
_APART = timedelta(minutes=1)
_NOBODY = {"claimed_by": "", "claimed_until": None}


class Position(NamedTuple):
    """How far a stream has told of a source."""

    source: Source
    position: int
    ahead: frozenset[int]
    claimed_by: str
    claimed_until: datetime | None
    told: int
    left_out: int
    problem: str
    updated_at: datetime


class Progress(NamedTuple):
    """What became of a source since it was last saved."""

    source: Source
    position: int
    ahead: Collection[int]
    told: int = 0
    left_out: int = 0


# --- beginning ----------------------------------------------------------------------------------------------------


def begin(conn: sa.Connection, stream: str, sources: Sequence[str], now: datetime, *, from_the_beginning: bool) -> None:
    """See that each source has a position: at the beginning, or when the stream was registered.

    A source that was added to a stream later begins when the stream was last changed. Raises BadInput where there is no
    such stream any more.
    """
    made = _registered(conn, stream)
    known = set(conn.execute(sa.select(_p.source).where(_p.stream == stream)).scalars())
    start = 0 if from_the_beginning else first_id_at(made[1] if known else made[0]) - 1
    rows = [
        {"stream": stream, "source": source, "position": start, "updated_at": now}
        for source in sources
        if source not in known
    ]
    if rows:
        conn.execute(_insert_missing(conn), rows)


def forget(conn: sa.Connection, stream: str) -> None:
    """The stream is no more: another one of its name begins anew."""
    for table in (stream_positions, stream_refusals):
        conn.execute(table.delete().where(table.c.stream == stream))


def _registered(conn: sa.Connection, stream: str) -> tuple[datetime, datetime]:
    """When it was registered and last changed. Raises BadInput where there is none."""
    its = sa.and_(registrations.c.kind == "stream", registrations.c.name == stream)
    row = conn.execute(sa.select(registrations.c.created_at, registrations.c.updated_at).where(its)).one_or_none()
    if row is None:
        raise BadInput(f"there is no stream '{stream}'")
    return row.created_at, row.updated_at


def _insert_missing(conn: sa.Connection) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite  # noqa: PLC0415 - beside its only use

    insert = (sqlite if conn.dialect.name == "sqlite" else postgresql).insert(stream_positions)
    return insert.on_conflict_do_nothing()


# --- the lease ----------------------------------------------------------------------------------------------------


class Lease(NamedTuple):
    """Who tells of a stream, and until when."""

    stream: str
    me: str
    """A word of the process's own."""
    now: datetime
    until: datetime


def claim(conn: sa.Connection, lease: Lease, sources: Sequence[str]) -> list[Position] | None:
    """Claim these sources. None: another process tells of them.

    One that is claimed for longer than anybody claims it was claimed before the clock was set back, and is free.
    """
    stream, me, now, until = lease
    its = _its(stream, sources)
    lapsed = sa.or_(_p.claimed_until.is_(None), _p.claimed_until < now, _p.claimed_until > until + _APART)
    free = sa.or_(_p.claimed_by.in_(("", me)), lapsed)
    # in one order for all, so that of two that claim at once one gets all
    conn.execute(sa.select(_p.source).where(its).order_by(_p.source).with_for_update()).all()
    taken = conn.execute(stream_positions.update().where(its, free).values(claimed_by=me, claimed_until=until)).rowcount
    if taken < len(sources):
        release(conn, stream, me)
        return None
    return [found for found in positions(conn, stream) if found.source in sources]


def release(conn: sa.Connection, stream: str, me: str) -> None:
    """Let others tell."""
    conn.execute(stream_positions.update().where(_p.stream == stream, _p.claimed_by == me).values(_NOBODY))


def save(conn: sa.Connection, lease: Lease, progress: Iterable[Progress], *, problem: str = "") -> bool:
    """Write how far it has come, and renew the lease. False: it is somebody else's by now, and nothing changed."""
    stream, me, now, until = lease
    for one in progress:
        mine = sa.and_(_its(stream, [one.source]), _p.claimed_by == me)
        values = {
            "position": one.position,
            "ahead": orjson.dumps(sorted(one.ahead)).decode(),
            "told": _p.told + one.told,
            "left_out": _p.left_out + one.left_out,
            "problem": problem,
            "claimed_until": until,
            "updated_at": now,
        }
        if not conn.execute(stream_positions.update().where(mine).values(values)).rowcount:
            return False
    return True


def holds(conn: sa.Connection, stream: str, sources: Sequence[str], me: str) -> bool:
    """Whether the lease is still mine."""
    held = sa.select(sa.func.count()).where(_its(stream, sources), _p.claimed_by == me)
    return conn.execute(held).scalar_one() == len(sources)


def _its(stream: str, sources: Sequence[str]) -> "sa.ColumnElement[bool]":
    return sa.and_(_p.stream == stream, _p.source.in_(sources))


# --- for people ---------------------------------------------------------------------------------------------------


def positions(conn: sa.Connection, stream: str) -> list[Position]:
    """How far a stream has come, source by source."""
    columns = (_p[name] for name in Position._fields)
    rows = conn.execute(sa.select(*columns).where(_p.stream == stream).order_by(_p.source))
    return [Position(**dict(row._mapping) | {"ahead": frozenset(orjson.loads(row.ahead))}) for row in rows]  # noqa: SLF001


def names(conn: sa.Connection) -> list[str]:
    """The streams that anybody has begun to tell."""
    return list(conn.execute(sa.select(_p.stream).distinct().order_by(_p.stream)).scalars())


def standing(conn: sa.Connection) -> dict[str, str]:
    """The streams that stand still, and why."""
    rows = conn.execute(sa.select(_p.stream, _p.problem).where(_p.problem != "").order_by(_p.stream)).all()
    return {row.stream: row.problem for row in rows}


def rewind(conn: sa.Connection, stream: str, sources: Sequence[str], before: int) -> Mapping[str, int]:
    """Have everything told again from the row `before` on; by source, where it now stands.

    Nothing is ever skipped by it: a position that is lower already stays. Whoever tells begins anew from here.
    """
    for found in positions(conn, stream):
        if found.source in sources:
            values = {"position": min(found.position, before - 1), "ahead": "[]", "problem": "", **_NOBODY}
            conn.execute(stream_positions.update().where(_its(stream, [found.source])).values(values))
    return {found.source: found.position for found in positions(conn, stream) if found.source in sources}
