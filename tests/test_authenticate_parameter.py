"""2 authenticate: a signature that stands among the parameters which it signs, as in Vonage's SMS API."""

import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vonage_http_client.auth import Auth

from app.authenticate import verifier
from app.request import Request
from app.scheme import ParameterScheme
from tests.authenticating import (
    FORM,
    JSON,
    URL,
    VONAGE_KEY,
    VONAGE_NOW,
    VONAGE_QUERY,
    VONAGE_SIGNATURES,
    reason,
    request,
)

SCHEME = ParameterScheme(hash="sha256", window=300)
PARAMETERS = dict(parse_qsl(VONAGE_QUERY))
SIGNATURE = VONAGE_SIGNATURES["sha256"]
MISMATCH = "parameter sig does not match the others; check the secret and the scheme's hash"


def by_query(parameters: dict[str, str], **rest: Any) -> Request:
    return request({}, b"", f"{URL}?{urlencode(parameters)}", **{"method": "GET", "at": VONAGE_NOW, **rest})


def by_form(parameters: dict[str, str]) -> Request:
    return request({}, urlencode(parameters).encode(), content_type=FORM, at=VONAGE_NOW)


def by_json(parameters: dict[str, Any], content_type: str = JSON) -> Request:
    return request({}, json.dumps(parameters).encode(), content_type=content_type, at=VONAGE_NOW)


def proved(asked: Request, scheme: ParameterScheme = SCHEME) -> str:
    return verifier(scheme, (VONAGE_KEY.encode(),))(asked)


def told(asked: Request, scheme: ParameterScheme = SCHEME) -> str:
    return reason(scheme, VONAGE_KEY, asked)


# --- where the parameters stand -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [by_query, by_form, by_json])
@pytest.mark.parametrize("hash_name", VONAGE_SIGNATURES)
def test_a_signature_is_good_in_query_form_and_json(way: Any, hash_name: Any):
    asked = way(PARAMETERS | {"sig": VONAGE_SIGNATURES[hash_name]})

    evidence = proved(asked, ParameterScheme(hash=hash_name, window=300))

    assert evidence == "parameter, secret 1 of 1"


def test_a_signature_may_be_written_in_upper_case():
    evidence = proved(by_form(PARAMETERS | {"sig": SIGNATURE.upper()}))

    assert evidence == "parameter, secret 1 of 1"


def test_json_is_read_whatever_it_is_called():
    evidence = proved(by_json(PARAMETERS | {"sig": SIGNATURE}, FORM))

    assert evidence == "parameter, secret 1 of 1"


def test_numbers_are_signed_with_the_digits_that_were_sent():
    signed = b"&big=12345678901234567890123&price=0.03330000&sig2=1e2"
    signature = hmac.new(VONAGE_KEY.encode(), signed, "sha256").hexdigest()
    body = b'{"price":0.03330000,"big":12345678901234567890123,"sig2":1e2,"sig":"%s"}' % signature.encode()

    evidence = proved(request({}, body), ParameterScheme(hash="sha256"))

    assert evidence == "parameter, secret 1 of 1"


NO_PARAMETERS = {
    "text": (b"text=START&sig=1", "text/plain", "the body is neither a form nor a JSON object, so it holds no signed parameters"),
    "array": (b'[{"sig":"1"}]', JSON, "the body is a JSON array, which holds no parameters"),
    "array_called_a_form": (b'[["sig","1"]]', FORM, "the body is a JSON array, which holds no parameters"),
    "cut": (b'{"sig":"1"', JSON, "the body is not JSON"),
    "deep": (b'{"a":' + b"[" * 100_000, JSON, "the body is not JSON"),
    "nested": (b'{"a":{"b":"c"},"sig":"1"}', JSON, "the body has a value that is neither text nor number, so no text can be made of it"),
    "true": (b'{"a":true,"sig":"1"}', JSON, "the body has a value that is neither text nor number, so no text can be made of it"),
    "empty": (b"{}", JSON, "parameter sig is missing or empty"),
    "empty_signature": (b'{"sig":""}', JSON, "parameter sig is missing or empty"),
    "half_a_character": (b'{"sig":"\\ud800"}', JSON, MISMATCH),
    "half_a_character_beside": (b'{"a":"\\ud800","sig":"1"}', JSON, MISMATCH),
    "number": (b'{"sig":1}', JSON, MISMATCH),
}  # fmt: skip


@pytest.mark.parametrize(("body", "content_type", "expected"), NO_PARAMETERS.values(), ids=NO_PARAMETERS)
def test_a_body_without_good_parameters_is_refused(body: bytes, content_type: str, expected: str):
    assert told(request({}, body, content_type=content_type)) == expected


