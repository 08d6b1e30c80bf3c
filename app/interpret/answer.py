"""Whether a message is answered, and with which text; every silence has its reason."""

from typing import NamedTuple

from app.events import Category, ConsentState, Guard, Standing
from app.interpret import consent, guard
from app.interpret.classify import Message
from app.interpret.consent import Turn
from app.interpret.rules import Rules

QUEUED = "queued"
ALREADY_CONFIRMED = "this opt-out was confirmed before"
PROVIDER_ANSWERED = "the provider answered"
NO_TEXT = "no reply text"
NO_CREDENTIAL = "no credential"
LATE_PART = "its message was answered without it"


class Answer(NamedTuple):
    """A reply, or the reason why there is none."""

    category: Category
    text: str
    """Empty: silence."""
    reason: str
    """`queued`, or why not."""
    content: str = ""
    """What a rich reply has beside its text, as JSON."""
    waits: bool = False
    """It leaves when the action that is called has answered."""


def answer(message: Message, turn: Turn, old: Standing, lately: Guard) -> Answer:
    """The answer to a message: `old` is the person's standing before it, `lately` what they were answered before."""
    rules: Rules = message.heard.rules
    category = turn.answer
    if category is None:
        return Answer(message.match.category, "", turn.kept or consent.OPTED_OUT)
    reply = rules.reply(category, message.match)
    reason = (
        _settled(rules, message, old)
        or ("" if reply.text else NO_TEXT)
        or ("" if rules.credential else NO_CREDENTIAL)
        or guard.refuses_address(message.event.address, message.event.sender, rules.own_numbers)
        or echoes(rules, message.normal, category)
        or guard.refuses_rate(lately, rules.policy, category, message.heard.received_at)
    )
    return Answer(category, "", reason) if reason else Answer(category, reply.text, QUEUED, reply.content)


def _settled(rules: Rules, message: Message, old: Standing) -> str:
    """Why nothing is left to say: it was said before."""
    category = message.match.category
    if category is Category.OPT_OUT and old.confirmed and old.state is ConsentState.OPTED_OUT:
        return ALREADY_CONFIRMED
    if message.event.provider_answered or category in rules.provider_answers:
        return PROVIDER_ANSWERED
    if message.event.fragment == "late part" and category is not Category.OPT_OUT:
        return LATE_PART
    return ""


def echoes(rules: Rules, normal: str, category: Category) -> str:
    """Why a message is taken for our own text that has come back; empty: it is not."""
    # keywords are answered even where a reply text is made of one: a STOP is always a STOP, a HELP always a HELP, and
    # the hourly limit ends what loop there might be
    return guard.OWN_TEXT if category is Category.DEFAULT and normal in rules.own_texts else ""
