"""Which list calls which custom action, and the replies that wait for its answer: which do, and how one is kept."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from app.interpret.replies import Named, Wording, worded
from app.webhook import CustomKeywords, KeywordList, Webhook

#: a place of a text, with what stands in it: there are braces within braces, and none within quotes (`send.template`)
_PLACE = re.compile(
    r"""\{\{((?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`|\{(?:[^{}]|\{[^{}]*\})*\}|[^{}'"`])*)\}\}""", re.DOTALL
)
#: the answer, by name or in JSONata; not another thing's field that is called so
_ACTION = re.compile(r"(?:(?<![\w.])|\$\.)action\b")
#: the text of `otherwise` for whatever has none of its own
ANY_FAILURE = "error"


class Trigger(NamedTuple):
    """The action of a keyword list."""

    action: str
    waits: bool = False
    """The list's reply waits for the answer."""
    otherwise: Mapping[str, Wording] = {}
    """What is answered in its place, by what the call ends with."""


class Waiting(NamedTuple):
    """A reply that waits for a call: what its row in the outbox will be made of."""

    category: str
    credential: str
    sender: str
    text: str
    content: str
    otherwise: Mapping[str, tuple[str, str]]
    """By what the call ends with: text and content."""

    def instead(self, outcome: str) -> tuple[str, str]:
        """What is answered where the call does not succeed; an empty text: nothing."""
        nothing = "", ""
        return self.otherwise.get(outcome) or self.otherwise.get(ANY_FAILURE, nothing)


def dumped(waiting: Waiting) -> str:
    """As it is kept in table `action_calls`."""
    return orjson.dumps(waiting._asdict()).decode()


def loaded(text: str) -> Waiting:
    """What `dumped` was given."""
    kept: dict[str, Any] = orjson.loads(text)
    return Waiting(**kept | {"otherwise": {name: tuple(reply) for name, reply in kept["otherwise"].items()}})


def trigger_of(webhook: Webhook, listed: KeywordList | CustomKeywords, reply: Wording, named: Named) -> Trigger | None:
    """What a list calls; None: nothing. Raises BadInput for an unknown `@name`."""
    if listed.action is None:
        return None
    otherwise = {ending: worded(webhook, given, named) for ending, given in listed.otherwise.items()}
    return Trigger(listed.action, waits(reply), otherwise)


def waits(reply: Wording) -> bool:
    """Whether the answer of an action stands in it."""
    return mentions_action(reply.text) or mentions_action(reply.fallback)


def mentions_action(text: str) -> bool:
    """Whether a place of the text takes something from the answer of an action."""
    return "{{" in text and any(_ACTION.search(place) for place in _PLACE.findall(text))
