"""Was anything lost, doubled or made up? Compares what was acknowledged with the database and with the provider. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from itertools import pairwise
from typing import NamedTuple

#: seconds after the provider's answer within which our mark is committed, unless something keeps it from being
MARKED_WITHIN = 1.5
#: the text that answers a STOP
CONFIRMATION = "You are unsubscribed from Torture. No more messages will be sent."
#: examples in a sentence about what is wrong
_SHOWN = 5


class Sent(NamedTuple):
    """An event that the load sent, however often."""

    id: str
    """The provider's id; of a receipt with a blank and its status."""
    what: str
    """stop | start | help | text | receipt."""
    address: str
    at: float
    """First, in seconds since 1970."""
    acknowledged: bool
    """With a 2xx, at least once."""


class Reply(NamedTuple):
    """A row of the outbox."""

    id: int
    provider_id: str
    """Of the message that it answers."""
    category: str
    address: str
    state: str
    reason: str


class Entry(NamedTuple):
    """A row of the ledger, with the address from its evidence."""

    id: int
    address: str
    old: str
    new: str
    received_at: str
    superseded: bool


class Stored(NamedTuple):
    """What the database holds."""

    inbound: Sequence[str]
    """Ids, one for each row."""
    receipts: Sequence[str]
    """As `Sent.id`, one for each row."""
    replies: Sequence[Reply]
    consent: Mapping[str, str]
    """By address."""
    ledger: Sequence[Entry]
    """By rising id."""
    unmet: Sequence[str]
    """Messages of our replies that do not know their reply, although the reply knows them."""
    work: Sequence[str]
    """What was parked or not understood."""


class Arrival(NamedTuple):
    """A message at the provider."""

    reference: str
    to: str
    text: str
    arrived: float
    answered: float


class Blow(NamedTuple):
    """A misfortune after which a reply that had left may be forgotten: its sender died, or the database was away."""

    what: str
    began: float
    ended: float


class Verdict(NamedTuple):
    """The counts of a scenario, and a sentence for each invariant that does not hold."""

    acknowledged: int
    unacknowledged: int
    recorded: int
    missing: int
    doubled: int
    invented: int
    replies_expected: int
    replies_left: int
    replies_lost: int
    replies_doubled: int
    """Messages beyond the first of a reply."""
    doubled_by_crash: int
    """Of them, those where a crash fell between the provider's taking and our mark."""
    problems: tuple[str, ...]


def judge(sent: Sequence[Sent], stored: Stored, arrivals: Sequence[Arrival], blows: Sequence[Blow], *,
          in_order: bool = True, forgiven: str = "") -> Verdict:  # fmt: skip
    """The verdict. `in_order`: each person's events must stand in the ledger in the order of their receive times.

    `forgiven`: replies that were cancelled for this reason are not lost.
    """
    waived = {
        reply.id for reply in stored.replies if forgiven and (reply.state, reply.reason) == ("cancelled", forgiven)
    }
    unheard = {reply.address for reply in stored.replies if reply.id in waived}
    rows = Counter([*stored.inbound, *stored.receipts])
    known = {event.id for event in sent}
    missing = [event.id for event in sent if event.acknowledged and event.id not in rows]
    doubled = [key for key, count in rows.items() if count > 1]
    invented = [key for key in rows if key not in known]
    lost, twice, unexplained = _lost(stored, arrivals, waived), *_doubles(arrivals, blows)
    left = {arrival.reference for arrival in arrivals}
    problems = (
        _sentence("acknowledged events are not recorded", missing),
        _sentence("events are recorded more than once", doubled),
        _sentence("recorded events were never sent", invented),
        _sentence("requests were set aside", stored.work),
        _sentence("receipts never met their reply", stored.unmet),
        _sentence("replies are lost", lost),
        _sentence("messages answer nothing that is in the outbox", sorted(left - {str(r.id) for r in stored.replies})),
        _sentence("replies left twice without a crash that explains it", unexplained),
        _sentence("messages have not exactly one reply in the outbox", _unanswered(sent, stored, in_order=in_order)),
        _sentence("people who said STOP have not exactly one confirmation", _unconfirmed(sent, arrivals, unheard)),
        _sentence("people stand otherwise than they said", _misjudged(sent, rows, stored)),
        _sentence("people's ledgers are no chain", _unchained(stored.ledger, in_order=in_order)),
    )
    return Verdict(
        acknowledged=sum(event.acknowledged for event in sent),
        unacknowledged=sum(not event.acknowledged for event in sent),
        recorded=len(rows),
        missing=len(missing),
        doubled=len(doubled),
        invented=len(invented),
        replies_expected=len(stored.replies),
        replies_left=len(left),
        replies_lost=len(lost),
        replies_doubled=twice,
        doubled_by_crash=twice - len(unexplained),
        problems=tuple(filter(None, problems)),
    )


