"""What the schemes share: the proof that came with a request, the live secrets, and how the two are compared."""

import hmac
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from app.errors import NotReady, Refused
from app.request import Request
from app.scheme import Encoding

Verifier = Callable[[Request], str]
Key = TypeVar("Key")

_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2})*")


class Shape(NamedTuple):
    """What a well-formed digest looks like, so that a refusal can tell a mangled header from a wrong key."""

    pattern: re.Pattern[bytes]
    words: str


def digest_shape(encoding: Encoding, size: int) -> Shape:
    """The shape of a digest of `size` bytes as text."""
    if encoding == "hex":
        return Shape(re.compile(rb"[0-9A-Fa-f]{%d}" % (2 * size)), f"{2 * size} hex digits")
    padding = -size % 3
    letters = (size + padding) // 3 * 4 - padding
    return Shape(re.compile(rb"[A-Za-z0-9+/]{%d}={%d}" % (letters, padding)), f"base64 of {size} bytes")


def encode(digest: bytes, encoding: Encoding) -> bytes:
    """A digest as the text that headers hold.

    What we expect is encoded, instead of decoding what came: several base64 texts decode to the same bytes, and a
    malformed one is then merely a wrong one.
    """
    return digest.hex().encode() if encoding == "hex" else b2a_base64(digest, newline=False)


def from_base64(text: bytes) -> bytes | None:
    """The bytes, from either alphabet, with or without padding; None where the text is not base64."""
    standard = text.translate(_STANDARD_ALPHABET)
    bare = standard.rstrip(b"=")
    if not _BASE64.fullmatch(standard) or len(bare) % 4 == 1:
        return None
    return a2b_base64(bare + b"=" * (-len(bare) % 4))


def from_hex(text: bytes) -> bytes | None:
    """The bytes; None where the text is not hex digits in pairs."""
    return bytes.fromhex(text.decode()) if _HEX.fullmatch(text) else None


def check_present(kind: str, secrets: tuple[bytes, ...]) -> None:
    """Raises NotReady where there is no secret."""
    if not secrets:
        raise NotReady(f"signature scheme {kind} needs a secret and the webhook has none; set the webhook's secret")


def numbered(kind: str, secrets: tuple[bytes, ...]) -> list[tuple[bytes, str]]:
    """Each secret with the evidence to give when it proves a request. Raises NotReady where there is none."""
    check_present(kind, secrets)
    return [(secret, f"{kind}, secret {number} of {len(secrets)}") for number, secret in enumerate(secrets, 1)]


def readable(
    kind: str, secrets: tuple[bytes, ...], read: Callable[[bytes], Key | None], wanted: str
) -> list[tuple[Key, str]]:
    """The key that each secret holds, with its evidence. Raises NotReady where no secret is `wanted`.

    A spoilt one beside a good one is passed over, so that a slip in a rotation does not stop the good one.
    """
    keys = [(key, told) for secret, told in numbered(kind, secrets) if (key := read(secret))]
    if not keys:
        raise NotReady(f"the webhook's secret is not {wanted}; copy it from the provider once more")
    return keys


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


def matching_any(given: Iterable[bytes], expected: Iterable[tuple[bytes, str]]) -> str | None:
    """The same for a header that holds several signatures, of which one must fit."""
    candidates = list(given)
    for value, evidence in expected:
        if any(hmac.compare_digest(value, candidate) for candidate in candidates):
            return evidence
    return None
