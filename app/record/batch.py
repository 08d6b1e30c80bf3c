"""One batch, one transaction: everything that waited is written together, or nothing of it.

1. insert the unique keys and learn which are new; 2. lock and read what is known of the people and messages concerned;
3. let interpret decide, purely; 4. write what was decided, one statement a table.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import orjson
import sqlalchemy as sa

from app import changes as rows
from app.events import (
    EVERY_PROGRAM,
    Change,
    ConsentState,
    Decide,
    Delivery,
    Event,
    Guard,
    Heard,
    Inbound,
    Known,
    MessageKey,
    Reading,
    Receipt,
    Recorded,
    Standing,
    Status,
    Trouble,
)
from app.record import tables
from app.record.ids import new_id
from app.record.moments import moment
from app.record.sets import Ask, Insert, Inserts, Look, Row
from app.record.tables import iso

#: A key that is there already is a repeat, unless it was only good for seconds and those have passed.
_RENEW = (
    "ON CONFLICT (key) DO UPDATE SET at = excluded.at, repeats_until = excluded.repeats_until "
    "WHERE seen.repeats_until < excluded.at"
)
_KEY_TYPES = ("text", "timestamptz", "timestamptz")
_NEW_KEYS = Ask(
    f"INSERT INTO seen (key, at, repeats_until) SELECT * FROM given WHERE true {_RENEW} RETURNING key", _KEY_TYPES
)
# SQLite has one writer at a time, so there it may look first and insert then: the answer comes in one piece.
_KNOWN_KEYS = Look(
    "s.key", "FROM given CROSS JOIN seen s WHERE s.key = c0 AND (s.repeats_until IS NULL OR s.repeats_until >= c1)",
    _KEY_TYPES,
)  # fmt: skip
_ADD_KEYS = Inserts(Insert(tables.seen, tables.seen.columns.keys(), _RENEW))
_LOCK = Ask(
    "SELECT pg_advisory_xact_lock(hashtextextended(k, 0)) "
    "FROM (SELECT DISTINCT c0 AS k FROM given ORDER BY k) AS sorted",
    ("text",),
)
_STANDINGS = Look(
    "c.program, c.address, c.state, c.since, c.as_of, c.cause, c.confirmed",
    "FROM given CROSS JOIN consent c WHERE c.program = c0 AND c.address = c1",
    ("text", "text"),
)
_GUARDS = Look(
    "g.address, g.default_at, g.recent", "FROM given CROSS JOIN reply_guard g WHERE g.address = c0", ("text",)
)
_DELIVERY_COLUMNS = (
    "m.account, m.provider_id, m.recipient, m.id, m.status, m.provider_status, m.code, m.error_text, m.parts, "
    "m.first_at, m.status_at"
)
_DELIVERIES = Look(
    _DELIVERY_COLUMNS,
    "FROM given CROSS JOIN messages m WHERE m.provider_id = c1 AND m.recipient = c2 AND m.account = c0",
    ("text", "text", "text"),
)
_DELIVERIES_BY_REFERENCE = Look(
    _DELIVERY_COLUMNS, "FROM given CROSS JOIN messages m WHERE m.id = c0 AND m.account = c1", ("bigint", "text")
)
_DELIVERIES_BY_ID = Look(
    _DELIVERY_COLUMNS, "FROM given CROSS JOIN messages m WHERE m.provider_id = c1 AND m.account = c0", ("text", "text")
)

_RAW = Insert(tables.raw_requests, tables.raw_requests.columns.keys())
_WRITES = Inserts(
    _RAW,
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
        "ON CONFLICT (address, name) DO UPDATE SET value = excluded.value, source = excluded.source, "
        "updated_at = excluded.updated_at",
    ),
    Insert(tables.work_list, rows.WorkRow._fields),
)


def write(
    conn: sa.Connection, heards: Sequence[Heard], decide: Decide
) -> tuple[list[Recorded], list[Heard], rows.Changes]:
    """Write a batch inside the open transaction: (an answer per request, what was new of it, what it changed)."""
    new_keys = _insert_keys(conn, _keys(heards))
    fresh, answers = _only_new(heards, new_keys)
    known = _read_known(conn, fresh)
    changes = decide(fresh, known, new_id)
    raw = [_raw_row(heard) for heard in fresh if heard.raw]
    _WRITES.run(
        conn, raw, changes.inbound, changes.ledger, changes.evidence, changes.consent.values(), changes.outbox,
        changes.guards.values(), changes.messages.values(), changes.receipts, changes.attributes.values(), changes.work,
    )  # fmt: skip
    return answers, fresh, changes


def park(conn: sa.Connection, heard: Heard, reason: str) -> None:
    """Set a request aside that the database refused: its raw bytes, marked undecoded, and an entry on the work list."""
    raw_id = None
    if heard.raw:
        raw_id = heard.raw.id
        parked = replace(heard.raw, reading=Reading.UNDECODED, problem=reason)
        _WRITES.run(conn, [_raw_row(replace(heard, raw=parked))], *[[]] * 10)
    item = "" if heard.raw else ", ".join(type(event).__name__.lower() for event in heard.events)
    row = rows.WorkRow(new_id(), raw_id, heard.webhook, "parked", reason, item, heard.received_at)
    _WRITES.run(conn, *[[]] * 10, [row])


# --- 1. which events are new --------------------------------------------------------------------------------------


def _keys(heards: Sequence[Heard]) -> dict[str, tuple[str, str, str | None]]:
    """One row per distinct key, sorted, so that two nodes can never wait for each other crosswise."""
    found: dict[str, tuple[str, str, str | None]] = {}
    for heard in heards:
        at = iso(heard.received_at)
        for item in (*heard.events, *heard.troubles):
            key = _key_of(item, heard)
            if key not in found:
                window = getattr(item, "repeats_within", None)
                until = iso(heard.received_at + timedelta(seconds=window)) if window else None
                found[key] = (key, at, until)
    return dict(sorted(found.items()))


def _insert_keys(conn: sa.Connection, keys: dict[str, tuple[str, str, str | None]]) -> set[str]:
    """Insert the keys; which of them are new."""
    if conn.dialect.name == "postgresql":
        return {row[0] for row in _NEW_KEYS.run(conn, list(keys.values()))}
    new = keys.keys() - {row[0] for row in _KNOWN_KEYS.run(conn, list(keys.values()))}
    _ADD_KEYS.run(conn, [keys[key] for key in keys if key in new])
    return new


def _key_of(item: Event | Trouble, heard: Heard) -> str:
    if isinstance(item, Trouble):
        return f"t|{heard.webhook}|{sha256(item.item.encode('utf-8', 'replace')).hexdigest()[:32]}"
    return item.key


def _only_new(heards: Sequence[Heard], new_keys: set[str]) -> tuple[list[Heard], list[Recorded]]:
    """The requests that bring something new, with nothing but the new; and how many events were new in each.

    Of one key that stands twice in the batch the first event counts. Within a request that is all known nothing is
    left to write; a request without events (ignored, undecoded) keeps its raw bytes.
    """
    fresh, answers = [], []
    for heard in heards:
        events = tuple(_take(heard.events, heard, new_keys))
        troubles = tuple(_take(heard.troubles, heard, new_keys))
        items, new = len(heard.events) + len(heard.troubles), len(events) + len(troubles)
        answers.append(Recorded(new=new, seen=items - new))
        if new == items:
            fresh.append(heard)
        elif new:
            fresh.append(replace(heard, events=events, troubles=troubles))
    return fresh, answers


def _take(items: Sequence[Any], heard: Heard, new_keys: set[str]) -> Iterator[Any]:
    for item in items:
        key = _key_of(item, heard)
        if key in new_keys:
            new_keys.discard(key)
            yield item


# --- 2. what is known ---------------------------------------------------------------------------------------------


def _read_known(conn: sa.Connection, heards: Sequence[Heard]) -> Known:
    people: dict[tuple[str, str], None] = {}
    authors: dict[str, None] = {}
    messages: dict[MessageKey, None] = {}
    references: dict[tuple[int, str], None] = {}
    for heard in heards:
        for event in heard.events:
            if isinstance(event, Receipt):
                _note_message(event, heard.account, messages, references)
                continue
            program = (event.program if isinstance(event, Change) else None) or heard.program
            people[program, event.address] = people[EVERY_PROGRAM, event.address] = None
            if isinstance(event, Inbound):
                authors[event.address] = None
    if conn.dialect.name == "postgresql":
        _lock(conn, people, messages, references)
    ownerless = [key[:2] for key in messages if not key[2]]
    return Known(
        standings={(row[0], row[1]): _standing(row) for row in _STANDINGS.run(conn, list(people))},
        guards={row[0]: _guard(row) for row in _GUARDS.run(conn, [(address,) for address in authors])},
        deliveries={_key(row): _delivery(row) for row in _DELIVERIES.run(conn, list(messages))},
        deliveries_by_reference={
            str(row[3]): (_key(row), _delivery(row)) for row in _DELIVERIES_BY_REFERENCE.run(conn, list(references))
        },
        deliveries_by_id=_alone((_key(row), _delivery(row)) for row in _DELIVERIES_BY_ID.run(conn, ownerless)),
    )


def _key(row: Row) -> MessageKey:
    return row[0], row[1], row[2]


def _alone(found: Iterable[tuple[MessageKey, Delivery]]) -> dict[tuple[str, str], tuple[MessageKey, Delivery]]:
    """By (account, id), where that names one message only: of a batch to many people nobody can tell whose it is."""
    by_id: dict[tuple[str, str], tuple[MessageKey, Delivery]] = {}
    several = set()
    for key, delivery in found:
        several |= {key[:2]} & by_id.keys()
        by_id[key[:2]] = key, delivery
    return {name: one for name, one in by_id.items() if name not in several}


def _note_message(
    event: Receipt, account: str, messages: dict[MessageKey, None], references: dict[tuple[int, str], None]
) -> None:
    # Our references are our ids; anything else that comes back is somebody else's, and stands for itself.
    if event.message_id:
        messages[account, event.message_id, event.recipient] = None
    else:
        messages[account, "ref:" + event.reference, event.recipient] = None
        if event.reference.isdecimal() and len(event.reference) < 19:
            references[int(event.reference), account] = None


def _lock(
    conn: sa.Connection,
    people: dict[tuple[str, str], None],
    messages: dict[MessageKey, None],
    references: dict[tuple[int, str], None],
) -> None:
    """Hold the people and messages until the commit, also those without a row yet, in one order for all nodes."""
    names = {address for _, address in people} | {key[1] for key in messages} | {str(key[0]) for key in references}
    _LOCK.run(conn, [(name,) for name in sorted(names)])


def _standing(row: Row) -> Standing:
    return Standing(ConsentState(row[2]), moment(row[3]), moment(row[4]), row[5], bool(row[6]))


def _guard(row: Row) -> Guard:
    return Guard(moment(row[1]), tuple(at for text in row[2].split() if (at := moment(text))))


def _delivery(row: Row) -> Delivery:
    parts = orjson.loads(row[8]) if row[8] else {}
    return Delivery(row[3], Status(row[4]), row[5], row[6], row[7], parts, moment(row[9]), moment(row[10]))


# --- 4. what is written -------------------------------------------------------------------------------------------


def _raw_row(heard: Heard) -> tuple[Any, ...]:
    raw = heard.raw
    assert raw is not None
    return (
        raw.id, heard.webhook, heard.received_at, raw.method, raw.target, raw.headers, raw.body, raw.client,
        raw.signature, raw.reading.value, raw.problem,
    )  # fmt: skip


Committed = Callable[[Sequence[Heard], rows.Changes], None]
"""Told after each commit, in the writer's thread: what was new, and what it changed."""
