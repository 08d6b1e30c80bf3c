"""The schema: up, down, no drift; and what the database itself refuses."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from app import changes
from app.record import joining, schema, tables
from app.record.database import Database
from tests.commands import runner
from tests.serving import serving

EXTRA = {
    "outbox": {"reason", "provider_id", "sent_at", "settled_at", "note"},
    "action_calls": {"policy", "response", "tries", "note"},
    "work_list": {"resolved_at", "resolved_by", "resolution"},
}


def test_migrations_go_up_down_and_up_again_and_equal_the_tables(database: Database) -> None:
    schema.check(database)

    schema.downgrade(database, "base")
    left = database.read_now(lambda conn: sa.inspect(conn).get_table_names())
    schema.upgrade(database)

    assert left == ["alembic_version"]
    assert schema.is_current(database)
    schema.check(database)


@pytest.mark.parametrize(
    ("row", "table"),
    [
        (changes.InboundRow, tables.inbound_messages),
        (changes.LedgerRow, tables.ledger),
        (changes.EvidenceRow, tables.evidence),
        (changes.ConsentRow, tables.consent),
        (changes.OutboxRow, tables.outbox),
        (changes.CallRow, tables.action_calls),
        (changes.GuardRow, tables.reply_guard),
        (changes.ReceiptRow, tables.receipts),
        (changes.MessageRow, tables.messages),
        (changes.AttributeRow, tables.profile_attributes),
        (changes.WorkRow, tables.work_list),
        (joining.Part, tables.inbound_parts),
        (joining.Decided, tables.decided_parts),
    ],
)
def test_the_fields_of_a_row_are_the_columns_of_its_table(row: type, table: sa.Table) -> None:
    columns = [column.name for column in table.columns if column.name not in EXTRA.get(table.name, set())]

    assert list(row._fields) == columns


def test_the_code_of_the_release_before_writes_into_the_new_tables(database: Database) -> None:
    """It knows no rich replies, so it leaves their column out."""

    def write(conn: sa.Connection) -> None:
        conn.exec_driver_sql(
            "INSERT INTO replies (name, text, updated_at) VALUES ('a', 'Hi', '2026-11-22T12:00:00+00:00')"
        )

    database.write_now(write)

    query = "SELECT text, content FROM replies"
    assert database.read_now(lambda conn: [tuple(row) for row in conn.exec_driver_sql(query)]) == [("Hi", "")]


def let_a_later_release_migrate(database: Database) -> None:
    later = "UPDATE alembic_version SET version_num = '9999'"
    database.write_now(lambda conn: conn.exec_driver_sql(later))


def test_how_a_revision_stands_to_this_code() -> None:
    assert [schema.standing(each) for each in (None, "0001", schema.head(), "9999")] == [
        "older", "older", "current", "newer",
    ]  # fmt: skip


def test_a_node_serves_on_while_a_later_release_has_migrated(database: Database, database_url: str) -> None:
    let_a_later_release_migrate(database)

    with serving(database_url) as served:
        ready = served.ask("GET", "/health/ready", token=None)

    assert (ready.status, ready.json) == (200, {"ready": True, "state": "serving", "reasons": [], "notes": []})
    assert (schema.is_usable(database), schema.is_current(database)) == (True, False)


def test_what_a_later_release_has_migrated_is_left_as_it_is(database: Database) -> None:
    let_a_later_release_migrate(database)

    schema.upgrade(database)

    assert database.read_now(schema.revision) == "9999"


def test_check_notes_a_newer_database(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    let_a_later_release_migrate(database)

    checked = runner(database_url, monkeypatch, tmp_path)("check")

    assert checked.exit_code == 0
    assert "newer revision than this textback, which works" in checked.stderr
