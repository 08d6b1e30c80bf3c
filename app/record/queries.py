"""What is read for people and systems: standings, messages with their receipts, inbound messages, a person's history.

Lists come newest first, a page at a time: ask again with `before_id`, the id of the last row of the page you have.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.changes import EvidenceRow, InboundRow, LedgerRow, MessageRow, ReceiptRow, WorkRow
from app.events import EVERY_PROGRAM, Category, Standing
from app.record import standings as where
from app.record import tables
from app.record.ids import first_id_at

#: how far a row's id may be older than its receive time: the clocks of two processes differ
_CLOCK_SLACK = timedelta(days=1)
_LARGEST_ID = 2**63 - 1

# Spelt out, because a partial index is only used where its condition stands word by word in the statement.
_UNDECODED = sa.text("reading = 'undecoded'")
_WAITING = sa.text("state IN ('pending', 'sending')")


class Delivered(NamedTuple):
    """A message that was sent, and what was told of it, oldest first."""

    message: MessageRow
    receipts: list[ReceiptRow]


class Decision(NamedTuple):
    """An entry of the ledger, and what it rests on."""

    entry: LedgerRow
    evidence: EvidenceRow


class StoredRequest(NamedTuple):
    """A request as it was kept: stripped of credentials."""

    id: int
    webhook: str
    received_at: datetime
    method: str
    target: str
    headers: str
    body: bytes
    client: str
    signature: str
    reading: str
    problem: str


class InboundFilter(NamedTuple):
    """Which inbound messages are wanted; None: no matter. `after` and `before` mean the receive time."""

    address: str | None = None
    webhook: str | None = None
    category: Category | None = None
    after: datetime | None = None
    before: datetime | None = None


class Backlog(NamedTuple):
    """What waits, now."""

    outbox: int
    oldest_outbox: datetime | None
    undecoded: int
    work: int


# --- consent ------------------------------------------------------------------------------------------------------


def standings(conn: sa.Connection, program: str, addresses: Sequence[str]) -> dict[str, tuple[Standing, Standing]]:
    """For every address its standing in the program and in all programs; NOBODY where there is none.

    Of an erased person it is what was kept. Raises StoreUnavailable where the key for that is not at hand.
    """
    asked = [(name, address) for address in addresses for name in {program, EVERY_PROGRAM}]
    found = where.of(conn, asked)
    return {address: where.in_both(found, program, address) for address in addresses}


# The key begins with the program, and programs are few: from each to the next is one step in the key.
_IN_ALL = sa.text(
    "WITH RECURSIVE known (program) AS (SELECT min(program) FROM consent UNION ALL "
    "SELECT (SELECT min(c.program) FROM consent c WHERE c.program > known.program) FROM known "
    "WHERE known.program IS NOT NULL) "
    "SELECT c.program FROM known JOIN consent c ON c.program = known.program WHERE c.address = :address"
)


def programs_of(conn: sa.Connection, address: str) -> list[str]:
    """The programs that know of this person, or keep them suppressed; the one for all of them (`*`) included."""
    known = set(conn.execute(_IN_ALL, {"address": address}).scalars())
    return sorted(known.union(where.suppressed_programs(conn, address)))


_HISTORY = (
    sa.select(*(tables.ledger.c[name] for name in LedgerRow._fields))
    .add_columns(*(tables.evidence.c[name] for name in EvidenceRow._fields))
    .join(tables.evidence, tables.evidence.c.ledger_id == tables.ledger.c.id)
    .order_by(tables.evidence.c.ledger_id.desc())
)


def history(
    conn: sa.Connection, address: str, *, program: str | None, limit: int, before_id: int | None
) -> list[Decision]:
    """A page of a person's ledger with its evidence. What was erased is not found by address any more."""
    query = _HISTORY.where(tables.evidence.c.address == address).limit(limit)
    if program is not None:
        query = query.where(tables.ledger.c.program == program)
    if before_id is not None:
        query = query.where(tables.evidence.c.ledger_id < before_id)
    width = len(LedgerRow._fields)
    return [Decision(LedgerRow(*row[:width]), EvidenceRow(*row[width:])) for row in conn.execute(query)]


