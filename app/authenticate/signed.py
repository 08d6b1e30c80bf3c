"""The text that is signed, from the template in the provider file (see app/scheme.py), compiled once.

Two different requests must never give the same text, or the proof of one would be good for the other: a header may
not hold what parts it from its neighbour, and what the text does not cover must not be where the values stand.
"""

import re
from collections.abc import Callable
from hashlib import sha256
from operator import itemgetter
from typing import Any, NamedTuple
from urllib.parse import urlencode

import orjson

from app.authenticate.evidence import encode, from_base64, header
from app.errors import BadInput, Refused
from app.request import Request, parse_pairs
from app.scheme import Encoding, Window

Read = Callable[[Request], bytes]

_PLACE = re.compile(r"\{([^{}]*)\}")


class Signed(NamedTuple):
    """A compiled template."""

    text: Read
    """The bytes that were signed. Raises Refused where the request lacks a part, or has one that is not covered."""
    words: str
    """What is signed, for a refusal: "the body and header x-nonce"."""


def signed(template: str, window: Window | None = None) -> Signed:
    """Compiles a template. Raises BadInput where it has an unknown place or would prove nothing."""
    if template == "{body}" and not window:
        return Signed(covered_body, "the body")
    pieces = _PLACE.split(template)
    literals, places = pieces[::2], pieces[1::2]
    reads = [_read(template, place, _parting(literals, at)) for at, place in enumerate(places)]
    _check_headers(template, literals, places, window)
    frame = b"%b".join(literal.encode().replace(b"%", b"%%") for literal in literals)
    check = _check_of(template, places)

    def text(request: Request) -> bytes:
        check(request)
        return frame % tuple([read(request) for read in reads])

    return Signed(text, _words(places))


def covered_body(request: Request) -> bytes:
    """The body, for schemes that sign nothing else. Raises Refused where all values stand in the unsigned query."""
    if not request.body and "?" in request.url:
        raise Refused("the values are in the query and the body is empty, so the signature covers none of them")
    return request.body


# --- what a template may say --------------------------------------------------------------------------------------


def _parting(literals: list[str], at: int) -> str:
    """The character next to a place on either side, where there is another place beyond it."""
    before = literals[at][-1:] if at > 0 else ""
    after = literals[at + 1][:1] if at + 2 < len(literals) else ""
    return before + after


def _read(template: str, place: str, parting: str) -> Read:
    kind, _, rest = place.partition(":")
    if kind == "header" and rest:
        return _header(rest.lower(), parting.encode())
    if kind == "base64" and all(rest.split(".")):
        return _decoded(rest)
    if place in _PLACES:
        return _PLACES[place][0]
    known = " ".join(f"{{{name}}}" for name in (*_PLACES, "header:name", "base64:path"))
    raise BadInput(f"signed text '{template}': there is no place {{{place}}}; there are {known}")


def _check_headers(template: str, literals: list[str], places: list[str], window: Window | None) -> None:
    """A header needs something that parts it from its neighbours; digits that must tell the time part themselves."""
    timed = f"header:{window.header.lower()}" if window else ""
    if timed and timed not in map(str.lower, places):
        raise BadInput(f"signed text '{template}': the window's header is not in it, so anybody could write a new time")
    for left, between, right in zip(places, literals[1:], places[1:], strict=False):
        for place in (left, right):
            if not between and place.startswith("header:") and place.lower() != timed:
                raise BadInput(f"signed text '{template}': nothing parts {{{place}}} from the place beside it")


def _check_of(template: str, places: list[str]) -> Callable[[Request], object]:
    """What a request must not have, because the text does not cover it."""
    of_body = any(place.startswith(("body", "base64:")) for place in places)
    of_query = "url" in places or "sorted_query" in places
    if of_body:
        return _nothing if of_query else covered_body
    if of_query:
        return _check_empty_body
    raise BadInput(f"signed text '{template}' holds neither the body nor the URL with its query, so it proves nothing")


def _nothing(_request: Request) -> None:
    """Both are covered."""


def _check_empty_body(request: Request) -> None:
    if request.body:
        raise Refused("there is a body and the signature does not cover it")


def _words(places: list[str]) -> str:
    words = [_PLACES[place][1] if place in _PLACES else _own_words(*place.split(":", 1)) for place in places]
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _own_words(kind: str, name: str) -> str:
    return f"header {name.lower()}" if kind == "header" else f"the bytes at {name}"


# --- the places ---------------------------------------------------------------------------------------------------


def _header(name: str, parting: bytes) -> Read:
    """With a dot in it, the end of a body that stands before the dot could be passed off as a nonce."""

    def read(request: Request) -> bytes:
        value = header(request, name)
        if len(value.translate(None, parting)) != len(value):
            raise Refused(f"header {name} has a character in it that parts it from what is signed beside it")
        return value

    return read


def _decoded(path: str) -> Read:
    names = path.split(".")

    def read(request: Request) -> bytes:
        decoded = from_base64(_text_at(_tree(request), names).encode("utf-8", "surrogatepass"))
        if decoded is None:
            raise Refused(f"the text at {path} of the body is not base64")
        return decoded

    return read


def _tree(request: Request) -> Any:
    try:
        return orjson.loads(request.body if request.is_json else b"")
    except orjson.JSONDecodeError:
        raise Refused("the body is not JSON") from None


def _text_at(tree: Any, names: list[str]) -> str:
    for name in names:
        if isinstance(tree, list) and name.isdecimal():
            tree = tree[int(name)] if int(name) < len(tree) else None
        else:
            tree = tree.get(name) if isinstance(tree, dict) else None
    if not isinstance(tree, str):
        raise Refused(f"the body has no text at {'.'.join(names)}")
    return tree


def _body(request: Request) -> bytes:
    return request.body


def _url(request: Request) -> bytes:
    return request.url.encode("utf-8", "surrogatepass")


def _bare_url(request: Request) -> bytes:
    return request.url.partition("?")[0].encode("utf-8", "surrogatepass")


def _sorted_query(request: Request) -> bytes:
    pairs = sorted(parse_pairs(request.query), key=itemgetter(0))
    return urlencode(pairs, errors="surrogatepass").encode()


def _digest(request: Request) -> bytes:
    return sha256(request.body).digest()


def _digest_as(encoding: Encoding) -> Read:
    return lambda request: encode(_digest(request), encoding)


_PLACES: dict[str, tuple[Read, str]] = {
    "body": (_body, "the body"),
    "url": (_url, "the URL"),
    "bare_url": (_bare_url, "the URL"),
    "sorted_query": (_sorted_query, "the query"),
    "body_sha256": (_digest, "the body"),
    "body_sha256_hex": (_digest_as("hex"), "the body"),
    "body_sha256_base64": (_digest_as("base64"), "the body"),
}
