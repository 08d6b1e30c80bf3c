"""Seals over the ledger, the suppression of erased people, and facts about the installation."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")

SQLITE = {
    "seals_no_update": "BEFORE UPDATE ON seals BEGIN SELECT RAISE(ABORT, 'seals are append-only'); END",
    "seals_no_delete": "BEFORE DELETE ON seals BEGIN SELECT RAISE(ABORT, 'seals are append-only'); END",
    "seals_no_replace": "BEFORE INSERT ON seals WHEN EXISTS (SELECT 1 FROM seals WHERE number = NEW.number) "
    "BEGIN SELECT RAISE(ABORT, 'seals are append-only'); END",
}
POSTGRESQL = {
    "seals_no_change": "BEFORE UPDATE OR DELETE ON seals FOR EACH ROW",
    "seals_no_truncate": "BEFORE TRUNCATE ON seals FOR EACH STATEMENT",
}


def upgrade() -> None:
    op.create_table(
        "seals",
        sa.Column("number", ID, autoincrement=False, nullable=False),
        sa.Column("first_id", sa.BigInteger(), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("head", sa.Text(), nullable=False),
        sa.Column("sealed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_seals"),
    )
    op.create_table(
        "suppressions",
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("as_of", MOMENT, nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("ledger_id", sa.BigInteger(), nullable=False),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("program", "person", name="pk_suppressions"),
    )
    op.create_table(
        "erasures",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("erased_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_erasures"),
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_facts"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for name, what in SQLITE.items():
            op.execute(f"CREATE TRIGGER {name} {what}")
        return
    for name, what in POSTGRESQL.items():
        op.execute(f"CREATE TRIGGER {name} {what} EXECUTE FUNCTION textback_refuse()")


def downgrade() -> None:
    op.drop_table("facts")
    op.drop_table("erasures")
    op.drop_table("suppressions")
    op.drop_table("seals")
