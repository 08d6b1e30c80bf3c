"""2 authenticate: JSON Web Tokens whose claims hold hashes of body and URL."""

import base64
import json
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import jwt
import pytest
import time_machine
from hypothesis import given, settings
from hypothesis import strategies as st
from messagebird.error import ValidationError
from messagebird.request_validator import RequestValidator
from vonage_jwt import verify_signature

from app.authenticate import verifier
from app.errors import BadInput, NotReady, Refused
from app.request import Request
from app.scheme import JwtScheme
from tests.authenticating import (
    GOOD,
    MESSAGEBIRD_BODY,
    MESSAGEBIRD_KEY,
    MESSAGEBIRD_NOW,
    MESSAGEBIRD_SCHEME,
    MESSAGEBIRD_TOKEN,
    MESSAGEBIRD_URL,
    NOON,
    URL,
    VONAGE_MESSAGES_KEY,
    VONAGE_MESSAGES_SCHEME,
    VONAGE_MESSAGES_TOKEN,
    changed,
    reason,
    request,
)

#: from the tests of the provider's SDK
SDK_KEY = "36efdd1aace2e26cd490f0d951138253bef2f7c6d34d18981da781555cc4cebb"
SDK_URL = "https://example.com/path?bar=1&foo=2"
SDK_BODY = b"Hello, World!"
SDK_NOW = datetime.fromisoformat("2021-07-05T12:00:00+02:00")
SDK_CLAIMS: dict[str, Any] = {
    "iss": "MessageBird",
    "nbf": int(SDK_NOW.timestamp()) - 1,
    "exp": int(SDK_NOW.timestamp()) + 60,
    "jti": "abc",
    "url_hash": "41f05f0ddd0a22ab209ac46f47c4572d9cefa257ed74b24004bae753ece6c260",
    "payload_hash": "dffd6021bb2bd5b0af676290809ec3a53191dd81c7f70a4b28688a362182986f",
}
BODY = b'{"text":"STOP"}'
NOW = int(NOON.timestamp())
PLAIN = JwtScheme(window=300)
PLAIN_KEY = "a secret that is long enough for 32 bytes, and for 64 of them too"


def token(claims: Any, key: str = PLAIN_KEY, algorithm: str = "HS256", **rest: Any) -> str:
    return jwt.encode(claims, key, algorithm, **rest)


def claims(body: bytes = BODY, **rest: Any) -> dict[str, Any]:
    return {"iat": NOW, "payload_hash": sha256(body).hexdigest(), **rest}


def bearing(given: str, body: bytes = BODY, **rest: Any) -> Request:
    return request({"authorization": f"Bearer {given}"}, body, **rest)


def proved(asked: Request, scheme: JwtScheme = PLAIN, key: str = PLAIN_KEY) -> str:
    return verifier(scheme, (key.encode(),))(asked)


# --- the token ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["Bearer ", "bearer ", "BEARER ", ""])
def test_a_token_may_stand_bare_or_behind_bearer(prefix: str):
    _, _, asked = GOOD["vonage_messages"]
    headers = asked.headers | {"authorization": prefix + VONAGE_MESSAGES_TOKEN}

    evidence = proved(changed(asked, headers=headers), VONAGE_MESSAGES_SCHEME, VONAGE_MESSAGES_KEY)

    assert evidence == "jwt, secret 1 of 1"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_every_listed_algorithm_is_good(algorithm: Any):
    scheme = JwtScheme(algorithms=[algorithm])

    evidence = proved(bearing(token(claims(), algorithm=algorithm)), scheme)

    assert evidence == "jwt, secret 1 of 1"


def part(text: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(text).encode()).decode().rstrip("=")


SIGNED = token(claims()).rpartition(".")[2]
UNSIGNED = {
    "none": (f"{part({'alg': 'none'})}.{part(claims())}.", "names another algorithm than HS256"),
    "other_hash": (token(claims(), algorithm="HS512"), "names another algorithm than HS256"),
    "public_key": (f"{part({'alg': 'RS256'})}.{part(claims())}.{SIGNED}", "names another algorithm than HS256"),
    "no_algorithm": (f"{part({})}.{part(claims())}.{SIGNED}", "names another algorithm than HS256"),
    "algorithms": (f"{part({'alg': ['HS256']})}.{part(claims())}.{SIGNED}", "names another algorithm than HS256"),
    "unsigned": (
        f"{part({'alg': 'HS256'})}.{part(claims())}.",
        "is signed with another secret; check the webhook's secret",
    ),
    "other_claims": (
        f"{part({'alg': 'HS256'})}.{part(claims(b'START'))}.{SIGNED}",
        "is signed with another secret; check the webhook's secret",
    ),
    "other_secret": (
        token(claims(), "another secret that is long enough"),
        "is signed with another secret; check the webhook's secret",
    ),
}


