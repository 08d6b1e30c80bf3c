"""What is heard calls a custom action: when, with which fields, and whether the reply waits for the answer. Pure.

| what is heard                        | the action of its list                                                      |
| ------------------------------------ | --------------------------------------------------------------------------- |
| opt-in, opt-out, double opt-in       | is called each time, and never limited: the last word must arrive           |
| one that a later event supersedes    | is not called: what it would tell does not hold                             |
| a double opt-in of who is in already | the opt-in's, as the answer is the opt-in's                                 |
| help, custom, everything else        | is called, whatever the person's state: a consent policy leaves people out, |
|                                      | not we; `calls_per_hour` limits each address                                |
| what the provider has answered       | is called, and no reply waits                                               |
| from the spool, or replayed          | is called, as if just heard; a reply whose time has passed does not wait    |
| incomplete                           | is called with what there is, as it is answered                             |
| a late part                          | not again, unless it opts out: its message has called without it            |
| a machine (our own number or text, a | help, custom and everything else call nothing                               |
| short code, an alphanumeric sender)  |                                                                             |
| a receipt                            | of the status that it raised its message to; not one that raises nothing    |

What the guard forbids is written down as a call that ended as `capped`: a person may have it made all the same.
"""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson

from app.changes import CallRow
from app.events import Category, Delivery, Guard, Heard, MessageKey, Receipt
from app.interpret import guard
from app.interpret.answer import Answer, echoes
from app.interpret.batch import Batch
from app.interpret.classify import Message
from app.interpret.consent import CONSENT_EVENTS, Turn
from app.interpret.rules import Rules
from app.interpret.waiting import Trigger, Waiting, dumped

TOO_LATE = "deadline passed"


class Ring(NamedTuple):
    """What a message calls."""

    trigger: Trigger
    category: Category
    """Whose list's action it is."""
    refused: str
    """Why it is not called after all; empty: it is."""
    answer: Answer
    """The answer to the message, as it then is."""


def rung(message: Message, turn: Turn, reply: Answer, lately: Guard) -> Ring | None:
    """The action that a message calls; None: none. `reply`: the answer to it, were there no action."""
    rules: Rules = message.heard.rules
    category = turn.answer or message.match.category
    trigger = rules.trigger(category, message.match)
    late_part = message.event.fragment == "late part" and category is not Category.OPT_OUT
    if trigger is None or turn.superseded or late_part:
        return None
    refused = "" if category in CONSENT_EVENTS else _refused(message, category, lately)
    return Ring(trigger, category, refused, _answer(message.heard, trigger, reply, refused))


def _refused(message: Message, category: Category, lately: Guard) -> str:
    rules, event = message.heard.rules, message.event
    return (
        guard.refuses_address(event.address, event.sender, rules.own_numbers)
        or echoes(rules, message.normal, category)
        or guard.refuses_call(lately, rules.policy, message.heard.received_at)
    )


def _answer(heard: Heard, trigger: Trigger, reply: Answer, refused: str) -> Answer:
    if not trigger.waits or not reply.text:
        return reply
    in_time = _begins(heard) <= _reply_deadline(heard, reply)
    if refused or not in_time:
        return Answer(reply.category, "", refused or TOO_LATE)
    return reply._replace(reason=f"waits for action {trigger.action}", waits=True)


# --- the rows -----------------------------------------------------------------------------------------------------


def ring(batch: Batch, message: Message, turn: Turn, reply: Answer, inbound_id: int) -> Answer:
    """Have the message's action called, where it has one, and count that; the answer to the message then."""
    address, heard = message.event.address, message.heard
    lately = batch.guards.get(address, guard.NOTHING_SENT)
    found = rung(message, turn, reply, lately)
    if found is None:
        return reply
    fields = _fields(heard, address, inbound_id) | _of_message(message)
    row = _row(batch.new_id(), heard, fields, action=found.trigger.action, trigger=found.category.value)
    row = _ended(row, found.refused) if found.refused else _with_reply(row, found, message)
    batch.changes.calls.append(row._replace(inbound_id=inbound_id))
    if not found.refused and found.category not in CONSENT_EVENTS:
        batch.count(address, guard.called(lately, heard.received_at))
    return found.answer


def on_receipt(
    batch: Batch, heard: Heard, event: Receipt, *, key: MessageKey, delivery: Delivery, receipt_id: int
) -> None:
    """Have the action of the status called that a receipt has raised its message to, where there is one."""
    action = heard.rules.receipt_actions.get(delivery.status)
    if action is None:
        return
    address = key[2] or event.recipient
    fields = _fields(heard, address, receipt_id) | _of_receipt(event, delivery)
    batch.changes.calls.append(_row(batch.new_id(), heard, fields, action=action, trigger=delivery.status.value))


def _row(call_id: int, heard: Heard, fields: dict[str, Any], *, action: str, trigger: str) -> CallRow:
    at = _begins(heard)
    return CallRow(
        id=call_id,
        action=action,
        trigger=trigger,
        webhook=heard.webhook,
        program=heard.program,
        address=fields["address"],
        inbound_id=None,
        fields=orjson.dumps(fields).decode(),
        reply="",
        state="pending",
        attempts=0,
        next_at=at,
        deadline=at + heard.rules.policy.call_deadline,
        created_at=at,
    )


def _ended(row: CallRow, refused: str) -> CallRow:
    return row._replace(state="done", outcome="capped", problem=refused, ended_at=row.created_at)


def _with_reply(row: CallRow, found: Ring, message: Message) -> CallRow:
    reply, heard = found.answer, message.heard
    if not reply.waits:
        return row
    rules: Rules = heard.rules
    sender = rules.sender or message.event.sender
    otherwise = {ending: (each.text, each.content) for ending, each in found.trigger.otherwise.items()}
    kept = Waiting(reply.category.value, rules.credential, sender, reply.text, reply.content, otherwise)
    return row._replace(reply=dumped(kept), deadline=_reply_deadline(heard, reply))


def _begins(heard: Heard) -> datetime:
    return heard.again_at or heard.received_at


def _reply_deadline(heard: Heard, reply: Answer) -> datetime:
    waits: timedelta = heard.rules.policy.deadline(reply.category)
    return heard.received_at + waits


# --- the fields ---------------------------------------------------------------------------------------------------


def _fields(heard: Heard, address: str, event_id: int) -> dict[str, Any]:
    """What every event has; see the table in `app.action`."""
    return {
        "_id": str(event_id),
        "program": heard.program,
        "webhook": heard.webhook,
        "provider": heard.provider,
        "address": address,
        "received_at": heard.received_at.isoformat(),
    }


def _of_message(message: Message) -> dict[str, str]:
    event, match = message.event, message.match
    return {
        "type": "inbound",
        "text": event.text,
        "normal": message.normal,
        "category": match.category.value,
        "keyword": match.keyword,
        "sender": event.sender,
        "channel": event.channel,
        "provider_id": event.provider_id,
    }


def _of_receipt(event: Receipt, delivery: Delivery) -> dict[str, str]:
    return {
        "type": "receipt",
        "status": delivery.status.value,
        "provider_status": event.provider_status,
        "code": event.code,
        "error_text": event.error_text,
        "message_id": event.message_id,
        "sender": event.sender,
    }
