"""The vocabulary of what happens: messages heard, receipts, changes of consent, and what is decided about them.

All times are timezone-aware UTC. Addresses are normalised (see `app.address`): E.164 for phones, else `kind:value`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple

EVERY_PROGRAM = "*"


class Category(StrEnum):
    """What an inbound message means."""

    OPT_IN = "opt_in"
    OPT_OUT = "opt_out"
    #: asks for an opt-in that the person must confirm with an opt-in keyword
    DOUBLE_OPT_IN = "double_opt_in"
    HELP = "help"
    #: one of the operator's own keywords; may record a preference
    CUSTOM = "custom"
    #: everything else
    DEFAULT = "default"


class ConsentState(StrEnum):
    """Where a person stands with a program."""

    UNKNOWN = "unknown"
    #: asked for a double opt-in and has not confirmed it
    PENDING = "pending"
    OPTED_IN = "opted_in"
    OPTED_OUT = "opted_out"


class Cause(StrEnum):
    """Why a ledger entry was written."""

    KEYWORD = "keyword"
    #: the provider told us of an opt-out or opt-in in an event of its own
    PROVIDER_EVENT = "provider_event"
    #: the provider refused a message because the person is on its block list
    BLOCK_ERROR = "block_error"
    API = "api"
    IMPORT = "import"


class Status(StrEnum):
    """What became of a message that was sent, in rising order of `app.interpret.receipts.RANK`."""

    UNKNOWN = "unknown"
    QUEUED = "queued"
    SENT = "sent"
    #: tried, and the handset or number was not reached
    UNDELIVERED = "undelivered"
    #: a technical error
    FAILED = "failed"
    #: its validity ran out
    EXPIRED = "expired"
    #: refused by platform, carrier, policy or opt-out, before or at hand-over
    REJECTED = "rejected"
    DELIVERED = "delivered"
    READ = "read"


MessageKey = tuple[str, str, str]
"""(account, the provider's message id, recipient); the last may be empty, none is None."""


# --- what decode reads out of a request ---------------------------------------------------------------------------


class Piece(NamedTuple):
    """A part of a long message that came in several requests."""

    whole: str
    """What its parts have in common, unique in the account."""
    number: int
    """Counted from 1."""
    total: int


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message that a person sent."""

    key: str
    """What makes it unique; two events with one key are one event."""
    provider_id: str
    """The provider's id; empty where it sends none."""
    address: str
    sender: str
    """Our number or agent that the person wrote to."""
    text: str
    channel: str = "sms"
    provider_time: datetime | None = None
    provider_category: Category | None = None
    """The provider's own classification, where it flags one (Twilio's OptOutType)."""
    provider_answered: bool = False
    """The provider has replied to the person itself: we stay silent."""
    repeats_within: float | None = None
    """Seconds in which an equal key is a repeat; None: for ever. Only for requests with neither id nor time."""
    piece: Piece | None = None
    """Set: only a part; its message is decided when all parts are there, or none has come for a while."""
    begun_at: datetime | None = None
    """Of a message that came in parts: when the first of them was received; it counts from then."""
    fragment: Literal["", "incomplete", "late part"] = ""
    """Why it is no whole message; it may take a person out then, never in. Beside `piece`: decide what there is."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """News of a message that was sent, by us or by another system."""

    key: str
    message_id: str
    """The provider's id of the message; empty where only our reference came back."""
    recipient: str
    """Normalised address; empty where the provider does not say."""
    status: Status
    provider_status: str
    code: str = ""
    error_text: str = ""
    sender: str = ""
    provider_time: datetime | None = None
    reference: str = ""
    """Our own reference, echoed."""
    part: str = ""
    """Which part of a long message this is about; empty: the whole."""
    parts: int = 1
    blocked: bool = False
    """The code means: this person has opted out at the provider."""
    repeats_within: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A change of consent that is not a keyword: told by a provider, an operator, an import."""

    key: str
    address: str
    state: ConsentState
    cause: Cause
    program: str | None = None
    """None: the webhook's program."""
    provider_time: datetime | None = None
    actor: str = ""
    reason: str = ""
    about: MessageKey | None = None
    """The message that was refused: a block error counts at the time that its message was sent, where that is known."""
    repeats_within: float | None = None


Event = Inbound | Receipt | Change


@dataclass(frozen=True, slots=True)
class Trouble:
    """An item of a request that could not be read; it waits on the work list and loses none of its neighbours."""

    kind: str
    """`item`: malformed · `address`: no address could be decided · `parked`: the database refused it, or its webhook is
    gone."""
    reason: str
    item: str
    """The item as JSON text, at most 4,000 characters."""
    repeats_within: float | None = 86_400.0
    """Seconds in which the same item in the same bytes is a repeat, and no second entry on the work list."""


class Reading(StrEnum):
    """How far a request was understood."""

    EVENTS = "events"
    #: known and uninteresting
    IGNORED = "ignored"
    #: authenticated and not understood
    UNDECODED = "undecoded"


@dataclass(frozen=True, slots=True)
class Decoded:
    """What decode made of one request."""

    reading: Reading
    events: tuple[Event, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    problem: str = ""
    """One sentence; set when undecoded."""
    answer: str = "inbound"
    """Which of the provider file's answers is wanted: the kind of its first event, or `ignore`."""


# --- what is already known, and what is decided -------------------------------------------------------------------


class Standing(NamedTuple):
    """A person's row in a program."""

    state: ConsentState = ConsentState.UNKNOWN
    since: datetime | None = None
    as_of: datetime | None = None
    """Effective time of the latest consent event, also of one that changed nothing."""
    cause: str = ""
    confirmed: bool = False
    """A confirmation of the present opt-out was sent (or is on its way, or was the provider's)."""


NOBODY = Standing()


class Guard(NamedTuple):
    """What was lately answered to an address."""

    default_at: datetime | None = None
    recent: tuple[datetime, ...] = ()
    """When replies were queued; pruned to the last hour, oldest first."""


class Delivery(NamedTuple):
    """What is known of a message that was sent."""

    id: int
    status: Status
    provider_status: str = ""
    code: str = ""
    error_text: str = ""
    parts: Mapping[str, str] = {}
    """Status of each part seen, for messages of several parts."""
    first_at: datetime | None = None
    status_at: datetime | None = None


@dataclass(slots=True)
class Known:
    """What the database held about the addresses and messages of a batch when its transaction began."""

    standings: dict[tuple[str, str], Standing] = field(default_factory=dict)
    """By (program, address)."""
    guards: dict[str, Guard] = field(default_factory=dict)
    deliveries: dict[MessageKey, Delivery] = field(default_factory=dict)
    deliveries_by_reference: dict[str, tuple[MessageKey, Delivery]] = field(default_factory=dict)
    """By our reference, for receipts that echo it."""
    deliveries_by_id: dict[tuple[str, str], tuple[MessageKey, Delivery]] = field(default_factory=dict)
    """By (account, the provider's id), for receipts that do not say who received the message."""
    restored: bool = False
    """The database was restored and not yet compared with the providers' lists: who has opted out is uncertain."""
    has_audiences: bool = False
    """Somebody wants to know whose data changes, see `app.record.memberships`."""


@dataclass(slots=True)
class Heard:
    """One request (or one act of an operator, or one outcome of a sending), ready to be recorded."""

    webhook: str
    """Name of the webhook; empty for what did not come through one."""
    provider: str
    account: str
    program: str
    received_at: datetime
    """Fixed at the door, kept through retries and replay."""
    events: tuple[Event, ...]
    rules: Any = None
    """`app.interpret.Rules` of the webhook; opaque to everybody else."""
    troubles: tuple[Trouble, ...] = ()
    raw: "RawRequest | None" = None
    late: bool = False
    """It comes from the spool or is replayed, so its receive time may rightly be older than what is known."""


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A request as it came, stripped of credentials."""

    id: int
    method: str
    target: str
    headers: str
    body: bytes
    client: str
    signature: str
    """Which scheme and secret proved it, as evidence: `twilio, secret 1 of 1`."""
    reading: Reading
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The writer's answer, after the commit."""

    new: int
    """Events written."""
    seen: int
    """Events that were there before."""


Decide = Callable[[Sequence[Heard], Known, Callable[[], int]], Any]
"""interpret's pure function, which flow hands to record's writer: (new events, known, ids) -> `app.changes.Changes`."""
