"""What a look-up is answered: the vendor's handles, and for a browser the headers that let its page read them."""

import re
import uuid

from app.serve.edge.identity import ECID, MAX_AGE, cookie_value
from app.serve.problems import Problem

Headers = list[tuple[bytes, bytes]]
Answer = tuple[int, Headers, bytes]
"""Status, headers, body."""

#: a request id that is repeated; anything else is replaced
_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
#: seconds that a browser remembers what it was allowed; Chromium's longest
_REMEMBERED = b"7200"
_ALWAYS: Headers = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]
_VARY = (b"vary", b"Origin")
_JSON = (b"content-type", b"application/json;charset=utf-8")


def request_id(given: str) -> str:
    """The caller's, where it is harmless; else a new one."""
    return given if _SAFE_ID.fullmatch(given) else str(uuid.uuid4())


def origin_headers(origin: bytes | None) -> Headers:
    """That the page of this origin may read the answer and send cookies; None: nobody's page may."""
    if origin is None:
        return [_VARY]
    return [
        _VARY,
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"x-request-id"),
    ]


def success(asked_as: str, handles: list[bytes], more: bytes = b"") -> Answer:
    """200 with these handles. `more`: further members, each with its comma before it."""
    body = b'{"requestId":"%b","handle":[%b]%b}' % (asked_as.encode(), b",".join(handles), more)
    return 200, [_JSON, *_around(asked_as, body)], body


def refusal(asked_as: str, problem: Problem) -> Answer:
    """A problem document; `report` holds the request's id, as the vendor's do."""
    problem.more["report"] = {"requestId": asked_as}
    response = problem.response()
    body = bytes(response.body)
    own = [(name, value) for name, value in response.raw_headers if name != b"content-length"]
    return problem.status, [*own, *_around(asked_as, body)], body


def preflight(asked_as: str) -> Answer:
    """What a page may send."""
    allowed = [
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-allow-headers", b"content-type, x-request-id"),
        (b"access-control-max-age", _REMEMBERED),
        (b"allow", b"OPTIONS, POST"),
    ]
    return 204, [*allowed, *_ALWAYS, (b"x-request-id", asked_as.encode())], b""


def identity_result(ecid: str) -> bytes:
    """Who the browser is, for a page that wants to know."""
    return b'{"type":"identity:result","payload":[{"id":"%b","namespace":{"code":"%b"}}]}' % (
        ecid.encode(),
        ECID.encode(),
    )


def state_store(cookie: str, ecid: str) -> bytes:
    """The cookie that the SDK shall keep."""
    return b'{"type":"state:store","payload":[{"key":"%b","value":"%b","maxAge":%d}]}' % (
        cookie.encode(),
        cookie_value(ecid).encode(),
        MAX_AGE,
    )


def activation_pull(payload: bytes) -> bytes:
    """The destinations."""
    return b'{"type":"activation:pull","payload":%b}' % payload


def _around(asked_as: str, body: bytes) -> Headers:
    return [(b"content-length", b"%d" % len(body)), *_ALWAYS, (b"x-request-id", asked_as.encode())]