@pytest.mark.parametrize(("given_token", "expected"), UNSIGNED.values(), ids=UNSIGNED)
def test_a_token_that_is_not_signed_as_it_should_be_is_refused(given_token: str, expected: str):
    told = reason(PLAIN, PLAIN_KEY, bearing(given_token))

    assert told == f"the token in header authorization {expected}"


NO_TOKENS = [
    "x", "..", "a.b.c", "é.é.é", "e30.e30", f"{part([])}.{part({})}.AAAA", f"{part({'alg': 'HS256', 'kid': 1})}.e30.AAAA",
    f"{part({'alg': 'HS256', 'crit': ['x']})}.e30.AAAA", f"{part({'alg': 'HS256', 'b64': False})}..AAAA",
    base64.urlsafe_b64encode(b"[" * 9_000).decode() + ".e30.AAAA", token(claims()) + " ",
]  # fmt: skip


@pytest.mark.parametrize("given_token", NO_TOKENS, ids=lambda text: text[:30])
def test_what_is_no_token_is_refused(given_token: str):
    told = reason(PLAIN, PLAIN_KEY, bearing(given_token))

    assert told == "header authorization holds no JSON Web Token"


@pytest.mark.parametrize("payload", [b"", b"no json", b"[]", b"1", b"[" * 100_000, b"\xff"])
def test_claims_that_are_no_object_are_refused(payload: bytes):
    given_token = jwt.PyJWS().encode(payload, PLAIN_KEY.encode(), "HS256")

    told = reason(PLAIN, PLAIN_KEY, bearing(given_token))

    assert told == "the token's claims are not a JSON object"


# --- what it covers -----------------------------------------------------------------------------------------------


def test_another_body_is_refused():
    told = reason(PLAIN, PLAIN_KEY, bearing(token(claims()), BODY + b" "))

    assert told == "claim payload_hash of the token is not the hash of the body; check that no proxy rewrites it"


UNCOVERED_BODIES = [{}, {"payload_hash": None}, {"payload_hash": 1}, {"payload_hash": [sha256(BODY).hexdigest()]}]


@pytest.mark.parametrize("told_hash", UNCOVERED_BODIES)
def test_a_body_without_its_hash_is_refused(told_hash: dict[str, Any]):
    told = reason(PLAIN, PLAIN_KEY, bearing(token({"iat": NOW, **told_hash})))

    assert told == "the token has no claim payload_hash, so it does not cover the body; check that no proxy rewrites it"


@pytest.mark.parametrize(
    "told_hash", ["", "é", "\ud800", sha256(BODY).hexdigest().upper(), sha256(BODY).hexdigest()[:-1]]
)
def test_a_hash_is_compared_to_the_letter(told_hash: str):
    told = reason(PLAIN, PLAIN_KEY, bearing(token({"iat": NOW, "payload_hash": told_hash})))

    assert told.startswith("claim payload_hash of the token is not the hash of the body")


def test_an_empty_body_needs_no_hash_but_may_have_one():
    bare, hashed = token({"iat": NOW}), token(claims(b""))

    evidence = [proved(bearing(given, b"", method="GET")) for given in (bare, hashed)]
    told = reason(PLAIN, PLAIN_KEY, bearing(token(claims()), b""))

    assert evidence == ["jwt, secret 1 of 1"] * 2
    assert told.startswith("claim payload_hash of the token is not the hash of the body")


def test_without_a_hash_of_the_url_a_query_proves_nothing():
    told = reason(PLAIN, PLAIN_KEY, bearing(token({"iat": NOW}), b"", url=f"{URL}?text=START", method="GET"))

    assert told == "the values are in the query and the body is empty, so the token covers none of them"


URLS = {
    "query_changed": f"{MESSAGEBIRD_URL}?a=2",
    "query_gone": MESSAGEBIRD_URL,
    "other_host": f"{MESSAGEBIRD_URL}?a=1".replace("hooks", "other"),
}


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_another_url_is_refused(url: str):
    told_hash = sha256(f"{MESSAGEBIRD_URL}?a=1".encode()).hexdigest()
    scheme = JwtScheme(url_hash="url_hash")
    asked = bearing(token(claims(url_hash=told_hash)), url=f"{MESSAGEBIRD_URL}?a=1")

    told = reason(scheme, PLAIN_KEY, changed(asked, url=url))

    assert proved(asked, scheme) == "jwt, secret 1 of 1"
    assert told == "claim url_hash of the token is not the hash of the URL; check PUBLIC_URL"


