"""What a message means: its whole normal form is a keyword, or the provider says so, or it is everything else."""

from datetime import datetime
from typing import NamedTuple

from app.events import Category, Heard, Inbound
from app.interpret.keywords import Match
from app.interpret.normal import normalise
from app.interpret.rules import Rules

_ELSE = Match(Category.DEFAULT, "default")


class Message(NamedTuple):
    """An inbound message, read."""

    heard: Heard
    """The request it came in."""
    event: Inbound
    normal: str
    match: Match
    at: datetime
    """Effective time."""


def read(heard: Heard, event: Inbound, at: datetime) -> Message:
    """The message with its meaning by the rules of the webhook."""
    normal = normalise(event.text)
    match = classify(normal, event.provider_category, heard.rules)
    if event.fragment and match.category is not Category.OPT_OUT:
        # what is missing may say the opposite, so what is there may take a person out, and never in
        match = Match(Category.DEFAULT, event.fragment)
    return Message(heard, event, normal, match, at)


def classify(normal: str, flag: Category | None, rules: Rules) -> Match:
    """The match of a message in normal form; `flag` is the provider's own classification.

    Our lists come first, for they are what the operator told people; the flag counts where they know nothing. But an
    opt-out that the provider has seen is one, whatever our lists say: the provider blocks that person from now on.
    """
    match = rules.keywords.get(normal)
    if match is None:
        # Here a second classifier will stand, for near misses (CANCIL) and sentences ("please stop texting me"). It
        # must rank below the keywords, name itself in `rule`, and may only ever take people out, never in.
        match = _ELSE
    if flag is None or flag is match.category:
        return match
    if flag is Category.OPT_OUT or match.category is Category.DEFAULT:
        return Match(flag, "provider flag")
    return match
