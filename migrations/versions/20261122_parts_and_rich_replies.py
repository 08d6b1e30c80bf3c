"""Parts of long messages that wait for the others, and replies with suggestions."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "inbound_parts",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("raw_id", sa.BigInteger(), nullable=True),
        sa.Column("webhook", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("whole", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("answered", sa.Boolean(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("provider_time", MOMENT, nullable=True),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.Column("stored_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_inbound_parts"),
    )
    op.create_index("ix_inbound_parts_address", "inbound_parts", ["address", "whole"], unique=False)
    op.create_table(
        "decided_parts",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("whole", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("texts", sa.Text(), nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_decided_parts"),
    )
    op.create_index("ix_decided_parts_address", "decided_parts", ["address", "whole"], unique=False)
    # The release before inserts without it, so it needs a default.
    op.add_column("outbox", sa.Column("content", sa.Text(), server_default="", nullable=False))
    op.add_column("replies", sa.Column("content", sa.Text(), server_default="", nullable=False))


def downgrade() -> None:
    op.drop_column("replies", "content")
    op.drop_column("outbox", "content")
    op.drop_table("decided_parts")
    op.drop_table("inbound_parts")
