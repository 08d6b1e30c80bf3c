"""What the schemes share: the proof that came with a request, the live secrets, and how the two are compared."""

import hmac
import re
from binascii import b2a_base64
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from app.errors import Refused
from app.request import Request

Verifier = Callable[[Request], str]
Encoding = Literal["hex", "base64"]


class Shape(NamedTuple):
    """What a well-formed digest looks like, so that a refusal can tell a mangled header from a wrong key."""

    pattern: re.Pattern[bytes]
    words: str


def digest_shape(encoding: Encoding, size: int) -> Shape:
    """The shape of a digest of `size` bytes as text."""
    if encoding == "hex":
        return Shape(re.compile(rb"[0-9a-f]{%d}" % (2 * size)), f"{2 * size} lower-case hex digits")
    padding = -size % 3
    letters = (size + padding) // 3 * 4 - padding
    return Shape(re.compile(rb"[A-Za-z0-9+/]{%d}={%d}" % (letters, padding)), f"base64 of {size} bytes")


def encode(digest: bytes, encoding: Encoding) -> bytes:
    """A digest as the text that headers hold.

    What we expect is encoded, instead of decoding what came: several base64 texts decode to the same bytes, and a
    malformed one is then merely a wrong one.
    """
    return digest.hex().encode() if encoding == "hex" else b2a_base64(digest, newline=False)


def numbered(kind: str, secrets: tuple[bytes, ...]) -> list[tuple[bytes, str]]:
    """Each secret with the evidence to give when it proves a request."""
    return [(secret, f"{kind}, secret {number} of {len(secrets)}") for number, secret in enumerate(secrets, 1)]


def header(request: Request, name: str) -> bytes:
    """The bytes of a header (its name in lower case). Raises Refused where it is missing or empty."""
    value = request.headers.get(name)
    if not value:
        raise Refused(f"header {name} is {'missing' if value is None else 'empty'}")
    try:
        # HTTP knows bytes only and servers read them as Latin-1; compare_digest takes no str beyond ASCII
        return value.encode("latin-1")
    except UnicodeEncodeError:
        raise Refused(f"header {name} has characters in it that no HTTP header can have") from None


def matching(given: bytes, expected: Iterable[tuple[bytes, str]]) -> str | None:
    """The evidence of the expected value that was given; each is compared in constant time.

    Stopping at the match tells nobody anything: a caller who gets there holds the secret.
    """
    for value, evidence in expected:
        if hmac.compare_digest(value, given):
            return evidence
    return None


def covered_body(request: Request) -> bytes:
    """The body, for schemes that sign nothing else. Raises Refused where all values stand in the unsigned query."""
    if not request.body and "?" in request.url:
        raise Refused("the values are in the query and the body is empty, so the signature covers none of them")
    return request.body
