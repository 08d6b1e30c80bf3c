"""What the provider hears back, as ASGI wants it: worked out once per answer."""

from functools import lru_cache

from app.decode import Shaken
from app.provider import Answer

Rendered = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers and body."""


def rendered(answer: Answer | Shaken) -> Rendered:
    """An answer of a provider file, or one made for a handshake."""
    return _fixed(answer) if isinstance(answer, Answer) else _made(answer)


@lru_cache(maxsize=1024)
def _fixed(answer: Answer) -> Rendered:
    body = answer.body.encode()
    headers = [] if answer.status == 204 else [(b"content-length", str(len(body)).encode())]
    if answer.content_type:
        headers.append((b"content-type", answer.content_type.encode()))
    return answer.status, headers, body


def _made(shaken: Shaken) -> Rendered:
    """A handshake repeats what the caller sent, so no browser may take it for a page."""
    headers = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in shaken.headers]
    if shaken.status != 204:
        headers.append((b"content-length", str(len(shaken.body)).encode()))
    return shaken.status, [*headers, (b"x-content-type-options", b"nosniff")], shaken.body
