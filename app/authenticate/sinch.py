"""Base64 HMAC-SHA256 over `body.nonce.timestamp`, in headers x-sinch-webhook-signature and …-nonce, …-timestamp.

https://developers.sinch.com/docs/conversation/callbacks/. The provider documents no window, its SDKs check none, and it
repeats for nearly a day, so the age of the timestamp decides nothing; repeats are known by the message's id.
"""

import hmac

from app.authenticate.evidence import Verifier, covered_body, digest_shape, encode, header, matching, numbered
from app.errors import Refused
from app.provider import SinchScheme
from app.request import Request

_SHAPE = digest_shape("base64", 32)


def verifier(scheme: SinchScheme, secrets: tuple[bytes, ...]) -> Verifier:
    """Expects the signature and what it was made with; an algorithm, where one is named, must be HmacSHA256."""
    name = scheme.header_prefix.lower()
    keys = numbered("sinch", secrets)

    def verify(request: Request) -> str:
        given = header(request, name)
        _check_algorithm(request, f"{name}-algorithm")
        text = b".".join((covered_body(request), _part(request, f"{name}-nonce"), _part(request, f"{name}-timestamp")))
        evidence = matching(given, ((encode(hmac.digest(key, text, "sha256"), "base64"), told) for key, told in keys))
        if evidence is None:
            raise Refused(_reason(name, given))
        return evidence

    return verify


def _check_algorithm(request: Request, name: str) -> None:
    if name in request.headers and header(request, name).lower() != b"hmacsha256":
        raise Refused(f"header {name} names another algorithm than HmacSHA256, the only one known here")


def _part(request: Request, name: str) -> bytes:
    """A part that stands behind the body. With a dot in it, the end of the body could be passed off as a nonce."""
    value = header(request, name)
    if b"." in value:
        raise Refused(f"header {name} has a dot in it")
    return value


def _reason(name: str, given: bytes) -> str:
    if not _SHAPE.pattern.fullmatch(given):
        return f"header {name} is not {_SHAPE.words}"
    return f"header {name} does not match body, nonce and timestamp; check the secret, and that no proxy rewrites them"
