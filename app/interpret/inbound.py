"""One inbound message decided: its row, its answer, and what it does to consent and profile."""

from app.changes import AttributeRow, InboundRow, OutboxRow
from app.events import Category, Cause, ConsentState, Standing
from app.interpret import consent, guard
from app.interpret.answer import PROVIDER_ANSWERED, Answer, answer
from app.interpret.batch import Batch
from app.interpret.classify import Message
from app.interpret.consent import Turn
from app.interpret.evidence import Act, enter
from app.interpret.triggers import ring


def hear(batch: Batch, message: Message) -> None:
    """Write everything that follows from a message."""
    heard, event, match = message.heard, message.event, message.match
    old = batch.standing(heard.program, event.address)
    opts_out = match.category is Category.OPT_OUT
    at = consent.counted(old, message.at, heard.received_at, opts_out=opts_out, late=heard.late)
    message = message._replace(at=at)
    turn = consent.heard(old, match.category, at)
    lately = batch.guards.get(event.address, guard.NOTHING_SENT)
    reply = answer(message, turn, old, lately)
    inbound_id = batch.new_id()
    if heard.rules.calls:
        reply = ring(batch, message, turn, reply, inbound_id)
    outbox_id = _queue(batch, message, reply, inbound_id) if reply.text and not reply.waits else None
    if reply.text:  # one that waits counts as well, now: when its call has ended, nobody asks again
        lately = batch.guards.get(event.address, lately)
        batch.count(event.address, guard.replied(lately, reply.category, heard.received_at))
    batch.changes.inbound.append(_row(message, reply, inbound_id, outbox_id))
    if match.preference:
        _prefer(batch, message, *match.preference)
    if match.category in consent.CONSENT_EVENTS:
        enter(batch, _act(message, reply, turn, old, inbound_id), old, turn)


def _queue(batch: Batch, message: Message, reply: Answer, inbound_id: int) -> int:
    """Put the reply into the outbox, and give its id."""
    heard, address = message.heard, message.event.address
    rules, at, outbox_id = heard.rules, heard.received_at, batch.new_id()
    batch.changes.outbox.append(
        OutboxRow(
            id=outbox_id,
            kind="reply",
            webhook=heard.webhook,
            credential=rules.credential,
            program=heard.program,
            category=reply.category.value,
            address=address,
            sender=rules.sender or message.event.sender,
            text=reply.text,
            inbound_id=inbound_id,
            state="pending",
            attempts=0,
            next_at=at,
            deadline=at + rules.policy.deadline(reply.category),
            created_at=at,
            content=reply.content,
        )
    )
    return outbox_id


def _row(message: Message, reply: Answer, inbound_id: int, outbox_id: int | None) -> InboundRow:
    heard, event, match = message.heard, message.event, message.match
    return InboundRow(
        id=inbound_id,
        raw_id=heard.raw.id if heard.raw else None,
        webhook=heard.webhook,
        provider=heard.provider,
        account=heard.account,
        program=heard.program,
        provider_id=event.provider_id,
        address=event.address,
        sender=event.sender,
        channel=event.channel,
        text=event.text,
        normal=message.normal,
        category=match.category.value,
        rule=match.rule,
        keyword=match.keyword,
        list_version=heard.rules.list_version,
        provider_time=event.provider_time,
        received_at=heard.received_at,
        effective_at=message.at,
        reply=reply.reason,
        outbox_id=outbox_id,
    )


def _prefer(batch: Batch, message: Message, name: str, value: str) -> None:
    address, source = message.event.address, f"keyword:{message.heard.webhook}"
    batch.changes.attributes[address, name] = AttributeRow(address, name, value, source, message.at)


def _act(message: Message, reply: Answer, turn: Turn, old: Standing, inbound_id: int) -> Act:
    return Act(
        heard=message.heard,
        program=message.heard.program,
        address=message.event.address,
        at=message.at,
        cause=Cause.KEYWORD.value,
        actor="subscriber",
        confirmed=_confirmed(old, turn, reply),
        rule=message.match.rule,
        list_version=message.heard.rules.list_version,
        reason=turn.kept,
        inbound_id=inbound_id,
        text=message.event.text,
        normal=message.normal,
        keyword=message.match.keyword,
        reply_text=reply.text,
    )


def _confirmed(old: Standing, turn: Turn, reply: Answer) -> bool:
    if turn.state is not ConsentState.OPTED_OUT:
        return False
    before = old.confirmed and old.state is ConsentState.OPTED_OUT
    return before or bool(reply.text) or reply.reason == PROVIDER_ANSWERED
