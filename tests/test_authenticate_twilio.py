"""2 authenticate: the scheme of Twilio, and of SignalWire where it speaks like it."""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from app.authenticate import verifier
from app.errors import Refused
from app.request import Request
from app.scheme import TwilioScheme
from tests.authenticating import (
    FORM,
    GOOD,
    JSON,
    SDK_BODY,
    SDK_SIGNATURE,
    SDK_URL,
    SIGNALWIRE,
    SIGNALWIRE_COMPATIBLE,
    TWILIO_BODY,
    TWILIO_SIGNATURE,
    TWILIO_URL,
    URL,
    changed,
    reason,
    request,
)
from tests.authenticating import TWILIO_KEY as KEY


def form_request(signature: str, body: bytes, url: str = URL, **rest: Any) -> Request:
    return request({"x-twilio-signature": signature}, body, url, content_type=FORM, **rest)


# --- the published vectors ----------------------------------------------------------------------------------------

JSON_BODY = b'{"property": "value", "boolean": true}'
JSON_URL = f"{SDK_URL}&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
JSON_SIGNATURE = "a9nBmqA0ju/hNViExpshrM61xv4="
RECEIPT_BODY = (
    b"MessageSid=SM00000000000000000000000000000002&MessageStatus=undelivered&ErrorCode=21610"
    b"&AccountSid=AC00000000000000000000000000000001&From=%2B14155550199&To=%2B14155550100&RawDlrDoneDate="
)

TWILIO_VECTORS = {
    "form": ("12345", SDK_URL, FORM, SDK_BODY, SDK_SIGNATURE),
    # the provider signed the port that the request does not show
    "signed_with_port": ("12345", SDK_URL, FORM, SDK_BODY, "kvajT1Ptam85bY51eRf/AJRuM3w="),
    "repeated_name": (
        "12345",
        SDK_URL,
        FORM,
        b"Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234",
        "IK+Dwps556ElfBT0I3Rgjkr1wJU=",
    ),
    # by name, not by name and value: ReasonConferenceEnded comes before ReasonParticipant
    "sorted_by_name": (
        "12345",
        SDK_URL,
        FORM,
        SDK_BODY + b"&Reason=Participant&ReasonConferenceEnded=test",
        "vOEb5UThFn24KEfnOFLQY2AE5FY=",
    ),
    "json": ("12345", JSON_URL, JSON, JSON_BODY, JSON_SIGNATURE),
    "inbound": (KEY, TWILIO_URL, FORM, TWILIO_BODY, TWILIO_SIGNATURE),
    "receipt": (KEY, "https://hooks.example.com/dlr/twilio", FORM, RECEIPT_BODY, "6SYDqKgNFPKD7UvIfbbaDrTwLhI="),
}


@pytest.mark.parametrize("vector", TWILIO_VECTORS.values(), ids=TWILIO_VECTORS)
def test_published_twilio_vector_is_accepted(vector: tuple[str, str, str, bytes, str]):
    key, url, content_type, body, signature = vector
    asked = request({"x-twilio-signature": signature}, body, url, content_type=content_type)

    evidence = verifier(TwilioScheme(), (key.encode(),))(asked)

    assert evidence == "twilio, secret 1 of 1"


# --- signed by the provider's own SDK -----------------------------------------------------------------------------


class Form(dict[str, list[str]]):
    """Names with several values, in the shape that the provider's SDK reads."""

    def getlist(self, name: str) -> list[str]:
        return self[name]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> "Form":
        form = cls()
        for name, value in pairs:
            form.setdefault(name, []).append(value)
        return form


def sdk_signature(url: str, pairs: Iterable[tuple[str, str]], key: str = KEY) -> str:
    return str(RequestValidator(key).compute_signature(url, Form.of(pairs)))


