"""A keyed hash over the raw body, in a header. Hash, encoding, prefix and header are the provider file's to say.

Raw means raw: some senders escape their JSON in ways of their own, so a body that was parsed and written again fails.
"""

import hmac

from app.authenticate.evidence import Verifier, covered_body, digest_shape, encode, header, matching, numbered
from app.errors import Refused
from app.scheme import HmacScheme
from app.request import Request


def verifier(scheme: HmacScheme, secrets: tuple[bytes, ...]) -> Verifier:
    """Expects the scheme's prefix and the encoded digest of the body. Hex digits are lower case."""
    name, prefix = scheme.header.lower(), scheme.prefix.encode()
    shape = digest_shape(scheme.encoding, hmac.new(b"", digestmod=scheme.hash).digest_size)
    keys = numbered("hmac", secrets)

    def verify(request: Request) -> str:
        given = header(request, name)
        body = covered_body(request)
        signed = ((prefix + encode(hmac.digest(key, body, scheme.hash), scheme.encoding), told) for key, told in keys)
        evidence = matching(given, signed)
        if evidence is None:
            raise Refused(_reason(given))
        return evidence

    def _reason(given: bytes) -> str:
        if not given.startswith(prefix):
            return f"header {name} does not start with '{scheme.prefix}'"
        if not shape.pattern.fullmatch(given, len(prefix)):
            return f"header {name} is not {shape.words}{' after its prefix' if prefix else ''}"
        return f"header {name} does not match the body; check the secret, the hash, and that no proxy rewrites the body"

    return verify
