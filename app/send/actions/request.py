"""An action and the fields of an event become the request: path, headers, query and payload, each compiled once.

A value never meets the syntax around it (see `app.send.template`). One that is missing stops the request and names the
parameter, unless that is optional, so left out, or nullable, so null.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import orjson

from app.action import Action
from app.credential import ApiKeyAuth
from app.errors import BadInput, SendFailed
from app.send.actions.fields import ActionPlaces, Fields, NoValue
from app.send.actions.path import checked as checked_path
from app.send.actions.path import path
from app.send.answer import steps_of
from app.send.authorization import Authorization, authorization
from app.send.destinations import place
from app.send.http import OWN_HEADERS
from app.send.render import Outgoing
from app.send.template import LEFT_OUT, Fill, as_text, checked, constant_name, form_encoded, joined, text_parts

Spot = tuple[str, ...]
"""Where a parameter stands: ("payload", "customer", "phone")."""
Instead = Mapping[Spot, Any]
"""What stands there where there is no value: LEFT_OUT or None."""

_PLACES = ActionPlaces()
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
_JSON_TYPE = re.compile(r"application/(?:[\w.+-]+\+)?json(?:\s*;.*)?", re.IGNORECASE)
_STANDING = {"Content-Type": "application/json", "Charset": "UTF-8"}


def composer(action: Action) -> Callable[[Fields], Outgoing]:
    """The function that makes the request. Raises BadInput, which says what to mend, for what could never be sent.

    The function raises SendFailed, permanent, that names the parameter without a value. A proof that is another for
    each request is no part of it, see `app.send.authorizer`.
    """
    proof, instead = authorization(action.auth), _instead(action)
    url, headers = _url(action, proof, instead), _headers(action, proof, instead)
    body = _body(action, instead)
    return lambda fields: Outgoing(action.method, url(fields), headers(fields), body(fields))


# --- URL ----------------------------------------------------------------------------------------------------------


def _url(action: Action, proof: Authorization, instead: Instead) -> Fill[str]:
    static = _static(action)
    fill_path = path(action.path).fill if action.path else None
    fill_query = _query(action, instead)
    mark = "&" if "?" in static else "?"

    def fill(fields: Fields) -> str:
        # exactly one slash between the two, so no value can be a part of the host
        url = f"{static.removesuffix('/')}/{fill_path(fields).removeprefix('/')}" if fill_path else static
        pairs = [*([proof.query] if proof.query else []), *fill_query(fields)]
        return f"{url}{mark}{'&'.join(pairs)}" if pairs else url

    return fill


def _static(action: Action) -> str:
    if "{{" in action.url:
        raise BadInput("url: it is the part that never changes; what does change goes into path or query")
    try:
        place(action.url)
        checked_path(action.url.partition("?")[0])
    except (BadInput, SendFailed) as error:
        raise BadInput(f"url: {error}".replace("a value would lead", "this leads")) from None
    if "#" in action.url:
        raise BadInput("url: it has a fragment (#), which is never sent; leave it out")
    if action.path and "?" in action.url:
        raise BadInput("url: with a path behind it there can be no ? in it; put its parameters into query")
    return action.url


def _query(action: Action, instead: Instead) -> Callable[[Fields], Iterator[str]]:
    if isinstance(action.auth, ApiKeyAuth) and action.auth.place == "query" and action.auth.name in action.query:
        raise BadInput("query and auth set the same parameter; leave it to auth")
    fills = {
        form_encoded(constant_name(name)): _leaf(text, ("query", name), instead) for name, text in action.query.items()
    }

    def pairs(fields: Fields) -> Iterator[str]:
        for name, fill in fills.items():
            if (value := fill(fields)) is not LEFT_OUT:
                yield f"{name}={form_encoded(as_text(value))}"

    return pairs


# --- headers ------------------------------------------------------------------------------------------------------


def _headers(action: Action, proof: Authorization, instead: Instead) -> Fill[dict[str, str]]:
    own = {name.lower() for name in action.headers}
    _refuse_clash(action, own, {name.lower() for name in proof.headers})
    fixed = {name: text for name, text in _STANDING.items() if name.lower() not in own}
    fills = {name: _header(name, text, instead) for name, text in action.headers.items()}

    def headers(fields: Fields) -> dict[str, str]:
        found = {name: value for name, fill in fills.items() if (value := fill(fields)) is not LEFT_OUT}
        return {**fixed, **found, **proof.headers}

    return headers


def _refuse_clash(action: Action, own: set[str], proof: set[str]) -> None:
    if len(own) < len(action.headers):
        raise BadInput("headers: one of them is there twice, for small and capital letters are the same in their names")
    if own & proof:
        raise BadInput("headers and auth set the same header; leave it to auth")
    if own & (OWN_HEADERS | {"charset"}):
        raise BadInput("headers: Charset is always UTF-8, and Host, lengths and Connection are the HTTP client's")
    kind = next((text for name, text in action.headers.items() if name.lower() == "content-type"), "application/json")
    if not _JSON_TYPE.fullmatch(kind):
        raise BadInput("headers: Content-Type should be application/json, or a type that ends with +json")


def _header(name: str, text: str, instead: Instead) -> Fill[Any]:
    spot = ("headers", name)
    fill = _leaf(text, spot, instead)
    if not _HEADER_VALUE.fullmatch("".join(checked(text)[0])):
        raise BadInput(f"headers.{name} has a line break or a character beyond ASCII, which fits into no header")

    def value(fields: Fields) -> Any:
        if (found := fill(fields)) is LEFT_OUT:
            return LEFT_OUT
        if not _HEADER_VALUE.fullmatch(shown := as_text(found)):
            raise SendFailed(
                f"{_named(spot)} would get a line break or a character beyond ASCII, which fits into no header",
                permanent=True,
            )
        return shown

    return value


# --- payload ------------------------------------------------------------------------------------------------------


def _body(action: Action, instead: Instead) -> Fill[bytes]:
    if action.payload is None:
        return lambda _: b""
    try:
        orjson.dumps(action.payload)
    except orjson.JSONEncodeError as error:
        raise BadInput(f"payload cannot be sent: {error}") from None
    fill = _node(action.payload, ("payload",), instead)

    def body(fields: Fields) -> bytes:
        try:
            return orjson.dumps(fill(fields))
        except orjson.JSONEncodeError:
            raise SendFailed("payload: a value of it is no JSON, such as half of a character", permanent=True) from None

    return body


def _node(node: Any, spot: Spot, instead: Instead) -> Fill[Any]:
    match node:
        case str():
            return _leaf(node, spot, instead)
        case dict():
            return _or_instead(_object(node, spot, instead), spot, instead)
        case list():
            return _or_instead(_list(node, spot, instead), spot, instead)
    return lambda _: node


def _object(node: dict[str, Any], spot: Spot, instead: Instead) -> Fill[Any]:
    fills = {constant_name(name): _node(inner, (*spot, name), instead) for name, inner in node.items()}
    return lambda fields: {name: v for name, fill in fills.items() if (v := fill(fields)) is not LEFT_OUT}


def _list(node: list[Any], spot: Spot, instead: Instead) -> Fill[Any]:
    fills = [_node(inner, (*spot, str(index)), instead) for index, inner in enumerate(node)]
    return lambda fields: [v for fill in fills if (v := fill(fields)) is not LEFT_OUT]


# --- a parameter, and what stands in its place ----------------------------------------------------------------------


def _leaf(text: str, spot: Spot, instead: Instead) -> Fill[Any]:
    """One that is nothing but a place keeps the value's type."""
    try:
        literals, names = checked(text)
        fill = _PLACES.value(names[0]) if literals == ["", ""] else joined(text_parts(text, _PLACES))
    except BadInput as error:
        raise BadInput(f"{_named(spot)}: {error}") from None

    def named(fields: Fields) -> Any:
        try:
            return fill(fields)
        except NoValue as error:
            raise NoValue(f"{_named(spot)}: {error}", permanent=True) from None
        except SendFailed as error:
            raise SendFailed(f"{_named(spot)}: {error}", permanent=error.permanent) from None

    return _or_instead(named if names else fill, spot, instead)


