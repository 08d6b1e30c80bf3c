"""A JSON Web Token (RFC 7519), keyed with the webhook's secret, whose claims hold hashes of what it covers.

https://developers.messagebird.com/docs/verify-http-requests and
https://developer.vonage.com/en/getting-started/concepts/webhooks
Times are compared with the time at which the request came in, not with the clock of the moment.
"""

import hmac
import json
from hashlib import sha256
from typing import Any

from jwt import InvalidAlgorithmError, InvalidKeyError, InvalidSignatureError, InvalidTokenError, PyJWS
from jwt.algorithms import HMACAlgorithm

from app.authenticate.evidence import Verifier, header, readable
from app.authenticate.window import check_age
from app.errors import BadInput, Refused
from app.request import Request
from app.scheme import JwtScheme

#: seconds that `nbf` and `exp` may be missed by, as the provider's SDK allows
_LEEWAY = 1
_FURTHEST = 1e12
_HASHES = {"HS256": HMACAlgorithm.SHA256, "HS384": HMACAlgorithm.SHA384, "HS512": HMACAlgorithm.SHA512}


class _Keyed(HMACAlgorithm):
    """A keyed hash with a key that was looked at once; that the provider chose a short one is nothing to warn about."""

    def prepare_key(self, key: str | bytes) -> bytes:
        """The key as it is."""
        return key.encode() if isinstance(key, str) else key

    def check_key_length(self, key: bytes) -> str | None:  # noqa: ARG002 - what PyJWT calls
        """Never a warning."""
        return None


def verifier(scheme: JwtScheme, secrets: tuple[bytes, ...]) -> Verifier:
    """Expects a token with one of the scheme's algorithms, which covers this body. Raises BadInput and NotReady."""
    if not scheme.payload_hash:
        raise BadInput("scheme jwt: payload_hash must name the claim that covers the body, or nothing would")
    name = scheme.header.lower()
    keys = readable("jwt", secrets, _key, "a key for hashes (it looks like a public key or certificate)")
    tokens = _tokens(scheme)

    def verify(request: Request) -> str:
        token = _token(scheme, header(request, name))
        evidence, claims = _opened(tokens, scheme, token, keys)
        _check_times(scheme, claims, request)
        _check_coverage(scheme, claims, request)
        return evidence

    return verify


def _tokens(scheme: JwtScheme) -> PyJWS:
    tokens = PyJWS(algorithms=[])
    for name in scheme.algorithms:
        tokens.register_algorithm(name, _Keyed(_HASHES[name]))
    return tokens


def _key(secret: bytes) -> bytes | None:
    try:
        return HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except InvalidKeyError:
        return None


def _token(scheme: JwtScheme, given: bytes) -> bytes:
    """The token, behind its prefix or bare."""
    prefix = scheme.prefix.encode().lower()
    return given[len(prefix) :] if given[: len(prefix)].lower() == prefix else given


def _opened(
    tokens: PyJWS, scheme: JwtScheme, token: bytes, keys: list[tuple[bytes, str]]
) -> tuple[str, dict[str, Any]]:
    name, algorithms = scheme.header.lower(), ", ".join(scheme.algorithms)
    for key, evidence in keys:
        try:
            return evidence, _claims(tokens.decode(token, key, algorithms=scheme.algorithms))
        except InvalidSignatureError:
            continue
        except InvalidAlgorithmError:
            raise Refused(f"the token in header {name} names another algorithm than {algorithms}") from None
        except InvalidTokenError:
            raise Refused(f"header {name} holds no JSON Web Token") from None
    raise Refused(f"the token in header {name} is signed with another secret; check the webhook's secret")


def _claims(payload: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise Refused("the token's claims are not a JSON object")
    return claims


def _check_times(scheme: JwtScheme, claims: dict[str, Any], request: Request) -> None:
    now = request.received_at.timestamp()
    if "nbf" in claims and _time(claims, "nbf") > now + _LEEWAY:
        raise Refused("the token is not valid yet; check the server's clock")
    if "exp" in claims and _time(claims, "exp") <= now - _LEEWAY:
        raise Refused("the token has expired; check the server's clock")
    if "exp" not in claims and scheme.window is not None:
        check_age(request, "claim iat of the token", _time(claims, "iat"), scheme.window)


def _time(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _FURTHEST:
        return float(value)
    raise Refused(f"claim {name} of the token is missing or not a time in unix seconds")


def _check_coverage(scheme: JwtScheme, claims: dict[str, Any], request: Request) -> None:
    if scheme.issuer and claims.get("iss") != scheme.issuer:
        raise Refused(f"the token is not issued by {scheme.issuer}")
    if request.body or scheme.payload_hash in claims:
        _check_hash(claims, scheme.payload_hash, request.body, "the body; check that no proxy rewrites it")
    if scheme.url_hash:
        _check_hash(claims, scheme.url_hash, request.url.encode("utf-8", "surrogatepass"), "the URL; check PUBLIC_URL")
    elif not request.body and "?" in request.url:
        raise Refused("the values are in the query and the body is empty, so the token covers none of them")


def _check_hash(claims: dict[str, Any], name: str, data: bytes, words: str) -> None:
    told = claims.get(name)
    if not isinstance(told, str):
        raise Refused(f"the token has no claim {name}, so it does not cover {words}")
    if not hmac.compare_digest(told.encode("utf-8", "surrogatepass"), sha256(data).hexdigest().encode()):
        raise Refused(f"claim {name} of the token is not the hash of {words}")
