"""The queries that the README shows, and the writer's own look-ups, use an index where the tables are large."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.record import partitions, tables
from app.record.database import Database
from app.record.ids import first_id_at
from tests.conftest import KINDS, fresh_database
from tests.test_house import readme_queries

ROWS = 20_000
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
FIRST_DAY = TODAY - timedelta(minutes=20 * ROWS)


@pytest.fixture(scope="module", params=KINDS)
def full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """20,000 of everything, one every 20 minutes until this morning; one in twenty has opted out or is a reply."""
    folder: Path = tmp_path_factory.mktemp("full")
    with fresh_database(request.param, request, folder) as url:
        database = Database(url)
        database.write_now(fill)
        yield database
        database.close()


def fill(conn: sa.Connection) -> None:
    rows = [row(n) for n in range(ROWS)]
    for table in (tables.inbound_messages, tables.consent, tables.ledger, tables.evidence, tables.messages):
        columns = table.columns.keys()
        conn.execute(sa.insert(table), [{name: each[name] for name in columns} for each in rows])
    replies = [each for each in rows if each["outbox_id"]]
    conn.execute(sa.insert(tables.outbox), [outbox_row(each) for each in replies])
    conn.exec_driver_sql("ANALYZE")


TEXTS = (
    "webhook", "provider", "account", "program", "sender", "channel", "text", "normal", "category", "rule", "keyword",
    "list_version", "reply", "cause", "old_state", "new_state", "commitment", "actor", "reason", "signature",
    "reply_text", "salt", "provider_status", "code", "error_text", "parts",
)  # fmt: skip


def row(n: int) -> dict[str, object]:
    at = FIRST_DAY + timedelta(minutes=20 * n)
    rare = n % 20 == 0
    id_ = first_id_at(at)
    moments = dict.fromkeys(("received_at", "effective_at", "since", "as_of", "first_at", "status_at"), at)
    address = f"+1415{n:07d}"
    own = {
        "id": id_, "ledger_id": id_, "raw_id": id_, "inbound_id": id_, "provider_id": f"SM{n}", "address": address,
        "recipient": address, "provider_time": None, "outbox_id": id_ if rare else None, "superseded": False,
        "state": "opted_out" if rare else "opted_in", "confirmed": True, "status": "sent",
    }  # fmt: skip
    return {**dict.fromkeys(TEXTS, "some text"), **moments, **own}


def outbox_row(each: dict[str, object]) -> dict[str, object]:
    own = {"kind": "reply", "credential": "acme", "attempts": 1, "state": "sent"}
    times = dict.fromkeys(("next_at", "deadline", "created_at", "sent_at"), each["received_at"])
    taken = ("id", "webhook", "program", "category", "address", "sender", "text", "inbound_id")
    return {**own, **times, **{name: each[name] for name in taken}}


def plan(conn: sa.Connection, query: str) -> str:
    explain = "EXPLAIN" if conn.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    return "\n".join(str(row[-1]) for row in conn.execute(sa.text(f"{explain} {query}")))


#: what a query of the README starts from, and the index that finds it
WANTED = {
    "current_consent": "ix_consent_refusing",
    "consent_history": "ix_evidence_address",
    "inbound": "received_at",
    "delivery": "ix_messages_replies",
}


def documented() -> dict[str, str]:
    found = {match[1]: query for query in readme_queries() if (match := re.search(r"FROM (\w+)", query))}
    since = f"'{TODAY - timedelta(days=1):%Y-%m-%d}'"
    return {name: re.sub(r"'20\d\d-\d\d-\d\d'", since, query) for name, query in found.items()}


@pytest.mark.parametrize("view", WANTED)
def test_a_documented_query_uses_an_index(full: Database, view: str) -> None:
    assert WANTED[view] in full.read_now(partial(plan, query=documented()[view]))


def test_every_documented_query_is_looked_at() -> None:
    """The daily report and the calls' endings count everything, so they read everything; positions are a few rows."""
    assert documented().keys() == {*WANTED, "daily_report", "action_calls", "stream_positions"}


def writers_plan(database: Database, query: str) -> str:
    with database.writers.begin() as conn:
        return plan(conn, query)


@pytest.mark.parametrize("table", partitions.TABLES)
def test_the_writer_finds_a_row_by_its_id_in_one_month(full: Database, table: str) -> None:
    if full.dialect == "sqlite":
        assert "USING INTEGER PRIMARY KEY" in writers_plan(full, f"SELECT * FROM {table} WHERE id = 7")
        return
    found = writers_plan(full, f"SELECT * FROM {table} WHERE id = {first_id_at(TODAY)}")

    assert "Seq Scan" not in found
    assert found.count(" on ") == 1


def test_the_newest_rows_are_read_from_the_end_of_the_key(full: Database) -> None:
    found = full.read_now(partial(plan, query="SELECT id, text FROM inbound_messages ORDER BY id DESC LIMIT 100"))

    assert "Seq Scan" not in found
    assert "TEMP B-TREE" not in found
