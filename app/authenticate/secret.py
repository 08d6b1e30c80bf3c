"""The webhook's secret itself, sent along in a header or a query parameter; and the word that a handshake shows."""

import hmac

from app.authenticate.evidence import Verifier, header, matching, numbered
from app.errors import Refused
from app.request import Request, parse_pairs
from app.scheme import SecretScheme


def verifier(scheme: SecretScheme, secrets: tuple[bytes, ...]) -> Verifier:
    """Expects prefix and secret, byte for byte, at the scheme's place."""
    in_header = scheme.place == "header"
    name = scheme.name.lower() if in_header else scheme.name
    expected = [(scheme.prefix.encode() + secret, evidence) for secret, evidence in numbered("secret", secrets)]

    def verify(request: Request) -> str:
        given = header(request, name) if in_header else _parameter(request, name)
        evidence = matching(given, expected)
        if evidence is None:
            raise Refused(f"{scheme.place} {name} does not hold the webhook's secret{_after(scheme.prefix)}")
        return evidence

    return verify


def shows(given: str, words: tuple[bytes, ...]) -> bool:
    """Whether `given`, the word of a handshake, is one of those expected. In constant time; False without any."""
    shown = given.encode("utf-8", "surrogatepass")
    # all are compared: which of them was nearly right is nobody's business
    return sum(hmac.compare_digest(word, shown) for word in words if word) > 0


def _parameter(request: Request, name: str) -> bytes:
    for given, value in parse_pairs(request.query):
        if given == name and value:
            # a raw query may hold anything, lone surrogates included; it shall be wrong, not crash
            return value.encode("utf-8", "surrogatepass")
    raise Refused(f"query parameter {name} is missing or empty")


def _after(prefix: str) -> str:
    return f" after the prefix '{prefix}'" if prefix else ""
