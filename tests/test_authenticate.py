"""2 authenticate: each scheme against its provider's published vectors, and against everything that is not quite one."""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from app.authenticate import verifier
from app.errors import NotReady, Refused
from app.provider import BasicScheme, HmacScheme, Scheme, SecretScheme, SinchScheme, TokenScheme, TwilioScheme
from app.request import Request

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FORM = "application/x-www-form-urlencoded; charset=UTF-8"
JSON = "application/json"
KEY = "twilio_test_token"
URL = "https://hooks.example.com/in/k3yT0ken"


def request(
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    url: str = URL,
    *,
    method: str = "POST",
    content_type: str = JSON,
) -> Request:
    given = {"content-type": content_type, **(headers or {})}
    return Request(method, url, given, body, NOON, query=url.partition("?")[2])


def form_request(signature: str, body: bytes, url: str = URL, **rest: Any) -> Request:
    return request({"x-twilio-signature": signature}, body, url, content_type=FORM, **rest)


def reason(scheme: Scheme, secret: str, asked: Request) -> str:
    with pytest.raises(Refused) as refused:
        verifier(scheme, (secret.encode(),))(asked)
    return str(refused.value)


# --- twilio: the published vectors --------------------------------------------------------------------------------

SDK_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
SDK_BODY = b"CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309"
SDK_SIGNATURE = "RSOYDt4T1cUTdK1PDd93/VVr8B8="
JSON_BODY = b'{"property": "value", "boolean": true}'
JSON_URL = f"{SDK_URL}&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
JSON_SIGNATURE = "a9nBmqA0ju/hNViExpshrM61xv4="
INBOUND_URL = "https://hooks.example.com/in/twilio?tenant=7"
INBOUND_BODY = (
    b"MessageSid=SM00000000000000000000000000000001&SmsSid=SM00000000000000000000000000000001"
    b"&AccountSid=AC00000000000000000000000000000001&From=%2B14155550100&To=%2B14155550199"
    b"&Body=Hello+%26+goodbye&NumMedia=0&NumSegments=1&SmsStatus=received&ApiVersion=2010-04-01"
)
INBOUND_SIGNATURE = "eihyCwUREFMAjRkMmUALuaquWEY="
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
    "inbound": (KEY, INBOUND_URL, FORM, INBOUND_BODY, INBOUND_SIGNATURE),
    "receipt": (KEY, "https://hooks.example.com/dlr/twilio", FORM, RECEIPT_BODY, "6SYDqKgNFPKD7UvIfbbaDrTwLhI="),
}


@pytest.mark.parametrize("vector", TWILIO_VECTORS.values(), ids=TWILIO_VECTORS)
def test_published_twilio_vector_is_accepted(vector: tuple[str, str, str, bytes, str]):
    key, url, content_type, body, signature = vector
    asked = request({"x-twilio-signature": signature}, body, url, content_type=content_type)

    evidence = verifier(TwilioScheme(), (key.encode(),))(asked)

    assert evidence == "twilio, secret 1 of 1"


# --- twilio: signed by the provider's own SDK ---------------------------------------------------------------------


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


# --- twilio: what the signature does not cover --------------------------------------------------------------------


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
    asked = request({"x-twilio-signature": INBOUND_SIGNATURE}, INBOUND_BODY, INBOUND_URL, content_type=JSON)

    told = reason(TwilioScheme(), KEY, asked)

    assert told == "the body is not a form and the URL has no bodySHA256, so the signature does not cover the body"


def test_json_sent_as_a_form_is_refused():
    told = reason(TwilioScheme(), "12345", form_request(JSON_SIGNATURE, JSON_BODY, JSON_URL))

    assert (
        told
        == "signature does not match the URL https://mycompany.com/***?*** and form; check PUBLIC_URL and the auth token"
    )


def test_an_emptied_form_is_refused():
    told = reason(TwilioScheme(), KEY, form_request(INBOUND_SIGNATURE, b"", INBOUND_URL))

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


# --- sinch, raw hmac, basic: the published vectors ----------------------------------------------------------------

