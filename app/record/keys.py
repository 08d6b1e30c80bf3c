"""Which events of a batch are new: their unique keys decide, in a small table that outlives the events."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import orjson
import sqlalchemy as sa

from app.events import Event, Heard, Recorded, Trouble
from app.record import tables
from app.record.sets import Ask, Insert, Look, Looks, as_json, ask_one, given
from app.record.tables import iso

KeyRow = tuple[str, str, str | None]
"""(key, at, until when it is a repeat: None for ever)."""

_TYPES = ("text", "timestamptz", "timestamptz")
#: A key that is there already is a repeat, unless it was only good for seconds and those have passed.
_RENEW = (
    "ON CONFLICT (key) DO UPDATE SET at = excluded.at, repeats_until = excluded.repeats_until "
    "WHERE seen.repeats_until < excluded.at"
)
#: keys are added with everything else that a batch writes; in PostgreSQL they are there by then
ADD = Insert(tables.seen, tables.seen.columns.keys(), _RENEW)

# SQLite has one writer at a time, so looking is enough.
_LOOK = Looks(
    Look(
        "s.key",
        "FROM given CROSS JOIN seen s WHERE s.key = c0 AND (s.repeats_until IS NULL OR s.repeats_until >= c1)",
        _TYPES,
    )
)
# PostgreSQL has several. They insert at once, and hold the people and messages concerned until the commit, also those
# without a row yet; locks first and in one order, so that two nodes hardly ever wait for each other crosswise.
_INSERT = (
    "WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock(hashtextextended(c0, 0)) "
    f"FROM {given(('text',), 'postgresql')}), "
    "fresh AS (INSERT INTO seen (key, at, repeats_until) "
    f"SELECT * FROM {given(_TYPES, 'postgresql')} WHERE (SELECT count(*) FROM locked) >= 0 {_RENEW} RETURNING key) "
    "SELECT coalesce(json_agg(key), '[]')::text FROM fresh"
)


_HOLD = Ask("SELECT pg_advisory_xact_lock(hashtextextended(c0, 0)) FROM given", ("text",))


def of(heards: Sequence[Heard]) -> dict[str, KeyRow]:
    """One row per distinct key, in one order for all nodes."""
    found: dict[str, KeyRow] = {}
    for heard in heards:
        at = iso(heard.received_at)
        for item in (*heard.events, *heard.troubles):
            key = _key_of(item, heard)
            if key not in found:
                window = item.repeats_within
                until = iso(heard.received_at + timedelta(seconds=window)) if window else None
                found[key] = (key, at, until)
    return dict(sorted(found.items()))


def new(conn: sa.Connection, keys: dict[str, KeyRow], names: Sequence[str]) -> set[str]:
    """Which of the keys are new. `names`: whom the batch is about; held until the commit."""
    if conn.dialect.name == "sqlite":
        return keys.keys() - {row[0] for row in _LOOK.run(conn, keys.values())[0]}
    if not keys:
        return set()
    arguments = (as_json((name,) for name in names), as_json(keys.values()))
    return set(orjson.loads(ask_one(conn, _INSERT, arguments)))


def hold(conn: sa.Connection, names: Sequence[str]) -> None:
    """Hold more of whom the batch is about, until the commit; nothing to do in SQLite, which has one writer."""
    if conn.dialect.name == "postgresql":
        _HOLD.run(conn, [(name,) for name in names])


def only_new(heards: Sequence[Heard], new_keys: set[str]) -> tuple[list[Heard], list[Recorded]]:
    """The requests that bring something new, with nothing but the new; and how many events were new in each.

    Of one key that stands twice in the batch the first event counts. Within a request that is all known nothing is
    left to write; a request without events (ignored, undecoded) keeps its raw bytes.
    """
    left = set(new_keys)
    fresh, answers = [], []
    for heard in heards:
        events = tuple(_take(heard.events, heard, left))
        troubles = tuple(_take(heard.troubles, heard, left))
        items, count = len(heard.events) + len(heard.troubles), len(events) + len(troubles)
        answers.append(Recorded(new=count, seen=items - count))
        if count == items:
            fresh.append(heard)
        elif count:
            fresh.append(replace(heard, events=events, troubles=troubles))
    return fresh, answers


def _key_of(item: Event | Trouble, heard: Heard) -> str:
    if isinstance(item, Trouble):
        request = heard.raw.target.encode() + b"\0" + heard.raw.body if heard.raw else b""
        whole = request + b"\0" + item.item.encode("utf-8", "replace")
        return f"t|{heard.webhook}|{sha256(whole).hexdigest()[:32]}"
    return item.key


def _take(items: Sequence[Any], heard: Heard, left: set[str]) -> Iterator[Any]:
    for item in items:
        key = _key_of(item, heard)
        if key in left:
            left.discard(key)
            yield item
