"""Everything known about a person, as one document: for their own questions, and for whoever asks what was done."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
from pydantic import BaseModel, Field

from app import __version__
from app.events import Status
from app.interpret.evidence import commitment
from app.interpret.rules import version_of
from app.record import dossier
from app.record.database import unhurried
from app.record.dossier import Dossier, KeywordList, Reply
from app.record.ids import moment_of
from app.record.queries import Decision, Delivered
from app.record.tokens import Scope
from app.serve.calls import ActionCall, call_of
from app.serve.consent import PersonParams
from app.serve.fields import Program, Region, ShownId, person
from app.serve.heard import InboundMessage, RawRequest, raw_request
from app.serve.ledger import LedgerEntry, entry
from app.serve.ledger_head import LedgerHead, head_of
from app.serve.messages import Message, message_of
from app.serve.operation import Call, Operation

#: seconds: it looks through all replies and messages, which have no index by person
_WITHIN = 120.0


class Holds(BaseModel):
    """What holds in a program, or in all of them (`*`)."""

    program: str
    state: str
    since: datetime | None
    as_of: datetime | None
    cause: str
    confirmed: bool = Field(description="The opt-out has had its confirmation.")


class OurReply(BaseModel):
    """A reply, what became of it, and how soon. Seconds count from when the message was received."""

    id: ShownId
    kind: str
    webhook: str
    credential: str
    program: str
    category: str
    sender: str
    text: str
    content: str
    inbound_id: ShownId | None
    state: str
    reason: str
    attempts: int
    created_at: datetime
    deadline: datetime
    sent_at: datetime | None
    provider_id: str
    seconds_to_sent: float | None
    delivered_at: datetime | None = Field(description="When its receipt told of it.")
    seconds_to_delivered: float | None


class ConsentEvent(LedgerEntry):
    """An entry of the ledger, how soon it took effect, and what proves it."""

    decided_at: datetime = Field(description="When it took effect, to the millisecond: its id tells.")
    seconds_to_effect: float = Field(description="From when it was received.")
    commitment_fits: bool = Field(description="The evidence is what the entry was made with.")
    seal: LedgerHead | None = Field(description="The seal over it; null: not sealed yet.")
    answer: OurReply | None


class Lists(BaseModel):
    """What a list version, by which messages were judged, held."""

    version: str
    webhook: str = Field(description="Which used it first; webhooks with the same lists share a version.")
    lists: dict[str, Any]
    first_used_at: datetime
    version_fits: bool = Field(description="The lists are what the version was made of.")


class ProfileValue(BaseModel):
    """What is stored in the profile."""

    name: str
    value: str
    source: str
    updated_at: datetime


class Browser(BaseModel):
    """A browser that was linked to the person."""

    ecid: str
    linked_at: datetime


class PersonEvidence(BaseModel):
    """Everything known about a person. Each list is in the order of time, oldest first."""

    address: str
    program: str | None = Field(description="null: all programs")
    exported_at: datetime
    textback: str = Field(description="The version that exported it.")
    ledger_head: LedgerHead | None
    consent: list[Holds]
    events: list[ConsentEvent]
    inbound: list[InboundMessage]
    replies: list[OurReply]
    calls: list[ActionCall] = Field(description="Of custom actions, about them: what was told to third parties.")
    messages: list[Message]
    profile: list[ProfileValue]
    audiences: list[str] = Field(description="Those that they were in when that was last worked out.")
    browsers: list[Browser]
    lists: list[Lists]
    requests: list[RawRequest] = Field(
        description="As they came, stripped of credentials, as far as they are still kept. One may tell of others too."
    )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known."""
        said = self.consent or self.events or self.inbound or self.replies or self.calls or self.messages
        return not (said or self.profile or self.audiences or self.browsers)


class EvidenceParams(PersonParams):
    """Whose evidence."""

    program: Program | None = None
    region: Region | None = None


async def read(call: Call[EvidenceParams, None]) -> PersonEvidence:
    """Everything known about a person."""
    wanted = call.params
    address = person(wanted.address, wanted.region)
    question = partial(dossier.read, address=address, program=wanted.program)
    found = await call.parts.database.read(partial(unhurried, act=question), within=_WITHIN)
    return evidence(address, wanted.program, found)


def evidence(address: str, program: str | None, found: Dossier) -> PersonEvidence:
    """The dossier as a document."""
    replies = _replies(found)
    answers = {reply.inbound_id: reply for reply in replies}
    return PersonEvidence(
        address=address,
        program=program,
        exported_at=datetime.now(UTC),
        textback=__version__,
        ledger_head=head_of(found.head) if found.head else None,
        consent=[Holds(program=name, **standing._asdict()) for name, standing in found.standings.items()],
        events=[_event(each, found, answers) for each in found.decisions],
        inbound=[InboundMessage.model_validate(row._asdict()) for row in found.inbound],
        replies=replies,
        calls=[call_of(row) for row in found.calls],
        messages=[message_of(each) for each in found.messages],
        profile=[ProfileValue.model_validate(row._asdict()) for row in found.attributes],
        audiences=found.audiences,
        browsers=[Browser(ecid=ecid, linked_at=at) for ecid, at in found.browsers.items()],
        lists=[_lists(each) for each in found.lists.values()],
        requests=[raw_request(each) for each in found.requests],
    )


def _event(decision: Decision, found: Dossier, answers: Mapping[int | None, OurReply]) -> ConsentEvent:
    at, seal = moment_of(decision.entry.id), found.seals[decision.entry.id]
    return ConsentEvent(
        **dict(entry(decision)),
        decided_at=at,
        seconds_to_effect=_seconds(decision.entry.received_at, at),
        commitment_fits=commitment(decision.evidence) == decision.entry.commitment,
        seal=head_of(seal) if seal else None,
        answer=answers.get(decision.evidence.inbound_id) if decision.evidence.inbound_id else None,
    )


def _lists(found: KeywordList) -> Lists:
    fits = version_of(found.lists.encode()) == found.version
    return Lists(**found._asdict() | {"lists": orjson.loads(found.lists)}, version_fits=fits)


# --- how soon -----------------------------------------------------------------------------------------------------


def _replies(found: Dossier) -> list[OurReply]:
    received = {message.id: message.received_at for message in found.inbound}
    delivered = {each.message.outbox_id: _delivered_at(each) for each in found.messages}
    return [
        _reply(reply, received.get(reply.inbound_id or 0, reply.created_at), delivered.get(reply.id))
        for reply in found.replies
    ]


def _reply(reply: Reply, received_at: datetime, delivered_at: datetime | None) -> OurReply:
    return OurReply(
        **reply._asdict(),
        seconds_to_sent=_seconds(received_at, reply.sent_at) if reply.sent_at else None,
        delivered_at=delivered_at,
        seconds_to_delivered=_seconds(received_at, delivered_at) if delivered_at else None,
    )


def _delivered_at(sent: Delivered) -> datetime | None:
    arrived = (each.received_at for each in sent.receipts if each.status in (Status.DELIVERED, Status.READ))
    return min(arrived, default=None)


def _seconds(begin: datetime, end: datetime) -> float:
    """To the millisecond, which is how exactly an id tells its time; never below zero, for clocks differ."""
    return max(round((end - begin).total_seconds(), 3), 0.0)


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/evidence/{address:path}",
        summary="Everything known about a person",
        handler=read,
        scope=Scope.ADMIN,
        params=EvidenceParams,
        answer=PersonEvidence,
    ),
)
