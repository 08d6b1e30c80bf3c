"""What would happen to a message, with the very functions that decide, and nothing written."""

from dataclasses import dataclass
from datetime import datetime

from app.events import Guard, Heard, Inbound, Standing
from app.interpret import consent
from app.interpret.answer import answer
from app.interpret.classify import read
from app.interpret.rules import Rules
from app.interpret.triggers import rung


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and its grounds."""

    category: str
    rule: str
    keyword: str
    normal: str
    list_version: str
    old_state: str
    new_state: str
    reply: str
    """The text that would be queued; empty: silence."""
    reason: str
    """`queued`, `waits for action …`, or why there is no reply."""
    action: str
    """The custom action that would be called; empty: none."""


def explain(text: str, rules: Rules, standing: Standing, now: datetime) -> Explanation:
    """What the webhook would do with this text now, from a reachable person of this (effective) standing to whom
    nothing was lately replied."""
    event = Inbound(key="", provider_id="", address="somebody", sender="", text=text)
    heard = Heard(rules.webhook, "", "", "", received_at=now, events=(event,), rules=rules)
    message = read(heard, event, now)
    match = message.match
    turn = consent.heard(standing, match.category, now)
    reply = answer(message, turn, standing, Guard())
    called = rung(message, turn, reply, Guard())
    reply = called.answer if called else reply
    return Explanation(
        category=match.category.value,
        rule=match.rule,
        keyword=match.keyword,
        normal=message.normal,
        list_version=rules.list_version,
        old_state=standing.state.value,
        new_state=turn.state.value,
        reply=reply.text,
        reason=reply.reason,
        action=called.trigger.action if called and not called.refused else "",
    )
