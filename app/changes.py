"""What shall be written: one row type per table, its fields in the order of the table's columns.

interpret makes these rows and record writes them as they are; a test holds them against the tables.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from app.events import ConsentState, MessageKey, Standing


class InboundRow(NamedTuple):
    """Table `inbound_messages`."""

    id: int
    raw_id: int | None
    webhook: str
    provider: str
    account: str
    program: str
    provider_id: str
    address: str
    sender: str
    channel: str
    text: str
    normal: str
    category: str
    rule: str
    keyword: str
    list_version: str
    provider_time: datetime | None
    received_at: datetime
    effective_at: datetime
    reply: str
    """`queued`, or the reason why there is none."""
    outbox_id: int | None


class LedgerRow(NamedTuple):
    """Table `ledger`, append-only. Holds no personal data: that is in `evidence`."""

    id: int
    program: str
    old_state: str
    new_state: str
    cause: str
    rule: str
    list_version: str
    superseded: bool
    effective_at: datetime
    received_at: datetime
    commitment: str
    """SHA-256 of the evidence's salt and content: proves the evidence, and tells nothing once that is erased."""


class EvidenceRow(NamedTuple):
    """Table `evidence`: whose ledger entry it is, and what it rests on."""

    ledger_id: int
    address: str
    actor: str
    reason: str
    webhook: str
    inbound_id: int | None
    text: str
    normal: str
    keyword: str
    signature: str
    reply_text: str
    salt: str


class ConsentRow(NamedTuple):
    """Table `consent`."""

    program: str
    address: str
    state: str
    since: datetime
    as_of: datetime
    cause: str
    ledger_id: int
    confirmed: bool

    @property
    def standing(self) -> Standing:
        """The row, as decisions see it."""
        return Standing(ConsentState(self.state), self.since, self.as_of, self.cause, self.confirmed)


class OutboxRow(NamedTuple):
    """Table `outbox`, as a row is born."""

    id: int
    kind: str
    webhook: str
    credential: str
    program: str
    category: str
    address: str
    sender: str
    text: str
    inbound_id: int | None
    state: str
    attempts: int
    next_at: datetime
    deadline: datetime
    created_at: datetime
    content: str = ""
    """Suggestions and fallback of a rich reply as JSON (see `app.reply.Reply`); empty: it is plain."""
    claimed_until: datetime | None = None
    """Set: it is born claimed, see `app.send.handover`."""


class CallRow(NamedTuple):
    """Table `action_calls`, as a row is born."""

    id: int
    action: str
    trigger: str
    """A category, a receipt's status, `document` or `test`."""
    webhook: str
    program: str
    address: str
    """Empty: it is about no person."""
    inbound_id: int | None
    fields: str
    """The event's fields as a JSON object (see `app.action`)."""
    reply: str
    """The reply that waits for it, as JSON; empty: none."""
    state: str
    attempts: int
    next_at: datetime
    deadline: datetime
    created_at: datetime
    claimed_until: datetime | None = None
    """Set: it is born claimed, and made at once by whoever adds it."""
    outcome: str = ""
    """Set: it is born ended, for the guard forbids it."""
    problem: str = ""
    ended_at: datetime | None = None


class GuardRow(NamedTuple):
    """Table `reply_guard`."""

    address: str
    default_at: datetime | None
    recent: str
    """ISO times joined with a blank, oldest first."""
    called: str = ""
    """The same, of calls of actions."""


class ReceiptRow(NamedTuple):
    """Table `receipts`."""

    id: int
    raw_id: int | None
    message_id: int
    webhook: str
    status: str
    provider_status: str
    code: str
    error_text: str
    part: str
    provider_time: datetime | None
    received_at: datetime
    raised: bool
    """It raised the message's status."""


class MessageRow(NamedTuple):
    """Table `messages`."""

    id: int
    account: str
    provider_id: str
    recipient: str
    sender: str
    outbox_id: int | None
    status: str
    provider_status: str
    code: str
    error_text: str
    parts: str
    """JSON object of part -> status; empty for a message of one part."""
    first_at: datetime
    status_at: datetime


class AttributeRow(NamedTuple):
    """Table `profile_attributes`."""

    address: str
    name: str
    value: str
    source: str
    updated_at: datetime


class WorkRow(NamedTuple):
    """Table `work_list`: what a person must look at."""

    id: int
    raw_id: int | None
    webhook: str
    kind: str
    reason: str
    item: str
    received_at: datetime


@dataclass(slots=True)
class Changes:
    """Everything one batch changes."""

    inbound: list[InboundRow] = field(default_factory=list)
    ledger: list[LedgerRow] = field(default_factory=list)
    evidence: list[EvidenceRow] = field(default_factory=list)
    consent: dict[tuple[str, str], ConsentRow] = field(default_factory=dict)
    outbox: list[OutboxRow] = field(default_factory=list)
    claimed: dict[int, tuple[Standing, Standing]] = field(default_factory=dict)
    """By id, those of `outbox` that are born claimed: how the person then stands in their program and in all."""
    calls: list[CallRow] = field(default_factory=list)
    guards: dict[str, GuardRow] = field(default_factory=dict)
    receipts: list[ReceiptRow] = field(default_factory=list)
    messages: dict[MessageKey, MessageRow] = field(default_factory=dict)
    attributes: dict[tuple[str, str], AttributeRow] = field(default_factory=dict)
    work: list[WorkRow] = field(default_factory=list)
