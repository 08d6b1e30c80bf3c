"""2 authenticate: any of several schemes, and client certificates that a proxy has seen."""

import base64
import hmac
from typing import Any
from urllib.parse import urlencode

import pytest

from app.authenticate import Keyring, verifier
from app.errors import BadInput, KeyWanted, NotReady, Refused
from app.request import Request
from app.scheme import (
    AnyScheme,
    BasicScheme,
    BearerScheme,
    ClientCertificateScheme,
    Ed25519Scheme,
    HmacScheme,
    Scheme,
    SecretScheme,
    SnsScheme,
    TokenScheme,
)
from tests.authenticating import (
    FORM,
    SDK_BODY,
    SDK_SIGNATURE,
    SDK_URL,
    SIGNALWIRE,
    SIGNALWIRE_COMPATIBLE,
    SIGNALWIRE_KEY,
    SIGNALWIRE_NATIVE,
    SIGNALWIRE_URL,
    reason,
    request,
)

SIGNALWIRE_ANY = AnyScheme(of=[SIGNALWIRE_COMPATIBLE, SIGNALWIRE_NATIVE])
NATIVE_BODY = b'{"event":"call.state","params":{"call_id":"abc-123","state":"answered"}}'
BASIC, SECRET = BasicScheme(username="us"), SecretScheme(name="x-key")
BEARER = BearerScheme(
    issuer="https://issuer.example", audience="us", keys="https://issuer.example/keys", claims={"azp": "them"}
)
#: a token that names the key it was signed with
BEARING = {"authorization": "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.e30.AAAA"}


async def nothing_to_fetch(_url: str) -> bytes:
    return b""


def proved(scheme: Scheme, asked: Request, *secrets: bytes) -> str:
    return verifier(scheme, secrets, Keyring(nothing_to_fetch))(asked)


# --- any of several -----------------------------------------------------------------------------------------------


def test_either_way_to_sign_is_accepted():
    compatible = request({SIGNALWIRE: SDK_SIGNATURE}, SDK_BODY, SDK_URL, content_type=FORM)
    native = request({SIGNALWIRE: "c3c08c1fefaf9ee198a100d5906765a6f394bf0f"}, NATIVE_BODY, SIGNALWIRE_URL)

    evidence = [
        proved(SIGNALWIRE_ANY, compatible, b"12345"),
        proved(SIGNALWIRE_ANY, native, b"other", SIGNALWIRE_KEY.encode()),
    ]

    assert evidence == ["twilio, secret 1 of 1", "hmac, secret 2 of 2"]


def test_a_refusal_tells_the_reason_of_each():
    told = reason(AnyScheme(of=[BASIC, SECRET]), "key", request())

    assert told == "header authorization is missing; header x-key is missing"


def test_a_reason_that_all_have_is_told_once():
    told = reason(AnyScheme(of=[BASIC, BasicScheme(username="you")]), "key", request())

    assert told == "header authorization is missing"


def test_without_a_secret_the_others_are_tried_and_nothing_is_refused_for_good():
    scheme = AnyScheme(of=[BASIC, ClientCertificateScheme(header="x-client", values=["CN=provider"])])
    asked = request({"x-client": "CN=provider"}, via_proxy=True)

    evidence = proved(scheme, asked)
    with pytest.raises(NotReady) as not_ready:
        proved(scheme, request(via_proxy=True))

    assert evidence == "client_certificate, value 1 of 1"
    assert str(not_ready.value) == (
        "header x-client is missing; "
        "signature scheme basic needs a secret and the webhook has none; set the webhook's secret"
    )


def test_where_no_scheme_can_look_we_are_not_ready():
    with pytest.raises(NotReady, match=r"scheme basic needs a secret .* scheme secret needs a secret"):
        proved(AnyScheme(of=[BASIC, SECRET]), request({"x-key": "key"}))


def test_a_key_that_must_be_fetched_is_asked_for():
    for of in ([BEARER, SECRET], [SECRET, BEARER], [AnyScheme(of=[BEARER]), SECRET]):
        with pytest.raises(KeyWanted) as wanted:
            proved(AnyScheme(of=of), request(BEARING), b"key")

        assert wanted.value.url == "https://issuer.example/keys"


def test_no_key_is_fetched_for_what_another_scheme_proves():
    asked = request({**BEARING, "x-key": "key"})

    evidence = proved(AnyScheme(of=[BEARER, SECRET]), asked, b"key")

    assert evidence == "secret, secret 1 of 1"


def test_without_a_keyring_a_scheme_that_needs_one_is_not_ready():
    check = verifier(BEARER, ())

    with pytest.raises(NotReady) as not_ready:
        check(request(BEARING))

    assert str(not_ready.value) == "this scheme needs a provider's public keys, and nothing here can fetch them"


def test_the_first_that_proves_wins():
    asked = request({"x-key": "key"})

    evidence = [proved(AnyScheme(of=of), asked, b"key") for of in ([TokenScheme(), SECRET], [SECRET, TokenScheme()])]

    assert evidence == ["token", "secret, secret 1 of 1"]


# --- one key for forms and for JSON: SignalWire -------------------------------------------------------------------


def sealed(text: str) -> bytes:
    return hmac.digest(SIGNALWIRE_KEY.encode(), (SIGNALWIRE_URL + text).encode(), "sha1")


