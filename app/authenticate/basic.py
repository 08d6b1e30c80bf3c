"""HTTP Basic (RFC 7617): the scheme's user name, and the webhook's secret as the password, both in UTF-8."""

from binascii import b2a_base64

from app.authenticate.evidence import Verifier, header, matching, numbered
from app.errors import Refused
from app.request import Request
from app.scheme import BasicScheme


def verifier(scheme: BasicScheme, secrets: tuple[bytes, ...]) -> Verifier:
    """Expects `Authorization: Basic <base64 of username:secret>`."""
    expected = [(_encoded(scheme.username, secret), evidence) for secret, evidence in numbered("basic", secrets)]

    def verify(request: Request) -> str:
        kind, _, given = header(request, "authorization").partition(b" ")
        if kind.lower() != b"basic":
            raise Refused("header authorization is not of kind Basic; tell the provider a user name and password")
        evidence = matching(given, expected)
        if evidence is None:
            raise Refused(
                "header authorization holds another user name or password; "
                "check the scheme's username and the webhook's secret"
            )
        return evidence

    return verify


def _encoded(username: str, password: bytes) -> bytes:
    return b2a_base64(username.encode() + b":" + password, newline=False)
