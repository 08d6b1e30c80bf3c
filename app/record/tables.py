"""The tables. Names are plain, because people query them; the stable faces are the views of the migrations.

Ids are ours: 63-bit, time-ordered, unique over processes (`ids`). Enumerations are text, so that a provider or a status
more is never a migration. In PostgreSQL `raw_requests`, `inbound_messages` and `receipts` are partitioned by month (see
`partitions`). The columns of a table that interpret fills stand in the order of its row in `app.changes`.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from app.record.moments import moment

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def iso(moment: datetime) -> str:
    """`2026-11-22T17:18:00.123456+00:00`. Sorts as text in the order of time, also where the microseconds are zero and
    left out: `+` comes before `.`. It is how orjson writes a time, so both ways to the database agree.
    """
    return moment.astimezone(UTC).isoformat()


class Moment(sa.types.TypeDecorator[datetime]):
    """A point in time: timestamptz in PostgreSQL, ISO text in SQLite. Always aware and UTC in Python."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Text in SQLite, which has no type for it."""
        return dialect.type_descriptor(sa.Text() if dialect.name == "sqlite" else sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """To the column."""
        return iso(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """From the column."""
        return moment(value)


def _table(name: str, *columns: Any) -> sa.Table:
    return sa.Table(name, metadata, *columns)


def _text(name: str, **options: Any) -> "sa.Column[str]":
    return sa.Column(name, sa.Text, nullable=False, **options)


def _moment(name: str, *, nullable: bool = False) -> "sa.Column[datetime]":
    return sa.Column(name, Moment, nullable=nullable)


def _id() -> "sa.Column[int]":
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False)


# --- what was heard -----------------------------------------------------------------------------------------------

#: the unique keys of events; it outlives the events, and it alone does the deduplication
seen = _table(
    "seen",
    _text("key", unique=True),
    _moment("at"),
    #: None: for ever; else an equal key after this time is a new event
    _moment("repeats_until", nullable=True),
)
sa.Index(
    "ix_seen_passing",
    seen.c.repeats_until,
    sqlite_where=sa.text("repeats_until IS NOT NULL"),
    postgresql_where=sa.text("repeats_until IS NOT NULL"),
)

raw_requests = _table(
    "raw_requests",
    _id(),
    _text("webhook"),
    _moment("received_at"),
    _text("method"),
    _text("target"),
    _text("headers"),
    sa.Column("body", sa.LargeBinary, nullable=False),
    _text("client"),
    _text("signature"),
    #: events | ignored | undecoded
    _text("reading"),
    _text("problem"),
)
sa.Index("ix_raw_requests_undecoded", raw_requests.c.id, sqlite_where=sa.text("reading = 'undecoded'"),
         postgresql_where=sa.text("reading = 'undecoded'"))  # fmt: skip

inbound_messages = _table(
    "inbound_messages",
    _id(),
    sa.Column("raw_id", sa.BigInteger),
    _text("webhook"),
    _text("provider"),
    _text("account"),
    _text("program"),
    _text("provider_id"),
    _text("address", index=True),
    _text("sender"),
    _text("channel"),
    _text("text"),
    _text("normal"),
    _text("category"),
    _text("rule"),
    _text("keyword"),
    _text("list_version"),
    _moment("provider_time", nullable=True),
    _moment("received_at"),
    _moment("effective_at"),
    _text("reply"),
    sa.Column("outbox_id", sa.BigInteger),
)
# the rows come in the order of time, so few pages of PostgreSQL's BRIN do
sa.Index("ix_inbound_messages_received_at", inbound_messages.c.received_at, postgresql_using="brin",
         postgresql_with={"pages_per_range": 32, "autosummarize": True})  # fmt: skip

#: parts of long messages that wait for the others (see `pieces`)
inbound_parts = _table(
    "inbound_parts",
    _id(),
    sa.Column("raw_id", sa.BigInteger),
    _text("webhook"),
    _text("account"),
    _text("program"),
    _text("address"),
    _text("sender"),
    _text("whole"),
    sa.Column("total", sa.Integer, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    _text("provider_id"),
    _text("channel"),
    _text("text"),
    _text("category"),
    sa.Column("answered", sa.Boolean, nullable=False),
    _text("signature"),
    _moment("provider_time", nullable=True),
    _moment("received_at"),
    #: a replay brings what was received long ago, and an id may be ahead of the clock
    _moment("stored_at"),
)
sa.Index("ix_inbound_parts_address", inbound_parts.c.address, inbound_parts.c.whole)

#: one row for each message in parts that was decided lately: it tells repeats and late parts
decided_parts = _table(
    "decided_parts",
    _id(),
    _text("account"),
    _text("program"),
    _text("address"),
    _text("sender"),
    _text("whole"),
    sa.Column("total", sa.Integer, nullable=False),
    #: JSON object: number of a part -> digest of its text; the numbers that are not there were missing
    _text("texts"),
    _moment("received_at"),
)
sa.Index("ix_decided_parts_address", decided_parts.c.address, decided_parts.c.whole)

#: what a person must look at: items that could not be read, addresses that could not be decided, culprits
work_list = _table(
    "work_list",
    _id(),
    sa.Column("raw_id", sa.BigInteger),
    _text("webhook"),
    _text("kind"),
    _text("reason"),
    _text("item"),
    _moment("received_at"),
    _moment("resolved_at", nullable=True),
    # filled when it is resolved: who did it (empty: a replay), and what they said
    _text("resolved_by", server_default=""),
    _text("resolution", server_default=""),
)
sa.Index("ix_work_list_open", work_list.c.id, sqlite_where=sa.text("resolved_at IS NULL"),
         postgresql_where=sa.text("resolved_at IS NULL"))  # fmt: skip

#: the last few refused requests of each webhook, for the doctor
quarantine = _table(
    "quarantine",
    _id(),
    _text("webhook", index=True),
    _moment("received_at"),
    _text("reason"),
    _text("method"),
    _text("target"),
    _text("headers"),
    sa.Column("body", sa.LargeBinary, nullable=False),
    _text("client"),
)

# --- consent ------------------------------------------------------------------------------------------------------

consent = _table(
    "consent",
    _text("program", primary_key=True),
    _text("address", primary_key=True),
    _text("state"),
    _moment("since"),
    _moment("as_of"),
    _text("cause"),
    sa.Column("ledger_id", sa.BigInteger, nullable=False),
    sa.Column("confirmed", sa.Boolean, nullable=False),
)
_REFUSING = sa.text("state IN ('opted_out', 'pending')")
sa.Index("ix_consent_refusing", consent.c.since, sqlite_where=_REFUSING, postgresql_where=_REFUSING)

#: append-only: triggers refuse UPDATE, DELETE and TRUNCATE
ledger = _table(
    "ledger",
    _id(),
    _text("program"),
    _text("old_state"),
    _text("new_state"),
    _text("cause"),
    _text("rule"),
    _text("list_version"),
    sa.Column("superseded", sa.Boolean, nullable=False),
    _moment("effective_at"),
    _moment("received_at"),
    _text("commitment"),
)

#: the personal side of the ledger; erasing a person deletes here and leaves the ledger whole
evidence = _table(
    "evidence",
    sa.Column("ledger_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    _text("address", index=True),
    _text("actor"),
    _text("reason"),
    _text("webhook"),
    sa.Column("inbound_id", sa.BigInteger),
    _text("text"),
    _text("normal"),
    _text("keyword"),
    _text("signature"),
    _text("reply_text"),
    _text("salt"),
)

#: the chain over the ledger, append-only as it is (see `seals`): each row covers the ledger's rows of an id range
seals = _table(
    "seals",
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("first_id", sa.BigInteger, nullable=False),
    sa.Column("last_id", sa.BigInteger, nullable=False),
    sa.Column("entries", sa.Integer, nullable=False),
    #: keyed hash over the head before and these rows, in hex
    _text("head"),
    _moment("sealed_at"),
)

#: people who were erased and may not be written to: the consent row, under a keyed hash of the address
suppressions = _table(
    "suppressions",
    _text("program", primary_key=True),
    _text("person", primary_key=True),
    _text("state"),
    _moment("since"),
    _moment("as_of"),
    _text("cause"),
    sa.Column("ledger_id", sa.BigInteger, nullable=False),
    sa.Column("confirmed", sa.Boolean, nullable=False),
)

#: that somebody was erased, when and why; who it was is only there as a keyed hash
erasures = _table(
    "erasures",
    _id(),
    _text("person"),
    _text("actor"),
    _text("reason"),
    _moment("erased_at"),
)

#: what each list version that a decision names was made of
keyword_lists = _table(
    "keyword_lists",
    _text("version", primary_key=True),
    _text("webhook"),
    _text("lists"),
    _moment("first_used_at"),
)

profile_attributes = _table(
    "profile_attributes",
    _text("address", primary_key=True),
    _text("name", primary_key=True),
    _text("value"),
    _text("source"),
    _moment("updated_at"),
)

# --- what leaves, and what became of it ---------------------------------------------------------------------------

#: state: pending | sending | sent | cancelled | blocked | doubtful | failed
outbox = _table(
    "outbox",
    _id(),
    _text("kind"),
    _text("webhook"),
    _text("credential"),
    _text("program"),
    _text("category"),
    _text("address"),
    _text("sender"),
    _text("text"),
    sa.Column("inbound_id", sa.BigInteger),
    _text("state"),
    sa.Column("attempts", sa.Integer, nullable=False),
    _moment("next_at"),
    _moment("deadline"),
    _moment("created_at"),
    #: suggestions and fallback of a rich reply as JSON; empty: a plain one
    _text("content", server_default=""),
    # filled by send
    _moment("claimed_until", nullable=True),
    _text("reason", server_default=""),
    _text("provider_id", server_default=""),
    _moment("sent_at", nullable=True),
    #: a person has settled the dead letter, and it is none any more
    _moment("settled_at", nullable=True),
    #: what people did with it after it had died, newest first
    _text("note", server_default=""),
)
sa.Index("ix_outbox_waiting", outbox.c.next_at, sqlite_where=sa.text("state IN ('pending', 'sending')"),
         postgresql_where=sa.text("state IN ('pending', 'sending')"))  # fmt: skip
_DEAD = sa.text("state IN ('failed', 'doubtful') AND settled_at IS NULL")
sa.Index("ix_outbox_dead", outbox.c.id, sqlite_where=_DEAD, postgresql_where=_DEAD)

reply_guard = _table(
    "reply_guard",
    _text("address", primary_key=True),
    _moment("default_at", nullable=True),
    _text("recent"),
    #: when actions were called, as `recent` tells of replies
    _text("called", server_default=""),
)

messages = _table(
    "messages",
    _id(),
    _text("account"),
    _text("provider_id"),
    _text("recipient"),
    _text("sender"),
    sa.Column("outbox_id", sa.BigInteger),
    _text("status"),
    _text("provider_status"),
    _text("code"),
    _text("error_text"),
    _text("parts"),
    _moment("first_at"),
    _moment("status_at"),
    sa.UniqueConstraint("provider_id", "recipient", "account", name="uq_messages_provider_id"),
)
_REPLIES = sa.text("outbox_id IS NOT NULL")
sa.Index("ix_messages_replies", messages.c.id, sqlite_where=_REPLIES, postgresql_where=_REPLIES)

receipts = _table(
    "receipts",
    _id(),
    sa.Column("raw_id", sa.BigInteger),
    sa.Column("message_id", sa.BigInteger, nullable=False, index=True),
    _text("webhook"),
    _text("status"),
    _text("provider_status"),
    _text("code"),
    _text("error_text"),
    _text("part"),
    _moment("provider_time", nullable=True),
    _moment("received_at"),
    sa.Column("raised", sa.Boolean, nullable=False),
)

# --- the registry -------------------------------------------------------------------------------------------------

credentials = _table(
    "credentials",
    _id(),
    _text("name", unique=True),
    _text("provider"),
    #: the whole credential as JSON, its secrets left out
    _text("settings"),
    #: the secrets as JSON, encrypted
    _text("secrets"),
    _moment("created_at"),
    _moment("updated_at"),
)

webhooks = _table(
    "webhooks",
    _id(),
    _text("name", unique=True),
    _text("provider"),
    _text("settings"),
    _text("secrets"),
    #: SHA-256 of the URL's token; the token itself is only kept encrypted
    _text("token_hash", unique=True),
    _text("token"),
    _moment("created_at"),
    _moment("updated_at"),
)

#: reusable replies; content: as in the outbox
replies = _table(
    "replies",
    _text("name", primary_key=True),
    _text("text"),
    _moment("updated_at"),
    _text("content", server_default=""),
)

api_tokens = _table(
    "api_tokens",
    _id(),
    _text("name", unique=True),
    _text("token_hash", unique=True),
    #: scopes joined with a blank
    _text("scopes"),
    _moment("created_at"),
    _moment("revoked_at", nullable=True),
)

#: what is registered of every other kind (see `app.registration`): actions, streams, audiences, policies …
registrations = _table(
    "registrations",
    _text("kind", primary_key=True),
    _text("name", primary_key=True),
    _text("settings"),
    _text("secrets"),
    _moment("created_at"),
    _moment("updated_at"),
)

#: one row; its number rises with every change of the registry, and running servers watch it
registry_version = _table(
    "registry_version",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)

#: what holds for the whole installation: `restored`, until its drift from the provider was looked at
facts = _table(
    "facts",
    _text("name", primary_key=True),
    _text("value"),
    _moment("since"),
)

# --- what is called, told and looked up ---------------------------------------------------------------------------

#: the outbox of custom actions, and what became of each call. state: pending | calling | done
action_calls = _table(
    "action_calls",
    _id(),
    _text("action"),
    #: a category, a receipt's status, `document` or `test`
    _text("trigger"),
    _text("webhook"),
    _text("program"),
    #: empty: it is about no person
    _text("address", index=True),
    sa.Column("inbound_id", sa.BigInteger),
    #: the event's fields as a JSON object
    _text("fields"),
    #: the reply that waits for the call, as JSON; empty: none
    _text("reply", server_default=""),
    _text("state"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    _moment("next_at"),
    _moment("deadline"),
    _moment("created_at"),
    # filled by send
    _moment("claimed_until", nullable=True),
    #: success | http_<status> | timedout | capped | internalError | excluded
    _text("outcome", server_default=""),
    #: why it did not succeed, in a sentence
    _text("problem", server_default=""),
    _moment("ended_at", nullable=True),
    #: the consent policy that left the person out
    _text("policy", server_default=""),
    #: the third party's answer, at most 64 KiB
    _text("response", server_default=""),
    #: requests that were made, over all claims
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    #: what people did with it after it had ended, newest first
    _text("note", server_default=""),
)
_CALLS_DUE = sa.text("state IN ('pending', 'calling')")
sa.Index("ix_action_calls_due", action_calls.c.next_at, sqlite_where=_CALLS_DUE, postgresql_where=_CALLS_DUE)

#: which call a document's action is: the same name, document and version run once within a window
document_runs = _table(
    "document_runs",
    _text("key", primary_key=True),
    sa.Column("call_id", sa.BigInteger, nullable=False),
    _moment("repeats_until"),
)

#: how far each stream has told of what was recorded
stream_positions = _table(
    "stream_positions",
    _text("stream", primary_key=True),
    #: consent | inbound | receipt
    _text("source", primary_key=True),
    #: id of a row: all up to this one were told of, and none is still to come
    sa.Column("position", sa.BigInteger, nullable=False),
    #: ids above it that were told of early, as a JSON array
    _text("ahead", server_default="[]"),
    #: the process that tells, as a word that it drew; empty: none
    _text("claimed_by", server_default=""),
    _moment("claimed_until", nullable=True),
    #: events that were taken, and that were left out by a policy or because the person was erased
    sa.Column("told", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("left_out", sa.BigInteger, nullable=False, server_default="0"),
    #: why it stands still, in a sentence; empty: it does not
    _text("problem", server_default=""),
    _moment("updated_at"),
)

#: events that their receiver refused for good
stream_refusals = _table(
    "stream_refusals",
    _id(),
    _text("stream", index=True),
    _text("source"),
    #: id of the row that the event told of
    sa.Column("row_id", sa.BigInteger, nullable=False),
    _text("event_id"),
    _text("reason"),
    _moment("refused_at"),
    #: somebody asked to have it sent again
    _moment("again_at", nullable=True),
    #: it was taken after all, or somebody let it be
    _moment("settled_at", nullable=True),
)
_AGAIN = sa.text("again_at IS NOT NULL AND settled_at IS NULL")
sa.Index("ix_stream_refusals_again", stream_refusals.c.id, sqlite_where=_AGAIN, postgresql_where=_AGAIN)

#: browsers that an authenticated call has linked to a subscriber
identities = _table(
    "identities",
    _text("ecid", primary_key=True),
    _text("address", index=True),
    _moment("linked_at"),
)

#: the audiences of everybody of whom something is recorded: their names, joined with blanks and with one at each end
memberships = _table(
    "memberships",
    _text("address", primary_key=True),
    _text("audiences"),
    #: of the conditions that they were worked out from; see `generations`
    sa.Column("generation", sa.BigInteger, nullable=False),
    _moment("computed_at"),
)

#: whose audiences must be worked out anew
stale_memberships = _table(
    "stale_memberships",
    _text("address", primary_key=True),
    #: another one each time that something about the person changes
    sa.Column("mark", sa.BigInteger, nullable=False),
)

#: which messages somebody was sent; kept only while there are audiences, for it costs at each message
person_messages = _table(
    "person_messages",
    _text("address", primary_key=True),
    sa.Column("message_id", sa.BigInteger, primary_key=True, autoincrement=False),
)
