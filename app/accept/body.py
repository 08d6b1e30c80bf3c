"""The bytes of a request, within their limits."""

from starlette.types import Receive

from app.errors import NotReady

MAX_HEADERS, MAX_HEADER_BYTES = 100, 32_768


class TooLarge(Exception):
    """More bytes than the limit, in the body (413) or the headers (431)."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Gone(Exception):
    """The caller hung up before the request was whole."""


def read_headers(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name; the values of a repeated one joined with a comma (RFC 9110, 5.3)."""
    if len(raw) > MAX_HEADERS:
        raise TooLarge(431)
    headers: dict[str, str] = {}
    size = 0
    for raw_name, raw_value in raw:
        size += len(raw_name) + len(raw_value)
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if size > MAX_HEADER_BYTES:
        raise TooLarge(431)
    return headers


async def read_body(receive: Receive, headers: dict[str, str], limit: int) -> bytes:
    """The exact bytes. Raises TooLarge as soon as the limit is passed, or at once where the length says so."""
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise TooLarge(413)
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        _check(message["type"], len(body), limit)
        if not body and "upgrade" in headers and (declared.strip("0") or "transfer-encoding" in headers):
            # The server's parser ends a request that asks for an upgrade at its headers (RFC 9110, 7.8).
            raise NotReady("a request with an Upgrade header lost its body; have the proxy remove that header")
        return body
    chunks, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        _check(message["type"], size, limit)
    return b"".join(chunks)


def _check(kind: str, size: int, limit: int) -> None:
    if kind == "http.disconnect":
        raise Gone
    if size > limit:
        raise TooLarge(413)