def _sentence(what: str, which: Sequence[str]) -> str:
    return f"{len(which)} {what}: {', '.join(map(str, which[:_SHOWN]))}" if which else ""


def _lost(stored: Stored, arrivals: Sequence[Arrival], waived: Set[int]) -> list[str]:
    """Replies that never left. One may be cancelled because its person has opted out meanwhile; a confirmation never."""
    left = {arrival.reference for arrival in arrivals}
    return [
        f"{reply.id} ({reply.category}, {reply.state}, {reply.reason or 'no reason'})"
        for reply in stored.replies
        if (str(reply.id) not in left and reply.id not in waived and not _rightly_cancelled(reply, stored.consent))
        or reply.state in ("pending", "sending")
    ]


def _rightly_cancelled(reply: Reply, consent: Mapping[str, str]) -> bool:
    out = consent.get(reply.address) == "opted_out"
    return reply.state == "cancelled" and reply.category != "opt_out" and out


def _doubles(arrivals: Sequence[Arrival], blows: Sequence[Blow]) -> tuple[int, list[str]]:
    """How many messages were one too many, and which of them no crash explains."""
    by_reference = defaultdict(list)
    for arrival in arrivals:
        by_reference[arrival.reference].append(arrival)
    pairs = [
        (first, second) for same in by_reference.values() for first, second in pairwise(sorted(same, key=_arrived))
    ]
    return len(pairs), [
        first.reference for first, second in pairs if not any(_between(first, second, b) for b in blows)
    ]


def _arrived(arrival: Arrival) -> float:
    return arrival.arrived


def _between(first: Arrival, second: Arrival, blow: Blow) -> bool:
    """Whether the blow fell after the provider had the first and before our mark can have been committed."""
    in_time = first.arrived <= blow.ended and blow.began <= first.answered + MARKED_WITHIN
    return in_time and blow.began <= second.arrived


def _unanswered(sent: Sequence[Sent], stored: Stored, *, in_order: bool) -> list[str]:
    """The load is made so that no guard holds a reply back: each message has one.

    But a START that was recorded after the STOP that came later, by another node's spool, is too late for an answer.
    """
    replies = Counter(reply.provider_id for reply in stored.replies)
    late = set() if in_order else {event.id for event in sent if event.what == "start"}
    silent = {key for key in stored.inbound if not replies[key]} - late
    return sorted(silent | {key for key, count in replies.items() if count > 1})


def _unconfirmed(sent: Sequence[Sent], arrivals: Sequence[Arrival], unheard: Set[str]) -> list[str]:
    """Asked of the provider alone, whatever the database says: one reply to each, however often it left."""
    replies = defaultdict(set)
    for arrival in arrivals:
        if arrival.text == CONFIRMATION:
            replies[arrival.to].add(arrival.reference)
    stops = {event.address: event for event in sent if event.what == "stop"}
    wrong = {to for to, references in replies.items() if to not in stops or len(references) > 1}
    wrong |= {to for to, event in stops.items() if event.acknowledged and to not in replies.keys() | unheard}
    return [stops[to].id if to in stops else to for to in sorted(wrong)]


def _misjudged(sent: Sequence[Sent], rows: Mapping[str, int], stored: Stored) -> list[str]:
    """Whose consent is not what the last of their recorded STOP and START said."""
    last = {e.address: e for e in sorted(sent, key=lambda e: e.at) if e.what in ("stop", "start") and e.id in rows}
    wanted = {"stop": "opted_out", "start": "opted_in"}
    return [
        f"{event.id} ({event.what}, {stored.consent.get(address, 'unknown')})"
        for address, event in last.items()
        if stored.consent.get(address) != wanted[event.what]
    ]


def _unchained(ledger: Sequence[Entry], *, in_order: bool) -> list[str]:
    """Whose entries do not follow from one another, or stand in another order than they were received in."""
    people: dict[str, list[Entry]] = defaultdict(list)
    for entry in ledger:
        people[entry.address].append(entry)
    return [
        str(after.id)
        for entries in people.values()
        for before, after in pairwise(entries)
        if before.new != after.old or (in_order and (after.received_at < before.received_at or after.superseded))
    ]