SDK_FORMS = {
    "no_fields": [],
    "empty_value": [("Body", ""), ("From", "+14155550100")],
    "repeated_name": [("MediaUrl", "b"), ("Body", "x"), ("MediaUrl", "a"), ("MediaUrl", "b")],
    "case_counts": [("body", "1"), ("Body", "2"), ("BODY", "3")],
    "name_begins_name": [("Sid", "9"), ("SidAccount", "1"), ("S", "z")],
    "unicode": [("Body", "arrêt 🛑 стоп"), ("ÄName", "ß"), ("ＳＴＯＰ", "１")],
    "blanks": [("Body", "  STOP \r\n\t"), (" ", " ")],
    "delimiters": [("Body", "a&b=c+d%20e;f?g#h")],
    "nul": [("Body", "a\0b")],
}
SDK_URLS = {
    "plain": URL,
    "query": URL + "?tenant=7&x=%20%2B&empty=",
    "port_443": "https://hooks.example.com:443/in/k3yT0ken",
    "own_port": "https://hooks.example.com:8443/in/k3yT0ken?a=1",
    "http": "http://hooks.example.com/in/k3yT0ken",
    "http_port_80": "http://hooks.example.com:80/in/k3yT0ken",
}


@pytest.mark.parametrize("url", SDK_URLS.values(), ids=SDK_URLS)
@pytest.mark.parametrize("pairs", SDK_FORMS.values(), ids=SDK_FORMS)
def test_what_the_provider_s_sdk_signed_is_accepted(url: str, pairs: list[tuple[str, str]]):
    asked = form_request(sdk_signature(url, pairs), urlencode(pairs).encode(), url)

    evidence = verifier(TwilioScheme(), (KEY.encode(),))(asked)

    assert evidence == "twilio, secret 1 of 1"


@settings(deadline=None)
@given(pairs=st.lists(st.tuples(st.text(min_size=1, max_size=4), st.text(max_size=6)), max_size=12))
def test_any_form_signed_by_the_provider_s_sdk_is_accepted(pairs: list[tuple[str, str]]):
    sendable = [
        (name.encode(errors="replace").decode(), value.encode(errors="replace").decode()) for name, value in pairs
    ]
    asked = form_request(sdk_signature(URL, sendable), urlencode(sendable).encode())

    evidence = verifier(TwilioScheme(), (KEY.encode(),))(asked)

    assert evidence == "twilio, secret 1 of 1"


PORTS = [
    # signed, seen
    ("https://hooks.example.com/in/t?a=1", "https://hooks.example.com:443/in/t?a=1"),
    ("https://hooks.example.com:443/in/t?a=1", "https://hooks.example.com/in/t?a=1"),
    ("http://hooks.example.com/in/t", "http://hooks.example.com:80/in/t"),
    ("http://hooks.example.com:80/in/t", "http://hooks.example.com/in/t"),
    ("https://hooks.example.com/in/t", "https://hooks.example.com:8443/in/t"),
    ("https://[2001:db8::1]/in/t", "https://[2001:db8::1]:443/in/t"),
    ("https://[2001:db8::1]:443/in/t", "https://[2001:db8::1]/in/t"),
    ("https://user:pass@hooks.example.com:443/in/t", "https://user:pass@hooks.example.com/in/t"),
    ("https://hooks.example.com:443", "https://hooks.example.com"),
]


@pytest.mark.parametrize(("signed", "seen"), PORTS)
def test_either_way_to_write_the_port_is_accepted(signed: str, seen: str):
    asked = form_request(sdk_signature(signed, [("Body", "STOP")]), b"Body=STOP", seen)

    evidence = verifier(TwilioScheme(), (KEY.encode(),))(asked)

    assert evidence == "twilio, secret 1 of 1"


WRONG_URLS = {
    "other_host": "https://evil.example.com/in/k3yT0ken",
    "other_path": "https://hooks.example.com/in/other",
    "http": "http://hooks.example.com/in/k3yT0ken",
    "other_ports_default": "https://hooks.example.com:80/in/k3yT0ken",
    "query_added": URL + "?a=1",
    "slash_added": URL + "/",
    "internal_host_behind_a_proxy": "http://127.0.0.1:8080/in/k3yT0ken",
}


@pytest.mark.parametrize("signed", WRONG_URLS.values(), ids=WRONG_URLS)
def test_a_signature_for_another_url_is_refused(signed: str):
    asked = form_request(sdk_signature(signed, [("Body", "STOP")]), b"Body=STOP")

    told = reason(TwilioScheme(), KEY, asked)

    assert told == (
        "signature does not match the URL https://hooks.example.com/in/*** and form; check PUBLIC_URL and the auth token"
    )


