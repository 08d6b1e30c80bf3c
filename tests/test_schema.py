"""The schema: up, down, no drift; and what the database itself refuses."""

import pytest
import sqlalchemy as sa

from app import changes
from app.record import joining, schema, tables
from app.record.database import Database

EXTRA = {
    "outbox": {"reason", "provider_id", "sent_at"},
    "work_list": {"resolved_at"},
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
