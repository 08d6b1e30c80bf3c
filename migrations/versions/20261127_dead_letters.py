"""What people did with dead letters, and indexes that find them: the writer pays nothing for a row that does not die."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")

DEAD = sa.text("state IN ('failed', 'doubtful') AND settled_at IS NULL")
OPEN = sa.text("resolved_at IS NULL")


def upgrade() -> None:
    # The release before inserts without them, so they need a default.
    op.add_column("outbox", sa.Column("settled_at", MOMENT, nullable=True))
    op.add_column("outbox", sa.Column("note", sa.Text(), server_default="", nullable=False))
    op.add_column("work_list", sa.Column("resolved_by", sa.Text(), server_default="", nullable=False))
    op.add_column("work_list", sa.Column("resolution", sa.Text(), server_default="", nullable=False))
    op.create_index("ix_outbox_dead", "outbox", ["id"], unique=False, sqlite_where=DEAD, postgresql_where=DEAD)
    op.create_index("ix_work_list_open", "work_list", ["id"], unique=False, sqlite_where=OPEN, postgresql_where=OPEN)


def downgrade() -> None:
    op.drop_index("ix_work_list_open", "work_list")
    op.drop_index("ix_outbox_dead", "outbox")
    op.drop_column("work_list", "resolution")
    op.drop_column("work_list", "resolved_by")
    op.drop_column("outbox", "note")
    op.drop_column("outbox", "settled_at")
