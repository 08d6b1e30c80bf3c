"""2 authenticate: what holds for every scheme, tried on its provider's published vector and on what is not quite one."""

import base64
import hmac
import json
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.authenticate import Keyring, shows, verifier
from app.errors import KeyWanted, NotReady, Refused
from app.request import Request
from app.scheme import (
    AnyScheme,
    BasicScheme,
    BearerScheme,
    ClientCertificateScheme,
    Ed25519Scheme,
    HmacScheme,
    ParameterScheme,
    PlivoScheme,
    Scheme,
    SecretScheme,
    SnsScheme,
    TokenScheme,
    TwilioScheme,
)
from tests.authenticating import (
    FORM,
    GOOD,
    INFOBIP_BASE64,
    INFOBIP_HEX,
    JSON,
    MESSAGEBIRD_STAMP,
    SINCH,
    URL,
    changed,
    good,
    reason,
    request,
)

#: another Ed25519 public key
OTHER_KEY = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


@good
def test_a_request_that_proves_itself_is_accepted(scheme: Scheme, secret: str, asked: Request):
    evidence = verifier(scheme, (secret.encode(),))(asked)

    assert evidence == f"{scheme.type}, secret 1 of 1"


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
    rotated = verifier(scheme, (b"next", OTHER_KEY.encode()))

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
    "twilio": (
        TwilioScheme(),
        request(
            {"x-twilio-signature": base64.b64encode(hmac.digest(b"", f"{URL}BodySTART".encode(), "sha1")).decode()},
            b"Body=START",
            content_type=FORM,
        ),
    ),
    "hmac": (
        HmacScheme(header="x-signature"),
        request({"x-signature": hmac.new(b"", b"{}", "sha256").hexdigest()}, b"{}"),
    ),
    "parameter": (
        ParameterScheme(hash="sha256"),
        request({}, b"", f"{URL}?text=START&sig={hmac.new(b'', b'&text=START', 'sha256').hexdigest()}"),
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


def proof_headers(asked: Request) -> list[str]:
    return [name for name in asked.headers if name != "content-type" and not name.endswith("-algorithm")]


def with_flip(data: bytes, place: int, mask: int) -> bytes:
    at = place % len(data)
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


#: the whole body is signed, byte for byte
SIGNED_BODY = [
    name
    for name, (scheme, _, asked) in GOOD.items()
    if asked.body and scheme.type in {"hmac", "ed25519", "jwt"} and name != "rbm"
] + ["signalwire_compatible_json"]
SIGNED_URL = [
    "twilio", "twilio_other_header", "signalwire_native", "signalwire_compatible", "bird", "messagebird", "plivo",
    "signalwire_compatible_json",
]  # fmt: skip
#: with one thing changed, no other account may stand before the signature
IN_HEADER = [name for name, (_, _, asked) in GOOD.items() if proof_headers(asked) and name != "telesign"]
any_place = st.integers(0, 10_000)
any_mask = st.integers(1, 255)


@pytest.mark.parametrize("name", SIGNED_BODY)
@settings(deadline=None)
@given(place=any_place, mask=any_mask)
def test_any_flipped_byte_of_a_signed_body_is_refused(name: str, place: int, mask: int):
    scheme, secret, asked = GOOD[name]

    told = reason(scheme, secret, changed(asked, body=with_flip(asked.body, place, mask)))

    assert "the body" in told


@pytest.mark.parametrize("name", SIGNED_URL)
@settings(deadline=None)
@given(place=any_place, mask=st.integers(1, 127))
def test_any_flipped_byte_of_a_signed_url_is_refused(name: str, place: int, mask: int):
    scheme, secret, asked = GOOD[name]

    told = reason(scheme, secret, changed(asked, url=with_flip(asked.url.encode(), place, mask).decode()))

    assert secret not in told


@good
def test_without_its_proof_a_request_is_refused(scheme: Scheme, secret: str, asked: Request):
    for header in proof_headers(asked):
        headers = {name: value for name, value in asked.headers.items() if name != header}

        told = reason(scheme, secret, changed(asked, headers=headers, url=URL))

        assert "missing" in told


@pytest.mark.parametrize("name", IN_HEADER)
@settings(deadline=None)
@given(data=st.data())
def test_any_other_character_in_a_proof_is_refused(name: str, data: st.DataObject):
    scheme, secret, asked = GOOD[name]
    header = data.draw(st.sampled_from(proof_headers(asked)))
    value = asked.headers[header]
    # the words Basic and Bearer may be written in any case
    at = data.draw(st.integers(value.find(" ") + 1, len(value) - 1))
    # and hex digits too
    same = value[at] + (value[at].swapcase() if getattr(scheme, "encoding", "") == "hex" else "")
    other = data.draw(st.characters(exclude_characters=same, exclude_categories=()))
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
@given(query=st.text(st.characters(exclude_categories=(), exclude_characters="%")))
def test_garbage_in_a_query_is_refused_and_crashes_nothing(query: str):
    for name in ("secret_query", "twilio", "plivo", "messagebird_old", "messagebird", "vonage_md5hash"):
        scheme, secret, asked = GOOD[name]

        told = reason(scheme, secret, changed(asked, url=f"{URL}?code={query}"))

        assert secret not in told


# --- whatever comes in, a scheme says yes or one of three noes ----------------------------------------------------


async def nothing_to_fetch(_url: str) -> bytes:
    return b""


#: the published ones, and those without a vector
EVERY: list[tuple[Scheme, bytes, Request]] = [
    *((scheme, secret.encode(), asked) for scheme, secret, asked in GOOD.values()),
    (TokenScheme(), b"", request()),
    (PlivoScheme(v2=True), b"key", request({"x-plivo-signature-v2": "AAAA", "x-plivo-signature-v2-nonce": "1"})),
    (
        HmacScheme(header="x-a", key="hex", signed="{bare_url}{body_sha256_hex}{body_sha256_base64}"),
        b"c0ffee",
        request({"x-a": "00"}),
    ),
    (HmacScheme(header="x-a", signed="{url}"), b"key", request({"x-a": "00"})),
    (Ed25519Scheme(header="x-a", encoding="hex"), OTHER_KEY.encode(), request({"x-a": "00" * 64})),
    (ParameterScheme(hash="md5"), b"key", request({}, b'{"text":"STOP","sig":"00"}')),
    (SnsScheme(), b"arn:aws:sns:eu-west-1:123456789012:topic", request()),
    (
        BearerScheme(
            issuer="https://issuer.example", audience="us", keys="https://issuer.example/keys", claims={"azp": "them"}
        ),
        b"",
        request({"authorization": "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.e30.AAAA"}),
    ),
    (ClientCertificateScheme(header="x-a", values=["CN=provider"]), b"", request({"x-a": "00"}, via_proxy=True)),
    (AnyScheme(of=[TwilioScheme(), HmacScheme(header="x-a"), TokenScheme()]), b"key", request({"x-a": "00"})),
    (AnyScheme(of=[BasicScheme(username="u"), BasicScheme(username="v")]), b"key", request({"authorization": "Basic"})),
]
HEADERS = sorted({name for _, _, asked in EVERY for name in asked.headers})
LIKELY = [FORM, JSON, "Bearer e30.e30.e30", "Bearer eyJhbGciOiJIUzI1NiJ9.e30.AAAA", "1", "v1,AA==", "a.b", "9" * 5000]
BODIES = [b"", b"{}", b'{"message":{"data":"***"}}', b'{"message":{"data":[1]}}', b"[" * 100_000, b'{"sig":"\\ud800"}']
#: a server hands on bytes read as Latin-1; a header may be worse still
latin = st.text(st.characters(max_codepoint=255))
values = st.sampled_from(LIKELY) | latin | st.text(st.characters(exclude_categories=()))
trees = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["message", "data", "sig", "a"]), inner),
)
bodies = st.binary() | st.sampled_from(BODIES) | trees.map(lambda tree: json.dumps(tree).encode())


