"""What was kept: the rows of a database after the load, and the provider's log."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pysqlite3

from tests.torture.verdict import Arrival, Entry, Reply, Stored

_INBOUND = "SELECT provider_id FROM inbound_messages"
_RECEIPTS = "SELECT m.provider_id, r.status FROM receipts AS r JOIN messages AS m ON m.id = r.message_id"
_REPLIES = (
    "SELECT o.id, coalesce(i.provider_id, ''), o.category, o.address, o.state, o.reason "
    "FROM outbox AS o LEFT JOIN inbound_messages AS i ON i.id = o.inbound_id"
)
_CONSENT = "SELECT address, state FROM consent WHERE program = 'default'"
_LEDGER = (
    "SELECT l.id, e.address, l.old_state, l.new_state, l.received_at, l.superseded "
    "FROM ledger AS l JOIN evidence AS e ON e.ledger_id = l.id ORDER BY l.id"
)
_WORK = "SELECT kind || ': ' || reason FROM work_list"
_UNDECODED = "SELECT 'undecoded: ' || problem FROM raw_requests WHERE reading = 'undecoded'"
_UNMET = "SELECT m.provider_id FROM messages AS m JOIN outbox AS o ON o.provider_id = m.provider_id WHERE m.outbox_id IS NULL"
_WAITING = "SELECT count(*) FROM outbox WHERE state IN ('pending', 'sending')"


def rows(url: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a query answers, on either database, past textback."""
    if url.startswith("sqlite:///"):
        connection = pysqlite3.connect(url.removeprefix("sqlite:///"), timeout=20)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()
    with psycopg.connect(url, connect_timeout=5) as opened:
        return opened.execute(query, values).fetchall()


def stored(url: str) -> Stored:
    """Everything that the verdict asks for."""
    return Stored(
        inbound=[row[0] for row in rows(url, _INBOUND)],
        receipts=[f"{row[0]} {row[1]}" for row in rows(url, _RECEIPTS)],
        replies=[Reply(*row) for row in rows(url, _REPLIES)],
        consent=dict(rows(url, _CONSENT)),  # type: ignore[arg-type]
        ledger=[_entry(row) for row in rows(url, _LEDGER)],
        unmet=[row[0] for row in rows(url, _UNMET)],
        work=[row[0] for row in [*rows(url, _WORK), *rows(url, _UNDECODED)]],
    )


def waiting(url: str) -> int:
    """Replies that have not come to an end."""
    return int(rows(url, _WAITING)[0][0])


def arrivals(log: Path) -> Sequence[Arrival]:
    """The provider's log."""
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [Arrival(**{name: line[name] for name in Arrival._fields}) for line in lines]


def _entry(row: tuple[Any, ...]) -> Entry:
    """Times of both databases compare as text within one database."""
    received = row[4] if isinstance(row[4], str) else f"{row[4].timestamp():.6f}"
    return Entry(row[0], row[1], row[2], row[3], received, bool(row[5]))
