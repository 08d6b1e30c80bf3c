"""2 authenticate: a token of an issuer that publishes its keys, and every other token."""

import asyncio
import base64
import hashlib
import hmac
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from app.authenticate import bearer
from app.errors import KeyWanted, NotReady, Refused
from app.request import Request
from app.scheme import BearerScheme
from tests.public_keys import KEYS_URL, NOON, OTHER_KEY, SIGNER_KEY, Key, Shelf, filled, key_set

ISSUER = "https://login.example.com/tenant/v2.0"
CALLER = "4962773b-9cdb-44cf-a8bf-237846a00ab7"
SCHEME = BearerScheme(issuer=ISSUER, audience="api://textback", keys=KEYS_URL, claims={"azp": CALLER})
PUBLIC_PEM = SIGNER_KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def claims(**changes: Any) -> dict[str, Any]:
    """A token's claims; ... leaves one out."""
    now = datetime.now(UTC)
    usual = {"iss": ISSUER, "aud": "api://textback", "azp": CALLER, "iat": now, "exp": now + timedelta(hours=1)}
    return {name: value for name, value in (usual | changes).items() if value is not ...}


def token(key: Any = SIGNER_KEY, algorithm: str = "RS256", kid: Any = "one", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm, headers={} if kid is ... else {"kid": kid})


def called(authorization: str, at: datetime = NOON) -> Request:
    return Request("POST", "https://hooks.example.com/in/x", {"authorization": authorization}, b"[]", at)


def verify_bearer(scheme: BearerScheme = SCHEME, **keys: Key) -> Callable[[Request], str]:
    return bearer.verifier(scheme, filled(KEYS_URL, key_set(**(keys or {"one": SIGNER_KEY}))))


def why_token_refused(given: str, scheme: BearerScheme = SCHEME, **keys: Key) -> str:
    with pytest.raises(Refused) as refused:
        verify_bearer(scheme, **keys)(called(given))
    assert ISSUER not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("word", ["Bearer", "bearer", "BEARER"])
def test_a_token_of_the_issuer_is_believed(word: str) -> None:
    assert verify_bearer()(called(f"{word} {token()}")) == "bearer, key one"


def test_a_token_may_be_signed_with_another_allowed_algorithm() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    scheme = SCHEME.model_copy(update={"algorithms": ["RS256", "ES256"]})

    assert verify_bearer(scheme, one=SIGNER_KEY, two=key)(called(f"Bearer {token(key, 'ES256', 'two')}"))
    assert "algorithm" in why_token_refused(f"Bearer {token(key, 'ES256', 'two')}", one=SIGNER_KEY, two=key)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"iss": "https://login.example.com/other"}, "the token is of another issuer; check the scheme's issuer"),
        ({"iss": ...}, "the token lacks one of exp, iss and aud"),
        ({"aud": "api://other"}, "the token is meant for another audience"),
        ({"aud": ["api://other"]}, "the token is meant for another audience"),
        ({"aud": ...}, "the token lacks one of exp, iss and aud"),
        ({"exp": ...}, "the token lacks one of exp, iss and aud"),
        ({"exp": 1_700_000_000}, "the token has ended; check this machine's clock"),
        ({"exp": "soon"}, "the token cannot be read"),
        ({"exp": float("inf")}, "the token cannot be read"),
        ({"azp": "another application"}, "the token's claim azp has another value than the scheme tells"),
        ({"nbf": 9_000_000_000}, "the token is not valid yet"),
        ({"kid": "two"}, "the token is signed with a key that its issuer does not publish"),
        ({"kid": ...}, "the token does not name its key"),
        ({"kid": ""}, "the token does not name its key"),
        ({"key": OTHER_KEY}, "the token has a signature that does not match"),
        ({"algorithm": "RS512"}, "an algorithm that the scheme or the key does not allow"),
        # a public key is no shared secret, and an unsigned token no token
        ({"key": hashlib.sha256(PUBLIC_PEM).digest(), "algorithm": "HS256"}, "an algorithm that the scheme"),
        ({"key": None, "algorithm": "none"}, "an algorithm that the scheme"),
    ],
)  # fmt: skip
def test_any_other_token_is_refused(given: dict[str, Any], problem: str) -> None:
    assert problem in why_token_refused(f"Bearer {token(**given)}")


def test_the_public_key_as_a_shared_secret_proves_nothing() -> None:
    """PyJWT does not sign so, hence by hand."""
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').rstrip(b"=")
    body = token().split(".")[1].encode()
    mac = base64.urlsafe_b64encode(hmac.digest(PUBLIC_PEM, head + b"." + body, "sha256")).rstrip(b"=")

    forged = b".".join((head, body, mac)).decode()

    assert "an algorithm that the scheme or the key does not allow" in why_token_refused(f"Bearer {forged}")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("", "header authorization is missing"),
        ("Basic YTpi", "header authorization does not start with 'Bearer '"),
        ("Bearer", "header authorization does not start with 'Bearer '"),
        ("Bearer ", "holds no token that can be read"),
        ("Bearer a.b.c", "holds no token that can be read"),
        ("Bearer é.ü.ö", "holds no token that can be read"),
        ("Bearer " + base64.urlsafe_b64encode(b"[" * 20_000).decode() + ".e30.AA", "holds no token that can be read"),
        ("Bearer " + base64.urlsafe_b64encode(b'{"alg":"RS256","kid":[1]}').decode() + ".e30.AA", "no token that can be read"),
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused(given: str, problem: str) -> None:
    assert problem in why_token_refused(given)