# --- what was heard -----------------------------------------------------------------------------------------------


def inbound(conn: sa.Connection, wanted: InboundFilter, *, limit: int, before_id: int | None) -> list[InboundRow]:
    """A page of inbound messages."""
    query = _page(tables.inbound_messages, InboundRow._fields, limit, before_id)
    return [InboundRow(*row) for row in conn.execute(query.where(*_conditions(wanted)))]


def _conditions(wanted: InboundFilter) -> "list[sa.ColumnElement[bool]]":
    column = tables.inbound_messages.c
    found = [column[name] == value for name, value in wanted._asdict().items() if value and name in column]
    if wanted.after:
        # Ids rise with time, so the page ends at this id instead of walking through all that is older.
        found += [column.received_at > wanted.after, column.id >= _lowest_id(wanted.after)]
    if wanted.before:
        found.append(column.received_at < wanted.before)
    return found


def _lowest_id(received_after: datetime) -> int:
    return min(first_id_at(received_after - _CLOCK_SLACK), _LARGEST_ID)


def stored_request(conn: sa.Connection, request_id: int) -> StoredRequest | None:
    """A stored raw request; None where there is none, or it is older than it is kept."""
    columns = (tables.raw_requests.c[name] for name in StoredRequest._fields)
    row = conn.execute(sa.select(*columns).where(tables.raw_requests.c.id == request_id)).one_or_none()
    return StoredRequest(*row) if row else None


def work_list(conn: sa.Connection, *, limit: int, before_id: int | None) -> list[WorkRow]:
    """A page of what waits for a person."""
    query = _page(tables.work_list, WorkRow._fields, limit, before_id).where(tables.work_list.c.resolved_at.is_(None))
    return [WorkRow(*row) for row in conn.execute(query)]


# --- what was delivered -------------------------------------------------------------------------------------------


def message(conn: sa.Connection, message_id: int) -> Delivered | None:
    """A message with its receipts; None where there is none of that id."""
    columns = (tables.messages.c[name] for name in MessageRow._fields)
    found = conn.execute(sa.select(*columns).where(tables.messages.c.id == message_id)).all()
    return next(iter(_with_receipts(conn, found)), None)


def messages(
    conn: sa.Connection, provider_id: str, account: str | None, *, limit: int, before_id: int | None
) -> list[Delivered]:
    """A page of the messages with this id of the provider: one per recipient and account."""
    query = _page(tables.messages, MessageRow._fields, limit, before_id)
    query = query.where(tables.messages.c.provider_id == provider_id)
    if account is not None:
        query = query.where(tables.messages.c.account == account)
    return _with_receipts(conn, conn.execute(query).all())


def _with_receipts(conn: sa.Connection, rows: Sequence[Sequence[Any]]) -> list[Delivered]:
    found = [Delivered(MessageRow(*row), []) for row in rows]
    by_id = {each.message.id: each.receipts for each in found}
    receipt = tables.receipts.c
    query = sa.select(*(receipt[name] for name in ReceiptRow._fields)).order_by(receipt.id)
    for row in conn.execute(query.where(receipt.message_id.in_(list(by_id)))):
        told = ReceiptRow(*row)
        by_id[told.message_id].append(told)
    return found


# --- what waits ---------------------------------------------------------------------------------------------------


def backlog(conn: sa.Connection) -> Backlog:
    """What waits for sending, for a mended provider file, for a person."""
    outbox = conn.execute(sa.select(sa.func.count(), sa.func.min(tables.outbox.c.created_at)).where(_WAITING)).one()
    undecoded = conn.execute(sa.select(sa.func.count()).select_from(tables.raw_requests).where(_UNDECODED)).scalar_one()
    open_work = sa.select(sa.func.count()).where(tables.work_list.c.resolved_at.is_(None))
    return Backlog(outbox[0], outbox[1], undecoded, conn.execute(open_work).scalar_one())


def _page(table: sa.Table, columns: Sequence[str], limit: int, before_id: int | None) -> "sa.Select[Any]":
    query = sa.select(*(table.c[name] for name in columns)).order_by(table.c.id.desc()).limit(limit)
    return query if before_id is None else query.where(table.c.id < before_id)