# --- what the signature does not cover ----------------------------------------------------------------------------


def test_a_get_is_signed_by_its_url_alone():
    url = URL + "?Body=STOP&From=%2B14155550100"
    asked = form_request(sdk_signature(url, []), b"", url, method="GET")

    evidence = verifier(TwilioScheme(), (KEY.encode(),))(asked)

    assert evidence == "twilio, secret 1 of 1"


UNCOVERED = {
    "form_under_a_get": ("GET", FORM, b"Body=START"),
    "json_without_hash": ("POST", JSON, b'{"Body":"START"}'),
    "text_without_hash": ("POST", "text/plain", b"Body=START"),
    "no_content_type": ("POST", "", b"Body=START"),
    "multipart": ("POST", "multipart/form-data; boundary=x", b"--x--"),
}


@pytest.mark.parametrize(("method", "content_type", "body"), UNCOVERED.values(), ids=UNCOVERED)
def test_a_body_that_the_signature_does_not_cover_is_refused(method: str, content_type: str, body: bytes):
    signature = sdk_signature(URL, [])
    asked = request({"x-twilio-signature": signature}, body, method=method, content_type=content_type)

    told = reason(TwilioScheme(), KEY, asked)

    assert told == "the body is not a form and the URL has no bodySHA256, so the signature does not cover the body"


@pytest.mark.parametrize("body", [b"", JSON_BODY + b" ", JSON_BODY.replace(b"true", b"null")])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_body_without_the_hash_in_its_url_is_refused(body: bytes, method: str):
    asked = request({"x-twilio-signature": JSON_SIGNATURE}, body, JSON_URL, method=method)

    told = reason(TwilioScheme(), "12345", asked)

    assert told == "the body does not have the hash that the URL gives as bodySHA256; check that no proxy rewrites it"


def test_the_hash_of_a_body_is_no_signature():
    body = b'{"Body":"START"}'
    url = f"{URL}?bodySHA256={hashlib.sha256(body).hexdigest()}"

    told = reason(TwilioScheme(), KEY, request({"x-twilio-signature": sdk_signature(URL, [])}, body, url))

    assert (
        told
        == "signature does not match the URL https://hooks.example.com/in/***?***; check PUBLIC_URL and the auth token"
    )


def test_a_form_sent_as_json_is_refused():
    asked = request({"x-twilio-signature": TWILIO_SIGNATURE}, TWILIO_BODY, TWILIO_URL, content_type=JSON)

    told = reason(TwilioScheme(), KEY, asked)

    assert told == "the body is not a form and the URL has no bodySHA256, so the signature does not cover the body"


def test_json_called_a_form_is_read_as_json_and_so_proved_by_its_hash():
    evidence = verifier(TwilioScheme(), (b"12345",))(form_request(JSON_SIGNATURE, JSON_BODY, JSON_URL))
    told = reason(TwilioScheme(), "12345", form_request(JSON_SIGNATURE, JSON_BODY + b" ", JSON_URL))

    assert evidence == "twilio, secret 1 of 1"
    assert told.startswith("the body does not have the hash that the URL gives as bodySHA256")


def test_a_form_that_would_be_read_as_json_is_refused():
    """Its names and values are signed as a form's, but it says something else to whoever reads the body."""
    body = b'{"Body":"START","x":"=&A=1"}'
    signature = sdk_signature(URL, parse_qsl(body.decode()))

    told = reason(TwilioScheme(), KEY, form_request(signature, body))

    assert told.startswith("the body is not a form and the URL has no bodySHA256")


def test_an_emptied_form_is_refused():
    told = reason(TwilioScheme(), KEY, form_request(TWILIO_SIGNATURE, b"", TWILIO_URL))

    assert (
        told
        == "signature does not match the URL https://hooks.example.com/in/***?***; check PUBLIC_URL and the auth token"
    )


def test_a_huge_form_is_proved_like_a_small_one():
    pairs = [(f"Field{number}", "ü" * 40) for number in range(5_000)]
    asked = form_request(sdk_signature(URL, pairs), urlencode(pairs).encode())
    cut = form_request(sdk_signature(URL, pairs), urlencode(pairs[:-1]).encode())

    evidence = verifier(TwilioScheme(), (KEY.encode(),))(asked)

    assert evidence == "twilio, secret 1 of 1"
    assert reason(TwilioScheme(), KEY, cut).startswith("signature does not match")


