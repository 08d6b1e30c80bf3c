"""PostgreSQL: what was heard is partitioned by month. Both: indexes for the queries that the README shows; PostgreSQL
tells its listeners of a change of the registry.

Ids rise with time (`app/record/ids.py`), so partitions are ranges of ids and the primary key stays the id. The present
table becomes the first partition, up to the next month's start. PostgreSQL reads it once to be sure of that, and nobody
writes meanwhile: some seconds for some million rows. Views are replaced in place, so nobody's grants are lost.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

#: in the order in which the writer fills them
TABLES = {
    "raw_requests": {
        "ix_raw_requests_undecoded": "(id) WHERE reading = 'undecoded'",
    },
    "inbound_messages": {
        "ix_inbound_messages_address": "(address)",
    },
    "receipts": {
        "ix_receipts_message_id": "(message_id)",
    },
}
MONTHS_AHEAD = 3
EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
TIME_SHIFT = 22

NOTIFY = """
CREATE FUNCTION textback_registry_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_notify('textback_registry', NEW.version::text); RETURN NULL; END $$
"""
WATCH = """
CREATE TRIGGER registry_changed AFTER UPDATE ON registry_version
FOR EACH ROW WHEN (NEW.version IS DISTINCT FROM OLD.version) EXECUTE FUNCTION textback_registry_changed()
"""


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    if postgresql:
        _partition()
        # a few pages for months of rows; the ranges are summed up by autovacuum
        op.execute(
            "CREATE INDEX ix_inbound_messages_received_at ON inbound_messages"
            " USING brin (received_at) WITH (pages_per_range = 32, autosummarize = on)"
        )
        op.execute(NOTIFY)
        op.execute(WATCH)
    else:
        op.create_index("ix_inbound_messages_received_at", "inbound_messages", ["received_at"])
    refused, replies = sa.text("state IN ('opted_out', 'pending')"), sa.text("outbox_id IS NOT NULL")
    op.create_index("ix_consent_refusing", "consent", ["since"], sqlite_where=refused, postgresql_where=refused)
    op.create_index("ix_messages_replies", "messages", ["id"], sqlite_where=replies, postgresql_where=replies)


def downgrade() -> None:
    op.drop_index("ix_messages_replies", "messages")
    op.drop_index("ix_consent_refusing", "consent")
    op.drop_index("ix_inbound_messages_received_at", "inbound_messages")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER registry_changed ON registry_version")
        op.execute("DROP FUNCTION textback_registry_changed()")
        _join()


# --- by months ----------------------------------------------------------------------------------------------------


def _partition() -> None:
    op.execute(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE")
    months = list(_months(datetime.now(UTC)))
    for table, indexes in TABLES.items():
        views, grants = _views(table), _grants(table)
        first = f"{table}_first"
        _step_aside(table, first, indexes)
        op.execute(f"CREATE TABLE {table} (LIKE {first}) PARTITION BY RANGE (id)")
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT pk_{table} PRIMARY KEY (id)")
        for name, what in indexes.items():
            op.execute(f"CREATE INDEX {name} ON {table} {what}")
        op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
        end = months[0][1]
        # ids of a clock that was wrong: they belong to no month that will ever be made ahead of time
        op.execute(f"CREATE TEMP TABLE ahead ON COMMIT DROP AS SELECT * FROM {first} WHERE id >= {end}")
        op.execute(f"DELETE FROM {first} WHERE id >= {end}")
        op.execute(f"ALTER TABLE {table} ATTACH PARTITION {first} FOR VALUES FROM (MINVALUE) TO ({end})")
        for start, end, name in months[1:]:
            op.execute(f"CREATE TABLE {table}_{name} PARTITION OF {table} FOR VALUES FROM ({start}) TO ({end})")
        op.execute(f"INSERT INTO {table} SELECT * FROM ahead")
        op.execute("DROP TABLE ahead")
        _restore(table, views, grants)


def _join() -> None:
    op.execute(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE")
    for table, indexes in TABLES.items():
        views, grants = _views(table), _grants(table)
        parts = f"{table}_parts"
        _step_aside(table, parts, indexes)
        op.execute(f"CREATE TABLE {table} (LIKE {parts})")
        op.execute(f"INSERT INTO {table} SELECT * FROM {parts}")
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT pk_{table} PRIMARY KEY (id)")
        for name, what in indexes.items():
            op.execute(f"CREATE INDEX {name} ON {table} {what}")
        _restore(table, views, grants)
        op.execute(f"DROP TABLE {parts}")


def _step_aside(table: str, name: str, indexes: dict[str, str]) -> None:
    op.execute(f"ALTER TABLE {table} RENAME TO {name}")
    for index in (f"pk_{table}", *indexes):
        op.execute(f"ALTER INDEX {index} RENAME TO {index.replace(table, name, 1)}")


def _months(now: datetime) -> Iterator[tuple[int, int, str]]:
    """(first id, first id after it, name) of this month and those made ahead."""
    for ahead in range(MONTHS_AHEAD + 1):
        start = _month(now, ahead)
        yield _first_id(start), _first_id(_month(now, ahead + 1)), f"{start:%Y_%m}"


def _month(now: datetime, ahead: int) -> datetime:
    count = now.year * 12 + now.month - 1 + ahead
    return datetime(count // 12, count % 12 + 1, 1, tzinfo=UTC)


def _first_id(moment: datetime) -> int:
    return int((moment - EPOCH).total_seconds() * 1000) << TIME_SHIFT


# --- what hangs on a table ----------------------------------------------------------------------------------------

VIEWS = """
SELECT DISTINCT v.oid, v.oid::regclass::text, pg_get_viewdef(v.oid)
FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND v.relkind = 'v'
  AND d.refobjid = CAST(:table AS regclass) ORDER BY v.oid
"""
GRANTS = """
SELECT a.privilege_type, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = CAST(:table AS regclass) AND a.grantee <> c.relowner
"""


def _views(table: str) -> list[tuple[str, str]]:
    """(name, query) of every view that reads the table."""
    return [(name, query) for _, name, query in op.get_bind().execute(sa.text(VIEWS), {"table": table})]


def _grants(table: str) -> list[tuple[str, str]]:
    """(privilege, role) of every role that was given something."""
    return [(row[0], row[1]) for row in op.get_bind().execute(sa.text(GRANTS), {"table": table})]


def _restore(table: str, views: list[tuple[str, str]], grants: list[tuple[str, str]]) -> None:
    for name, query in views:
        # a query of somebody's own may hold a % or a colon
        statement = f"CREATE OR REPLACE VIEW {name} AS {query}"
        op.get_bind().exec_driver_sql(statement, execution_options={"no_parameters": True})
    for privilege, role in grants:
        op.execute(f"GRANT {privilege} ON {table} TO {role}")