def test_a_signed_query_does_not_prove_a_body():
    query = urlencode(PARAMETERS | {"sig": SIGNATURE})

    refusal = told(request({}, b'{"text":"START"}', f"{URL}?{query}", at=VONAGE_NOW))

    assert refusal == "parameter sig is missing or empty"


def test_the_empty_request_by_which_the_url_is_tried_proves_nothing():
    assert told(request(method="GET")) == "parameter sig is missing or empty"


# --- what is signed -----------------------------------------------------------------------------------------------

CHANGED = {
    "value": PARAMETERS | {"text": "START"},
    "one_more": PARAMETERS | {"tenant": "7"},
    "one_less": {name: value for name, value in PARAMETERS.items() if name != "nonce"},
    "other_case": {name.upper(): value for name, value in PARAMETERS.items()},
    "empty": {},
}


@pytest.mark.parametrize("parameters", CHANGED.values(), ids=CHANGED)
@pytest.mark.parametrize("way", [by_query, by_form, by_json])
def test_other_parameters_are_refused(way: Any, parameters: dict[str, str]):
    assert told(way(parameters | {"sig": SIGNATURE})) == MISMATCH


@pytest.mark.parametrize("hash_name", VONAGE_SIGNATURES)
def test_another_hash_than_the_one_that_is_set_is_refused(hash_name: Any):
    others = {signature for name, signature in VONAGE_SIGNATURES.items() if name != hash_name}

    refusals = {told(by_form(PARAMETERS | {"sig": sig}), ParameterScheme(hash=hash_name)) for sig in others}

    assert refusals == {MISMATCH}


def test_a_name_cannot_swallow_its_neighbour():
    """`text=A&to=B` and a parameter called `text=A&to` would give the same text."""
    signature = hmac.new(VONAGE_KEY.encode(), b"&text=STOP&to=447700900000", "sha256").hexdigest()
    scheme = ParameterScheme(hash="sha256")

    evidence = proved(by_form({"text": "STOP", "to": "447700900000", "sig": signature}), scheme)
    refusal = told(by_form({"text=STOP&to": "447700900000", "sig": signature}), scheme)

    assert evidence == "parameter, secret 1 of 1"
    assert refusal == "a parameter has & or = in its name, which the signature cannot tell from two parameters"


# --- when ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (1, "parameter timestamp is 3610 seconds behind our clock and 300 are allowed; check the server's clock"),
        (-1, "parameter timestamp is 3590 seconds ahead of our clock and 300 are allowed; check the server's clock"),
    ],
)
def test_a_proof_outside_of_the_window_is_refused(hours: int, expected: str):
    asked = by_query(PARAMETERS | {"sig": SIGNATURE}, at=VONAGE_NOW + timedelta(hours=hours))

    assert told(asked) == expected
    assert proved(asked, ParameterScheme(hash="sha256")) == "parameter, secret 1 of 1"


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ({}, "parameter timestamp is missing or empty"),
        ({"timestamp": "2020-01-01 12:00:00"}, "parameter timestamp is not a time in unix seconds"),
    ],
)
def test_a_window_needs_a_time(stamp: dict[str, str], expected: str):
    text = "".join(f"&{name}={value}" for name, value in sorted({"text": "STOP", **stamp}.items()))
    signature = hmac.new(VONAGE_KEY.encode(), text.encode(), "sha256").hexdigest()

    assert told(by_form({"text": "STOP", **stamp, "sig": signature})) == expected


# --- the provider's own library -----------------------------------------------------------------------------------

values = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="&="), max_size=4).filter(
    lambda n: n != "sig"
)


@pytest.mark.parametrize("hash_name", ["md5", "sha1", "sha256", "sha512"])
@pytest.mark.parametrize("way", [by_query, by_form, by_json])
@settings(deadline=None)
@given(parameters=st.dictionaries(names, values, max_size=6))
def test_what_vonage_s_sdk_signed_is_accepted(hash_name: Any, way: Any, parameters: dict[str, str]):
    sdk = Auth(api_key="abcd1234", signature_secret=VONAGE_KEY, signature_method=hash_name)
    signed = {**parameters, "timestamp": "1577880000"}
    signed["sig"] = sdk.sign_params(dict(signed))

    evidence = proved(way(signed), ParameterScheme(hash=hash_name, window=300))

    assert evidence == "parameter, secret 1 of 1"
    assert sdk.check_signature(dict(signed))


def test_the_plain_hash_ends_with_the_secret():
    text = "".join(f"&{name}={value.replace('&', '_').replace('=', '_')}" for name, value in sorted(PARAMETERS.items()))

    plain = hashlib.md5((text + VONAGE_KEY).encode(), usedforsecurity=False).hexdigest()

    assert plain == VONAGE_SIGNATURES["md5hash"]