def _or_instead(fill: Fill[Any], spot: Spot, instead: Instead) -> Fill[Any]:
    if spot not in instead:
        return fill
    other = instead[spot]

    def found(fields: Fields) -> Any:
        try:
            return fill(fields)
        except NoValue:
            return other

    return found


def _instead(action: Action) -> Instead:
    found: dict[Spot, Any] = {}
    for kind, names, value in (("optional", action.optional, LEFT_OUT), ("nullable", action.nullable, None)):
        for name in names:
            spot = tuple(steps_of(name))
            _refuse_spot(action, kind, name, spot)
            if spot in found:
                raise BadInput(f"'{name}' is named twice in optional and nullable; it can be one of both, and once")
            found[spot] = value
    return found


def _refuse_spot(action: Action, kind: str, name: str, spot: Spot) -> None:
    known = dict(_spots(action))
    if spot not in known:
        close = get_close_matches(name, list(map(_named, known)), 1)
        mend = f"did you mean '{close[0]}'?" if close else "write payload.name, query.name or headers.name"
        raise BadInput(f"{kind} names '{name}', which is no parameter; {mend}")
    if kind == "nullable" and spot[0] != "payload":
        raise BadInput(f"nullable names '{name}'; only JSON has a null, so make it optional")
    if not known[spot]:
        raise BadInput(f"{kind} names '{name}', which is constant and so always has a value; leave it out")


def _spots(action: Action) -> Iterator[tuple[Spot, bool]]:
    """Every parameter but the whole payload, and whether it is variable."""
    trees = {"headers": action.headers, "query": action.query, "payload": action.payload}
    for root, tree in trees.items():
        for spot, variable in _within(tree, (root,)):
            if len(spot) > 1:
                yield spot, variable


def _within(node: Any, spot: Spot) -> Iterator[tuple[Spot, bool]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    yield spot, "{{" in orjson.dumps(node, default=str).decode()
    for name, each in inner:
        yield from _within(each, (*spot, str(name)))


def _named(spot: Spot) -> str:
    return ".".join(step.replace(".", "\\.") for step in spot)
