"""One batch, one transaction: everything that waited is written together, or nothing of it.

1. learn which events are new, by their unique keys; 2. read what is known of the people and messages concerned;
3. let interpret decide, purely; 4. write what was decided. Each step but the third is one statement. Parts of long
messages, where there are any, are joined before 2.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from app import changes as rows
from app.events import Decide, Heard, Known, Reading, Recorded
from app.record import keys, known, memberships, pieces, profiles, tables
from app.record.ids import new_id
from app.record.parked import as_item
from app.record.sets import Insert, Inserts, Row

Committed = Callable[[Sequence[Heard], rows.Changes], None]
"""Told after each commit, in the writer's thread: what was new, and what it changed."""

_WRITES = Inserts(
    "writes",
    keys.ADD,
    Insert(tables.raw_requests, tables.raw_requests.columns.keys()),
    Insert(tables.inbound_messages, rows.InboundRow._fields),
    Insert(tables.ledger, rows.LedgerRow._fields),
    Insert(tables.evidence, rows.EvidenceRow._fields),
    Insert(
        tables.consent,
        rows.ConsentRow._fields,
        "ON CONFLICT (program, address) DO UPDATE SET state = excluded.state, since = excluded.since, "
        "as_of = excluded.as_of, cause = excluded.cause, ledger_id = excluded.ledger_id, "
        "confirmed = excluded.confirmed",
    ),
    Insert(tables.outbox, rows.OutboxRow._fields),
    Insert(
        tables.reply_guard,
        rows.GuardRow._fields,
        "ON CONFLICT (address) DO UPDATE SET default_at = excluded.default_at, recent = excluded.recent",
    ),
    Insert(
        tables.messages,
        rows.MessageRow._fields,
        "ON CONFLICT (provider_id, recipient, account) DO UPDATE SET status = excluded.status, "
        "provider_status = excluded.provider_status, code = excluded.code, error_text = excluded.error_text, "
        "parts = excluded.parts, first_at = excluded.first_at, status_at = excluded.status_at",
    ),
    Insert(tables.receipts, rows.ReceiptRow._fields),
    Insert(
        tables.profile_attributes,
        rows.AttributeRow._fields,
        profiles.KEEP_THE_LATER,
    ),
    Insert(tables.work_list, rows.WorkRow._fields),
    Insert(tables.stale_memberships, tables.stale_memberships.columns.keys(), memberships.ANOTHER_MARK),
    Insert(tables.person_messages, tables.person_messages.columns.keys(), memberships.ONCE),
)


def write(
    conn: sa.Connection, heards: Sequence[Heard], decide: Decide
) -> tuple[list[Recorded], list[Heard], rows.Changes]:
    """Write a batch inside the open transaction: (an answer per request, what was new of it, what it changed)."""
    given = keys.of(heards)
    concerned = known.Concerned(heards)
    new_keys = keys.new(conn, given, concerned.names())
    fresh, answers = keys.only_new(heards, new_keys)
    whole = fresh
    if concerned.in_pieces:
        fresh, whole = pieces.join(conn, fresh)
    changes = decide(whole, _known(conn, concerned), new_id)
    added = [given[key] for key in given if key in new_keys] if conn.dialect.name == "sqlite" else []
    raw = [_raw_row(heard) for heard in fresh if heard.raw]
    _write(conn, added, raw, changes, has_audiences=concerned.has_audiences)
    return answers, fresh, changes


def _known(conn: sa.Connection, concerned: known.Concerned) -> Known:
    """What is known. A message found by our reference is held by its provider's id as well, as another node holds it
    whose receipt names that one; then it is read again, for that node may just have changed it."""
    found = known.read(conn, concerned)
    others = {key[1] for key, _ in found.deliveries_by_reference.values()} - set(concerned.names())
    if not others:
        return found
    keys.hold(conn, sorted(others))
    return known.read(conn, concerned)


def park(conn: sa.Connection, heard: Heard, reason: str) -> None:
    """Set a request aside that the database refused: its raw bytes, marked undecoded, and an entry on the work list."""
    changes, raw = rows.Changes(), []
    if heard.raw:
        raw = [_raw_row(replace(heard, raw=replace(heard.raw, reading=Reading.UNDECODED, problem=reason)))]
    item = "" if heard.raw else as_item(heard)
    raw_ids = [heard.raw.id] if heard.raw else pieces.give_up(conn, heard) or [None]
    entry = (heard.webhook, "parked", reason, item, heard.received_at)
    changes.work = [rows.WorkRow(new_id(), raw_id, *entry) for raw_id in raw_ids]
    _write(conn, [], raw, changes)


def _write(
    conn: sa.Connection,
    added: Collection[Row],
    raw: Collection[Row],
    changes: rows.Changes,
    *,
    has_audiences: bool = False,
) -> None:
    stale, links = memberships.concerned(changes) if has_audiences else ((), ())
    _WRITES.run(
        conn, added, raw, changes.inbound, changes.ledger, changes.evidence, changes.consent.values(), changes.outbox,
        changes.guards.values(), changes.messages.values(), changes.receipts, changes.attributes.values(), changes.work,
        stale, links,
    )  # fmt: skip


def _raw_row(heard: Heard) -> tuple[Any, ...]:
    raw = heard.raw
    assert raw is not None
    return (
        raw.id, heard.webhook, heard.received_at, raw.method, raw.target, raw.headers, raw.body, raw.client,
        raw.signature, raw.reading.value, raw.problem,
    )  # fmt: skip
