"""What is registered beside webhooks; calls of custom actions; how far streams are; who is in which audience.

All of it is new, and the one new column of an older table has a default: the release before runs on it unchanged.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DUE = sa.text("state IN ('pending', 'calling')")
AGAIN = sa.text("again_at IS NOT NULL AND settled_at IS NULL")


def text(name: str, **options: str) -> "sa.Column[str]":
    return sa.Column(name, sa.Text(), nullable=False, **options)


def upgrade() -> None:
    op.create_table(
        "registrations",
        text("kind"),
        text("name"),
        text("settings"),
        text("secrets"),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name="pk_registrations"),
    )
    op.create_table(
        "action_calls",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        text("action"),
        text("trigger"),
        text("webhook"),
        text("program"),
        text("address"),
        sa.Column("inbound_id", sa.BigInteger(), nullable=True),
        text("fields"),
        text("reply", server_default=""),
        text("state"),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", MOMENT, nullable=False),
        sa.Column("deadline", MOMENT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("claimed_until", MOMENT, nullable=True),
        text("outcome", server_default=""),
        text("problem", server_default=""),
        sa.Column("ended_at", MOMENT, nullable=True),
        text("policy", server_default=""),
        text("response", server_default=""),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        text("note", server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_action_calls"),
    )
    op.create_index("ix_action_calls_address", "action_calls", ["address"], unique=False)
    op.create_index(
        "ix_action_calls_due", "action_calls", ["next_at"], unique=False, sqlite_where=DUE, postgresql_where=DUE
    )
    op.add_column("reply_guard", text("called", server_default=""))
    op.create_table(
        "document_runs",
        text("key"),
        sa.Column("call_id", sa.BigInteger(), nullable=False),
        sa.Column("repeats_until", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_document_runs"),
    )
    op.create_table(
        "stream_positions",
        text("stream"),
        text("source"),
        sa.Column("position", sa.BigInteger(), nullable=False),
        text("ahead", server_default="[]"),
        text("claimed_by", server_default=""),
        sa.Column("claimed_until", MOMENT, nullable=True),
        sa.Column("told", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("left_out", sa.BigInteger(), server_default="0", nullable=False),
        text("problem", server_default=""),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("stream", "source", name="pk_stream_positions"),
    )
    op.create_table(
        "stream_refusals",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        text("stream"),
        text("source"),
        sa.Column("row_id", sa.BigInteger(), nullable=False),
        text("event_id"),
        text("reason"),
        sa.Column("refused_at", MOMENT, nullable=False),
        sa.Column("again_at", MOMENT, nullable=True),
        sa.Column("settled_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_stream_refusals"),
    )
    op.create_index("ix_stream_refusals_stream", "stream_refusals", ["stream"], unique=False)
    op.create_index(
        "ix_stream_refusals_again", "stream_refusals", ["id"], unique=False, sqlite_where=AGAIN, postgresql_where=AGAIN
    )
    op.create_table(
        "identities",
        text("ecid"),
        text("address"),
        sa.Column("linked_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("ecid", name="pk_identities"),
    )
    op.create_index("ix_identities_address", "identities", ["address"], unique=False)
    op.create_table(
        "memberships",
        text("address"),
        text("audiences"),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("computed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("address", name="pk_memberships"),
    )
    op.create_table(
        "stale_memberships",
        text("address"),
        sa.Column("mark", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("address", name="pk_stale_memberships"),
    )
    op.create_table(
        "person_messages",
        text("address"),
        sa.Column("message_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("address", "message_id", name="pk_person_messages"),
    )


def downgrade() -> None:
    for table in (
        "person_messages", "stale_memberships", "memberships", "identities", "stream_refusals", "stream_positions", "document_runs",
        "action_calls", "registrations",
    ):  # fmt: skip
        op.drop_table(table)
    op.drop_column("reply_guard", "called")
