"""From the provider's word for what became of a message to ours; its own word is kept beside it."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from app.decode.conditions import condition_of
from app.decode.fields import spelt, texts_of
from app.decode.paths import Frame
from app.errors import Unreadable
from app.events import Status
from app.provider import StatusRule, Value


class Verdict(NamedTuple):
    """What became of a message."""

    status: Status
    word: str
    """The provider's own; of several the first, which is the most exact."""
    blocked: bool = False


def verdict_of(
    value: Value | None, statuses: Mapping[str, Status], rules: Sequence[StatusRule]
) -> Callable[[Frame], Verdict]:
    """The first rule that holds, else the first word that the map lists (by its case-folded form), else unknown.

    The function raises Unreadable where there is no word at all.
    """
    texts = texts_of(value)
    tests = [(condition_of(rule.when).holds, rule) for rule in rules]
    places = spelt(value)

    def verdict(frame: Frame) -> Verdict:
        words = [word for text in texts if (word := text(frame))]
        if not words:
            raise Unreadable(f"a receipt has no status at {places}")
        for holds, rule in tests:
            if holds(frame):
                return Verdict(rule.status, words[0], rule.blocked)
        for word in words:
            status = statuses.get(word.casefold())
            if status is not None:
                return Verdict(status, words[0])
        return Verdict(Status.UNKNOWN, words[0])

    return verdict
