"""The chain of seals over the ledger: who changes, removes or slips in an entry breaks it, and cannot mend it.

Each seal covers the entries of an id range, and the ranges follow each other without a gap. Its head is an HMAC-SHA256
under a key that the database does not hold, over every entry of the range in the order of ids, then over the seal's own
numbers and the head before. One line of JSON each, with times in one form on both databases. Who has the key and an
exported head (`textback ledger head`) can tell whether anything below that head is another than it was.
"""

import hmac
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa

from app.changes import LedgerRow
from app.record.moments import moment
from app.record.tables import Moment, ledger, seals

#: entries under one seal at most: the fewer, the closer a broken seal names the place
MOST_ENTRIES = 10_000
#: where the first seal begins; ids are positive
FIRST_ID = 1

_AT_ONCE = 2000


class Seal(NamedTuple):
    """Table `seals`."""

    number: int
    first_id: int
    last_id: int
    entries: int
    head: str
    sealed_at: datetime


class Covered(NamedTuple):
    """What lies in an id range now."""

    entries: int
    last_id: int
    """Of the last entry; 0 without entries."""
    mac: hmac.HMAC
    """Over the entries."""


# --- making a seal ------------------------------------------------------------------------------------------------


def next_seal(conn: sa.Connection, key: bytes, mark: int, most: int = MOST_ENTRIES) -> tuple[Seal | None, Seal] | None:
    """The last seal and the one to come after it, up to the id `mark`; None: there is no new entry to be sealed.

    Only reads, so a large seal holds nobody up. `mark` is from `settled`: what lies below it does not change any more.
    """
    before = latest(conn)
    first = before.last_id + 1 if before else FIRST_ID
    covered = cover(conn, key, first, mark, most)
    if not covered.entries:
        return None
    last = covered.last_id if covered.entries == most else mark
    number = before.number + 1 if before else 1
    made = Seal(number, first, last, covered.entries, "", datetime.now(UTC))
    return before, made._replace(head=head(covered.mac, made, before.head if before else ""))


def add(conn: sa.Connection, before: Seal | None, seal: Seal) -> bool:
    """Store the seal; False: another process has just sealed, or is about to."""
    if conn.dialect.name == "postgresql" and not conn.execute(_ALONE).scalar_one():
        return False
    if latest(conn) != before:
        return False
    conn.execute(sa.insert(seals).values(seal._asdict()))
    return True


_ALONE = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended('textback ledger seals', 0))")


def cover(conn: sa.Connection, key: bytes, first_id: int, last_id: int, most: int | None = None) -> Covered:
    """What lies in the range, its first `most` entries at most. A page at a time: any number needs little memory."""
    mac, entries, newest = hmac.new(key, digestmod="sha256"), 0, 0
    for rows in _pages(conn, first_id, last_id, most):
        mac.update(b"".join(map(_line, rows)))
        entries, newest = entries + len(rows), rows[-1][0]
    return Covered(entries, newest, mac)


def head(mac: hmac.HMAC, seal: Seal, previous_head: str) -> str:
    """The head of a seal over these entries, in hex."""
    whole = mac.copy()
    whole.update(_line([*seal[:4], _time(seal.sealed_at), previous_head]))
    return whole.hexdigest()


def _line(values: Any) -> bytes:
    # JSON escapes line feeds, so no entry can be taken for two. default: SQLite's columns may be made to hold anything
    return orjson.dumps(list(values), default=repr, option=orjson.OPT_APPEND_NEWLINE)


# --- the entries in one form --------------------------------------------------------------------------------------


def _pages(conn: sa.Connection, first_id: int, last_id: int, most: int | None) -> Iterator[list[Any]]:
    """The entries of a range by rising id, in the form that is sealed."""
    query, left = _ENTRIES[conn.dialect.name], most
    while rows := conn.execute(query, {"first": first_id, "last": last_id, "most": _size(left)}).all():
        yield list(rows) if conn.dialect.name == "postgresql" else [_with_times(row) for row in rows]
        first_id = rows[-1][0] + 1
        left = None if left is None else left - len(rows)
        if len(rows) < _AT_ONCE or left == 0:
            return


def _size(left: int | None) -> int:
    return _AT_ONCE if left is None else min(left, _AT_ONCE)


def _sealed_form(column: "sa.Column[Any]", dialect: str) -> Any:
    if isinstance(column.type, sa.Boolean):
        return sa.cast(column, sa.Integer)
    if not isinstance(column.type, Moment):
        return column
    if dialect == "sqlite":
        return sa.type_coerce(column, sa.Text)
    return sa.func.to_char(sa.func.timezone("UTC", column), 'YYYY-MM-DD"T"HH24:MI:SS.US')


def _entries(dialect: str) -> "sa.Select[Any]":
    columns = (_sealed_form(ledger.c[name], dialect) for name in LedgerRow._fields)
    first, last = sa.bindparam("first", type_=sa.BigInteger), sa.bindparam("last", type_=sa.BigInteger)
    within = ledger.c.id.between(first, last)
    return sa.select(*columns).where(within).order_by(ledger.c.id).limit(sa.bindparam("most", type_=sa.Integer))


_ENTRIES = {dialect: _entries(dialect) for dialect in ("sqlite", "postgresql")}
_TIMES = [index for index, name in enumerate(LedgerRow._fields) if isinstance(ledger.c[name].type, Moment)]


def _with_times(row: Any) -> list[Any]:
    values = list(row)
    for index in _TIMES:
        values[index] = _time(values[index])
    return values


def _time(value: Any) -> Any:
    """`2026-11-22T17:18:00.123456` in UTC; what is no time stays as it is, for then somebody has been at it."""
    try:
        found = moment(value)
    except (ValueError, AttributeError):
        return value
    if found is None or found.tzinfo is None:
        return value
    return found.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


# --- reading seals ------------------------------------------------------------------------------------------------

_SEALS = sa.select(*(seals.c[name] for name in Seal._fields))


def latest(conn: sa.Connection) -> Seal | None:
    """The last seal; None: there is none yet."""
    row = conn.execute(_SEALS.order_by(seals.c.number.desc()).limit(1)).one_or_none()
    return Seal(*row) if row else None


def listed(conn: sa.Connection, after: int, limit: int) -> list[Seal]:
    """Seals by rising number, those after number `after`."""
    query = _SEALS.where(seals.c.number > after).order_by(seals.c.number).limit(limit)
    return [Seal(*row) for row in conn.execute(query)]


def numbered(conn: sa.Connection, number: int) -> Seal | None:
    """The seal of this number."""
    row = conn.execute(_SEALS.where(seals.c.number == number)).one_or_none()
    return Seal(*row) if row else None


def covering(conn: sa.Connection, ledger_id: int) -> Seal | None:
    """The seal over an entry; None: it is not sealed yet. Ranges rise with numbers, so it is found by halving."""
    last = latest(conn)
    low, high = 1, last.number if last else 0
    while low < high:
        middle = (low + high) // 2
        at = listed(conn, middle - 1, 1)[0]
        low, high = (at.number + 1, high) if at.last_id < ledger_id else (low, middle)
    found = numbered(conn, low)
    return found if found and found.first_id <= ledger_id <= found.last_id else None


def oldest_unsealed(conn: sa.Connection) -> int | None:
    """The lowest id of an entry that no seal covers yet; None: all are sealed."""
    last = latest(conn)
    newer = sa.select(sa.func.min(ledger.c.id)).where(ledger.c.id > (last.last_id if last else 0))
    return conn.execute(newer).scalar()
