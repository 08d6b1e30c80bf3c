"""What happened to a person, in the order of time: messages, decisions, replies, receipts."""

from collections.abc import Iterator
from datetime import datetime
from typing import Literal, NamedTuple

from app.serve.calls import ActionCall
from app.serve.evidence import ConsentEvent, OurReply, PersonEvidence
from app.serve.evidence_words import after, moment, said, shown, words
from app.serve.heard import InboundMessage
from app.serve.messages import Message, Receipt

#: in the order in which they follow from each other, where their times are the same
Kind = Literal["inbound", "event", "call", "reply", "message", "receipt"]
_ORDER: tuple[Kind, ...] = ("inbound", "event", "call", "reply", "message", "receipt")


class Happened(NamedTuple):
    """Something that happened. `title` and the values of `facts` are HTML, `text` is as it was written."""

    at: datetime
    kind: Kind
    title: str
    text: str
    facts: list[tuple[str, str]]


def timeline(found: PersonEvidence) -> list[Happened]:
    """Everything, oldest first."""
    return sorted(_all(found), key=lambda each: (each.at, _ORDER.index(each.kind)))


def _all(found: PersonEvidence) -> Iterator[Happened]:
    yield from map(_inbound, found.inbound)
    yield from map(_event, found.events)
    yield from map(_call, found.calls)
    yield from map(_reply, found.replies)
    ours = {reply.id for reply in found.replies}
    for message in found.messages:
        if message.outbox_id not in ours:
            yield _message(message)
        yield from (_receipt(receipt, message) for receipt in message.receipts)


def _inbound(message: InboundMessage) -> Happened:
    facts = [
        ("taken for", _joined(words(message.category.value), shown(message.rule), shown(message.keyword))),
        ("normal form", said(message.normal) if message.normal else ""),
        ("to", shown(message.sender)),
        ("through", _joined(shown(message.provider), f"webhook {shown(message.webhook)}", shown(message.channel))),
        ("program", shown(message.program)),
        ("provider's id", shown(message.provider_id)),
        ("provider's time", moment(message.provider_time) if message.provider_time else ""),
        ("answer", shown(message.reply)),
        ("lists", shown(message.list_version)),
        ("message", str(message.id)),
    ]
    return Happened(message.received_at, "inbound", "They wrote", message.text, facts)


def _event(event: ConsentEvent) -> Happened:
    evidence, turned = event.evidence, event.old_state != event.new_state
    title = f"Consent: {words(event.old_state)} → {_badge(event.new_state)}" if turned else (
        f"Consent stays {_badge(event.new_state)}"
    )  # fmt: skip
    facts = [
        ("cause", _joined(words(event.cause), shown(event.rule), shown(evidence.keyword))),
        ("by", shown(evidence.actor)),
        ("reason", said(evidence.reason) if evidence.reason else ""),
        ("program", "all programs" if event.program == "*" else shown(event.program)),
        ("signature", shown(evidence.signature)),
        ("in effect", f"{after(event.seconds_to_effect)} after it was received"),
        ("effective as of", moment(event.effective_at) if event.effective_at != event.received_at else ""),
        ("received", moment(event.received_at)),
        ("lists", shown(event.list_version)),
        ("commitment", _commitment(event)),
        ("seal", f"number {event.seal.number} of {moment(event.seal.sealed_at)}" if event.seal else "not sealed yet"),
        ("entry", str(event.id)),
    ]
    if event.superseded:
        facts.insert(0, ("note", "older than what held already: it changed nothing"))
    return Happened(event.decided_at, "event", title, "" if evidence.inbound_id else evidence.text, facts)


def _badge(state: str) -> str:
    return f'<span class="badge {shown(state)}">{words(state)}</span>'


def _commitment(event: ConsentEvent) -> str:
    fits = "fits" if event.commitment_fits else '<b class="wrong">does not fit</b>'
    return f"{fits} <code>{shown(event.commitment)}</code>"


def _reply(reply: OurReply) -> Happened:
    facts = [
        ("state", _joined(words(reply.state), shown(reply.reason))),
        ("sent", f"{after(reply.seconds_to_sent)} after their message" if reply.sent_at else ""),
        ("delivered", f"{after(reply.seconds_to_delivered)} after it" if reply.delivered_at else ""),
        ("tries", str(reply.attempts)),
        ("kind", words(reply.category)),
        ("from", shown(reply.sender)),
        ("through", f"credential {shown(reply.credential)}" if reply.credential else ""),
        ("provider's id", shown(reply.provider_id)),
        ("reply", str(reply.id)),
    ]
    title = "We answered" if reply.sent_at else "Our answer did not leave"
    title = "Our answer waits" if reply.state in ("pending", "sending") else title
    return Happened(reply.sent_at or reply.created_at, "reply", title, reply.text, facts)


def _call(call: ActionCall) -> Happened:
    facts = [
        ("outcome", _joined(words(call.outcome or call.state), shown(call.problem))),
        ("left out by policy", shown(call.policy)),
        ("because of", words(call.trigger)),
        ("tries", str(call.tries)),
        ("through", f"webhook {shown(call.webhook)}" if call.webhook else ""),
        ("note", said(call.note) if call.note else ""),
        ("call", str(call.id)),
    ]
    excluded = call.outcome == "excluded"
    title = "left out of custom action" if excluded else "called custom action" if call.tries else "custom action"
    title = f"{title[0].upper()}{title[1:]} {shown(call.action)}"
    return Happened(call.ended_at or call.created_at, "call", title, call.response, facts)


def _message(message: Message) -> Happened:
    facts = [
        ("account", shown(message.account)),
        ("from", shown(message.sender)),
        ("provider's id", shown(message.provider_id)),
        ("status", words(message.status.value)),
    ]
    return Happened(message.first_at, "message", "A message of another system, known by its receipts", "", facts)


def _receipt(receipt: Receipt, message: Message) -> Happened:
    facts = [
        ("provider says", _joined(shown(receipt.provider_status), shown(receipt.code), shown(receipt.error_text))),
        ("provider's time", moment(receipt.provider_time) if receipt.provider_time else ""),
        ("of message", shown(message.provider_id)),
        ("part", shown(receipt.part)),
        ("note", "" if receipt.raised else "it did not raise the message's status"),
    ]
    return Happened(receipt.received_at, "receipt", f"Receipt: {words(receipt.status.value)}", "", facts)


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
