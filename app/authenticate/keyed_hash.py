"""A keyed hash over a text made of the request's parts, in a header. What the text is, the provider file says.

Raw means raw: some senders escape their JSON in ways of their own, so a body that was parsed and written again fails.
"""

import hashlib
import hmac
from collections.abc import Callable

from app.authenticate.evidence import (
    Verifier,
    digest_shape,
    encode,
    from_base64,
    from_hex,
    header,
    matching_any,
    readable,
)
from app.authenticate.signed import signed
from app.authenticate.window import check_window
from app.errors import Refused
from app.request import Request
from app.scheme import HmacScheme

#: how a secret's text becomes a key, and what such a secret is called
_KEYS: dict[str, tuple[Callable[[bytes], bytes | None], str]] = {
    "text": (lambda secret: secret, "a text"),
    "base64": (from_base64, "base64"),
    "hex": (from_hex, "hex digits"),
}


def verifier(scheme: HmacScheme, secrets: tuple[bytes, ...]) -> Verifier:
    """Expects the encoded digest where the scheme says, hex digits in either case. Raises BadInput and NotReady."""
    name, digest, encoding, window = scheme.header.lower(), scheme.hash, scheme.encoding, scheme.window
    compose, words = signed(scheme.signed, window)
    keys, json_alone = _keys(scheme, secrets), scheme.content == "json"

    def verify(request: Request) -> str:
        given = header(request, name)
        if json_alone and not request.is_json:
            raise Refused("the body is not JSON, and no other is signed in this way")
        text = compose(request)
        expected = ((encode(hmac.digest(key, text, digest), encoding), told) for key, told in keys)
        evidence = matching_any(_signatures(scheme, given), expected)
        if evidence is None:
            raise Refused(_reason(scheme, given, words))
        if window:
            check_window(request, window)
        return evidence

    return verify


def _keys(scheme: HmacScheme, secrets: tuple[bytes, ...]) -> list[tuple[bytes, str]]:
    read, words = _KEYS[scheme.key]
    before = scheme.key_prefix.encode()
    after = f" after '{scheme.key_prefix}'" if before else ""
    return readable("hmac", secrets, lambda secret: read(secret.removeprefix(before)), words + after)


def _signatures(scheme: HmacScheme, given: bytes) -> list[bytes]:
    """What stands in the header without what stands around it; none where the prefix is missing."""
    prefix, behind = scheme.prefix.encode(), scheme.behind.encode()
    pieces = [piece.strip() for piece in given.split(scheme.separator.encode())] if scheme.separator else [given]
    found = [piece[len(prefix) :] for piece in pieces if piece.startswith(prefix)]
    if behind:
        found = [piece.rpartition(behind)[2] for piece in found]
    return [piece.lower() for piece in found] if scheme.encoding == "hex" else found


def _reason(scheme: HmacScheme, given: bytes, words: str) -> str:
    name, found = scheme.header.lower(), _signatures(scheme, given)
    if not found:
        return f"header {name} does not start with '{scheme.prefix}'"
    shape = digest_shape(scheme.encoding, hashlib.new(scheme.hash).digest_size)
    if not any(map(shape.pattern.fullmatch, found)):
        return f"header {name} is not {shape.words}{' after its prefix' if scheme.prefix else ''}"
    url = "PUBLIC_URL, " if "the URL" in words else ""
    return f"header {name} does not match {words}; check the secret, the hash, {url}and that no proxy rewrites the body"
