"""The inverse template of an operator's own provider: its JSON, with placeholders where a value is to be read.

    {"messages": [{"from": "tel:{{profileNumber}}", "text": "{{inboundMessage}}"}], "service": "sample data"}

It is compiled to the rules that provider files consist of, so there is one way to read a request. An array fans out
over all of its elements; text around a placeholder is cut off; what has no placeholder is only sample data.
"""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from app.decode.paths import escape
from app.errors import BadInput
from app.provider import Alternative, EventRule, Value
from app.spec import Condition
from app.webhook import Webhook

Kind = Literal["inbound", "receipt"]
Steps = tuple[str | None, ...]
"""The way to a leaf: names, and None for each array on it."""
Found = dict[str, tuple[Steps, str, str]]
"""Placeholder -> where it stands, and the text before and behind it."""

_PLACEHOLDER = re.compile(r"\{\{\s*(\w*)\s*\}\}")
_FIELDS: dict[Kind, dict[str, str]] = {
    "inbound": {
        "inboundMessage": "text",
        "profileNumber": "address",
        "requestId": "id",
        "originTimestamp": "time",
        "inboundNumber": "sender",
    },
    "receipt": {
        "feedbackStatus": "status",
        "messageId": "id",
        "client_reference": "reference",
        "recipient": "address",
        "failureCode": "code",
        "timestamp": "time",
    },
}
#: what an event consists of, so that it says which array fans out; of the others the first element is read
_CORE = ("inboundMessage", "profileNumber", "feedbackStatus", "messageId", "client_reference", "recipient")


class Leaf(NamedTuple):
    """A value of a payload."""

    steps: Steps
    text: str
    """Empty where it is no text."""
    is_first: bool
    """It stands in no array, or in the first elements."""


class Payload(NamedTuple):
    """A payload, read."""

    rule: EventRule
    wanted: list[frozenset[Steps]]
    """The places that must have a value, of one of these."""
    places: frozenset[Steps]
    """Where it has values at all, sample data too."""


def template_rules(webhook: Webhook) -> list[EventRule]:
    """The rules of a webhook's payloads; which ones it needs, its type says. Raises BadInput with the mend."""
    if webhook.type != "both" and webhook.feedback_payload:
        raise BadInput(f"feedback_payload is for a webhook of type both; this one is of type {webhook.type}")
    first = _read("receipt" if webhook.type == "feedback" else "inbound", "payload", webhook.payload)
    if webhook.type != "both":
        return [first.rule]
    second = _read("receipt", "feedback_payload", webhook.feedback_payload)
    # who says more comes first, or the other would read it too; where each may be the other, no STOP becomes a receipt
    receipts_first = _holds(first, second) and not _holds(second, first)
    return [second.rule, first.rule] if receipts_first else [first.rule, second.rule]


def _holds(payload: Payload, other: Payload) -> bool:
    """Whether the rule of a payload would read the other one."""
    return any(wanted <= other.places for wanted in payload.wanted)


def _read(kind: Kind, field: str, payload: str | None) -> Payload:
    if not payload:
        raise BadInput(f"{field} is missing: paste a request of the provider, with {_braced(_FIELDS[kind])} in it")
    try:
        leaves = list(_leaves(json.loads(payload), ()))
        found = _placeholders(kind, leaves)
        _check_required(kind, found)
        wanted = [frozenset(found[name][0] for name in names) for names in _choices(kind, found)]
        return Payload(_compiled(kind, found), wanted, frozenset(leaf.steps for leaf in leaves))
    except json.JSONDecodeError as error:
        raise BadInput(f'{field} is not JSON: {error}. A placeholder stands in quotes: "{{{{name}}}}"') from None
    except RecursionError:
        raise BadInput(f"{field} has too many objects and arrays inside each other") from None
    except BadInput as error:
        raise BadInput(f"{field}: {error}") from None


def _placeholders(kind: Kind, leaves: list[Leaf]) -> Found:
    found: Found = {}
    filled = [leaf for leaf in leaves if _PLACEHOLDER.search(leaf.text)]
    _check_arrays(filled)
    for steps, text, _ in filled:
        holes = _PLACEHOLDER.findall(text)
        if len(holes) > 1 or not steps:
            raise BadInput(f"'{text}' must be one value in an object or array, with one placeholder at most")
        for name in holes:
            if name not in _FIELDS[kind]:
                raise BadInput(f"{{{{{name}}}}} is no placeholder here; there are {_braced(_FIELDS[kind])}")
            if name in found:
                raise BadInput(f"{{{{{name}}}}} stands in it twice; leave the place that is always filled")
            before, after = _PLACEHOLDER.split(text)[::2]
            found[name] = (steps, before, after)
    return found


