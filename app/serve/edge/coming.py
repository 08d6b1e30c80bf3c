"""A look-up as it comes in: path, datastream, origin, and the bytes within their limit."""

import asyncio
import re
from collections.abc import Mapping
from typing import NamedTuple

from starlette.types import Receive, Scope

from app.request import parse_pairs
from app.serve.edge import answering
from app.serve.edge.datastreams import ReadyDatastream
from app.serve.problems import Problem

#: bytes of a body, as the vendor's limit is
BODY_LIMIT = 65_536
#: the hint is a region of the vendor's, from a cookie of its; here all are one
_PATH = re.compile(r"/ee/(?:[A-Za-z0-9_-]{1,64}/)?(v1|v2)/interact", re.ASCII)
#: v1 and v2 name it in their own ways, and the vendor's pages spell v2's in two
_DATASTREAM = ("configId", "datastreamId", "dataStreamId")
_CLOSE = {"connection": "close"}


class Gone(Exception):
    """The caller hung up before the request was whole."""


class Coming(NamedTuple):
    """One request, as far as it is known before its body."""

    method: str
    version: str
    """`v1`, of pages, or `v2`, of servers; empty: there is nothing at this path."""
    datastream: ReadyDatastream | None
    headers: Mapping[bytes, bytes]
    asked_as: str
    """The request's id."""

    @property
    def origin(self) -> bytes | None:
        """The page's."""
        return self.headers.get(b"origin")

    @property
    def is_welcome(self) -> bool:
        """Whether its page may ask, or it is no page's."""
        origin = self.origin
        return origin is None or (self.datastream is not None and origin in self.datastream.origins)

    @property
    def cookies(self) -> str:
        """As the browser sends them."""
        return self.header(b"cookie")

    def header(self, name: bytes) -> str:
        """Empty where there is none."""
        return self.headers.get(name, b"").decode("latin-1")


def coming(scope: Scope, datastreams: Mapping[str, ReadyDatastream]) -> Coming:
    """What the head of the request says."""
    query = dict(parse_pairs(scope["query_string"].decode("latin-1")))
    headers = dict(scope["headers"])
    path = _PATH.fullmatch(scope["path"])
    named = next((query[name] for name in _DATASTREAM if name in query), "")
    asked_as = query.get("requestId") or headers.get(b"x-request-id", b"").decode("latin-1")
    return Coming(
        scope["method"],
        path[1] if path else "",
        datastreams.get(named),
        headers,
        answering.request_id(asked_as),
    )


async def read(request: Coming, receive: Receive, patience: float) -> bytes:
    """The body. Raises a 413 or 408 Problem, and Gone."""
    declared = request.header(b"content-length")
    if declared.isdecimal() and int(declared) > BODY_LIMIT:
        raise _too_large()
    try:
        async with asyncio.timeout(patience):
            return await _read(receive)
    except TimeoutError:
        raise Problem(408, f"The body did not arrive within {patience:g} seconds.", headers=_CLOSE) from None


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT:
            raise _too_large()
        more = message.get("more_body", False)
    return body


def _too_large() -> Problem:
    return Problem(413, f"The body is longer than {BODY_LIMIT:,} bytes; send fewer events at once.", headers=_CLOSE)