SINCH_SMS = (
    b'{"at":"2025-01-13T09:22:40.914Z","batch_id":"01JHFFHQ0P99JPPNQPJDV7JTBP","client_reference":"a client reference",'
    b'"code":0,"operator_status_at":"2025-01-13T09:22:00Z","recipient":"33662162466","status":"Delivered",'
    b'"type":"recipient_delivery_report_sms"}'
)
SINCH_CONVERSATION = (
    b'{"app_id":"01EB37HMH1M6SV18BSNS3G135H","accepted_time":"2020-11-17T15:09:11.659Z",'
    b'"project_id":"c36f3d3d-1513-2edd-ae42-11995557ff61","message_delivery_report":{"message_id":'
    b'"01EQBC1A3BEK731GY4YXEN0C2R","conversation_id":"01EPYATA64TMNZ1FV02JKF12JF","status":"QUEUED_ON_CHANNEL",'
    b'"contact_id":"01EXA07N79THJ20WSN6AS30TMW"}}'
)
SINCH = "x-sinch-webhook-signature"


def sinch_headers(signature: str, nonce: str, timestamp: str, algorithm: str | None = "HmacSHA256") -> dict[str, str]:
    named = {} if algorithm is None else {f"{SINCH}-algorithm": algorithm}
    return {SINCH: signature, f"{SINCH}-nonce": nonce, f"{SINCH}-timestamp": timestamp, **named}


SMS_HEADERS = sinch_headers("ZoHei66PPN/kZjw7hFVfGhJOnml3iGNCMWoyQVcE5o0=", "01JHFFHWYY7HSS4FWTMDTQEK8V", "1736760161")
CONVERSATION_HEADERS = sinch_headers(
    "Yc+3R1pIS78xLASybulhs8BsSo9BPB3Pr92QCUoczfk=", "01FJA8B4A7BM43YGWSG9GBV067", "1634579353"
)

INFOBIP_BODY = (
    b'{"results":[{"messageId":"2250be2d4219-3af1-78856-aabe-1362af1edfd2","to":"41793026727",'
    b'"status":{"groupId":3,"groupName":"DELIVERED","id":5,"name":"DELIVERED_TO_HANDSET"}}]}'
)
INFOBIP_HEX = "5b34a9c975ccc691a5f03356b3f190db71ec1e4d7b6d78a15e119fda67e15e75"
INFOBIP_BASE64 = "WzSpyXXMxpGl8DNWs/GQ23HsHk17bXihXhGf2mfhXnU="
WHATSAPP_BODY = (
    b'{"object":"whatsapp_business_account","entry":[{"id":"8856996819413533","changes":[{"value":{"messaging_product":'
    b'"whatsapp","metadata":{"display_phone_number":"15550001111","phone_number_id":"1234567890"},"statuses":[{"id":'
    b'"wamid.ABC=","status":"delivered","timestamp":"1700000000","recipient_id":"15550002222"}]},"field":"messages"}]}]}'
)
WHATSAPP_SHA256 = "sha256=6195d9ebc68c067d6ef4ea3528abd28a2ecea56534478ae18c905625a35f0310"
WHATSAPP_SHA1 = "sha1=c89fef497353a5ea6a250a8b69c165306700a203"

#: scheme, secret, a request that proves itself
GOOD: dict[str, tuple[Scheme, str, Request]] = {
    "twilio": (TwilioScheme(), KEY, form_request(INBOUND_SIGNATURE, INBOUND_BODY, INBOUND_URL)),
    "twilio_other_header": (
        TwilioScheme(header="X-SignalWire-Signature"),
        KEY,
        request({"x-signalwire-signature": INBOUND_SIGNATURE}, INBOUND_BODY, INBOUND_URL, content_type=FORM),
    ),
    "sinch_sms": (SinchScheme(), "SMSWebhooksSecret", request(SMS_HEADERS, SINCH_SMS)),
    "sinch_conversation": (SinchScheme(), "foo_secret1234", request(CONVERSATION_HEADERS, SINCH_CONVERSATION)),
    "hmac_hex": (
        HmacScheme(header="X-Infobip-Signature"),
        "infobip_secret",
        request({"x-infobip-signature": INFOBIP_HEX}, INFOBIP_BODY),
    ),
    "hmac_base64": (
        HmacScheme(header="x-signature", encoding="base64"),
        "infobip_secret",
        request({"x-signature": INFOBIP_BASE64}, INFOBIP_BODY),
    ),
    "hmac_prefix": (
        HmacScheme(header="x-hub-signature-256", prefix="sha256="),
        "meta_app_secret",
        request({"x-hub-signature-256": WHATSAPP_SHA256}, WHATSAPP_BODY),
    ),
    "hmac_sha1": (
        HmacScheme(header="x-hub-signature", hash="sha1", prefix="sha1="),
        "meta_app_secret",
        request({"x-hub-signature": WHATSAPP_SHA1}, WHATSAPP_BODY),
    ),
    "basic": (
        BasicScheme(username="bw_user"),
        "bw_pass",
        request({"authorization": "Basic YndfdXNlcjpid19wYXNz"}, b"[]"),
    ),
    "secret_header": (
        SecretScheme(name="X-Api-Key", prefix="Key "),
        "s3cret-of-the-webhook",
        request({"x-api-key": "Key s3cret-of-the-webhook"}, b"{}"),
    ),
    "secret_query": (
        SecretScheme(place="query", name="code"),
        "s3cret of the webhook+é",
        request({}, b"{}", URL + "?a=1&code=s3cret%20of+the+webhook%2B%C3%A9"),
    ),
}

