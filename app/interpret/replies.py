"""What is answered: the texts, whether a message gets one, and whether a waiting reply may still leave."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from app.errors import BadInput
from app.events import Category, ConsentState, Standing
from app.interpret.keywords import Match
from app.interpret.normal import normalise
from app.reply import Reply, text_and_content
from app.webhook import Webhook

#: What is sent where the operator gives no text. Neutral, within one text of 160 characters. The CTIA principles want
#: the program's name and a contact too, which only the operator knows. No opt-out confirmation invites to come back:
#: 47 CFR 64.1200(a)(12) allows neither marketing nor persuasion in it.
STANDARD: Mapping[Category, str] = {
    Category.OPT_OUT: "You are unsubscribed and will receive no more messages. Reply {help} for help.",
    Category.OPT_IN: (
        "You are subscribed. Message frequency varies. Msg & data rates may apply. "
        "Reply {help} for help, {stop} to end."
    ),
    Category.DOUBLE_OPT_IN: (
        "Reply {yes} to confirm that you want our messages. Message frequency varies. Msg & data rates may apply. "
        "{help} for help, {stop} to end."
    ),
    Category.HELP: (
        "This is an automatic message service. Message frequency varies. Msg & data rates may apply. "
        "For support contact the sender. Reply {stop} to end."
    ),
}


Named = Mapping[str, str | Reply]
"""The named replies."""


class Wording(NamedTuple):
    """What is answered."""

    text: str
    """Empty: nothing."""
    content: str = ""
    """Suggestions and fallback as JSON (see `app.reply.Reply`); empty: a plain text."""
    fallback: str = ""
    """The text that leaves where there are no suggestions; empty: the same."""


SILENCE = Wording("")


def category_replies(webhook: Webhook, keywords: Mapping[str, Match], named: Named) -> dict[Category, Wording]:
    """Reply by category, custom apart. Raises BadInput for an unknown `@name`."""
    words = {
        "help": _word(keywords, Category.HELP, "HELP"),
        "stop": _word(keywords, Category.OPT_OUT, "STOP"),
        "yes": _word(keywords, Category.OPT_IN, "YES"),
    }
    found = {}
    for category in (*STANDARD, Category.DEFAULT):
        reply = webhook.keywords.of(category).reply
        standard = Wording(STANDARD.get(category, "").format(**words))
        found[category] = standard if reply is None else worded(webhook, reply, named)
    return found


def custom_replies(webhook: Webhook, named: Named) -> tuple[Wording, ...]:
    """Reply of each custom list. Raises BadInput for an unknown `@name`."""
    return tuple(worded(webhook, custom.reply or "", named) for custom in webhook.keywords.custom)


def worded(webhook: Webhook, reply: str | Reply, named: Named) -> Wording:
    """What a reply says, by itself or by its name. Raises BadInput for an unknown `@name`."""
    if isinstance(reply, str) and reply.startswith("@"):
        if reply[1:] not in named:
            raise BadInput(
                f"webhook {webhook.name}: there is no reply text named '{reply[1:]}'; add it to [replies] or write the "
                "text in place"
            )
        reply = named[reply[1:]]
    return Wording(*text_and_content(reply), "" if isinstance(reply, str) else reply.fallback)


def _word(keywords: Mapping[str, Match], category: Category, usual: str) -> str:
    """The word to tell people: the usual one where it is heard, else the first that is."""
    match = keywords.get(normalise(usual))
    if match and match.category is category:
        return usual
    return next((match.keyword for match in keywords.values() if match.category is category), usual)


def may_leave(category: str, standing: Standing, now: datetime, deadline: datetime) -> str | None:
    """Why a reply that waits in the outbox must not leave any more; None: it may.

    Asked when the reply is claimed: `standing` is the effective one of that moment (see `consent.effective`), for a
    person may have said STOP, or START, since it was queued. A confirmation is exempt from the opt-out it announces.
    """
    if now > deadline:
        return "deadline passed"
    wanted = _WANTED.get(category)
    if wanted and standing.state is not wanted:
        return f"no longer {wanted}"
    if category in (Category.DEFAULT, Category.CUSTOM) and standing.state is ConsentState.OPTED_OUT:
        return "opted out since"
    return None


#: the only state in which a reply of the category is still true
_WANTED: Mapping[str, ConsentState] = {
    Category.OPT_OUT: ConsentState.OPTED_OUT,
    Category.OPT_IN: ConsentState.OPTED_IN,
    Category.DOUBLE_OPT_IN: ConsentState.PENDING,
}
