"""A token (JWT) signed by an issuer that publishes its keys: OpenID Connect, as Entra and Google do it.

It proves who calls, not what is said: the body is covered by nothing but the connection.
https://learn.microsoft.com/azure/event-grid/secure-webhook-delivery
"""

from typing import Any

import jwt

from app.authenticate.evidence import Verifier
from app.authenticate.keyring import Keyring
from app.errors import Refused
from app.request import Request
from app.scheme import BearerScheme

#: seconds that the clocks may differ
LEEWAY = 60
_PREFIX = "bearer "
#: what is wrong, by PyJWT's error; its own texts may quote what was expected
_WRONG: list[tuple[type[Exception], str]] = [
    (jwt.ExpiredSignatureError, "has ended; check this machine's clock"),
    (jwt.ImmatureSignatureError, "is not valid yet; check this machine's clock"),
    (jwt.InvalidIssuerError, "is of another issuer; check the scheme's issuer"),
    (jwt.InvalidAudienceError, "is meant for another audience; check the scheme's audience"),
    (jwt.InvalidAlgorithmError, "is signed with an algorithm that the scheme or the key does not allow"),
    (jwt.MissingRequiredClaimError, "lacks one of exp, iss and aud"),
    (jwt.InvalidSignatureError, "has a signature that does not match"),
]
#: whatever a stranger's token may provoke while it is read
_UNREADABLE = (jwt.PyJWTError, ArithmeticError, RecursionError, TypeError, ValueError)


def verifier(scheme: BearerScheme, keyring: Keyring) -> Verifier:
    """Expects `Authorization: Bearer` with a token of the scheme's issuer, audience and claims, which has not ended.

    The algorithm is the scheme's to choose and bound to the key, so neither `none` nor a public key taken for a shared
    secret gets through. The verifier raises KeyWanted where the key set is not at hand or lacks the token's key, and
    NotReady where it has been fetched too lately to be fetched again.
    """

    def verify(request: Request) -> str:
        token = _token(request)
        kid = _key_id(token)
        key = keyring.key(scheme.keys, kid, request.received_at)
        if key is None:
            raise Refused("the token is signed with a key that its issuer does not publish; check the scheme's keys")
        _check_claims(scheme, _claims(scheme, token, key))
        return f"bearer, key {kid[:60]}"

    return verify


def _token(request: Request) -> str:
    given = request.headers.get("authorization", "")
    if not given:
        raise Refused("header authorization is missing")
    if given[: len(_PREFIX)].lower() != _PREFIX:
        raise Refused("header authorization does not start with 'Bearer '")
    return given[len(_PREFIX) :].strip()


def _key_id(token: str) -> str:
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except _UNREADABLE:
        raise Refused("header authorization holds no token that can be read") from None
    if not kid or not isinstance(kid, str):
        raise Refused("the token does not name its key (kid)")
    return kid


def _claims(scheme: BearerScheme, token: str, key: jwt.PyJWK) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=scheme.algorithms,
            issuer=scheme.issuer,
            audience=scheme.audience,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud"]},
        )
    except _UNREADABLE as error:
        wrong = next((words for kind, words in _WRONG if isinstance(error, kind)), "cannot be read")
        raise Refused(f"the token {wrong}") from None


def _check_claims(scheme: BearerScheme, claims: dict[str, Any]) -> None:
    for name, wanted in scheme.claims.items():
        given = claims.get(name)
        # email_verified is true, not "true"
        if (str(given).lower() if isinstance(given, bool) else given) != wanted:
            raise Refused(f"the token's claim {name} has another value than the scheme tells")