@pytest.mark.parametrize(
    ("wanted", "given", "good"),
    [
        ({"azp": "4962773b"}, {"azp": "4962773b"}, True),
        ({"azp": "4962773b"}, {"azp": "other"}, False),
        ({"azp": "4962773b"}, {"azp": ...}, False),
        ({"azp": "4962773b"}, {"azp": ["4962773b"]}, False),
        ({"email_verified": "true"}, {"email_verified": True}, True),
        ({"email_verified": "true"}, {"email_verified": False}, False),
    ],
)
def test_further_claims_must_have_their_values(wanted: dict[str, str], given: dict[str, Any], good: bool) -> None:
    scheme = SCHEME.model_copy(update={"claims": wanted})

    if good:
        assert verify_bearer(scheme)(called(f"Bearer {token(**given)}"))
    else:
        told = why_token_refused(f"Bearer {token(**given)}", scheme)
        assert told == f"the token's claim {next(iter(wanted))} has another value than the scheme tells"


def test_the_clocks_may_differ_by_a_minute() -> None:
    now = datetime.now(UTC)

    assert verify_bearer()(called(f"Bearer {token(exp=now - timedelta(seconds=30))}"))
    assert verify_bearer()(called(f"Bearer {token(iat=now + timedelta(seconds=30), nbf=now + timedelta(seconds=30))}"))


def test_a_key_that_the_issuer_has_just_changed_to_is_waited_for_and_fetched() -> None:
    """The way of the door: prove, fetch what is wanted, prove again. To most providers a refusal would be final."""
    shelf = Shelf({KEYS_URL: key_set(one=SIGNER_KEY)})
    ring = shelf.ring()
    verify = bearer.verifier(SCHEME, ring)
    old, new = token(), token(OTHER_KEY, kid="two")

    assert asyncio.run(told(verify, ring.fill, called(f"Bearer {old}", shelf.now))) == "bearer, key one"
    shelf.standing[KEYS_URL] = key_set(two=OTHER_KEY)
    shelf.now += timedelta(seconds=59)
    with pytest.raises(NotReady, match="a key that was not in the key set a moment ago; it is fetched anew"):
        asyncio.run(told(verify, ring.fill, called(f"Bearer {new}", shelf.now)))
    shelf.now += timedelta(seconds=1)
    assert asyncio.run(told(verify, ring.fill, called(f"Bearer {new}", shelf.now))) == "bearer, key two"
    with pytest.raises(Refused, match="a key that its issuer does not publish"):
        verify(called(f"Bearer {old}", shelf.now))


def test_invented_keys_cost_a_fetch_a_minute_and_put_off_nobody_else() -> None:
    shelf = Shelf({KEYS_URL: key_set(one=SIGNER_KEY)})
    ring = shelf.ring()
    verify = bearer.verifier(SCHEME, ring)
    became = Counter[str]()

    for _ in range(120):
        try:
            asyncio.run(told(verify, ring.fill, called(f"Bearer {token(OTHER_KEY, kid='invented')}", shelf.now)))
        except (Refused, NotReady) as error:
            became[type(error).__name__] += 1
        assert verify(called(f"Bearer {token()}", shelf.now)) == "bearer, key one"
        shelf.now += timedelta(seconds=1)

    assert (became, len(shelf.asked)) == ({"Refused": 2, "NotReady": 118}, 2)


async def told(verify: Callable[[Request], str], fill: Callable[[str], Awaitable[None]], request: Request) -> str:
    try:
        return verify(request)
    except KeyWanted as wanted:
        await fill(wanted.url)
        return verify(request)


@pytest.mark.parametrize(
    "url", ["http://login.example.com/keys", "https://", "https://a@b.example.com/k", "ftp://x/y", "https://x"]
)
def test_the_key_set_of_a_scheme_stands_at_an_https_url(url: str) -> None:
    with pytest.raises(ValidationError, match="keys"):
        BearerScheme(issuer=ISSUER, audience="x", keys=url, claims={"azp": CALLER})


@pytest.mark.parametrize("given", [{}, {"claims": {}}], ids=["none", "empty"])
def test_a_scheme_must_say_who_calls(given: dict[str, Any]) -> None:
    """The issuer signs tokens for any audience that anybody names."""
    with pytest.raises(ValidationError, match=r"claims must say who calls.*email_verified.*azp"):
        BearerScheme(issuer=ISSUER, audience="x", keys=KEYS_URL, **given)
