"""What was heard: unique keys, raw requests, inbound messages, the work list and the quarantine."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "seen",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("repeats_until", MOMENT, nullable=True),
        sa.UniqueConstraint("key", name="uq_seen_key"),
    )
    op.create_index(
        "ix_seen_passing",
        "seen",
        ["repeats_until"],
        unique=False,
        sqlite_where=sa.text("repeats_until IS NOT NULL"),
        postgresql_where=sa.text("repeats_until IS NOT NULL"),
    )
    op.create_table(
        "raw_requests",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("webhook", sa.Text(), nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("reading", sa.Text(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_raw_requests"),
    )
    op.create_index(
        "ix_raw_requests_undecoded",
        "raw_requests",
        ["id"],
        unique=False,
        sqlite_where=sa.text("reading = 'undecoded'"),
        postgresql_where=sa.text("reading = 'undecoded'"),
    )
    op.create_table(
        "inbound_messages",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("raw_id", sa.BigInteger(), nullable=True),
        sa.Column("webhook", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("normal", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("keyword", sa.Text(), nullable=False),
        sa.Column("list_version", sa.Text(), nullable=False),
        sa.Column("provider_time", MOMENT, nullable=True),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.Column("effective_at", MOMENT, nullable=False),
        sa.Column("reply", sa.Text(), nullable=False),
        sa.Column("outbox_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_inbound_messages"),
    )
    op.create_index("ix_inbound_messages_address", "inbound_messages", ["address"], unique=False)
    op.create_table(
        "work_list",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("raw_id", sa.BigInteger(), nullable=True),
        sa.Column("webhook", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.Column("resolved_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_work_list"),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("webhook", sa.Text(), nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_quarantine"),
    )
    op.create_index("ix_quarantine_webhook", "quarantine", ["webhook"], unique=False)


def downgrade() -> None:
    op.drop_table("quarantine")
    op.drop_table("work_list")
    op.drop_table("inbound_messages")
    op.drop_table("raw_requests")
    op.drop_table("seen")