def _check_arrays(filled: list[Leaf]) -> None:
    """Every element of an array is read like its first one."""
    if len({leaf.steps for leaf in filled}) < len(filled):
        raise BadInput("two placeholders stand at the same place of an array; its elements are read alike")
    for leaf in filled:
        if (None, None) in pairwise(leaf.steps):
            raise BadInput(f"'{leaf.text}' stands in an array inside an array; such arrays cannot be read")
        if not leaf.is_first:
            raise BadInput(f"'{leaf.text}' stands behind the first element of an array; put it into the first")


def _leaves(tree: Any, steps: Steps, *, is_first: bool = True) -> Iterator[Leaf]:
    match tree:
        case dict():
            for name, value in tree.items():
                if _PLACEHOLDER.search(name) or not name:
                    raise BadInput(f"'{name}' is a name; a placeholder stands for a value")
                yield from _leaves(value, (*steps, name), is_first=is_first)
        case list():
            for place, value in enumerate(tree):
                yield from _leaves(value, (*steps, None), is_first=is_first and place == 0)
        case _:
            yield Leaf(steps, tree if isinstance(tree, str) else "", is_first)


def _check_required(kind: Kind, found: Found) -> None:
    wanted = ["inboundMessage", "profileNumber"] if kind == "inbound" else ["feedbackStatus"]
    missing = [name for name in wanted if name not in found]
    if missing:
        raise BadInput(f"{_braced(missing)} is missing; put it where the provider's value stands")
    if kind == "receipt" and not found.keys() & {"messageId", "client_reference"}:
        raise BadInput("{{messageId}} or {{client_reference}} is missing; without it nobody knows what was delivered")


def _compiled(kind: Kind, found: Found) -> EventRule:
    each = _fan_out(found)
    fields: dict[str, Value] = {}
    for name, (steps, before, after) in found.items():
        fields[_FIELDS[kind][name]] = Alternative(path=_path(steps, each), prefix=before, suffix=after)
    when: list[Condition] = [{_path(found[name][0], each): True for name in names} for names in _choices(kind, found)]
    return EventRule.model_validate({"kind": kind, "each": _spelt(each), "when": when, **fields})


def _choices(kind: Kind, found: Found) -> list[tuple[str, ...]]:
    """What must have a value for an item to be this kind of event: one of these."""
    if kind == "inbound":
        return [("inboundMessage", "profileNumber")]
    return [("feedbackStatus", name) for name in ("messageId", "client_reference") if name in found]


def _fan_out(found: Found) -> Steps:
    """The innermost array that an event's values stand in; they must all stand in it or around it."""
    arrays = {name: _upto_array(steps) for name, (steps, _, _) in found.items() if name in _CORE}
    deepest = max(arrays, key=lambda name: len(arrays[name]))
    for name, array in arrays.items():
        if array != arrays[deepest][: len(array)]:
            raise BadInput(
                f"{_braced([name, deepest])} stand in different arrays, so nobody knows which belong together"
            )
    return arrays[deepest]


def _upto_array(steps: Steps) -> Steps:
    return steps[: max((place + 1 for place, step in enumerate(steps) if step is None), default=0)]


def _path(steps: Steps, each: Steps) -> str:
    """The path to a leaf from the item that `each` fans out to."""
    levels = [place + 1 for place, step in enumerate(each) if step is None]
    shared = [end for end in levels if steps[:end] == each[:end]]
    rest = steps[shared[-1] :] if shared else steps
    names = ["0" if step is None else escape(step) for step in rest]
    climb = ["^"] * (len(levels) - len(shared)) if shared else ["$"] * bool(levels)
    return ".".join([*climb, *names]) or "@"


def _spelt(each: Steps) -> str:
    names = [escape(step) if step is not None else "[]" for step in each]
    return ".".join(names).replace(".[]", "[]")


def _braced(names: Any) -> str:
    return " ".join(f"{{{{{name}}}}}" for name in names)
