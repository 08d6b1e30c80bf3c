"""Stored requests that were not understood, and their second chance."""

from datetime import datetime

import sqlalchemy as sa

from app.events import Decide, Heard, Recorded
from app.record.batch import write
from app.record.tables import raw_requests, work_list


def undecoded_ids(conn: sa.Connection) -> list[int]:
    """The ids of the stored requests that were not understood, oldest first."""
    # spelt as in the partial index, or the index is not used
    waiting = sa.select(raw_requests.c.id).where(sa.text("reading = 'undecoded'")).order_by(raw_requests.c.id)
    return list(conn.execute(waiting).scalars())


def record_again(conn: sa.Connection, heard: Heard, decide: Decide, now: datetime) -> Recorded:
    """Record a stored request that is understood now, in the place of its old row and in one transaction.

    Events that another request brought meanwhile have the same keys, and so they are not recorded twice.
    """
    raw = heard.raw
    assert raw is not None
    here = raw_requests.c.id == raw.id
    stored = dict(conn.execute(sa.select(raw_requests).where(here)).mappings().one())
    conn.execute(raw_requests.delete().where(here))
    (recorded,), fresh, _ = write(conn, [heard], decide)
    if not fresh:
        conn.execute(raw_requests.insert(), stored | {"reading": raw.reading.value, "problem": raw.problem})
    parked = sa.and_(work_list.c.raw_id == raw.id, work_list.c.kind == "parked", work_list.c.resolved_at.is_(None))
    conn.execute(work_list.update().where(parked).values(resolved_at=now))
    return recorded
