"""Everything that is kept about a person, for evidence and for their own questions.

Replies and messages are found by reading their whole tables: an index by person would cost every reply and every
receipt something, and a dossier is asked for now and then.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.changes import AttributeRow, EvidenceRow, InboundRow, LedgerRow, MessageRow, ReceiptRow
from app.events import EVERY_PROGRAM, Standing
from app.record import memberships, queries, seals, tables
from app.record.call_log import Call
from app.record.ids import first_id_at
from app.record.queries import Decision, Delivered, StoredRequest
from app.record.seals import Seal

_ALL, _AT_ONCE = 1_000_000, 500
_SLACK = timedelta(minutes=1)


class Reply(NamedTuple):
    """A row of the outbox, with what became of it."""

    id: int
    kind: str
    webhook: str
    credential: str
    program: str
    category: str
    sender: str
    text: str
    content: str
    inbound_id: int | None
    state: str
    reason: str
    attempts: int
    created_at: datetime
    deadline: datetime
    sent_at: datetime | None
    provider_id: str


class KeywordList(NamedTuple):
    """What a list version was made of."""

    version: str
    webhook: str
    lists: str
    """JSON; the version is made of its hash."""
    first_used_at: datetime


class Dossier(NamedTuple):
    """Everything about a person, each oldest first."""

    standings: dict[str, Standing]
    """By program, `*` included."""
    decisions: list[Decision]
    seals: dict[int, Seal | None]
    """By ledger id: the seal over it; None: not sealed yet."""
    lists: dict[str, KeywordList]
    """By version, of those that the decisions and messages name."""
    inbound: list[InboundRow]
    replies: list[Reply]
    calls: list[Call]
    """Of custom actions, about them."""
    messages: list[Delivered]
    """Those that we sent, and those of other systems of which receipts told."""
    attributes: list[AttributeRow]
    audiences: list[str]
    """Those that they were in when that was last worked out."""
    browsers: dict[str, datetime]
    """Browsers that were linked to them, and since when."""
    requests: list[StoredRequest]
    """The raw requests of all this, as far as they are still kept."""
    head: Seal | None
    """The last seal."""


def read(conn: sa.Connection, address: str, program: str | None = None) -> Dossier:
    """Everything about the person; with `program`, of this program and of all of them (`*`) alone."""
    programs = [program, EVERY_PROGRAM] if program else None
    decisions = _decisions(conn, address, programs)
    inbound = _rows(conn, InboundRow, tables.inbound_messages, (address, programs))
    replies = _rows(conn, Reply, tables.outbox, (address, programs))
    messages = _messages(conn, address, [reply.id for reply in replies], ours_alone=program is not None)
    versions = {each.entry.list_version for each in decisions} | {message.list_version for message in inbound}
    return Dossier(
        standings=_standings(conn, address, programs),
        decisions=decisions,
        seals={each.entry.id: seals.covering(conn, each.entry.id) for each in decisions},
        lists=_lists(conn, versions),
        inbound=inbound,
        replies=replies,
        calls=_rows(conn, Call, tables.action_calls, (address, programs)),
        messages=messages,
        attributes=_attributes(conn, address),
        audiences=memberships.stored(conn, address),
        browsers=memberships.browsers(conn, address),
        requests=_requests(conn, _raw_ids(conn, decisions, inbound, messages)),
        head=seals.latest(conn),
    )


def _standings(conn: sa.Connection, address: str, programs: Sequence[str] | None) -> dict[str, Standing]:
    """Asked as everybody asks who decides or sends, so that it is what holds."""
    found = {}
    for name in sorted(queries.programs_of(conn, address)):
        own, every = queries.standings(conn, name, [address])[address]
        if programs is None or name in programs:
            found[name] = every if name == EVERY_PROGRAM else own
    return found


def _decisions(conn: sa.Connection, address: str, programs: Sequence[str] | None) -> list[Decision]:
    found = queries.history(conn, address, program=None, limit=_ALL, before_id=None)
    return [each for each in reversed(found) if programs is None or each.entry.program in programs]


def _rows(conn: sa.Connection, kind: Any, table: sa.Table, whose: tuple[str, Sequence[str] | None]) -> list[Any]:
    """Rows of a table with address and program, as `kind`."""
    address, programs = whose
    query = sa.select(*(table.c[name] for name in kind._fields)).where(table.c.address == address)
    if programs is not None:
        query = query.where(table.c.program.in_(programs))
    return [kind(*row) for row in conn.execute(query.order_by(table.c.id))]


def _messages(conn: sa.Connection, address: str, reply_ids: Sequence[int], *, ours_alone: bool) -> list[Delivered]:
    """Where a provider names no recipient, only the reply's id tells whose message it is."""
    row, ours = tables.messages.c, tables.messages.c.outbox_id.in_(reply_ids)
    query = sa.select(*(row[name] for name in MessageRow._fields))
    found = conn.execute(query.where(ours if ours_alone else sa.or_(ours, row.recipient == address)).order_by(row.id))
    by_id = {each[0]: Delivered(MessageRow(*each), []) for each in found}
    for receipt in _receipts(conn, list(by_id)):
        by_id[receipt.message_id].receipts.append(receipt)
    return list(by_id.values())


def _receipts(conn: sa.Connection, message_ids: Sequence[int]) -> Iterator[ReceiptRow]:
    row = tables.receipts.c
    query = sa.select(*(row[name] for name in ReceiptRow._fields)).order_by(row.id)
    for start in range(0, len(message_ids), _AT_ONCE):
        these = query.where(row.message_id.in_(message_ids[start : start + _AT_ONCE]))
        yield from (ReceiptRow(*found) for found in conn.execute(these))


def _lists(conn: sa.Connection, versions: Iterable[str]) -> dict[str, KeywordList]:
    row = tables.keyword_lists.c
    query = sa.select(*(row[name] for name in KeywordList._fields)).where(row.version.in_(list(versions)))
    return {found[0]: KeywordList(*found) for found in conn.execute(query)}


def _attributes(conn: sa.Connection, address: str) -> list[AttributeRow]:
    row = tables.profile_attributes.c
    query = sa.select(*(row[name] for name in AttributeRow._fields)).where(row.address == address)
    return [AttributeRow(*found) for found in conn.execute(query.order_by(row.name))]


# --- raw requests -------------------------------------------------------------------------------------------------


def _raw_ids(
    conn: sa.Connection, decisions: Iterable[Decision], inbound: Iterable[InboundRow], messages: Iterable[Delivered]
) -> list[int]:
    told = {message.raw_id for message in inbound} | {news.raw_id for each in messages for news in each.receipts}
    for decision in decisions:
        if decision.evidence.inbound_id is None and decision.evidence.webhook:
            told |= set(_told_by(conn, decision.entry, decision.evidence))
    return sorted(raw_id for raw_id in told if raw_id is not None)


def _told_by(conn: sa.Connection, entry: LedgerRow, evidence: EvidenceRow) -> Iterable[int]:
    """The request by which a provider told of a change: the entry does not name it, but both came at one instant."""
    row, at = tables.raw_requests.c, entry.received_at
    query = sa.select(row.id).where(
        row.id.between(first_id_at(at - _SLACK), first_id_at(at + _SLACK)),
        row.received_at == at,
        row.webhook == evidence.webhook,
    )
    return conn.execute(query).scalars()


def _requests(conn: sa.Connection, ids: Sequence[int]) -> list[StoredRequest]:
    found = (queries.stored_request(conn, request_id) for request_id in ids)
    return [each for each in found if each]
