"""The fields that a call is made of (`app.action`), and what may stand in the places of its texts."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from app.action import CONSENT_FIELDS, EVENT_FIELDS
from app.errors import BadInput, SendFailed, TookTooLong, Unreadable
from app.expression import expression
from app.interpret.governance import project
from app.record.traces import Traces
from app.send.template import Fill

Fields = Mapping[str, Any]
"""`{"event": {…}, "profile": {…}, "consent": {…}}`, without what a policy denies."""

_FIELD = re.compile(r"[A-Za-z_][\w.-]*")
_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_KNOWN: Mapping[str, tuple[str, ...]] = {"event": EVENT_FIELDS, "consent": CONSENT_FIELDS}
#: all of them together are a table, which an expression can take as a whole
_ROOTS = frozenset({"event", "profile", "consent"})
_ADDRESS = "event.address"
#: what a provider makes, and may make of the person's number: WhatsApp's ids hold it in base64, errors quote it
_OF_PROVIDERS = ("provider_id", "message_id", "provider_status", "code", "error_text")
#: `_id` by itself, and not the end of another name
_ID = re.compile(r"(?<![\w.$`-])_id\b")


class NoValue(SendFailed):
    """A field that something is made of is not there; nothing is sent."""


def leaving(fields: Fields, denied: Iterable[str]) -> dict[str, Any]:
    """The fields without the denied ones. Where the address is one of these, also without the words of providers in
    which it stands all the same."""
    names = frozenset(denied)
    naming = _naming(fields.get("event", {})) if _ADDRESS in names else ()
    return project(fields, names.union(naming))


def _naming(event: Mapping[str, Any]) -> list[str]:
    if not (address := event.get("address")):
        return []
    traces = Traces(str(address))
    told = {name: str(event.get(name, "")).encode("utf-8", "replace") for name in _OF_PROVIDERS}
    return [f"event.{name}" for name, data in told.items() if traces.name(data) or traces.hide(data)]


def field_named(name: str) -> str:
    """The full name of a field: `event._id` for `_id`. Raises BadInput for a field that no event ever has."""
    full = "event._id" if name == "_id" else name
    root, _, rest = full.partition(".")
    if root == "profile" and _ATTRIBUTE.fullmatch(rest):
        return full
    if rest not in _KNOWN.get(root, ()):
        raise BadInput(f"'{name}' is no field; {_meant(full)}")
    return full


def _meant(name: str) -> str:
    known = [f"{root}.{field}" for root, fields in _KNOWN.items() for field in fields]
    close = get_close_matches(name, known, 1) or get_close_matches(f"event.{name}", known, 1, 0.8)
    return f"did you mean '{close[0]}'?" if close else "there are _id, event.…, profile.… and consent.…"


def value_at(full: str) -> Fill[Any]:
    """The function that gives a field's value. It raises NoValue, which names the field, where there is none."""
    root, _, rest = full.partition(".")

    def value(fields: Fields) -> Any:
        found = fields.get(root, {}).get(rest)
        if found is None:
            raise NoValue(f"{full} has no value", permanent=True)
        return found

    return value


class ActionPlaces:
    """The places of an action: fields by their full names, and JSONata over them. See `app.send.template.Places`."""

    def value(self, name: str) -> Fill[Any]:
        """The function that gives the value. It raises SendFailed, NoValue where there is none."""
        if _FIELD.fullmatch(name) and name not in _ROOTS:
            return value_at(field_named(name))
        return _expressed(name)


def _expressed(text: str) -> Fill[Any]:
    evaluate = expression(text)

    def value(fields: Fields) -> Any:
        known = {"_id": found} if (found := fields.get("event", {}).get("_id")) is not None else {}
        try:
            result = evaluate({**fields, **known})
        except Unreadable as error:
            raise SendFailed(f"{_short(text)}: {error}", permanent=not isinstance(error, TookTooLong)) from None
        if result is None:
            raise NoValue(f"{_short(text)} has no value", permanent=True)
        return result

    return value


def _short(text: str) -> str:
    return f"{{{{{text[:80]}}}}}"


def with_full_names(text: str) -> list[str]:
    """The expression, and the full name of what it may call `_id`."""
    return [text, "event._id"] if _ID.search(text) else [text]