@st.composite
def attempts(draw: st.DrawFn) -> tuple[Scheme, tuple[bytes, ...], Request]:
    """A good request of a scheme with anything in the place of some of its parts."""
    scheme, secret, asked = draw(st.sampled_from(EVERY))
    headers = asked.headers | draw(
        st.dictionaries(st.sampled_from(sorted(asked.headers) + HEADERS), values, max_size=2)
    )
    url = draw(st.just(asked.url) | latin.map(lambda query: f"{URL}?{query}"))
    body = draw(st.just(asked.body) | bodies)
    method = draw(st.sampled_from(["GET", "POST", "PUT"]))
    secrets = draw(st.just((secret,)) | st.tuples(st.binary(max_size=40)))
    query = url.partition("?")[2]
    spoilt = Request(method, url, headers, body, asked.received_at, query=query, via_proxy=draw(st.booleans()))
    return scheme, secrets, spoilt


def test_every_scheme_is_tried():
    members = get_args(get_args(Scheme)[0])

    assert {type(scheme) for scheme, _, _ in EVERY} == set(members)


@settings(deadline=None, max_examples=500)
@given(attempt=attempts())
def test_no_scheme_raises_anything_but_its_three_noes(attempt: tuple[Scheme, tuple[bytes, ...], Request]):
    scheme, secrets, asked = attempt

    try:
        outcome = verifier(scheme, secrets, Keyring(nothing_to_fetch))(asked)
    except (Refused, NotReady, KeyWanted) as error:
        outcome = str(error)

    assert outcome != ""


# --- reasons ------------------------------------------------------------------------------------------------------

MISMATCH = "check the secret, the hash, and that no proxy rewrites the body"
SMS_HEADERS = GOOD["sinch_sms"][2].headers
STANDARD_HEADERS = GOOD["standard_webhooks"][2].headers
TELNYX_HEADERS = GOOD["telnyx"][2].headers
PLIVO_HEADERS = GOOD["plivo"][2].headers