good = pytest.mark.parametrize(("scheme", "secret", "asked"), GOOD.values(), ids=GOOD)


@good
def test_a_request_that_proves_itself_is_accepted(scheme: Scheme, secret: str, asked: Request):
    evidence = verifier(scheme, (secret.encode(),))(asked)

    assert evidence == f"{scheme.type}, secret 1 of 1"


@pytest.mark.parametrize("hash_name", ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_every_hash_and_encoding_proves_a_raw_body(hash_name: Any, encoding: Any):
    body = b"\xff\x00 raw \xe9"
    digest = hmac.new(b"key", body, hash_name).digest()
    text = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    scheme = HmacScheme(header="x-signature", hash=hash_name, encoding=encoding)

    evidence = verifier(scheme, (b"key",))(request({"x-signature": text}, body))

    assert evidence == "hmac, secret 1 of 1"
    assert reason(scheme, "key", request({"x-signature": text[:-4]}, body)).startswith("header x-signature is not ")
    assert "does not match" in reason(scheme, "other", request({"x-signature": text}, body))


def test_a_token_alone_is_believed_with_or_without_a_secret():
    evidence = [verifier(TokenScheme(), secrets)(request()) for secrets in ((), (b"",), (b"unused",))]

    assert evidence == ["token", "token", "token"]


def test_the_kind_basic_may_be_written_in_any_case():
    asked = request({"authorization": "bAsIc YndfdXNlcjpid19wYXNz"})

    evidence = verifier(BasicScheme(username="bw_user"), (b"bw_pass",))(asked)

    assert evidence == "basic, secret 1 of 1"


def test_a_secret_beyond_ascii_is_accepted_as_the_bytes_that_were_sent():
    as_a_server_reads_it = "clé".encode().decode("latin-1")
    asked = request({"x-key": as_a_server_reads_it})

    evidence = verifier(SecretScheme(name="x-key"), ("clé".encode(),))(asked)

    assert evidence == "secret, secret 1 of 1"


# --- rotation and missing secrets ---------------------------------------------------------------------------------


@good
def test_while_a_secret_is_rotated_both_are_good(scheme: Scheme, secret: str, asked: Request):
    key = secret.encode()

    evidence = [verifier(scheme, secrets)(asked) for secrets in ((key, b"next"), (b"before", key), (b"", key))]

    kind = scheme.type
    assert evidence == [f"{kind}, secret 1 of 2", f"{kind}, secret 2 of 2", f"{kind}, secret 1 of 1"]


@good
def test_after_a_rotation_the_old_secret_is_refused(scheme: Scheme, secret: str, asked: Request):
    rotated = verifier(scheme, (b"new", b"newer"))

    with pytest.raises(Refused) as refused:
        rotated(asked)

    assert secret not in str(refused.value)


@good
@pytest.mark.parametrize("secrets", [(), (b"",), (b"", b"")])
def test_without_a_secret_nothing_is_proved_and_we_are_not_ready(
    scheme: Scheme, secret: str, asked: Request, secrets: tuple[bytes, ...]
):
    check = verifier(scheme, secrets)

    with pytest.raises(NotReady) as not_ready:
        check(asked)

    assert str(not_ready.value) == (
        f"signature scheme {scheme.type} needs a secret and the webhook has none; set the webhook's secret"
    )


SIGNED_WITH_NOTHING: dict[str, tuple[Scheme, Request]] = {
    "twilio": (TwilioScheme(), form_request(sdk_signature(URL, [("Body", "START")], key=""), b"Body=START")),
    "hmac": (
        HmacScheme(header="x-signature"),
        request({"x-signature": hmac.new(b"", b"{}", "sha256").hexdigest()}, b"{}"),
    ),
    "basic": (BasicScheme(username="u"), request({"authorization": "Basic " + base64.b64encode(b"u:").decode()})),
    "secret": (SecretScheme(name="x-key", prefix="Key "), request({"x-key": "Key "})),
}


@pytest.mark.parametrize(("scheme", "asked"), SIGNED_WITH_NOTHING.values(), ids=SIGNED_WITH_NOTHING)
def test_what_was_signed_with_an_empty_secret_is_refused_beside_a_live_one(scheme: Scheme, asked: Request):
    check = verifier(scheme, (b"", b"live"))

    with pytest.raises(Refused):
        check(asked)


# --- one thing changed --------------------------------------------------------------------------------------------


def changed(
    asked: Request, *, headers: dict[str, str] | None = None, body: bytes | None = None, url: str = ""
) -> Request:
    seen = url or asked.url
    return Request(
        asked.method,
        seen,
        asked.headers if headers is None else headers,
        asked.body if body is None else body,
        NOON,
        query=seen.partition("?")[2],
    )


def proof_headers(asked: Request) -> list[str]:
    return [name for name in asked.headers if name != "content-type" and not name.endswith("-algorithm")]


def with_flip(data: bytes, place: int, mask: int) -> bytes:
    at = place % len(data)
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def signed_text(url: str, body: bytes) -> str:
    """What the provider signs, by the standard library's reading of the form."""
    pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    return url + "".join(name + value for name, value in sorted(set(pairs)))


SIGNED_BODY = [name for name in GOOD if name.startswith(("sinch", "hmac"))]
SIGNED_URL = ["twilio", "twilio_other_header"]
IN_HEADER = [name for name in GOOD if name != "secret_query"]
any_place = st.integers(0, 10_000)
any_mask = st.integers(1, 255)


@pytest.mark.parametrize("name", SIGNED_BODY)
@settings(deadline=None)
@given(place=any_place, mask=any_mask)
def test_any_flipped_byte_of_a_signed_body_is_refused(name: str, place: int, mask: int):
    scheme, secret, asked = GOOD[name]

    told = reason(scheme, secret, changed(asked, body=with_flip(asked.body, place, mask)))

    assert "does not match" in told


@settings(deadline=None, max_examples=400)
@given(place=any_place, mask=any_mask)
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


@pytest.mark.parametrize("name", SIGNED_URL)
@settings(deadline=None)
@given(place=any_place, mask=st.integers(1, 127))
def test_any_flipped_byte_of_a_signed_url_is_refused(name: str, place: int, mask: int):
    scheme, secret, asked = GOOD[name]

    told = reason(scheme, secret, changed(asked, url=with_flip(asked.url.encode(), place, mask).decode()))

    assert told.startswith("signature does not match the URL ")


@pytest.mark.parametrize("name", IN_HEADER)
@settings(deadline=None)
@given(data=st.data())
def test_any_other_character_in_a_proof_is_refused(name: str, data: st.DataObject):
    scheme, secret, asked = GOOD[name]
    header = data.draw(st.sampled_from(proof_headers(asked)))
    value = asked.headers[header]
    # the word Basic may be written in any case
    at = data.draw(st.integers(len("Basic ") if header == "authorization" else 0, len(value) - 1))
    other = data.draw(st.characters(exclude_characters=value[at], exclude_categories=()))
    headers = asked.headers | {header: value[:at] + other + value[at + 1 :]}

    told = reason(scheme, secret, changed(asked, headers=headers))

    assert value not in told


@settings(deadline=None)
@given(value=st.text(st.characters(exclude_categories=())), name=st.sampled_from(IN_HEADER))
def test_garbage_in_a_proof_is_refused_and_crashes_nothing(value: str, name: str):
    scheme, secret, asked = GOOD[name]
    headers = asked.headers | dict.fromkeys(proof_headers(asked), value)

    told = reason(scheme, secret, changed(asked, headers=headers))

    assert secret not in told


@settings(deadline=None)
@given(query=st.text(st.characters(exclude_categories=())))
def test_garbage_in_a_query_is_refused_and_crashes_nothing(query: str):
    for name in ("secret_query", "twilio"):
        scheme, secret, asked = GOOD[name]

        told = reason(scheme, secret, changed(asked, url=f"{URL}?code={query}"))

        assert secret not in told


# --- reasons ------------------------------------------------------------------------------------------------------

TWILIO_MISMATCH = "signature does not match the URL https://hooks.example.com/in/***?*** and form; check PUBLIC_URL and the auth token"

REASONS: dict[str, tuple[str, dict[str, str], str]] = {
    "twilio_missing": ("twilio", {}, "header x-twilio-signature is missing"),
    "twilio_empty": ("twilio", {"x-twilio-signature": ""}, "header x-twilio-signature is empty"),
    "twilio_malformed": (
        "twilio",
        {"x-twilio-signature": "%%%"},
        "header x-twilio-signature is not base64 of 20 bytes",
    ),
    "twilio_hex": ("twilio", {"x-twilio-signature": "7a" * 20}, "header x-twilio-signature is not base64 of 20 bytes"),
    "twilio_latin": ("twilio", {"x-twilio-signature": "é" * 28}, "header x-twilio-signature is not base64 of 20 bytes"),
    "twilio_beyond_latin": (
        "twilio",
        {"x-twilio-signature": "стоп"},
        "header x-twilio-signature has characters in it that no HTTP header can have",
    ),
    "twilio_wrong": ("twilio", {"x-twilio-signature": SDK_SIGNATURE}, TWILIO_MISMATCH),
    # decodes to the same bytes as the right one, and is still not what the provider sends
    "twilio_loose_base64": ("twilio", {"x-twilio-signature": INBOUND_SIGNATURE.replace("Y=", "Z=")}, TWILIO_MISMATCH),
    "twilio_sent_twice": (
        "twilio",
        {"x-twilio-signature": f"{INBOUND_SIGNATURE}, {INBOUND_SIGNATURE}"},
        "header x-twilio-signature is not base64 of 20 bytes",
    ),
    "sinch_missing": ("sinch_sms", {}, f"header {SINCH} is missing"),
    "sinch_no_nonce": (
        "sinch_sms",
        {name: value for name, value in SMS_HEADERS.items() if not name.endswith("nonce")},
        f"header {SINCH}-nonce is missing",
    ),
    "sinch_no_timestamp": (
        "sinch_sms",
        {**SMS_HEADERS, f"{SINCH}-timestamp": ""},
        f"header {SINCH}-timestamp is empty",
    ),
    "sinch_algorithm": (
        "sinch_sms",
        {**SMS_HEADERS, f"{SINCH}-algorithm": "none"},
        f"header {SINCH}-algorithm names another algorithm than HmacSHA256, the only one known here",
    ),
    "sinch_malformed": ("sinch_sms", {**SMS_HEADERS, SINCH: "x"}, f"header {SINCH} is not base64 of 32 bytes"),
    "sinch_wrong": (
        "sinch_sms",
        {**SMS_HEADERS, f"{SINCH}-timestamp": "1736760162"},
        f"header {SINCH} does not match body, nonce and timestamp; check the secret, and that no proxy rewrites them",
    ),
    "hmac_missing": ("hmac_hex", {}, "header x-infobip-signature is missing"),
    "hmac_malformed": (
        "hmac_hex",
        {"x-infobip-signature": INFOBIP_BASE64},
        "header x-infobip-signature is not 64 lower-case hex digits",
    ),
    "hmac_no_prefix": (
        "hmac_prefix",
        {"x-hub-signature-256": WHATSAPP_SHA256.removeprefix("sha256=")},
        "header x-hub-signature-256 does not start with 'sha256='",
    ),
    "hmac_prefix_alone": (
        "hmac_prefix",
        {"x-hub-signature-256": "sha256="},
        "header x-hub-signature-256 is not 64 lower-case hex digits after its prefix",
    ),
    "hmac_wrong": (
        "hmac_base64",
        {"x-signature": "A" * 43 + "="},
        "header x-signature does not match the body; check the secret, the hash, and that no proxy rewrites the body",
    ),
    "basic_missing": ("basic", {}, "header authorization is missing"),
    "basic_bearer": (
        "basic",
        {"authorization": "Bearer YndfdXNlcjpid19wYXNz"},
        "header authorization is not of kind Basic; tell the provider a user name and password",
    ),
    "basic_malformed": (
        "basic",
        {"authorization": "Basic ***"},
        "header authorization holds another user name or password; check the scheme's username and the webhook's secret",
    ),
    "basic_alone": (
        "basic",
        {"authorization": "Basic"},
        "header authorization holds another user name or password; check the scheme's username and the webhook's secret",
    ),
    "secret_missing": ("secret_header", {}, "header x-api-key is missing"),
    "secret_without_prefix": (
        "secret_header",
        {"x-api-key": "s3cret-of-the-webhook"},
        "header x-api-key does not hold the webhook's secret after the prefix 'Key '",
    ),
    "secret_begun": (
        "secret_header",
        {"x-api-key": "Key s3cret"},
        "header x-api-key does not hold the webhook's secret after the prefix 'Key '",
    ),
}


@pytest.mark.parametrize(("name", "headers", "expected"), REASONS.values(), ids=REASONS)
def test_a_refusal_tells_its_reason(name: str, headers: dict[str, str], expected: str):
    scheme, secret, asked = GOOD[name]
    content_type = {"content-type": asked.headers["content-type"]}

    told = reason(scheme, secret, changed(asked, headers=content_type | headers))

    assert told == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "query parameter code is missing or empty"),
        ("?code=", "query parameter code is missing or empty"),
        ("?Code=s3cret%20of+the+webhook%2B%C3%A9", "query parameter code is missing or empty"),
        ("?code=wrong", "query code does not hold the webhook's secret"),
        # the first counts, so that nothing can be smuggled in behind it
        ("?code=wrong&code=s3cret%20of+the+webhook%2B%C3%A9", "query code does not hold the webhook's secret"),
    ],
)
def test_a_refused_query_tells_its_reason(query: str, expected: str):
    scheme, secret, asked = GOOD["secret_query"]

    told = reason(scheme, secret, changed(asked, url=URL + query))

    assert told == expected


