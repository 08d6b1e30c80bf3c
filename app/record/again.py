"""The second chance of stored requests of which something was not understood, and of changes that were refused."""

from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from app.events import Decide, Event, Heard, Inbound, Recorded
from app.record.batch import write
from app.record.dead_letters import NO_SUCH, Kind, Outcome, why_no_letter
from app.record.parked import read_back
from app.record.tables import inbound_messages, raw_requests, work_list

_NOT_KEPT = "nothing that could be recorded again is kept of it; look at it, act by hand, and settle it"


def undecoded_ids(conn: sa.Connection) -> list[int]:
    """The ids of the stored requests of which something was not understood, oldest first."""
    # spelt as in the partial index, or the index is not used
    undecoded = sa.select(raw_requests.c.id).where(sa.text("reading = 'undecoded'")).order_by(raw_requests.c.id)
    return list(conn.execute(undecoded).scalars())


def record_again(conn: sa.Connection, heard: Heard, decide: Decide, now: datetime) -> Recorded | None:
    """Record a stored request that is understood now, in the place of its old row and in one transaction.

    Events that it or another request brought before have the same keys, and so they are not recorded twice. None: it
    does not wait any more, for another replay was first.
    """
    raw = heard.raw
    assert raw is not None
    here = raw_requests.c.id == raw.id
    waits = sa.select(raw_requests).where(here, sa.text("reading = 'undecoded'")).with_for_update()
    stored = conn.execute(waits).mappings().one_or_none()
    if stored is None:
        return None
    conn.execute(raw_requests.delete().where(here))
    waiting = _waiting(conn, raw.id)
    new = replace(
        heard,
        events=tuple(event for event in heard.events if not _is_recorded(conn, raw.id, event)),
        troubles=tuple(trouble for trouble in heard.troubles if trouble.item not in waiting.values()),
        late=True,
        again_at=now,
    )
    (recorded,), fresh, _ = write(conn, [new], decide)
    if not fresh:
        conn.execute(raw_requests.insert(), dict(stored) | {"reading": raw.reading.value, "problem": raw.problem})
    left = {trouble.item for trouble in heard.troubles}
    _resolve(conn, [entry for entry, item in waiting.items() if item not in left], now)
    return replace(recorded, seen=recorded.seen + _count(heard) - _count(new))


def record_parked(conn: sa.Connection, entry_id: int, decide: Decide, now: datetime) -> Outcome:
    """Record what an entry of the work list keeps whole, and resolve the entry. It counts at its first time."""
    entry = conn.execute(sa.select(work_list).where(work_list.c.id == entry_id).with_for_update()).one_or_none()
    why_not = why_no_letter(conn, entry_id)
    heard = None if why_not else read_back(entry)
    if heard is None:
        return Outcome(entry_id, None if why_not == NO_SUCH else Kind.ITEM, done=False, reason=why_not or _NOT_KEPT)
    (recorded,), _, _ = write(conn, [heard], decide)
    _resolve(conn, [entry_id], now)
    return Outcome(entry_id, Kind.ITEM, done=True, new=recorded.new, seen=recorded.seen)


def _count(heard: Heard) -> int:
    return len(heard.events) + len(heard.troubles)


def _is_recorded(conn: sa.Connection, raw_id: int, event: Event) -> bool:
    """Whether this request brought the message before. Asked only where its key, good for seconds, may be gone."""
    if not isinstance(event, Inbound) or event.repeats_within is None:
        return False
    column = inbound_messages.c
    same = sa.and_(column.address == event.address, column.raw_id == raw_id, column.text == event.text)
    return conn.execute(sa.select(column.id).where(same).limit(1)).first() is not None


def _waiting(conn: sa.Connection, raw_id: int) -> dict[int, str]:
    """The open entries of the request on the work list: id -> item."""
    column = work_list.c
    opened = sa.select(column.id, column.item).where(column.raw_id == raw_id, column.resolved_at.is_(None))
    return {entry.id: entry.item for entry in conn.execute(opened)}


def _resolve(conn: sa.Connection, entries: list[int], now: datetime) -> None:
    if entries:
        done = {"resolved_at": now, "resolution": "replayed"}
        of_entry = work_list.update().where(work_list.c.id == sa.bindparam("entry")).values(done)
        conn.execute(of_entry, [{"entry": entry} for entry in entries])
