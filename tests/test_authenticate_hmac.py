"""2 authenticate: keyed hashes over a text that the provider file tells: what it may be made of, and where it stands."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sinch.domains.authentication.sinch_events.v1 import authentication_validation as sinch_sdk
from standardwebhooks import Webhook

from app.authenticate import verifier
from app.errors import BadInput, NotReady, Refused
from app.provider import load_providers
from app.request import Request
from app.scheme import HmacScheme, Window
from app.settings import CONFIG_DIR
from tests.authenticating import (
    FORM,
    GOOD,
    NOON,
    OLD_MESSAGEBIRD_KEY,
    OLD_MESSAGEBIRD_SCHEME,
    RBM_BODY,
    RBM_DATA,
    RBM_SCHEME,
    RBM_SIGNATURE,
    SINCH,
    SINCH_SCHEME,
    SINCH_SMS,
    SMS_HEADERS,
    STANDARD_BODY,
    STANDARD_HEADERS,
    STANDARD_KEY,
    STANDARD_NOW,
    STANDARD_SCHEME,
    TELESIGN_BODY,
    TELESIGN_KEY,
    TELESIGN_SCHEME,
    TELESIGN_SIGNATURE,
    URL,
    changed,
    reason,
    request,
    sinch_headers,
)

KEY = b"key"


def digest(text: bytes) -> str:
    return hmac.new(KEY, text, "sha256").hexdigest()


def proved(scheme: HmacScheme, asked: Request, secret: bytes = KEY) -> str:
    return verifier(scheme, (secret,))(asked)


# --- the raw body -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hash_name", ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_every_hash_and_encoding_proves_a_raw_body(hash_name: Any, encoding: Any):
    body = b"\xff\x00 raw \xe9"
    raw = hmac.new(KEY, body, hash_name).digest()
    text = raw.hex() if encoding == "hex" else base64.b64encode(raw).decode()
    scheme = HmacScheme(header="x-signature", hash=hash_name, encoding=encoding)

    evidence = proved(scheme, request({"x-signature": text}, body))

    assert evidence == "hmac, secret 1 of 1"
    assert reason(scheme, "key", request({"x-signature": text[:-4]}, body)).startswith("header x-signature is not ")
    assert "does not match" in reason(scheme, "other", request({"x-signature": text}, body))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_signed_empty_body_does_not_prove_what_the_query_says(method: str):
    asked = request({"x-signature": digest(b"")}, b"", URL + "?text=START", method=method)

    told = reason(HmacScheme(header="x-signature"), "key", asked)

    assert told == "the values are in the query and the body is empty, so the signature covers none of them"


def test_a_huge_body_is_proved_like_a_small_one():
    body = b"\xc3\xa9 " * 400_000

    evidence = proved(HmacScheme(header="x-signature"), request({"x-signature": digest(body)}, body))

    assert evidence == "hmac, secret 1 of 1"


# --- a text made of several parts ---------------------------------------------------------------------------------

QUERY_URL = f"{URL}?b=%20%2B&a=%C3%A9&b=1&c="
BODY = b'{"x":1}'
SHA = hashlib.sha256(BODY)
TEXTS: dict[str, bytes] = {
    "{body}": BODY,
    "{url}{body}": QUERY_URL.encode() + BODY,
    "{bare_url}?{body}": URL.encode() + b"?" + BODY,
    "{sorted_query}\n{body}": b"a=%C3%A9&b=+%2B&b=1&c=\n" + BODY,
    "{url}|{body_sha256}": QUERY_URL.encode() + b"|" + SHA.digest(),
    "{url}|{body_sha256_hex}": QUERY_URL.encode() + b"|" + SHA.hexdigest().encode(),
    "{body_sha256_base64}": base64.b64encode(SHA.digest()),
    # what stands at the very beginning or end parts nothing, so a header may hold it
    "v0:{header:X-Nonce}:{body}": b"v0:n0nce:" + BODY,
    "{body}--{header:X-Nonce}e": BODY + b"--n0ncee",
    # only places are special: a percent sign, a backslash and other braces are themselves
    '100% \\n {"is": {body}}': b'100% \\n {"is": ' + BODY + b"}",
    "{body}{body}": BODY + BODY,
}


@pytest.mark.parametrize(("template", "text"), TEXTS.items(), ids=TEXTS)
def test_a_text_is_made_as_its_template_says(template: str, text: bytes):
    scheme = HmacScheme(header="x-signature", signed=template)
    asked = request({"x-signature": digest(text), "x-nonce": "n0nce"}, BODY, QUERY_URL)

    evidence = proved(scheme, asked)

    assert evidence == "hmac, secret 1 of 1"


@settings(deadline=None)
@given(pairs=st.lists(st.tuples(st.text(max_size=4), st.text(max_size=6)), min_size=1, max_size=8))
def test_a_query_is_sorted_and_encoded_as_python_does_it(pairs: list[tuple[str, str]]):
    sendable = [
        (name.encode(errors="replace").decode(), value.encode(errors="replace").decode()) for name, value in pairs
    ]
    sorted_query = urlencode(sorted(sendable, key=lambda pair: pair[0]))
    asked = request({"x-signature": digest(sorted_query.encode() + b"|")}, b"", f"{URL}?{urlencode(sendable)}")

    evidence = proved(HmacScheme(header="x-signature", signed="{sorted_query}|{body}"), asked)

    assert evidence == "hmac, secret 1 of 1"


NONSENSE = {
    "{payload}": "there is no place {payload}; there are {body} {url}",
    "{body}{header:}": "there is no place {header:}",
    "{base64:}": "there is no place {base64:}",
    "{base64:a..b}": "there is no place {base64:a..b}",
    "{}{body}": "there is no place {}",
    "{BODY}": "there is no place {BODY}",
    # with these anybody could write what is not covered
    "": "it proves nothing",
    "body": "it proves nothing",
    "{header:x-nonce}": "it proves nothing",
    "{bare_url}.{header:x-nonce}": "it proves nothing",
    # with these what stands in the one could be moved to the other
    "{header:x-nonce}{body}": "nothing parts {header:x-nonce} from the place beside it",
    "{body}{header:x-nonce}": "nothing parts {header:x-nonce} from the place beside it",
    "{body}.{header:x-a}{header:x-b}": "nothing parts {header:x-a} from the place beside it",
}


@pytest.mark.parametrize(("template", "expected"), NONSENSE.items(), ids=map(repr, NONSENSE))
@pytest.mark.parametrize("secrets", [(KEY,), ()])
def test_a_template_that_could_prove_nothing_is_bad_input(template: str, expected: str, secrets: tuple[bytes, ...]):
    with pytest.raises(BadInput) as bad:
        verifier(HmacScheme(header="x-signature", signed=template), secrets)

    assert expected in str(bad.value)


def test_a_body_that_the_text_does_not_hold_is_refused():
    scheme = HmacScheme(header="x-signature", signed="{url}")
    headers = {"x-signature": digest(QUERY_URL.encode())}

    evidence = proved(scheme, request(headers, b"", QUERY_URL, method="GET"))
    told = reason(scheme, "key", request(headers, BODY, QUERY_URL))

    assert evidence == "hmac, secret 1 of 1"
    assert told == "there is a body and the signature does not cover it"


def test_a_query_that_the_text_does_not_hold_is_refused_where_it_is_all_there_is():
    scheme = HmacScheme(header="x-signature", signed="{body}.{header:x-nonce}")
    headers = {"x-signature": digest(b".1"), "x-nonce": "1"}

    told = reason(scheme, "key", request(headers, b"", f"{URL}?text=START", method="GET"))

    assert told == "the values are in the query and the body is empty, so the signature covers none of them"


# --- what parts the parts -----------------------------------------------------------------------------------------


def test_the_end_of_a_body_cannot_be_passed_off_as_a_nonce():
    head, _, tail = SINCH_SMS.decode().partition(".")
    headers = SMS_HEADERS | {f"{SINCH}-nonce": f"{tail}.{SMS_HEADERS[f'{SINCH}-nonce']}"}

    told = reason(SINCH_SCHEME, "SMSWebhooksSecret", request(headers, head.encode()))

    assert told == f"header {SINCH}-nonce has a character in it that parts it from what is signed beside it"


def test_the_beginning_of_a_body_cannot_be_passed_off_as_a_timestamp():
    scheme = HmacScheme(header="x-signature", signed="{header:x-time}\n{sorted_query}\n{body}")
    captured = request({"x-signature": digest(b"17\na=1\nSTOP\nx"), "x-time": "17"}, b"STOP\nx", f"{URL}?a=1")
    headers = captured.headers | {"x-time": "17\na=1"}

    told = reason(scheme, "key", changed(captured, headers=headers, body=b"x", url=f"{URL}?STOP"))

    assert proved(scheme, captured) == "hmac, secret 1 of 1"
    assert told == "header x-time has a character in it that parts it from what is signed beside it"


pieces = st.text("a.", max_size=4)


@settings(deadline=None, max_examples=300)
@given(one=st.tuples(pieces, pieces, pieces), other=st.tuples(pieces, pieces, pieces))
def test_the_proof_of_one_request_is_never_good_for_another(one: tuple[str, str, str], other: tuple[str, str, str]):
    scheme = HmacScheme(header="x-signature", signed="{header:x-a}.{body}.{header:x-b}")
    proof = digest(".".join(one).encode())
    first, body, last = other
    asked = request({"x-signature": proof, "x-a": first, "x-b": last}, body.encode())

    try:
        accepted = proved(scheme, asked) != ""
    except Refused:
        accepted = False

    whole = one == other and "." not in first + last and first and last
    assert accepted == bool(whole)


# --- bytes inside of the body -------------------------------------------------------------------------------------

RBM_KEY = "SJENCPGJESMGUFPY"
INNER = b'{"eventType":"READ"}\xfb\xff\xfe'


def rbm(data: str, signed: bytes, template: str = '{"message":{"data":"%s"}}') -> Request:
    signature = base64.b64encode(hmac.digest(RBM_KEY.encode(), signed, "sha512")).decode()
    return request({"x-goog-signature": signature}, (template % data).encode())


WRAPPED = {
    "standard": base64.b64encode(INNER).decode(),
    "url_safe": base64.urlsafe_b64encode(INNER).decode(),
    "no_padding": base64.b64encode(INNER).decode().rstrip("="),
}


@pytest.mark.parametrize("data", WRAPPED.values(), ids=WRAPPED)
def test_wrapped_bytes_are_proved_in_either_alphabet(data: str):
    evidence = proved(RBM_SCHEME, rbm(data, INNER), RBM_KEY.encode())

    assert evidence == "hmac, secret 1 of 1"


def test_wrapped_bytes_may_stand_in_an_array():
    scheme = RBM_SCHEME.model_copy(update={"signed": "{base64:parts.1.data}"})
    asked = rbm(WRAPPED["standard"], INNER, '{"parts":[{"data":"x"},{"data":"%s"}]}')

    evidence = proved(scheme, asked, RBM_KEY.encode())

    assert evidence == "hmac, secret 1 of 1"


NOT_WRAPPED = {
    "empty": (b"", "the body is not JSON"),
    "no_json": (b'{"message":', "the body is not JSON"),
    # decoded as a form it would say something else than the JSON that was signed
    "blank_before": (b" " + RBM_BODY, "the body is not JSON"),
    "deep": (b"[" * 100_000, "the body is not JSON"),
    "no_message": (b"{}", "the body has no text at message.data"),
    "message_is_text": (b'{"message":"data"}', "the body has no text at message.data"),
    "array_out_of_range": (b'[{"data":""}]', "the body has no text at message.data"),
    "number": (b'{"message":{"data":1}}', "the body has no text at message.data"),
    "no_base64": (b'{"message":{"data":"%%%"}}', "the text at message.data of the body is not base64"),
    "half_base64": (b'{"message":{"data":"AAAAA"}}', "the text at message.data of the body is not base64"),
    "line_end": (RBM_BODY.replace(b'="', b'=\\n"'), "the text at message.data of the body is not base64"),
    "beyond_ascii": ('{"message":{"data":"é"}}'.encode(), "the text at message.data of the body is not base64"),
}


@pytest.mark.parametrize(("body", "expected"), NOT_WRAPPED.values(), ids=NOT_WRAPPED)
def test_a_body_without_the_wrapped_bytes_is_refused(body: bytes, expected: str):
    told = reason(RBM_SCHEME, RBM_KEY, request({"x-goog-signature": RBM_SIGNATURE}, body))

    assert told == expected


def test_other_wrapped_bytes_are_refused():
    other = RBM_DATA.replace("eyJz", "eyJt", 1).encode()
    asked = request({"x-goog-signature": RBM_SIGNATURE}, RBM_BODY.replace(RBM_DATA.encode(), other))

    told = reason(RBM_SCHEME, RBM_KEY, asked)

    assert told.startswith("header x-goog-signature does not match the bytes at message.data; ")


# --- where the signature stands -----------------------------------------------------------------------------------


def standard(signature: str) -> Request:
    return request(STANDARD_HEADERS | {"webhook-signature": signature}, STANDARD_BODY, at=STANDARD_NOW)


RIGHT = STANDARD_HEADERS["webhook-signature"]
OTHER = "v1," + "A" * 43 + "="


@pytest.mark.parametrize(
    "signature", [RIGHT, f"{OTHER} {RIGHT}", f"{RIGHT} {OTHER}", f"v1a,xyz {RIGHT}", f" {RIGHT}  {OTHER} "]
)
def test_one_of_several_signatures_is_enough(signature: str):
    evidence = proved(STANDARD_SCHEME, standard(signature), STANDARD_KEY.encode())

    assert evidence == "hmac, secret 1 of 1"


@pytest.mark.parametrize(
    "signature", [OTHER, f"{OTHER} {OTHER}", RIGHT.removeprefix("v1,"), RIGHT.replace("v1", "v2"), " ", "v1,"]
)
def test_several_signatures_of_which_none_fits_are_refused(signature: str):
    told = reason(STANDARD_SCHEME, STANDARD_KEY, standard(signature))

    assert told.startswith("header webhook-signature ")


@pytest.mark.parametrize(
    "scheme", [HmacScheme(header="x-s", prefix="SHA256="), HmacScheme(header="x-s", separator=",", prefix="SHA256=")]
)
def test_hex_digits_are_read_in_either_case_and_a_prefix_is_not(scheme: HmacScheme):
    shouted = f"SHA256={digest(b'{}').upper()}"

    evidence = proved(scheme, request({"x-s": shouted}, b"{}"))

    assert evidence == "hmac, secret 1 of 1"
    assert (
        reason(scheme, KEY.decode(), request({"x-s": shouted.lower()}, b"{}"))
        == "header x-s does not start with 'SHA256='"
    )


def test_base64_is_read_to_the_letter():
    right = base64.b64encode(hmac.digest(KEY, b"{}", "sha256")).decode()

    told = reason(HmacScheme(header="x-s", encoding="base64"), KEY.decode(), request({"x-s": right.swapcase()}, b"{}"))

    assert told.startswith("header x-s does not match the body; ")


@pytest.mark.parametrize("body", [b"", b"a=1", b' {"a":1}', b"<a/>", b"1"])
def test_where_only_json_is_signed_no_other_body_is_believed(body: bytes):
    scheme = HmacScheme(header="x-s", content="json")

    evidence = proved(scheme, request({"x-s": digest(b'{"a":1}')}, b'{"a":1}', content_type=FORM))
    told = reason(scheme, KEY.decode(), request({"x-s": digest(body)}, body))

    assert evidence == "hmac, secret 1 of 1"
    assert told == "the body is not JSON, and no other is signed in this way"


COMPOSITE = {
    "telesign": (TELESIGN_SCHEME, f"TSA 0A1B-2C3D:{TELESIGN_SIGNATURE}"),
    "with_its_word": (TELESIGN_SCHEME.model_copy(update={"prefix": "TSA "}), f"TSA 0A1B-2C3D:{TELESIGN_SIGNATURE}"),
    "several_colons": (TELESIGN_SCHEME, f"TSA a:b:{TELESIGN_SIGNATURE}"),
    "alone": (TELESIGN_SCHEME, TELESIGN_SIGNATURE),
    "pairs": (
        TELESIGN_SCHEME.model_copy(update={"prefix": "v1=", "separator": ",", "behind": ""}),
        f"t=1, v1={TELESIGN_SIGNATURE}",
    ),
}


@pytest.mark.parametrize(("scheme", "value"), COMPOSITE.values(), ids=COMPOSITE)
def test_a_signature_is_found_in_a_composite_header(scheme: HmacScheme, value: str):
    evidence = proved(scheme, request({"authorization": value}, TELESIGN_BODY), TELESIGN_KEY.encode())

    assert evidence == "hmac, secret 1 of 1"


@pytest.mark.parametrize(("scheme", "value"), COMPOSITE.values(), ids=COMPOSITE)
def test_a_signature_in_a_composite_header_proves_its_body_alone(scheme: HmacScheme, value: str):
    told = reason(scheme, TELESIGN_KEY, request({"authorization": value}, TELESIGN_BODY + b" "))

    assert told.startswith("header authorization does not match the body; ")


# --- the form of the secret ---------------------------------------------------------------------------------------

RAW = bytes(range(0xE0, 0x100))
KEYS: dict[str, tuple[Any, str, bytes]] = {
    "base64": ("base64", "", base64.b64encode(RAW)),
    "url_safe": ("base64", "", base64.urlsafe_b64encode(RAW)),
    "no_padding": ("base64", "", base64.b64encode(RAW).rstrip(b"=")),
    "prefix": ("base64", "whsec_", b"whsec_" + base64.b64encode(RAW)),
    "prefix_left_out": ("base64", "whsec_", base64.b64encode(RAW)),
    "hex": ("hex", "", RAW.hex().encode()),
    "upper_case_hex": ("hex", "0x", b"0x" + RAW.hex().upper().encode()),
    "text": ("text", "", RAW),
}


@pytest.mark.parametrize(("form", "prefix", "secret"), KEYS.values(), ids=KEYS)
def test_a_secret_is_read_in_the_form_that_the_scheme_tells(form: Any, prefix: str, secret: bytes):
    scheme = HmacScheme(header="x-signature", key=form, key_prefix=prefix)
    asked = request({"x-signature": hmac.new(RAW, BODY, "sha256").hexdigest()}, BODY)

    evidence = proved(scheme, asked, secret)

    assert evidence == "hmac, secret 1 of 1"


BROKEN_KEYS: dict[str, tuple[Any, str, str, str]] = {
    "base64": ("base64", "", "p@ssw0rd", "base64"),
    "cut": ("base64", "whsec_", "whsec_MfKQ9", "base64 after 'whsec_'"),
    "other_prefix": ("base64", "whsec_", "whpub_MfKQ9w==!", "base64 after 'whsec_'"),
    "empty": ("base64", "whsec_", "whsec_", "base64 after 'whsec_'"),
    "odd_hex": ("hex", "", "abc", "hex digits"),
    "no_hex": ("hex", "", "ghij", "hex digits"),
}


@pytest.mark.parametrize(("form", "prefix", "secret", "words"), BROKEN_KEYS.values(), ids=BROKEN_KEYS)
def test_a_secret_in_another_form_makes_us_not_ready(form: Any, prefix: str, secret: str, words: str):
    check = verifier(HmacScheme(header="x-signature", key=form, key_prefix=prefix), (secret.encode(),))

    with pytest.raises(NotReady) as not_ready:
        check(request({"x-signature": digest(BODY)}, BODY))

    assert str(not_ready.value) == f"the webhook's secret is not {words}; copy it from the provider once more"


def test_a_secret_in_another_form_does_not_stop_the_good_one():
    scheme = HmacScheme(header="x-signature", key="hex")
    asked = request({"x-signature": hmac.new(RAW, BODY, "sha256").hexdigest()}, BODY)

    evidence = verifier(scheme, (b"no hex", RAW.hex().encode()))(asked)

    assert evidence == "hmac, secret 2 of 2"


# --- the window ---------------------------------------------------------------------------------------------------

TIMED = HmacScheme(header="x-signature", signed="{header:x-time}.{body}", window=Window(header="X-Time", seconds=300))


def timed(stamp: str, scheme: HmacScheme = TIMED, **rest: Any) -> Request:
    text = scheme.signed.replace("{header:x-time}", stamp).encode().replace(b"{body}", BODY)
    return request({"x-signature": digest(text), "x-time": stamp}, BODY, **rest)


NOW = int(NOON.timestamp())


@pytest.mark.parametrize("seconds", [0, 299, 300, -299, -300])
def test_within_its_window_a_proof_is_good(seconds: int):
    evidence = proved(TIMED, timed(str(NOW + seconds)))

    assert evidence == "hmac, secret 1 of 1"


OUTSIDE = {
    "old": (str(NOW - 301), "is 301 seconds behind our clock and 300 are allowed; check the server's clock"),
    "ahead": (str(NOW + 3600), "is 3600 seconds ahead of our clock and 300 are allowed; check the server's clock"),
    "milliseconds": (f"{NOW}000", "is not a time in unix seconds"),
    "words": ("noon", "is not a time in unix seconds"),
    "negative": ("-1", "is not a time in unix seconds"),
    "blank": (f" {NOW}", "is not a time in unix seconds"),
    # a digit to Python, and to no provider
    "other_digits": ("²", "is not a time in unix seconds"),
    "endless": ("9" * 5000, "is not a time in unix seconds"),
}


@pytest.mark.parametrize(("stamp", "expected"), OUTSIDE.values(), ids=OUTSIDE)
def test_outside_of_its_window_a_proof_is_refused(stamp: str, expected: str):
    headers = timed(stamp).headers | {"x-signature": digest(stamp.encode("latin-1") + b"." + BODY)}

    told = reason(TIMED, "key", request(headers, BODY))

    assert told == f"header x-time {expected}"


def test_a_window_needs_its_header():
    told = reason(TIMED, "key", request({"x-signature": digest(BODY)}, BODY))

    assert told == "header x-time is missing"


def test_a_window_looks_at_the_time_when_the_request_came_in():
    asked = timed(str(NOW))

    kept = changed(asked, at=NOON)
    replayed = changed(asked, at=NOON + timedelta(hours=1))

    assert proved(TIMED, kept) == "hmac, secret 1 of 1"
    assert "3600 seconds behind" in reason(TIMED, "key", replayed)


def test_a_window_over_a_header_that_is_not_signed_is_bad_input():
    with pytest.raises(BadInput) as bad:
        verifier(HmacScheme(header="x-signature", window=Window(header="x-time")), (KEY,))

    assert str(bad.value) == (
        "signed text '{body}': the window's header is not in it, so anybody could write a new time"
    )


def test_the_time_may_stand_right_before_the_body():
    scheme = TIMED.model_copy(update={"signed": "{header:x-time}{body}"})

    evidence = proved(scheme, timed(str(NOW), scheme))

    assert evidence == "hmac, secret 1 of 1"


# --- the providers' own libraries ---------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", ["sinch", "sinch-conversation"])
@settings(deadline=None)
@given(body=st.text(min_size=1), nonce=st.text("ABC019", min_size=1), timestamp=st.integers(0, 10**10))
def test_what_sinch_s_sdk_signs_is_accepted(slug: str, body: str, nonce: str, timestamp: int):
    scheme = load_providers(CONFIG_DIR)[slug].signature
    sendable = body.encode(errors="replace").decode()
    signed = sinch_sdk.compute_signed_data(sendable, nonce, str(timestamp))
    headers = sinch_headers(sinch_sdk.calculate_sinch_event_signature(signed, "secret"), nonce, str(timestamp))

    assert scheme
    assert verifier(scheme, (b"secret",))(request(headers, sendable.encode())) == "hmac, secret 1 of 1"
    assert sinch_sdk.validate_sinch_event_signature_with_nonce("secret", headers, sendable)


@settings(deadline=None)
@given(body=st.text(st.characters(exclude_categories=["Cs"])), name=st.text("abcXYZ_019", min_size=1))
def test_what_the_standard_webhooks_library_signs_is_accepted(body: str, name: str):
    signature = Webhook(STANDARD_KEY).sign(name, NOON.astimezone(UTC), body)
    headers = {"webhook-id": name, "webhook-timestamp": str(NOW), "webhook-signature": signature}

    evidence = proved(STANDARD_SCHEME, request(headers, body.encode()), STANDARD_KEY.encode())

    assert evidence == "hmac, secret 1 of 1"


def test_an_old_messagebird_signature_says_what_its_documentation_says():
    scheme, secret, asked = GOOD["messagebird_old"]
    body = json.dumps({"foo": "bär"}).encode()
    parts = ["1547198231", urlencode(sorted(parse_qsl(asked.query))), hashlib.sha256(body).digest().decode("latin-1")]
    text = "\n".join(parts).encode("latin-1")
    signature = base64.b64encode(hmac.digest(OLD_MESSAGEBIRD_KEY.encode(), text, "sha256")).decode()

    evidence = proved(
        OLD_MESSAGEBIRD_SCHEME, changed(asked, headers=asked.headers | {"messagebird-signature": signature}, body=body),
        secret.encode(),
    )  # fmt: skip

    assert scheme == OLD_MESSAGEBIRD_SCHEME
    assert evidence == "hmac, secret 1 of 1"