def test_the_end_of_a_body_cannot_be_passed_off_as_a_nonce():
    head, _, tail = SINCH_SMS.decode().partition(".")
    headers = SMS_HEADERS | {f"{SINCH}-nonce": f"{tail}.{SMS_HEADERS[f'{SINCH}-nonce']}"}

    told = reason(SinchScheme(), "SMSWebhooksSecret", request(headers, head.encode()))

    assert told == f"header {SINCH}-nonce has a dot in it"


def test_sinch_without_a_named_algorithm_is_accepted():
    headers = {name: value for name, value in SMS_HEADERS.items() if not name.endswith("algorithm")}

    evidence = verifier(SinchScheme(), (b"SMSWebhooksSecret",))(request(headers, SINCH_SMS))

    assert evidence == "sinch, secret 1 of 1"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_signed_empty_body_does_not_prove_what_the_query_says(method: str):
    headers = {"x-signature": hmac.new(b"key", b"", "sha256").hexdigest()}
    asked = request(headers, b"", URL + "?text=START", method=method)

    told = reason(HmacScheme(header="x-signature"), "key", asked)

    assert told == "the values are in the query and the body is empty, so the signature covers none of them"


def test_a_huge_body_is_proved_like_a_small_one():
    body = b"\xc3\xa9 " * 400_000
    asked = request({"x-signature": hmac.new(b"key", body, "sha256").hexdigest()}, body)

    evidence = verifier(HmacScheme(header="x-signature"), (b"key",))(asked)

    assert evidence == "hmac, secret 1 of 1"


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


def with_other_middle(value: str) -> str:
    """As well-formed as before, for hex as for base64."""
    at = len(value) // 2
    return value[:at] + ("1" if value[at] == "0" else "0") + value[at + 1 :]


@good
def test_a_refusal_never_holds_the_expected_value(scheme: Scheme, secret: str, asked: Request):
    proofs = {name: asked.headers[name] for name in proof_headers(asked)}
    spoilt = asked.headers | {name: with_other_middle(value) for name, value in proofs.items()}
    url = asked.url.replace("code=s3cret", "code=other")

    told = reason(scheme, secret, changed(asked, headers=spoilt, url=url))

    private = [*proofs.values(), secret, "k3yT0ken", "14155550100", INFOBIP_HEX, INFOBIP_BASE64]
    assert [text for text in private if text in told] == []
