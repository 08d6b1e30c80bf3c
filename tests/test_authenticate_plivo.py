"""2 authenticate: the scheme of Plivo, in its third and second version."""

import base64
import hmac
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plivo.utils import signature_v3 as sdk
from plivo.utils import validate_signature

from app.authenticate import verifier
from app.request import Request
from app.scheme import PlivoScheme
from tests.authenticating import (
    FORM,
    JSON,
    PLIVO_BODY,
    PLIVO_HEADERS,
    PLIVO_KEY,
    PLIVO_NONCE,
    PLIVO_URL,
    reason,
    request,
)

V3, V3_MA, NONCE = "x-plivo-signature-v3", "x-plivo-signature-ma-v3", "x-plivo-signature-v3-nonce"
V2, V2_MA, V2_NONCE = "x-plivo-signature-v2", "x-plivo-signature-ma-v2", "x-plivo-signature-v2-nonce"
RIGHT = PLIVO_HEADERS[V3_MA]
WRONG = "A" * 43 + "="
MISMATCH = "signature does not match URL, parameters and nonce; check PUBLIC_URL and the auth token"


def plivo(headers: dict[str, str], body: bytes = PLIVO_BODY, url: str = PLIVO_URL, **rest: Any) -> Request:
    return request(headers, body, url, **{"content_type": FORM, **rest})


def proved(asked: Request, scheme: PlivoScheme | None = None) -> str:
    return verifier(scheme or PlivoScheme(), (PLIVO_KEY.encode(),))(asked)


def told(asked: Request, scheme: PlivoScheme | None = None) -> str:
    return reason(scheme or PlivoScheme(), PLIVO_KEY, asked)


# --- which header -------------------------------------------------------------------------------------------------

FITTING = {
    "main_account": {V3_MA: RIGHT},
    "subaccount": {V3: RIGHT},
    "main_account_s_token": {V3_MA: RIGHT, V3: WRONG},
    "subaccount_s_token": {V3_MA: WRONG, V3: RIGHT},
    "several": {V3_MA: f"{WRONG},{RIGHT}"},
    "several_with_blanks": {V3: f"{RIGHT} , {WRONG}"},
    # what is better proved needs no weaker proof
    "with_v2": {V3: RIGHT, V2: WRONG},
}


@pytest.mark.parametrize("headers", FITTING.values(), ids=FITTING)
def test_any_of_the_signatures_may_fit(headers: dict[str, str]):
    evidence = proved(plivo({NONCE: PLIVO_NONCE, **headers}))

    assert evidence == "plivo, secret 1 of 1"


@pytest.mark.parametrize("headers", [{V3_MA: WRONG}, {V3: WRONG, V3_MA: f"{WRONG},{WRONG}"}, {V3: f"{WRONG},x"}])
def test_no_fitting_signature_is_refused(headers: dict[str, str]):
    assert told(plivo({NONCE: PLIVO_NONCE, **headers})) == MISMATCH


def test_a_signature_without_its_nonce_is_refused():
    assert told(plivo({V3: RIGHT})) == f"header {NONCE} is missing"


def test_the_end_of_a_parameter_cannot_be_passed_off_as_a_nonce():
    body = PLIVO_BODY.replace(b"Units=1", b"Units=1.5")
    text = sdk.construct_post_url(PLIVO_URL, {"Units": "1.5"}).decode()
    signature = sdk.get_signature_v3(PLIVO_KEY.encode(), text, PLIVO_NONCE.encode()).decode()
    captured = plivo({V3: signature, NONCE: PLIVO_NONCE}, b"Units=1.5")

    refusal = told(plivo({V3: signature, NONCE: f"5.{PLIVO_NONCE}"}, b"Units=1"))

    assert body != PLIVO_BODY
    assert proved(captured) == "plivo, secret 1 of 1"
    assert refusal == f"header {NONCE} has a dot in it"


UNCOVERED = {
    "json": plivo({V3: RIGHT, NONCE: PLIVO_NONCE}, b'{"Text":"START"}', content_type=JSON),
    "form_under_a_get": plivo({V3: RIGHT, NONCE: PLIVO_NONCE}, method="GET"),
}


@pytest.mark.parametrize("asked", UNCOVERED.values(), ids=UNCOVERED)
def test_a_body_that_the_signature_does_not_cover_is_refused(asked: Request):
    assert told(asked) == "there is a body that is not a form of a POST, and the signature does not cover it"


# --- the second version -------------------------------------------------------------------------------------------

#: from the SDK's own tests
SDK_V2 = ("my_auth_token", "https://answer.url", "12345", "ehV3IKhLysWBxC1sy8INm0qGoQYdYsHwuoKjsX7FsXc=")
OWN_V2 = (PLIVO_KEY, PLIVO_URL, PLIVO_NONCE, "+CJ00YDEd3IryCo/PgdoQ5+O9MXaKZiL8no4NrmGfU4=")


@pytest.mark.parametrize("vector", [SDK_V2, OWN_V2])
@pytest.mark.parametrize("header", [V2, V2_MA])
def test_a_v2_signature_is_believed_where_the_scheme_allows_it(vector: tuple[str, str, str, str], header: str):
    key, url, nonce, signature = vector
    asked = plivo({header: signature, V2_NONCE: nonce}, url=url)

    evidence = verifier(PlivoScheme(v2=True), (key.encode(),))(asked)

    assert evidence == "plivo v2, secret 1 of 1"


