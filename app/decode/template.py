"""The inverse template of an operator's own provider: its JSON, with placeholders where a value is to be read.

    {"messages": [{"from": "tel:{{profileNumber}}", "text": "{{inboundMessage}}"}], "service": "sample data"}

It is compiled to the rules that provider files consist of, so there is one way to read a request. An array fans out
over all of its elements; text around a placeholder is cut off; what has no placeholder is only sample data.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from app.decode.paths import escape
from app.errors import BadInput
from app.provider import Alternative, Condition, EventRule, Value
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


def template_rules(webhook: Webhook) -> list[EventRule]:
    """The rules of a webhook's payloads; which ones it needs, its type says. Raises BadInput with the mend."""
    if webhook.type != "both" and webhook.feedback_payload:
        raise BadInput(f"feedback_payload is for a webhook of type both; this one is of type {webhook.type}")
    rules = [_rule("receipt" if webhook.type == "feedback" else "inbound", "payload", webhook.payload)]
    if webhook.type == "both":
        rules.append(_rule("receipt", "feedback_payload", webhook.feedback_payload))
    return rules


def _rule(kind: Kind, field: str, payload: str | None) -> EventRule:
    if not payload:
        raise BadInput(f"{field} is missing: paste a request of the provider, with {_braced(_FIELDS[kind])} in it")
    try:
        found = _placeholders(kind, json.loads(payload))
        _check_required(kind, found)
        return _compiled(kind, found)
    except json.JSONDecodeError as error:
        raise BadInput(f'{field} is not JSON: {error}. A placeholder stands in quotes: "{{{{name}}}}"') from None
    except RecursionError:
        raise BadInput(f"{field} has too many objects and arrays inside each other") from None
    except BadInput as error:
        raise BadInput(f"{field}: {error}") from None


def _placeholders(kind: Kind, tree: Any) -> Found:
    found: Found = {}
    for steps, leaf in _leaves(tree, ()):
        holes = _PLACEHOLDER.findall(leaf)
        if len(holes) > 1 or (steps == () and holes):
            raise BadInput(f"'{leaf}' must be one value in an object or array, with one placeholder at most")
        for name in holes:
            if name not in _FIELDS[kind]:
                raise BadInput(f"{{{{{name}}}}} is no placeholder here; there are {_braced(_FIELDS[kind])}")
            if name in found:
                raise BadInput(f"{{{{{name}}}}} stands in it twice; leave the place that is always filled")
            before, after = _PLACEHOLDER.split(leaf)[::2]
            found[name] = (steps, before, after)
    return found


def _leaves(tree: Any, steps: Steps) -> Iterator[tuple[Steps, str]]:
    match tree:
        case dict():
            for name, value in tree.items():
                if _PLACEHOLDER.search(name) or not name:
                    raise BadInput(f"'{name}' is a name; a placeholder stands for a value")
                yield from _leaves(value, (*steps, name))
        case list():
            for value in tree:
                yield from _leaves(value, (*steps, None))
        case str():
            yield steps, tree


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
    when: list[Condition] = [
        {_path(found[name][0], each): True for name in names}
        for names in _wanted_together(kind)
        if found.keys() >= set(names)
    ]
    return EventRule.model_validate({"kind": kind, "each": _spelt(each), "when": when, **fields})


def _wanted_together(kind: Kind) -> list[tuple[str, ...]]:
    """What must have a value for an item to be this kind of event: one of these."""
    if kind == "inbound":
        return [("inboundMessage", "profileNumber")]
    return [("feedbackStatus", "messageId"), ("feedbackStatus", "client_reference")]


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
