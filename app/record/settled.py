"""How far the ledger is settled: below which id no running transaction can still add an entry.

Ids are made from the clock inside transactions, so one that is still open may hold ids lower than entries that are
committed already. PostgreSQL tells when each transaction began; in SQLite there is one writer at a time, so the
question must be asked inside a writing transaction, and nobody else is in one.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from app.record import ids, seals, tables
from app.record.ids import first_id_at

#: how far the clock that makes ids may lag behind the clock that tells when transactions began (see `ids.not_below`)
SLACK = timedelta(seconds=30)


class Settled(NamedTuple):
    """How far the ledger may be sealed."""

    last_id: int
    """No entry of this id or below is still to come."""
    open_since: datetime
    """When the oldest running transaction began; it holds back what came after."""
    problem: str = ""
    """Why nothing may be sealed, and the mend."""


# Only sessions whose role may add an entry count, itself or as a role that it may take on: reports and dashboards hold
# nothing back. Workers of the server itself (autovacuum) have no user. A role may not see when the transactions of
# other roles began; that such a session is in a transaction at all shows in the lock on its own virtual id, which
# everybody sees. Nor does a session tell its times while track_activities is off. A prepared transaction has no session
# any more, and of its beginning nothing is known, but it keeps its lock on the ledger.
_RUNNING = sa.text(
    """
    WITH mine AS MATERIALIZED (
        SELECT a.pid, a.xact_start, a.state FROM pg_stat_activity a
        WHERE a.datname = current_database() AND EXISTS (
            SELECT 1 FROM pg_roles r
            WHERE pg_has_role(a.usesysid, r.oid, 'MEMBER') AND has_table_privilege(r.oid, 'ledger', 'INSERT')))
    SELECT
        (SELECT min(xact_start) FROM mine),
        (SELECT count(*) FROM mine
            WHERE xact_start IS NULL AND (state IS NULL OR state = 'disabled')
            AND EXISTS (SELECT 1 FROM pg_locks l WHERE l.pid = mine.pid AND l.locktype = 'virtualxid' AND l.granted)),
        (SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
            WHERE l.pid IS NULL AND d.datname = current_database() AND l.relation = 'ledger'::regclass)
    """
)
# the server's view of its sessions is kept for the whole transaction once it was looked at
_LOOK_ANEW = sa.text("SELECT pg_stat_clear_snapshot()")

HIDDEN = (
    "a session of another role is in a transaction, and textback's role may not see since when; allow it with:"
    " GRANT pg_read_all_stats TO the role of TEXTBACK_DATABASE_URL (and leave track_activities on)"
)
PREPARED = "a prepared transaction has written to the ledger; end it with COMMIT PREPARED or ROLLBACK PREPARED"
_NOTHING = 0


def settled(conn: sa.Connection, slack: timedelta = SLACK) -> Settled:
    """How far the ledger is settled. Ask inside the writer, and read the ledger after that transaction has ended."""
    if conn.dialect.name == "sqlite":
        return _below(datetime.now(UTC), slack)
    conn.execute(_LOOK_ANEW)
    oldest, hidden, prepared = conn.execute(_RUNNING).one()
    if hidden or oldest is None:
        return Settled(_NOTHING, datetime.now(UTC), HIDDEN)
    if prepared:
        return Settled(_NOTHING, datetime.now(UTC), PREPARED)
    return _below(oldest.astimezone(UTC), slack)


def _below(moment: datetime, slack: timedelta) -> Settled:
    return Settled(first_id_at(moment - slack) - 1, moment)


def floor(conn: sa.Connection) -> int:
    """Above this id every new one must be, so that a process whose clock lags adds nothing to what is sealed, nor
    below what streams have told of.

    Give it to `ids.not_below` at start, and again and again, for a clock may be set back at any time.
    """
    last = seals.latest(conn)
    told = conn.execute(sa.select(sa.func.max(tables.stream_positions.c.position))).scalar()
    if conn.dialect.name == "sqlite":
        newest = conn.execute(sa.select(sa.func.max(tables.ledger.c.id))).scalar()
    else:
        now: datetime = conn.execute(sa.select(sa.func.clock_timestamp(type_=sa.DateTime(timezone=True)))).scalar_one()
        newest = first_id_at(now)
    return max(last.last_id if last else 0, newest or 0, told or 0)


def lift_ids(conn: sa.Connection) -> None:
    """Before a new connection writes: this clock may lag, and the database have been away for longer than SLACK."""
    with conn.begin():
        ids.not_below(floor(conn))


def open_since(conn: sa.Connection) -> datetime | None:
    """When the oldest running transaction began, as far as this role may see; None for SQLite."""
    if conn.dialect.name == "sqlite":
        return None
    oldest: datetime | None = conn.execute(_RUNNING).one()[0]
    return oldest and oldest.astimezone(UTC)
