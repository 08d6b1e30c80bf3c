"""A request in the form in which the spool keeps it: what was heard, as JSON, and the body's exact bytes beside it.

Events are kept as they were read at the door, so that their keys are those under which the database may have recorded
them in the moment it went away. What they mean is not kept: their webhook's rules are asked when they are recorded.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from app.errors import Unreadable
from app.events import Change, Event, Heard, Inbound, RawRequest, Receipt, Trouble

_EVENTS: dict[str, TypeAdapter[Any]] = {
    "inbound": TypeAdapter(Inbound),
    "receipt": TypeAdapter(Receipt),
    "change": TypeAdapter(Change),
}
_KINDS = {Inbound: "inbound", Receipt: "receipt", Change: "change"}
_TROUBLES: TypeAdapter[tuple[Trouble, ...]] = TypeAdapter(tuple[Trouble, ...])
_RAW: TypeAdapter[RawRequest] = TypeAdapter(RawRequest)
_MOMENT: TypeAdapter[datetime] = TypeAdapter(datetime)
_PLAIN = ("webhook", "provider", "account", "program")


def dump(heard: Heard) -> tuple[bytes, bytes]:
    """(JSON, the raw request's body)."""
    tree = {name: getattr(heard, name) for name in _PLAIN} | {
        "received_at": heard.received_at,
        "events": [[_KINDS[type(event)], event] for event in heard.events],
        "troubles": heard.troubles,
        "raw": replace(heard.raw, body=b"") if heard.raw else None,
    }
    return orjson.dumps(tree, default=_as_list), heard.raw.body if heard.raw else b""


def _as_list(value: Any) -> Any:
    """Named tuples, and the empty place of the body."""
    if isinstance(value, tuple):
        return list(value)
    if value == b"":
        return ""
    raise TypeError(type(value).__name__)


def load(text: bytes, body: bytes) -> Heard:
    """What `dump` was given, without its rules, and late. Raises Unreadable where it is damaged or of another form."""
    try:
        tree = orjson.loads(text)
        raw = _RAW.validate_python(tree["raw"]) if tree["raw"] else None
        return Heard(
            **{name: str(tree[name]) for name in _PLAIN},
            received_at=_MOMENT.validate_python(tree["received_at"]),
            events=tuple(_event(kind, event) for kind, event in tree["events"]),
            troubles=_TROUBLES.validate_python(tree["troubles"]),
            raw=replace(raw, body=body) if raw else None,
            late=True,
            again_at=datetime.now(UTC),
        )
    except (ValidationError, orjson.JSONDecodeError, LookupError, TypeError, ValueError) as error:
        raise Unreadable(f"an item of the spool is damaged, or of another version: {type(error).__name__}") from None


def _event(kind: str, event: Any) -> Event:
    read: Callable[[Any], Event] = _EVENTS[kind].validate_python
    return read(event)
