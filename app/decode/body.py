"""From the bytes of a request to a tree of dictionaries, lists, texts and numbers.

A form and a query string become one flat dictionary. JSON is read whatever content type it comes with: SNS sends it as
text/plain, and curl as a form. No text in a tree holds a NUL or half a surrogate pair: databases refuse both.
"""

import json
import re
from typing import Any, Literal, NoReturn
from urllib.parse import parse_qsl

import orjson

from app.decode.xml import read_xml
from app.errors import Unreadable
from app.request import Pairs, Request, parse_pairs

#: objects, arrays or elements inside each other; no provider comes near it
DEEPEST = 64
#: orjson rounds integers of more than 64 bits; they have at least 19 digits. Searching so costs a tenth of `\d{19}`
_DIGITS_TO_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19
_CHARSET = re.compile(r"charset=\"?([a-z0-9_-]+)")
_CHARSETS = frozenset(
    {"iso-8859-1", "latin1", "us-ascii", "windows-1252", "utf-16", "utf-16be", "utf-16le", "utf-16-be", "utf-16-le"}
)
_LIKE_A_FORM = re.compile(rb"[A-Za-z0-9_.%[\]-]{1,100}=[^=\s]")
_BLANKS_AND_MARK = b"\xef\xbb\xbf \t\r\n"

Plain = Literal["never", "else", "unless claimed"]
"""When a body is plain text, and no error: never; where it is nothing else; unless its content type says otherwise."""


def read_body(request: Request, plain: Plain = "never") -> Any:
    """The tree; an empty one for plain text. Raises Unreadable where the body cannot be read, or is nested too deep."""
    body = request.body
    if not body:
        return _flat(parse_pairs(request.query), suspicious="%00" in request.query or "\0" in request.query)
    if request.form:
        return _flat(_form(request), suspicious=b"%00" in body or b"\0" in body)
    return _json_or_xml(request) if plain == "never" else _told(request, plain)


def body_text(request: Request) -> str:
    """The whole body as text, in the charset that its content type names."""
    return clean_text(request.body.decode(_charset(request) or "utf-8-sig", "replace"))


def _told(request: Request, plain: Plain) -> Any:
    """What a person texts is no tree, though it may look like one: he would fill our fields with what he likes."""
    claimed = request.content_type.endswith(("json", "/xml", "+xml"))
    if plain == "unless claimed" and not claimed:
        return {}
    try:
        return _json_or_xml(request)
    except Unreadable:
        if claimed:
            raise
        return {}


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
    return {clean(name): clean(value) for name, value in flat.items()} if suspicious else flat


def _json_or_xml(request: Request) -> Any:
    body = request.body
    if not request.is_json and _is_xml(request):
        return read_xml(body, _charset(request), deepest=DEEPEST)
    try:
        return _json(request)
    except ValueError:
        kind = request.content_type[:60] or "none"
        hint = "; it looks like a form, so check the content type" if _LIKE_A_FORM.match(body) else ""
        raise Unreadable(f"The body is neither a form nor JSON nor XML (content type: {kind}){hint}.") from None


def _json(request: Request) -> Any:
    """JSON is UTF-8, unless it is not and the request names another charset."""
    try:
        return parse_json(request.body)
    except ValueError:
        charset = _charset(request)
        if charset is None:
            raise
        return parse_json(request.body, charset)


def _is_xml(request: Request) -> bool:
    kind = request.content_type
    if kind.endswith(("/xml", "+xml")):
        return True
    return not kind.endswith("json") and request.body[:64].lstrip(_BLANKS_AND_MARK)[:1] == b"<"


def parse_json(body: bytes, charset: str | None = None) -> Any:
    """The tree of a JSON text. Raises ValueError where it is none, Unreadable where it is nested too deep."""
    try:
        if _LONG_NUMBER in body.translate(_DIGITS_TO_ZEROS):
            tree, safe = _exact(body, charset), False
        else:
            tree, safe = orjson.loads(body), b"\\u0000" not in body
    except orjson.JSONDecodeError:
        tree, safe = _exact(body, charset), False
    if body.count(b"{") + body.count(b"[") > DEEPEST:
        check_depth(tree)
    return tree if safe else clean(tree)


def _exact(body: bytes, charset: str | None) -> Any:
    """The slow way, which keeps every digit and takes other charsets, byte order marks and half surrogate pairs."""
    try:
        return json.loads(body.decode(charset or "utf-8-sig"), parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("too many objects and arrays inside each other") from None


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def check_depth(tree: Any) -> None:
    """Raises Unreadable where a tree is nested too deep."""
    level = [tree]
    for _ in range(DEEPEST):
        level = [child for item in level for child in _inside(item)]
    if level:
        raise Unreadable(f"The body has more than {DEEPEST} objects and arrays inside each other.")


def _inside(item: Any) -> list[Any]:
    children = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return [child for child in children if isinstance(child, dict | list)]


def clean(tree: Any) -> Any:
    """The same with clean texts, names included."""
    match tree:
        case str():
            return clean_text(tree)
        case dict():
            return {clean(name): clean(value) for name, value in tree.items()}
        case list():
            return [clean(item) for item in tree]
        case _:
            return tree


def clean_text(text: str) -> str:
    """The text without what databases refuse: each NUL and each half of a surrogate pair becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
