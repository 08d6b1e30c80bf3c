"""From the bytes of a request to a tree of dictionaries, lists, texts and numbers.

A form and a query string become one flat dictionary. JSON is read whatever content type it comes with: SNS sends it as
text/plain, and curl as a form. No text in a tree holds a NUL or half a surrogate pair: databases refuse both.
"""

import json
import re
from typing import Any, NoReturn
from urllib.parse import parse_qsl

import orjson

from app.errors import Unreadable
from app.request import Pairs, Request, parse_pairs

#: objects and arrays inside each other; no provider comes near it
DEEPEST = 64
#: orjson rounds integers of more than 64 bits; they have at least 19 digits. Searching so costs a tenth of `\d{19}`
_DIGITS_TO_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19
_CHARSET = re.compile(r"charset=\"?([a-z0-9_-]+)")
_CHARSETS = frozenset({"iso-8859-1", "latin1", "us-ascii", "windows-1252", "utf-16", "utf-16be", "utf-16le"})


def read_body(request: Request) -> Any:
    """The tree. Raises Unreadable where the body is neither form nor JSON, or nested too deep."""
    body = request.body
    if not body:
        return _flat(parse_pairs(request.query), suspicious="%00" in request.query or "\0" in request.query)
    if body[:1] not in b"{[" and request.form:
        return _flat(_form(request), suspicious=b"%00" in body or b"\0" in body)
    return _json(request)


def _form(request: Request) -> Pairs:
    """The form in the charset that it names. Signatures are made over the form as UTF-8, see `Request.form`."""
    charset = _charset(request)
    if charset is None:
        return request.form
    return parse_qsl(request.body.decode("latin-1"), keep_blank_values=True, encoding=charset)


def _charset(request: Request) -> str | None:
    """The charset that the request names, where it is one that we read besides UTF-8."""
    named = _CHARSET.search(request.headers.get("content-type", "").lower())
    return named[1] if named and named[1] in _CHARSETS else None


def _flat(pairs: Pairs, *, suspicious: bool) -> dict[str, str]:
    """Of a repeated name the first value counts."""
    flat = dict(reversed(pairs))
    return {_clean(name): _clean(value) for name, value in flat.items()} if suspicious else flat


def _json(request: Request) -> Any:
    body = request.body
    try:
        if _LONG_NUMBER in body.translate(_DIGITS_TO_ZEROS):
            tree, safe = _exact(request), False
        else:
            tree, safe = orjson.loads(body), b"\\u0000" not in body
    except orjson.JSONDecodeError:
        tree, safe = _exact(request), False
    if body.count(b"{") + body.count(b"[") > DEEPEST and _is_deep(tree):
        raise Unreadable(f"The body has more than {DEEPEST} objects and arrays inside each other.")
    return tree if safe else _clean(tree)


def _exact(request: Request) -> Any:
    """The slow way, which keeps every digit and takes other charsets, byte order marks and half surrogate pairs."""
    try:
        return json.loads(request.body.decode(_charset(request) or "utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        kind = request.content_type[:60] or "none"
        raise Unreadable(f"The body is neither a form nor JSON (content type: {kind}).") from None


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _is_deep(tree: Any) -> bool:
    level = [tree]
    for _ in range(DEEPEST):
        level = [child for item in level for child in _inside(item)]
    return bool(level)


def _inside(item: dict[str, Any] | list[Any]) -> list[Any]:
    children = item.values() if isinstance(item, dict) else item
    return [child for child in children if isinstance(child, dict | list)]


def _clean(tree: Any) -> Any:
    match tree:
        case str():
            whole = tree.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return whole.replace("\0", "\ufffd")
        case dict():
            return {_clean(name): _clean(value) for name, value in tree.items()}
        case list():
            return [_clean(item) for item in tree]
        case _:
            return tree
