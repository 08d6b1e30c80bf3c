"""A request that somebody pastes, or keeps in a file: a body alone, or request line, headers, blank line and body."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from app.errors import BadInput
from app.request import Request

METHODS = ("POST", "GET", "PUT", "OPTIONS")

_START = re.compile(rb"(%s) (\S+)(?: HTTP/\d(?:\.\d)?)?\r?\n" % "|".join(METHODS).encode())
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_FORM = "application/x-www-form-urlencoded"


class Pasted(NamedTuple):
    """A request, as it was given."""

    method: str
    query: str
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes


def read_pasted(data: bytes) -> Pasted:
    """The request. Raises BadInput for a header line that is none."""
    start = _START.match(data)
    if start is None:
        return Pasted("POST", "", {}, data)
    head, _, body = _parted(data[start.end() - 1 :])
    _, _, query = start[2].decode("latin-1").partition("?")
    headers = _headers(head.decode("latin-1"))
    return Pasted(start[1].decode(), query, headers, _without_editors_line_end(body, headers))


def _parted(rest: bytes) -> tuple[bytes, bytes, bytes]:
    """Head and body around the first blank line; `rest` begins with the line end of the request line."""
    blank = _BLANK_LINE.search(rest)
    return (rest[: blank.start()], blank[0], rest[blank.end() :]) if blank else (rest, b"", b"")


def _headers(head: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in head.split("\n"):
        name, colon, value = line.strip().partition(":")
        if name and not colon:
            raise BadInput("a line between the request line and the first blank one is no header; write Name: value")
        if name:
            key = name.strip().lower()
            found[key] = f"{found[key]}, {value.strip()}" if key in found else value.strip()
    return found


def _without_editors_line_end(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Editors end a file with a line break; the request's own length knows better."""
    length = headers.get("content-length", "")
    whole = length.isdecimal() and body.rstrip(b"\r\n") == body[: int(length)]
    return body[: int(length)] if whole else body


def as_sent(pasted: Pasted, now: datetime | None = None) -> Request:
    """As it would come to the door, to the byte."""
    return Request(pasted.method, "", dict(pasted.headers), pasted.body, now or datetime.now(UTC), query=pasted.query)


def request_of(pasted: Pasted, now: datetime | None = None) -> Request:
    """As decode reads it. Where no content type is told, the look of the body tells it."""
    looks = "application/json" if pasted.body.lstrip()[:1] in (b"{", b"[") else _FORM
    looks = "application/xml" if pasted.body.lstrip()[:1] == b"<" else looks
    headers = {"content-type": looks, **pasted.headers}
    is_form = headers["content-type"].startswith(_FORM)
    return as_sent(pasted._replace(headers=headers, body=pasted.body.strip() if is_form else pasted.body), now)
