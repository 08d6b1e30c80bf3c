"""PostgreSQL's partitions: what was heard is kept by month, so that forgetting a month is dropping a table.

Ids tell the time, so a partition is a range of ids. Months are made ahead; an id of no month (a clock that was wrong, a
chore that never ran) lands in the default partition, and no insert ever fails for want of a month. Each change of a
partition waits only a moment for its lock, because everybody else queues behind it, and is tried again at the next run.
It has a transaction of its own, one for each month: in one with events, these would hold people whom another node waits
for, while that node holds the tables.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import OperationalError

from app.record.ids import first_id_at

log = structlog.get_logger()

TABLES = ("raw_requests", "inbound_messages", "receipts")
MONTHS_AHEAD = 3
_PATIENCE = "200ms"
#: undecoded requests of one month that are moved out of it; beyond, the month stays until somebody mends the file
_KEEP_AT_MOST = 20_000
_ALONE = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended('textback partitions', 0))")
_LIST = sa.text(
    "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = CAST(:table AS regclass) AND NOT i.inhdetachpending"
)
_BOUND = re.compile(r"FROM \('?([-\w]+)'?\) TO \('?([-\w]+)'?\)")
#: SQLSTATEs: no lock in time, deadlock
_LATER = ("55P03", "40P01")


class Partition(NamedTuple):
    """A range of ids, `start` included and `end` not."""

    name: str
    start: int
    end: int


def listed(conn: sa.Connection, table: str) -> list[Partition]:
    """The partitions of a table without its default one, oldest first."""
    found = [(name, _BOUND.search(bound)) for name, bound in conn.execute(_LIST, {"table": table})]
    ranges = [Partition(name, _number(bound[1]), _number(bound[2])) for name, bound in found if bound]
    return sorted(ranges, key=lambda each: each.end)


def ensure(conn: sa.Connection, now: datetime) -> int:
    """Make one missing partition of this month or the next three; 0 when none is, or somebody is in the way."""
    if conn.dialect.name == "sqlite" or not conn.execute(_ALONE).scalar_one():
        return 0
    missing = ((table, month) for table in TABLES for month in _missing(conn, table, now))
    return next((_changed(conn, partial(_make, table=table, month=month)) for table, month in missing), 0)


def drop_old(conn: sa.Connection, now: datetime, days: Mapping[str, int]) -> int:
    """Drop one month that is past the days of its table; 0 when none is, or somebody is in the way.

    Undecoded requests move to the default partition.
    """
    if conn.dialect.name == "sqlite" or not conn.execute(_ALONE).scalar_one():
        return 0
    old = ((table, month) for table in TABLES for month in _past(conn, table, now - timedelta(days=days[table])))
    return next((_changed(conn, partial(_drop, table=table, old=month)) for table, month in old), 0)


# --- making -------------------------------------------------------------------------------------------------------


def _missing(conn: sa.Connection, table: str, now: datetime) -> list[Partition]:
    there = listed(conn, table)
    months = [_month(table, now, ahead) for ahead in range(MONTHS_AHEAD + 1)]
    return [each for each in months if not any(one.start < each.end and each.start < one.end for one in there)]


def _month(table: str, now: datetime, ahead: int) -> Partition:
    start, end = (_first_day(now, count) for count in (ahead, ahead + 1))
    return Partition(f"{table}_{start:%Y_%m}", first_id_at(start), first_id_at(end))


def _first_day(now: datetime, ahead: int) -> datetime:
    utc = now.astimezone(UTC)
    count = utc.year * 12 + utc.month - 1 + ahead
    return datetime(count // 12, count % 12 + 1, 1, tzinfo=UTC)


def _make(conn: sa.Connection, table: str, month: Partition) -> None:
    """Attached, not created in place: that would lock out everybody who reads or writes the whole table."""
    name, start, end = month
    run = conn.exec_driver_sql
    run(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS)")
    run(f"LOCK TABLE {table}_default IN ACCESS EXCLUSIVE MODE")
    within = f"id >= {start} AND id < {end}"
    run(
        f"WITH moved AS (DELETE FROM {table}_default WHERE {within} RETURNING *) INSERT INTO {name} SELECT * FROM moved"
    )
    run(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})")


# --- dropping -----------------------------------------------------------------------------------------------------


def _past(conn: sa.Connection, table: str, moment: datetime) -> Iterator[Partition]:
    for month in listed(conn, table):
        if month.end > first_id_at(moment):
            return
        if table == "raw_requests" and _too_many(conn, month):
            log.warning("a month of raw requests is kept: too many are undecoded; mend, then replay", name=month.name)
        else:
            yield month


def _drop(conn: sa.Connection, table: str, old: Partition) -> None:
    run = conn.exec_driver_sql
    run(f"ALTER TABLE {table} DETACH PARTITION {old.name}")
    if table == "raw_requests":
        run(f"INSERT INTO {table}_default SELECT * FROM {old.name} WHERE reading = 'undecoded'")
    run(f"DROP TABLE {old.name}")


def _too_many(conn: sa.Connection, old: Partition) -> bool:
    undecoded = f"SELECT 1 FROM {old.name} WHERE reading = 'undecoded' LIMIT {_KEEP_AT_MOST + 1}"
    count: int = conn.exec_driver_sql(f"SELECT count(*) FROM ({undecoded}) found").scalar_one()
    return count > _KEEP_AT_MOST


def _changed(conn: sa.Connection, change: Callable[[sa.Connection], None]) -> int:
    """1 where the change was made. It undoes only itself: whatever is written in the same transaction stays."""
    before = conn.exec_driver_sql("SHOW lock_timeout").scalar_one()
    try:
        with conn.begin_nested():
            conn.exec_driver_sql(f"SET LOCAL lock_timeout = '{_PATIENCE}'")
            change(conn)
            conn.exec_driver_sql(f"SET LOCAL lock_timeout = '{before}'")
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) not in _LATER:
            raise
        return 0
    return 1


def _number(text: str) -> int:
    return -(2**63) if text == "MINVALUE" else int(text)