def test_a_token_that_must_cover_the_url_and_does_not_is_refused():
    told = reason(JwtScheme(url_hash="url_hash"), PLAIN_KEY, bearing(token(claims())))

    assert told == "the token has no claim url_hash, so it does not cover the URL; check PUBLIC_URL"


@pytest.mark.parametrize("issuer", [{}, {"iss": "Vonage "}, {"iss": ["Vonage"]}, {"iss": None}])
def test_another_issuer_is_refused(issuer: dict[str, Any]):
    scheme = JwtScheme(issuer="Vonage")
    other = jwt.PyJWS().encode(json.dumps(claims(**issuer)).encode(), PLAIN_KEY.encode(), "HS256")

    told = reason(scheme, PLAIN_KEY, bearing(other))

    assert proved(bearing(token(claims(iss="Vonage"))), scheme) == "jwt, secret 1 of 1"
    assert told == "the token is not issued by Vonage"


# --- when ---------------------------------------------------------------------------------------------------------

IN_TIME = {
    "now": {"iat": NOW},
    "at_the_end_of_the_window": {"iat": NOW - 300},
    "ahead": {"iat": NOW + 300},
    "fraction": {"iat": NOW + 0.5},
    # with an end of its own the token needs no window
    "ends": {"iat": NOW - 3600, "exp": NOW + 1},
    "just_ended": {"exp": NOW},
    "just_begins": {"nbf": NOW + 1, "exp": NOW + 60},
}
OUT_OF_TIME = {
    "old": ({"iat": NOW - 301}, "claim iat of the token is 301 seconds behind our clock and 300 are allowed; check the server's clock"),
    "ahead": ({"iat": NOW + 301}, "claim iat of the token is 301 seconds ahead of our clock and 300 are allowed; check the server's clock"),
    "no_time": ({}, "claim iat of the token is missing or not a time in unix seconds"),
    "text": ({"iat": str(NOW)}, "claim iat of the token is missing or not a time in unix seconds"),
    "true": ({"iat": True}, "claim iat of the token is missing or not a time in unix seconds"),
    "endless": ({"iat": float("inf")}, "claim iat of the token is missing or not a time in unix seconds"),
    "no_number": ({"iat": float("nan")}, "claim iat of the token is missing or not a time in unix seconds"),
    "milliseconds": ({"iat": NOW * 1000}, "claim iat of the token is missing or not a time in unix seconds"),
    "ended": ({"iat": NOW, "exp": NOW - 1}, "the token has expired; check the server's clock"),
    "no_end": ({"iat": NOW, "exp": None}, "claim exp of the token is missing or not a time in unix seconds"),
    "not_begun": ({"iat": NOW, "nbf": NOW + 2}, "the token is not valid yet; check the server's clock"),
    "no_beginning": ({"iat": NOW, "nbf": "now"}, "claim nbf of the token is missing or not a time in unix seconds"),
}  # fmt: skip


def raw_token(times: dict[str, Any]) -> str:
    """PyJWT would not write such times."""
    told = {"payload_hash": sha256(BODY).hexdigest(), **times}
    return jwt.PyJWS().encode(json.dumps(told).encode(), PLAIN_KEY.encode(), "HS256")


@pytest.mark.parametrize("times", IN_TIME.values(), ids=IN_TIME)
def test_a_token_in_time_is_good(times: dict[str, Any]):
    evidence = proved(bearing(raw_token(times)))

    assert evidence == "jwt, secret 1 of 1"


@pytest.mark.parametrize(("times", "expected"), OUT_OF_TIME.values(), ids=OUT_OF_TIME)
def test_a_token_out_of_time_is_refused(times: dict[str, Any], expected: str):
    told = reason(PLAIN, PLAIN_KEY, bearing(raw_token(times)))

    assert told == expected


def test_without_a_window_an_old_token_is_good():
    evidence = proved(bearing(raw_token({"iat": 1})), JwtScheme())

    assert evidence == "jwt, secret 1 of 1"


def test_a_token_is_looked_at_with_the_time_when_the_request_came_in():
    _, _, asked = GOOD["messagebird"]

    told = reason(MESSAGEBIRD_SCHEME, MESSAGEBIRD_KEY, changed(asked, at=MESSAGEBIRD_NOW + timedelta(hours=1)))

    assert told == "the token has expired; check the server's clock"