# --- one byte changed ---------------------------------------------------------------------------------------------


def with_flip(data: bytes, place: int, mask: int) -> bytes:
    at = place % len(data)
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def signed_text(url: str, body: bytes) -> str:
    """What the provider signs, by the standard library's reading of the form."""
    pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    return url + "".join(name + value for name, value in sorted(set(pairs)))


@settings(deadline=None, max_examples=400)
@given(place=st.integers(0, 10_000), mask=st.integers(1, 255))
def test_any_flipped_byte_of_a_form_is_refused_unless_it_says_the_same(place: int, mask: int):
    # %2b is %2B, and the scheme itself cannot tell A=B from A&B: both are signed as AB
    scheme, secret, asked = GOOD["twilio"]
    body = with_flip(asked.body, place, mask)
    same = signed_text(asked.url, body) == signed_text(asked.url, asked.body)

    try:
        accepted = verifier(scheme, (secret.encode(),))(changed(asked, body=body)) != ""
    except Refused:
        accepted = False

    assert accepted == same


# --- what a refusal shows -----------------------------------------------------------------------------------------

SHOWN = {
    "https://hooks.example.com/in/k3yT0ken": "https://hooks.example.com/in/***",
    "https://hooks.example.com:8443/in/k3yT0ken?code=k3y&From=%2B14155550100": "https://hooks.example.com:8443/in/***?***",
    "https://example.com/text/back/in/k3yT0ken/": "https://example.com/text/back/in/***",
    "https://user:k3y@example.com/in/k3yT0ken": "https://example.com/in/***",
    "https://example.com/in/in/k3yT0ken": "https://example.com/in/***",
    "https://in/in/k3yT0ken": "https://in/in/***",
    "https://example.com/k3yT0ken": "https://example.com/***",
    "https://example.com?k3yT0ken": "https://example.com/***?***",
    "/in/k3yT0ken": "***",
}


@pytest.mark.parametrize(("url", "shown"), SHOWN.items())
def test_a_refusal_shows_the_url_without_its_token(url: str, shown: str):
    asked = form_request(SDK_SIGNATURE, b"Body=STOP", url)

    told = reason(TwilioScheme(), KEY, asked)

    assert told == f"signature does not match the URL {shown} and form; check PUBLIC_URL and the auth token"


# --- names that come several times --------------------------------------------------------------------------------


def kept_signature(url: str, pairs: list[tuple[str, str]]) -> str:
    text = url + "".join(name + value for name, value in sorted(pairs, key=lambda pair: pair[0]))
    return base64.b64encode(hmac.digest(KEY.encode(), text.encode(), "sha1")).decode()


REPEATED = [("MediaUrl", "b"), ("Body", "x"), ("MediaUrl", "a"), ("MediaUrl", "b")]


def test_signalwire_signs_all_values_of_a_name_in_their_order():
    asked = request({SIGNALWIRE: kept_signature(URL, REPEATED)}, urlencode(REPEATED).encode(), content_type=FORM)

    evidence = verifier(SIGNALWIRE_COMPATIBLE, (KEY.encode(),))(asked)

    assert evidence == "twilio, secret 1 of 1"


def test_values_of_a_name_in_another_order_are_refused():
    body = urlencode([REPEATED[2], *REPEATED[:2], REPEATED[3]]).encode()

    told = reason(
        SIGNALWIRE_COMPATIBLE, KEY, request({SIGNALWIRE: kept_signature(URL, REPEATED)}, body, content_type=FORM)
    )

    assert told.startswith("signature does not match")


def test_each_signs_several_values_of_a_name_in_its_own_way():
    body = urlencode(REPEATED).encode()
    twilio, signalwire = sdk_signature(URL, REPEATED), kept_signature(URL, REPEATED)

    told = [
        reason(TwilioScheme(), KEY, form_request(signalwire, body)),
        reason(SIGNALWIRE_COMPATIBLE, KEY, request({SIGNALWIRE: twilio}, body, content_type=FORM)),
    ]

    assert [sentence.partition(" the URL")[0] for sentence in told] == ["signature does not match"] * 2