REASONS: dict[str, tuple[str, dict[str, str], str]] = {
    "twilio_missing": ("twilio", {}, "header x-twilio-signature is missing"),
    "twilio_empty": ("twilio", {"x-twilio-signature": ""}, "header x-twilio-signature is empty"),
    "twilio_malformed": (
        "twilio",
        {"x-twilio-signature": INFOBIP_HEX},
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
    "sinch_malformed": ("sinch_sms", {**SMS_HEADERS, SINCH: "x"}, f"header {SINCH} is not base64 of 32 bytes"),
    "sinch_wrong": (
        "sinch_sms",
        {**SMS_HEADERS, f"{SINCH}-timestamp": "1736760162"},
        f"header {SINCH} does not match the body, header {SINCH}-nonce and header {SINCH}-timestamp; {MISMATCH}",
    ),
    "hmac_missing": ("hmac_hex", {}, "header x-infobip-signature is missing"),
    "hmac_malformed": (
        "hmac_hex",
        {"x-infobip-signature": INFOBIP_BASE64},
        "header x-infobip-signature is not 64 hex digits",
    ),
    "hmac_no_prefix": (
        "hmac_prefix",
        {"x-hub-signature-256": "6195d9ebc68c067d"},
        "header x-hub-signature-256 does not start with 'sha256='",
    ),
    "hmac_prefix_alone": (
        "hmac_prefix",
        {"x-hub-signature-256": "sha256="},
        "header x-hub-signature-256 is not 64 hex digits after its prefix",
    ),
    "hmac_wrong": (
        "hmac_base64",
        {"x-signature": "A" * 43 + "="},
        f"header x-signature does not match the body; {MISMATCH}",
    ),
    "hmac_wrong_url": (
        "bird",
        {"messagebird-signature": "A" * 43 + "=", MESSAGEBIRD_STAMP: "1719823259"},
        f"header messagebird-signature does not match header {MESSAGEBIRD_STAMP}, the URL and the body; "
        "check the secret, the hash, PUBLIC_URL, and that no proxy rewrites the body",
    ),
    "hmac_no_version": (
        "standard_webhooks",
        {**STANDARD_HEADERS, "webhook-signature": "v2,AAAA v3,BBBB"},
        "header webhook-signature does not start with 'v1,'",
    ),
    "ed25519_missing": ("telnyx", {}, "header telnyx-signature-ed25519 is missing"),
    "ed25519_malformed": (
        "telnyx",
        {**TELNYX_HEADERS, "telnyx-signature-ed25519": "AAAA"},
        "header telnyx-signature-ed25519 is not base64 of 64 bytes",
    ),
    "ed25519_wrong": (
        "telnyx",
        {**TELNYX_HEADERS, "telnyx-timestamp": "1737655803"},
        "header telnyx-signature-ed25519 does not match header telnyx-timestamp and the body; "
        "check the public key, and that no proxy changed them",
    ),
    "plivo_missing": ("plivo", {}, "headers x-plivo-signature-ma-v3 and x-plivo-signature-v3 are missing"),
    "plivo_malformed": (
        "plivo",
        {**PLIVO_HEADERS, "x-plivo-signature-ma-v3": "AAAA"},
        "no signature in x-plivo-signature-ma-v3 and x-plivo-signature-v3 is base64 of 32 bytes",
    ),
    "plivo_wrong": (
        "plivo",
        {**PLIVO_HEADERS, "x-plivo-signature-v3-nonce": "1"},
        "signature does not match URL, parameters and nonce; check PUBLIC_URL and the auth token",
    ),
    "jwt_missing": ("vonage_messages", {}, "header authorization is missing"),
    "jwt_malformed": (
        "vonage_messages",
        {"authorization": "Basic YndfdXNlcjpid19wYXNz"},
        "header authorization holds no JSON Web Token",
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


def with_other_middle(value: str) -> str:
    """As well-formed as before, for hex as for base64."""
    at = len(value) // 2
    return value[:at] + ("1" if value[at] == "0" else "0") + value[at + 1 :]


@good
def test_a_refusal_never_holds_the_expected_value(scheme: Scheme, secret: str, asked: Request):
    proofs = {name: asked.headers[name] for name in proof_headers(asked)}
    spoilt = asked.headers | {name: with_other_middle(value) for name, value in proofs.items()}
    url = asked.url.replace("code=s3cret", "code=other").replace("&sig=", "&sig=0")

    told = reason(scheme, secret, changed(asked, headers=spoilt, url=url))

    private = [*proofs.values(), secret, "k3yT0ken", "14155550100", INFOBIP_HEX, INFOBIP_BASE64]
    assert [text for text in private if text in told] == []


# --- the word of a handshake --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "words", "shown"),
    [
        ("verify-me", (b"verify-me",), True),
        ("verify-me", (b"the old one", b"verify-me"), True),
        ("clé", ("clé".encode(),), True),
        ("verify-m", (b"verify-me",), False),
        ("verify-me", (), False),
        # nothing set is nothing expected, not an empty word that anybody knows
        ("", (), False),
        ("", (b"",), False),
        ("\ud800", (b"verify-me",), False),
    ],
)
def test_a_handshake_shows_one_of_the_expected_words(word: str, words: tuple[bytes, ...], shown: bool):
    told = shows(word, words)

    assert told == shown