def test_a_v2_signature_is_refused_where_the_scheme_does_not_allow_it():
    asked = plivo({V2: OWN_V2[3], V2_NONCE: PLIVO_NONCE})

    assert told(asked) == "only a V2 signature came, which covers neither query nor body; `v2 = true` would believe it"


@pytest.mark.parametrize("v3", [V3, V3_MA])
def test_beside_a_v3_signature_one_of_v2_counts_for_nothing(v3: str):
    asked = plivo({v3: WRONG, NONCE: PLIVO_NONCE, V2: OWN_V2[3], V2_NONCE: PLIVO_NONCE})

    assert told(asked, PlivoScheme(v2=True)) == MISMATCH


def test_a_wrong_v2_signature_is_refused():
    asked = plivo({V2: WRONG, V2_NONCE: PLIVO_NONCE})

    assert told(asked, PlivoScheme(v2=True)) == MISMATCH


# --- the provider's own library -----------------------------------------------------------------------------------


def as_parameters(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Names with their values, in the shape that the provider's SDK reads."""
    parameters: dict[str, Any] = {}
    for name, value in pairs:
        parameters[name] = [*parameters.get(name, []), value]
    return {name: values if len(values) > 1 else values[0] for name, values in parameters.items()}


def sdk_headers(method: str, url: str, pairs: list[tuple[str, str]]) -> dict[str, str]:
    construct = sdk.construct_get_url if method == "GET" else sdk.construct_post_url
    text = construct(url, as_parameters(pairs)).decode()
    return {V3: sdk.get_signature_v3(PLIVO_KEY.encode(), text, PLIVO_NONCE.encode()).decode(), NONCE: PLIVO_NONCE}


QUERIES = {
    "none": "",
    "sorted": "?b=2&a=1",
    "repeated": "?a=2&b=0&a=1&a=2",
    "empty_value": "?tenant=&a=1",
    "encoded": "?text=a%26b%3Dc+d%2B",
}
FORMS: dict[str, list[tuple[str, str]]] = {
    "none": [],
    "empty_value": [("Text", ""), ("From", "14155550100")],
    "repeated": [("Media", "b"), ("Text", "x"), ("Media", "a"), ("Media", "b")],
    "case_counts": [("text", "1"), ("Text", "2"), ("TEXT", "3")],
    "name_begins_name": [("Sid", "9"), ("SidAccount", "1")],
    "unicode": [("Text", "arrêt 🛑 стоп"), ("ÄName", "ß")],
    "blanks": [("Text", "  STOP \r\n\t")],
    "delimiters": [("Text", "a&b=c+d%20e;f?g#h.i")],
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
@pytest.mark.parametrize("pairs", FORMS.values(), ids=FORMS)
def test_a_post_that_plivo_s_sdk_signed_is_accepted(query: str, pairs: list[tuple[str, str]]):
    url = PLIVO_URL + query

    evidence = proved(plivo(sdk_headers("POST", url, pairs), urlencode(pairs).encode(), url))

    assert evidence == "plivo, secret 1 of 1"


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_get_that_plivo_s_sdk_signed_is_accepted(query: str):
    url = PLIVO_URL + query

    evidence = proved(plivo(sdk_headers("GET", url, []), b"", url, method="GET", content_type=""))

    assert evidence == "plivo, secret 1 of 1"


def test_a_query_beyond_ascii_is_read_as_utf_8():
    # the SDK for Python cannot read such a query at all, the one for Node reads it so
    text = f"{PLIVO_URL}?text=arrêt.{PLIVO_NONCE}".encode()
    signature = base64.b64encode(hmac.digest(PLIVO_KEY.encode(), text, "sha256")).decode()

    evidence = proved(plivo({V3: signature, NONCE: PLIVO_NONCE}, b"", f"{PLIVO_URL}?text=arr%C3%AAt", method="GET"))

    assert evidence == "plivo, secret 1 of 1"


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
ascii_words = st.text(st.characters(max_codepoint=127), max_size=6)


@settings(deadline=None)
@given(
    query=st.lists(st.tuples(ascii_words, ascii_words), max_size=8), pairs=st.lists(st.tuples(words, words), max_size=8)
)
def test_whatever_plivo_s_sdk_signed_is_accepted(query: list[tuple[str, str]], pairs: list[tuple[str, str]]):
    url = f"{PLIVO_URL}?{urlencode(query)}" if query else PLIVO_URL

    evidence = proved(plivo(sdk_headers("POST", url, pairs), urlencode(pairs).encode(), url))

    assert evidence == "plivo, secret 1 of 1"


def test_plivo_s_sdk_accepts_the_signatures_that_we_do():
    parameters = as_parameters([tuple(pair.split("=")) for pair in PLIVO_BODY.decode().split("&")])

    theirs = [
        sdk.validate_v3_signature("POST", PLIVO_URL, PLIVO_NONCE, PLIVO_KEY, RIGHT, parameters),
        sdk.validate_v3_signature("POST", PLIVO_URL, PLIVO_NONCE, PLIVO_KEY, f"{WRONG},{RIGHT}", parameters),
        sdk.validate_v3_signature("POST", PLIVO_URL, "1", PLIVO_KEY, RIGHT, parameters),
        validate_signature(PLIVO_URL, PLIVO_NONCE, OWN_V2[3], PLIVO_KEY),
    ]

    assert theirs == [True, True, False, True]