# --- the secret ---------------------------------------------------------------------------------------------------


def test_a_public_key_is_no_secret():
    check = verifier(PLAIN, (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",))

    with pytest.raises(NotReady) as not_ready:
        check(bearing(token(claims())))

    assert str(not_ready.value) == (
        "the webhook's secret is not a key for hashes (it looks like a public key or certificate); "
        "copy it from the provider once more"
    )


def test_a_scheme_that_covers_no_body_is_bad_input():
    with pytest.raises(BadInput, match="payload_hash must name the claim that covers the body"):
        verifier(JwtScheme(payload_hash=""), (b"key",))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@settings(deadline=None, max_examples=300)
@given(
    told=st.dictionaries(st.sampled_from(["iat", "nbf", "exp", "iss", "payload_hash", "url_hash"]), anything),
    body=st.sampled_from([b"", BODY]),
)
def test_whatever_a_signed_token_claims_crashes_nothing(told: dict[str, Any], body: bytes):
    given_token = jwt.PyJWS().encode(json.dumps(told).encode(), PLAIN_KEY.encode(), "HS256")
    scheme = JwtScheme(window=300, issuer="Vonage", url_hash="url_hash")

    with pytest.raises(Refused):
        proved(bearing(given_token, body), scheme)


# --- the providers' own libraries ---------------------------------------------------------------------------------


def sdk_request(told: dict[str, Any], algorithm: str = "HS256", url: str = SDK_URL, body: bytes = SDK_BODY) -> Request:
    headers = {"messagebird-signature-jwt": token(told, SDK_KEY, algorithm)}
    return request(headers, body, url, at=SDK_NOW)


def without(name: str) -> dict[str, Any]:
    return {other: value for other, value in SDK_CLAIMS.items() if other != name}


TRIES = {
    "right": (sdk_request(SDK_CLAIMS), True),
    "hs384": (sdk_request(SDK_CLAIMS, "HS384"), True),
    "hs512": (sdk_request(SDK_CLAIMS, "HS512"), True),
    "no_body": (sdk_request(without("payload_hash"), body=b""), True),
    "other_body": (sdk_request(SDK_CLAIMS, body=b"Hello!"), False),
    "body_gone": (sdk_request(SDK_CLAIMS, body=b""), False),
    "body_added": (sdk_request(without("payload_hash")), False),
    "other_url": (sdk_request(SDK_CLAIMS, url=f"{SDK_URL}3"), False),
    "other_issuer": (sdk_request(SDK_CLAIMS | {"iss": "Bird"}), False),
    "no_issuer": (sdk_request(without("iss")), False),
    "ended": (sdk_request(SDK_CLAIMS | {"exp": SDK_CLAIMS["nbf"] - 10}), False),
    "ended_within_the_leeway": (sdk_request(SDK_CLAIMS | {"exp": SDK_CLAIMS["nbf"] + 1}), True),
    "not_begun": (sdk_request(SDK_CLAIMS | {"nbf": SDK_CLAIMS["nbf"] + 10}), False),
}


@pytest.mark.parametrize(("asked", "good"), TRIES.values(), ids=TRIES)
def test_messagebird_s_sdk_accepts_and_refuses_the_same(asked: Request, good: bool):
    with time_machine.travel(SDK_NOW, tick=False):
        theirs = accepts(asked)

    assert theirs == good
    if good:
        assert proved(asked, MESSAGEBIRD_SCHEME, SDK_KEY) == "jwt, secret 1 of 1"
    else:
        assert reason(MESSAGEBIRD_SCHEME, SDK_KEY, asked)


def accepts(asked: Request) -> bool:
    try:
        RequestValidator(SDK_KEY).validate_signature(asked.headers["messagebird-signature-jwt"], asked.url, asked.body)
    except ValidationError:
        return False
    return True


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
def test_messagebird_s_sdk_accepts_the_published_vector():
    with time_machine.travel(MESSAGEBIRD_NOW, tick=False):
        told = RequestValidator(MESSAGEBIRD_KEY).validate_signature(
            MESSAGEBIRD_TOKEN, MESSAGEBIRD_URL, MESSAGEBIRD_BODY
        )

    assert told["payload_hash"] == sha256(MESSAGEBIRD_BODY).hexdigest()


def test_vonage_s_sdk_accepts_the_tokens_that_we_do():
    theirs = [verify_signature(VONAGE_MESSAGES_TOKEN, key) for key in (VONAGE_MESSAGES_KEY, PLAIN_KEY)]

    assert theirs == [True, False]
