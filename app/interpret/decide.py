"""The pure function that record's writer calls inside its transaction: (heard, known) -> what to write.

1. Read: the effective time and the meaning of every event of the batch.
2. Order: by effective time over all requests; at the same moment an opt-out comes last, and so it holds.
3. Decide one after the other, each event on the results of those before it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import itemgetter

import orjson

from app.changes import Changes, MessageRow, ReceiptRow, WorkRow
from app.events import (
    Category,
    Cause,
    Change,
    ConsentState,
    Delivery,
    Event,
    Heard,
    Inbound,
    Known,
    MessageKey,
    Receipt,
    Standing,
)
from app.interpret import consent, receipts
from app.interpret.batch import Batch, begin
from app.interpret.classify import Message, read
from app.interpret.evidence import Act, enter, random_salt
from app.interpret.inbound import hear
from app.interpret.triggers import on_receipt

#: these are told by the provider, who has answered the person or cannot reach them: there is nothing left to confirm
_BY_PROVIDER = (Cause.PROVIDER_EVENT, Cause.BLOCK_ERROR)


def decide(
    heards: Sequence[Heard],
    known: Known,
    new_id: Callable[[], int],
    new_salt: Callable[[], str] = random_salt,
) -> Changes:
    """What to write for a batch of new events. Ids rise in the order of deciding; `known` is left as it is.

    What comes in from a webhook with inbound messages has `rules`; other requests need none.
    """
    batch = begin(known, new_id, new_salt)
    for heard in heards:
        _put_on_work_list(batch, heard)
    for heard, event, at in _in_order(heards, batch.deliveries):
        if isinstance(event, Message):
            hear(batch, event)
        elif isinstance(event, Receipt):
            _receive(batch, heard, event, at)
        else:
            _tell(batch, heard, event, at)
    return batch.changes


def _in_order(
    heards: Sequence[Heard], deliveries: Mapping[MessageKey, Delivery]
) -> Iterator[tuple[Heard, Message | Receipt | Change, datetime]]:
    items = [_read(heard, event, deliveries) for heard in heards for event in heard.events]
    items.sort(key=itemgetter(0, 1))
    return ((heard, event, at) for at, _, heard, event in items)


def _read(
    heard: Heard, event: Event, deliveries: Mapping[MessageKey, Delivery]
) -> tuple[datetime, bool, Heard, Message | Receipt | Change]:
    """Effective time, whether it is an opt-out, and the event with its meaning."""
    if isinstance(event, Inbound):
        message = read(heard, event, _effective(event.provider_time, event.begun_at or heard.received_at))
        return message.at, message.match.category is Category.OPT_OUT, heard, message
    at = _effective(event.provider_time, heard.received_at)
    if isinstance(event, Receipt):
        return at, False, heard, event
    if event.about and (refused := deliveries.get(event.about)):
        # a block error counts when its message was sent: who has opted in since then is in
        at = _effective(refused.first_at, at)
    return at, event.state is ConsentState.OPTED_OUT, heard, event


def _effective(told: datetime | None, received_at: datetime) -> datetime:
    """The earlier of both, so that a provider's clock in the future can never make a later STOP lose."""
    return received_at if told is None or told > received_at else told


def _tell(batch: Batch, heard: Heard, event: Change, at: datetime) -> None:
    """A change of consent told by a provider, an operator, or an import."""
    program = event.program or heard.program
    old = batch.standing(program, event.address)
    # a block error counts when its message was sent, also where that is long ago
    opts_out = event.state is ConsentState.OPTED_OUT and event.cause is not Cause.BLOCK_ERROR
    at = consent.counted(old, at, heard.received_at, opts_out=opts_out, late=heard.late)
    turn = consent.told(old, event, program, at)
    act = Act(
        heard=heard,
        program=program,
        address=event.address,
        at=at,
        cause=event.cause.value,
        actor=event.actor or (heard.provider if event.cause in _BY_PROVIDER else ""),
        confirmed=_confirmed(old, turn.state, event.cause),
        reason="; ".join(filter(None, (event.reason, turn.kept and f"not changed to {event.state}: {turn.kept}"))),
    )
    enter(batch, act, old, turn)


def _confirmed(old: Standing, state: ConsentState, cause: Cause) -> bool:
    if state is not ConsentState.OPTED_OUT:
        return False
    return cause in _BY_PROVIDER or (old.confirmed and old.state is ConsentState.OPTED_OUT)


def _receive(batch: Batch, heard: Heard, event: Receipt, at: datetime) -> None:
    """A receipt: stored always, and the message's row where it tells something new."""
    key = receipts.key_of(event, heard.account, batch.deliveries, batch.by_reference, batch.by_id)
    known = batch.deliveries.get(key)
    if known is None:
        merged = receipts.first(event, batch.new_id(), heard.received_at, at)
    else:
        merged = receipts.merge(known, event, at)
    if merged.delivery != known:
        batch.deliveries[key] = merged.delivery
        before = batch.changes.messages.get(key)
        sender = event.sender or (before.sender if before else "")
        batch.changes.messages[key] = _message(key, sender, merged.delivery, heard.received_at, at)
    receipt_id = batch.new_id()
    batch.changes.receipts.append(_receipt(receipt_id, heard, event, merged))
    if merged.raised and heard.rules and heard.rules.receipt_actions:
        on_receipt(batch, heard, event, key=key, delivery=merged.delivery, receipt_id=receipt_id)


def _message(key: MessageKey, sender: str, delivery: Delivery, received_at: datetime, at: datetime) -> MessageRow:
    account, provider_id, recipient = key
    return MessageRow(
        id=delivery.id,
        account=account,
        provider_id=provider_id,
        recipient=recipient,
        sender=sender,
        outbox_id=None,
        status=delivery.status.value,
        provider_status=delivery.provider_status,
        code=delivery.code,
        error_text=delivery.error_text,
        parts=orjson.dumps(dict(delivery.parts)).decode() if delivery.parts else "",
        first_at=delivery.first_at or received_at,
        status_at=delivery.status_at or at,
    )


def _receipt(receipt_id: int, heard: Heard, event: Receipt, merged: receipts.Merged) -> ReceiptRow:
    return ReceiptRow(
        id=receipt_id,
        raw_id=heard.raw.id if heard.raw else None,
        message_id=merged.delivery.id,
        webhook=heard.webhook,
        status=event.status.value,
        provider_status=event.provider_status,
        code=event.code,
        error_text=event.error_text,
        part=event.part,
        provider_time=event.provider_time,
        received_at=heard.received_at,
        raised=merged.raised,
    )


def _put_on_work_list(batch: Batch, heard: Heard) -> None:
    raw_id = heard.raw.id if heard.raw else None
    for trouble in heard.troubles:
        row = WorkRow(
            batch.new_id(), raw_id, heard.webhook, trouble.kind, trouble.reason, trouble.item, heard.received_at
        )
        batch.changes.work.append(row)