def test_the_signature_of_a_form_does_not_prove_what_the_form_s_text_says_as_a_body():
    texted = "&MessageSid=b3877c40-da60-4998-90ad-b792e98472af&From=%2B41790000001&Body=START"
    form = {"Body": texted, "From": "+14155550100"}
    genuine = sealed("".join(name + value for name, value in form.items()))
    forged = "".join(name + value for name, value in form.items()).encode()

    evidence = proved(
        SIGNALWIRE_ANY,
        request(
            {SIGNALWIRE: base64.b64encode(genuine).decode()},
            urlencode(form).encode(),
            SIGNALWIRE_URL,
            content_type=FORM,
        ),
        SIGNALWIRE_KEY.encode(),
    )
    told = reason(
        SIGNALWIRE_ANY,
        SIGNALWIRE_KEY,
        request({SIGNALWIRE: genuine.hex()}, forged, SIGNALWIRE_URL, content_type=FORM),
    )

    assert evidence == "twilio, secret 1 of 1"
    assert told.endswith("; the body is not JSON, and no other is signed in this way")


def test_the_signature_of_a_json_body_does_not_prove_a_form_that_is_cut_out_of_it():
    native = '{"message":{"body":"BodySTARTFrom+41790000001","to":"+1"}}'
    form = {"": '{"message":{"body":"', "Body": "START", "From": '+41790000001","to":"+1"}}'}

    evidence = proved(
        SIGNALWIRE_ANY,
        request({SIGNALWIRE: sealed(native).hex()}, native.encode(), SIGNALWIRE_URL),
        SIGNALWIRE_KEY.encode(),
    )
    told = reason(
        SIGNALWIRE_ANY,
        SIGNALWIRE_KEY,
        request(
            {SIGNALWIRE: base64.b64encode(sealed(native)).decode()},
            urlencode(form).encode(),
            SIGNALWIRE_URL,
            content_type=FORM,
        ),
    )

    assert "".join(name + value for name, value in form.items()) == native
    assert evidence == "hmac, secret 1 of 1"
    assert told.startswith("names and values of the form begin like JSON, so the signature may be that of a JSON body")


PUBLIC_SECRETS: list[list[Any]] = [
    [Ed25519Scheme(header="x-a"), SECRET],
    [HmacScheme(header="x-a"), Ed25519Scheme(header="x-a")],
    [SnsScheme(), BASIC],
    [AnyScheme(of=[SnsScheme()]), SECRET],
]


@pytest.mark.parametrize("of", PUBLIC_SECRETS)
def test_a_public_key_can_never_become_a_password(of: list[Any]):
    """The schemes share the webhook's secrets, and a public key or a topic's name is known to others."""
    with pytest.raises(BadInput, match=r"is no secret, and .* would believe whoever knows it; make a webhook for each"):
        verifier(AnyScheme(of=of), (b"key",), Keyring(nothing_to_fetch))


# --- client certificates ------------------------------------------------------------------------------------------

FINGERPRINT = "1F:A2:" + "0B:" * 29 + "FF"
BARE = FINGERPRINT.replace(":", "").lower()
SUBJECT = "CN=hooks.provider.example,O=Provider: Ltd"


def seen(value: str, *, via_proxy: bool = True) -> Request:
    return request({"x-client": value}, b"{}", via_proxy=via_proxy)


@pytest.mark.parametrize("told", [FINGERPRINT, BARE, BARE.upper(), FINGERPRINT.lower()])
@pytest.mark.parametrize("value", [FINGERPRINT, BARE])
def test_a_fingerprint_is_known_in_any_spelling(told: str, value: str):
    scheme = ClientCertificateScheme(header="X-Client", values=["CN=other", value])

    evidence = proved(scheme, seen(told))

    assert evidence == "client_certificate, value 2 of 2"


def test_a_subject_is_known_to_the_letter():
    scheme = ClientCertificateScheme(header="x-client", values=[SUBJECT])

    evidence = proved(scheme, seen(SUBJECT))

    assert evidence == "client_certificate, value 1 of 1"


@pytest.mark.parametrize(
    "told",
    [
        SUBJECT.lower(),
        SUBJECT.replace(":", ""),
        f"{SUBJECT} ",
        f"{SUBJECT},{SUBJECT}",
        BARE[:-1],
        f"{BARE},x",
        "é",
        "NONE",
    ],
)
def test_another_certificate_is_refused(told: str):
    scheme = ClientCertificateScheme(header="x-client", values=[SUBJECT, BARE])

    with pytest.raises(Refused) as refused:
        proved(scheme, seen(told))

    assert str(refused.value) == "header x-client tells of another client certificate than those of the scheme's values"


@pytest.mark.parametrize("value", [FINGERPRINT, ""])
def test_the_header_counts_only_as_the_word_of_a_trusted_proxy(value: str):
    scheme = ClientCertificateScheme(header="x-client", values=[FINGERPRINT])

    with pytest.raises(Refused) as refused:
        proved(scheme, seen(value, via_proxy=False))

    assert (
        str(refused.value)
        == "header x-client counts only from a proxy in TRUSTED_PROXIES, and this came from elsewhere"
    )


@pytest.mark.parametrize(("headers", "expected"), [({}, "missing"), ({"x-client": ""}, "empty")])
def test_without_a_certificate_a_request_is_refused(headers: dict[str, str], expected: str):
    scheme = ClientCertificateScheme(header="x-client", values=[FINGERPRINT])

    with pytest.raises(Refused) as refused:
        proved(scheme, request(headers, via_proxy=True))

    assert str(refused.value) == f"header x-client is {expected}"
