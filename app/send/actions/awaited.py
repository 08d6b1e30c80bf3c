"""A reply that waited for a call becomes a row of the outbox, its places filled in from the answer. Pure.

`{{action.order.status}}` walks through the answer by names, and by numbers where there is a list; JSONata may stand
there as well, over `action`, `profile` and the other places of a reply. Where a reply was to say what the answer does
not have, it would have a hole: then the text for failures is said instead.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from app.changes import OutboxRow
from app.errors import BadInput, Unreadable
from app.expression import expression
from app.interpret.waiting import ANY_FAILURE, Waiting, loaded, mentions_action
from app.record.calls import DueCall
from app.record.ids import new_id
from app.send.actions.call import Called
from app.send.personal import LONGEST, personalise
from app.send.template import as_text, taken_apart

SUCCESS = "success"
#: stands for two braces in a text that is filled in once more when it leaves
_BRACES = '{{"{{"}}'


class Awaited(NamedTuple):
    """What follows for whoever waits for an answer."""

    reply: OutboxRow | None = None
    silence: str = ""
    """Why there is no reply where one was waited for."""


class _Filled(NamedTuple):
    text: str
    content: str
    missing: tuple[str, ...]
    """Places of the answer that it has no value for."""


def awaited(row: DueCall, called: Called, profile: Mapping[str, str], now: datetime) -> Awaited:
    """The reply that waited for the call, or why there is none."""
    if not row.reply:
        return Awaited()
    waiting, reply_id = loaded(row.reply), new_id()
    values = {
        "profile": profile,
        "fromNumber": waiting.sender,
        "toNumber": row.address,
        "messageReference": str(reply_id),
        "action": answer_of(called.response),
    }
    filled, why = _said(waiting, called.outcome, values)
    if not filled.text.strip():
        return Awaited(silence=f"no reply: action {row.action} {why or 'gave an answer with nothing to say'}")
    return Awaited(_queued(row, waiting, reply_id, filled, now))


def _said(waiting: Waiting, outcome: str, values: Mapping[str, Any]) -> tuple[_Filled, str]:
    """What is said, and what stands against what was to be said."""
    if outcome != SUCCESS:
        return _filled(*waiting.instead(outcome), values), f"ended as {outcome}"
    filled = _filled(waiting.text, waiting.content, values)
    if not filled.missing:
        return filled, ""
    return _filled(*waiting.instead(ANY_FAILURE), values), f"gave an answer without {', '.join(filled.missing)}"


def _queued(row: DueCall, waiting: Waiting, reply_id: int, filled: _Filled, now: datetime) -> OutboxRow:
    return OutboxRow(
        id=reply_id,
        kind="reply",
        webhook=row.webhook,
        credential=waiting.credential,
        program=row.program,
        category=waiting.category,
        address=row.address,
        sender=waiting.sender,
        text=_literal(filled.text),
        inbound_id=row.inbound_id,
        state="pending",
        attempts=0,
        next_at=now,
        deadline=row.deadline,
        created_at=now,
        content=filled.content,
    )


# --- filling in ---------------------------------------------------------------------------------------------------


def answer_of(response: str) -> Any:
    """The answer as JSON, or as the text that it is; None: there is none."""
    try:
        return orjson.loads(response) if response else None
    except orjson.JSONDecodeError:
        return response


def _filled(text: str, content: str, values: Mapping[str, Any]) -> _Filled:
    """Text and fallback; suggestions stay as they are, as they always do."""
    said, missing = fill(text, values)
    rest = orjson.loads(content) if content else {}
    if rest.get("fallback"):
        fallback, more = fill(rest["fallback"], values)
        rest["fallback"], missing = _literal(fallback), missing + more
    return _Filled(said, orjson.dumps(rest).decode() if rest else "", missing)


def fill(text: str, values: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The text with its places filled in, at most LONGEST characters; and those of the answer that had no value."""
    literals, names = taken_apart(text)
    parts, missing = [literals[0]], list[str]()
    for name, literal in zip(names, literals[1:], strict=True):
        place = "{{" + name + "}}"
        if mentions_action(place):
            value = value_in(name, values)
            missing += [name] if value is None else []
            parts += [as_text(value), literal]
        else:
            parts += [personalise(place, values), literal]
    return _storable("".join(parts))[:LONGEST], tuple(missing)


def value_in(name: str, values: Mapping[str, Any]) -> Any:
    """What a place that mentions `action` stands for; None: there is no such thing."""
    node: Any = values
    for part in name.split("."):
        node = _inside(node, part)
    return node if node is not None else _expressed(name, values)


def _inside(node: Any, part: str) -> Any:
    if isinstance(node, Mapping):
        return node.get(part)
    if isinstance(node, list) and part.isascii() and part.isdecimal():
        return node[int(part)] if int(part) < len(node) else None
    return None


def _expressed(text: str, values: Mapping[str, Any]) -> Any:
    try:
        return expression(text)(values)
    except (Unreadable, BadInput):
        return None


def _storable(text: str) -> str:
    """Without what no database takes: NUL, and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _literal(text: str) -> str:
    """The text so that it leaves as it is: what others wrote is no template of ours."""
    return text.replace("{{", _BRACES)
