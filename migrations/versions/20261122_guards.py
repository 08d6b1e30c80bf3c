"""The database itself refuses to change or drop what the ledger says, and to change evidence.

SQLite's INSERT OR REPLACE deletes without asking a delete trigger, so an id that is there already is refused as well.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SQLITE = {
    "ledger_no_update": "BEFORE UPDATE ON ledger BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    "ledger_no_delete": "BEFORE DELETE ON ledger BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    "ledger_no_replace": "BEFORE INSERT ON ledger WHEN EXISTS (SELECT 1 FROM ledger WHERE id = NEW.id) "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    "evidence_no_update": "BEFORE UPDATE ON evidence BEGIN SELECT RAISE(ABORT, 'evidence is never changed'); END",
}
POSTGRESQL = {
    "ledger_no_change": "BEFORE UPDATE OR DELETE ON ledger FOR EACH ROW",
    "ledger_no_truncate": "BEFORE TRUNCATE ON ledger FOR EACH STATEMENT",
    "evidence_no_update": "BEFORE UPDATE ON evidence FOR EACH ROW",
}
REFUSE = """
CREATE FUNCTION textback_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% refuses %: what was recorded stays as it is', TG_TABLE_NAME, TG_OP; END $$
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name, what in SQLITE.items():
            op.execute(f"CREATE TRIGGER {name} {what}")
        return
    op.execute(REFUSE)
    for name, what in POSTGRESQL.items():
        op.execute(f"CREATE TRIGGER {name} {what} EXECUTE FUNCTION textback_refuse()")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name in SQLITE:
            op.execute(f"DROP TRIGGER {name}")
        return
    op.execute("DROP FUNCTION textback_refuse CASCADE")
