"""2 authenticate: an envelope of Amazon SNS, and everything that is not quite one."""

import base64
import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from app.authenticate import certificate, sns
from app.errors import KeyWanted, NotReady, Refused
from app.request import Request
from app.scheme import SnsScheme
from tests.public_keys import (
    CERT_URL,
    MIDDLE,
    MIDDLE_KEY,
    NOON,
    OTHER_KEY,
    ROOT,
    ROOT_KEY,
    SIGNER,
    SIGNER_KEY,
    Key,
    Shelf,
    filled,
    issued,
    pem,
)

TOPIC = "arn:aws:sns:us-east-1:123456789012:sms-inbound"
#: the envelope whose string to sign is known by its hashes
NOTIFICATION = {
    "Type": "Notification",
    "MessageId": "95df01b4-ee98-5cb9-9903-4c221d41eb5e",
    "TopicArn": TOPIC,
    "Message": '{"originationNumber":"+14255550182","destinationNumber":"+12125550101","messageKeyword":"JOIN",'
    '"messageBody":"EXAMPLE","inboundMessageId":"cae173d2-66b9-564c-8309-21f858e9fb84",'
    '"previousPublishedMessageId":"wJalrXUtnFEMI"}',
    "Timestamp": "2025-01-02T12:45:07.000Z",
}
CONFIRMATION = {
    "Type": "SubscriptionConfirmation",
    "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
    "Token": "2336412f37fb687f5d51e6e241d09c805a5a57b30d712f794cc5f6a988666d92",
    "TopicArn": TOPIC,
    "Message": "You have chosen to subscribe to the topic.\nTo confirm, visit the SubscribeURL.",
    "SubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=x&Token=2336412f",
    "Timestamp": "2025-01-02T12:40:00.000Z",
}


def signed(envelope: dict[str, Any], version: str = "1", key: Key = SIGNER_KEY, **others: Any) -> dict[str, Any]:
    """The envelope with its signature; `others` come with it and are not signed."""
    digest = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303
    text = sns.string_to_sign(envelope)
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(text, padding.PKCS1v15(), digest)
    else:
        signature = key.sign(text, ec.ECDSA(digest))
    proof = {"SignatureVersion": version, "Signature": base64.b64encode(signature).decode(), "SigningCertURL": CERT_URL}
    return {**envelope, **proof, **others}


def posted(body: Any, content_type: str = "text/plain; charset=UTF-8") -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request("POST", "https://hooks.example.com/in/x", {"content-type": content_type}, raw, NOON)


def proved(body: Any, served: bytes = pem(SIGNER), secrets: tuple[bytes, ...] = (TOPIC.encode(),), **more: Any) -> str:
    """The evidence, with a certificate at hand."""
    scheme = SnsScheme(window=more.pop("window", None))
    return sns.verifier(scheme, secrets, filled(CERT_URL, served), **more)(posted(body))


def why_refused(body: Any, served: bytes = pem(SIGNER), **more: Any) -> str:
    with pytest.raises(Refused) as refused:
        proved(body, served, **more)
    assert TOPIC not in str(refused.value)
    return str(refused.value)


def test_the_string_to_sign_is_that_of_the_published_vector() -> None:
    text = sns.string_to_sign(NOTIFICATION)

    assert hashlib.sha256(text).hexdigest() == "ac777db5028c211308988d9cb5823fdfcfd1024d5910b2965cf30ffad79aabe5"
    assert hashlib.sha1(text).hexdigest() == "7984a483de16ee9a758e86f84376c8b9f522fc89"  # noqa: S324


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    "envelope",
    [
        NOTIFICATION,
        NOTIFICATION | {"Subject": "Grüße\n🛑"},
        CONFIRMATION,
        CONFIRMATION | {"Type": "UnsubscribeConfirmation"},
    ],
    ids=["notification", "with_subject", "subscription", "unsubscription"],
)
def test_an_envelope_signed_by_sns_is_believed(envelope: dict[str, Any], version: str) -> None:
    assert proved(signed(envelope, version)) == f"sns version {version}, topic 1 of 1"


@pytest.mark.parametrize(
    "change",
    [
        # as functions of Lambda get it
        {"SigningCertURL": ..., "SigningCertUrl": CERT_URL},
        {"Subject": None},
        {"UnsubscribeURL": "https://elsewhere.example.com/", "MessageAttributes": {}},
    ],
    ids=["lambda", "null_subject", "unsigned_fields"],
)
def test_what_is_not_signed_may_differ(change: dict[str, Any]) -> None:
    envelope = {name: value for name, value in {**signed(NOTIFICATION), **change}.items() if value is not ...}

    assert proved(envelope) == "sns version 1, topic 1 of 1"


def test_each_of_two_topics_is_heard() -> None:
    secrets = (b"arn:aws:sns:us-east-1:123456789012:other", TOPIC.encode())

    assert proved(signed(NOTIFICATION), secrets=secrets) == "sns version 1, topic 2 of 2"


@pytest.mark.parametrize("content_type", ["application/json", "", "text/plain"])
def test_the_content_type_does_not_matter(content_type: str) -> None:
    verify = sns.verifier(SnsScheme(), (TOPIC.encode(),), filled(CERT_URL, pem(SIGNER)))

    assert verify(posted(signed(NOTIFICATION), content_type))


def test_an_envelope_that_may_be_read_as_a_form_is_refused() -> None:
    """A blank before it, and an unsigned field that holds another message for whoever reads the body as a form."""
    forged = b" " + json.dumps(signed(NOTIFICATION, x="&Message=%7B%22messageBody%22%3A%22START%22%7D&z=")).encode()
    verify = sns.verifier(SnsScheme(), (TOPIC.encode(),), filled(CERT_URL, pem(SIGNER)))

    for content_type in ("application/x-www-form-urlencoded", "text/plain"):
        with pytest.raises(Refused, match="the body is not JSON, so it is no envelope of SNS"):
            verify(posted(forged, content_type))


def test_a_message_of_a_foreign_topic_is_refused_before_anything_is_fetched() -> None:
    foreign = signed({**NOTIFICATION, "TopicArn": "arn:aws:sns:us-east-1:999999999999:sms-inbound"})
    verify = sns.verifier(SnsScheme(), (TOPIC.encode(),), Shelf({}).ring())

    with pytest.raises(Refused, match="topic is none of the webhook's secrets; enter the topic's ARN there"):
        verify(posted(foreign))


def test_the_certificate_is_wanted_at_its_url_where_it_is_not_at_hand() -> None:
    verify = sns.verifier(SnsScheme(), (TOPIC.encode(),), Shelf({}).ring())

    with pytest.raises(KeyWanted) as wanted:
        verify(posted(signed(NOTIFICATION)))

    assert wanted.value.url == CERT_URL


@pytest.mark.parametrize("field", ["Message", "MessageId", "Timestamp", "Subject"])
def test_a_changed_field_is_refused(field: str) -> None:
    changed = {**signed(NOTIFICATION), field: "2026-01-01T00:00:00.000Z"}

    assert "does not match the envelope" in why_refused(changed)


@pytest.mark.parametrize("field", ["Token", "SubscribeURL", "Message", "Type"])
def test_a_changed_confirmation_is_refused(field: str) -> None:
    assert "does not match" in why_refused({**signed(CONFIRMATION), field: "UnsubscribeConfirmation"})


def test_fields_cannot_be_moved_into_each_other() -> None:
    """The signed text is the same, but the MessageId has gone into the Message."""
    envelope = signed(NOTIFICATION)
    moved = {**envelope, "Message": f"{envelope['Message']}\nMessageId\n{envelope['MessageId']}"}
    del moved["MessageId"]

    assert why_refused(moved) == "field MessageId is missing"


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.us-east-1.amazonaws.com/x.pem",
        "https://sns.us-east-1.amazonaws.com.example.com/x.pem",
        "https://example.com/sns.us-east-1.amazonaws.com/x.pem",
        "https://sns.us-east-1.amazonaws.com@example.com/x.pem",
        "https://example.com#sns.us-east-1.amazonaws.com/x.pem",
        "https://example.com?sns.us-east-1.amazonaws.com/x.pem",
        "https://example.com\\@sns.us-east-1.amazonaws.com/x.pem",
        "https://user:word@sns.us-east-1.amazonaws.com/x.pem",
        "https://sns.us-east-1.amazonaws.com:8443/x.pem",
        "https://sns.us-east-1.amazonaws.com:443/x.pem",
        "https://sns.us-east-1.amazonaws.com/x.pem?a=b",
        "https://sns.us-east-1.amazonaws.com/x.pem#a",
        "https://sns.us-east-1.amazonaws.com/x.pem\n",
        "https://sns.us-east-1.amazonaws.com/x.txt",
        "https://sns.us-east-1.amazonaws.com/.pem",
        "https://sns.us-east-1.amazonaws.com/%2e%2e/x.pem",
        "https://sns.us-east-1.amazonaws.com/a b.pem",
        "https://sns.us-east-1.amazonaws.com./x.pem",
        "https://evil-sns.us-east-1.amazonaws.com/x.pem",
        "https://evil.sns.us-east-1.amazonaws.com/x.pem",
        "https://snsxus-east-1.amazonaws.com/x.pem",
        "https://sns.us-east-1xamazonaws.com/x.pem",
        # buckets that anybody could have
        "https://sns.s3.amazonaws.com/x.pem",
        "https://sns.s3-us-west-2.amazonaws.com/x.pem",
        "https://s3.us-east-1.amazonaws.com/sns/x.pem",
        "https://sns.us-east-1.amazonaws.com.cn.example.com/x.pem",
        "https://ѕns.us-east-1.amazonaws.com/x.pem",  # a Cyrillic letter
        "HTTPS://SNS.us-east-1.amazonaws.com/x.pem",
        "//sns.us-east-1.amazonaws.com/x.pem",
        "file:///etc/x.pem",
        "",
    ],
)
def test_a_certificate_of_another_place_is_never_asked_for(url: str) -> None:
    envelope = {**signed(NOTIFICATION), "SigningCertURL": url}
    verify = sns.verifier(SnsScheme(), (TOPIC.encode(),), Shelf({}).ring())

    with pytest.raises(Refused, match="field SigningCertURL does not lead to a certificate of Amazon SNS"):
        verify(posted(envelope))


@pytest.mark.parametrize(
    "host",
    ["sns.eu-central-2.amazonaws.com", "sns.us-gov-west-1.amazonaws.com", "sns.cn-northwest-1.amazonaws.com.cn"],
)
def test_a_certificate_of_any_region_is_asked_for(host: str) -> None:
    envelope = {**signed(NOTIFICATION), "SigningCertURL": f"https://{host}/SimpleNotificationService-0a.pem"}
    verify = sns.verifier(SnsScheme(), (TOPIC.encode(),), Shelf({}).ring())

    with pytest.raises(KeyWanted):
        verify(posted(envelope))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"SignatureVersion": "3"}, "field SignatureVersion is neither 1 nor 2"),
        ({"SignatureVersion": 1}, "field SignatureVersion is not a text"),
        ({"SignatureVersion": ...}, "field SignatureVersion is missing"),
        # the digest is bound to the version
        ({"SignatureVersion": "2"}, "field Signature does not match the envelope"),
        ({"Type": "Something"}, "field Type is none of Notification, SubscriptionConfirmation, UnsubscribeConfirmation"),
        ({"Type": ["Notification"]}, "field Type is none of"),
        ({"Type": ...}, "field Type is none of"),
        ({"Message": ...}, "field Message is missing"),
        ({"Message": {"a": 1}}, "field Message is not a text"),
        ({"Subject": 7}, "field Subject is not a text"),
        ({"TopicArn": ...}, "field TopicArn is missing"),
        ({"SigningCertURL": ...}, "field SigningCertURL is missing"),
        ({"SigningCertURL": 7}, "field SigningCertURL is not a text"),
        ({"Signature": "!"}, "field Signature is not base64"),
        ({"Signature": "é"}, "field Signature is not base64"),
        ({"Signature": ""}, "field Signature does not match"),
        ({"Signature": None}, "field Signature is missing"),
        ({"Signature": ...}, "the body has no signature; turn raw message delivery off at the SNS subscription"),
    ],
)  # fmt: skip
def test_an_envelope_that_is_not_quite_one_is_refused(change: dict[str, Any], problem: str) -> None:
    envelope = {name: value for name, value in {**signed(NOTIFICATION), **change}.items() if value is not ...}

    assert problem in why_refused(envelope)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (NOTIFICATION["Message"].encode(), "the body has no signature; turn raw message delivery off"),
        (b"", "the body is not JSON"),
        (b"Type=Notification", "the body is not JSON"),
        (b"[]", "the body has no signature"),
        (b"[" * 5000, "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        (rb'{"Signature": "\ud83d"}', "the body is not JSON"),  # half of a character
    ],
)
def test_a_body_that_is_no_envelope_is_refused(body: bytes, problem: str) -> None:
    assert problem in why_refused(body)


def test_an_envelope_of_another_key_is_refused() -> None:
    assert "does not match" in why_refused(signed(NOTIFICATION, key=OTHER_KEY))


def test_a_certificate_without_an_rsa_key_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    served = pem(issued("sns.amazonaws.com", key, "Middle", MIDDLE_KEY))

    assert why_refused(signed(NOTIFICATION, key=key), served) == "the signing certificate holds no RSA key"


@pytest.mark.parametrize("days", [-1, -29], ids=["yesterday", "weeks_ago"])
def test_a_certificate_that_has_ended_is_refused(days: int) -> None:
    served = pem(issued("sns.amazonaws.com", SIGNER_KEY, "Middle", MIDDLE_KEY, until=NOON + timedelta(days=days)))

    assert "the signing certificate has ended or not begun" in why_refused(signed(NOTIFICATION), served)


def test_a_certificate_that_has_not_begun_is_refused() -> None:
    with pytest.raises(Refused, match="has ended or not begun"):
        certificate.check((SIGNER,), NOON - timedelta(days=31))


@pytest.mark.parametrize(
    ("name", "names", "good"),
    [
        ("sns.amazonaws.com", None, True),
        ("sns.amazonaws.com", [], True),  # only the common name
        ("sns-signing.af-south-1.amazonaws.com", ["sns-signing.af-south-1.amazonaws.com", "sns.af-south-1.amazonaws.com"], True),
        ("sns-cn-north-1.amazonaws.com.cn", None, True),
        ("sns-us-gov-west-1.amazonaws.com", None, True),
        ("sns.amazonaws.com", ["shop.example.com"], False),  # host names count, the common name then does not
        ("shop.example.com", [], False),
        ("ses.amazonaws.com", None, False),
        ("sns.s3-us-west-2.amazonaws.com", None, False),
        ("sns.amazonaws.com.example.com", None, False),
        ("*.amazonaws.com", None, False),
    ],
)  # fmt: skip
def test_only_a_certificate_of_sns_is_believed(name: str, names: list[str] | None, good: bool) -> None:
    served = pem(issued(name, SIGNER_KEY, "Middle", MIDDLE_KEY, names=names))

    if good:
        assert proved(signed(NOTIFICATION), served)
    else:
        assert why_refused(signed(NOTIFICATION), served) == "the signing certificate is not one of Amazon SNS"


def test_issuers_that_come_along_must_lead_to_a_trusted_root() -> None:
    whole = pem(SIGNER, MIDDLE)

    assert proved(signed(NOTIFICATION), whole, roots=[ROOT]) == "sns version 1, topic 1 of 1"
    # the machine's own authorities know nothing of this root
    assert "does not lead to an authority that is trusted here" in why_refused(signed(NOTIFICATION), whole)


def test_a_machine_without_authorities_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    certificate._system_roots.cache_clear()

    with pytest.raises(NotReady, match="install its package ca-certificates"):
        proved(signed(NOTIFICATION), pem(SIGNER, MIDDLE))


def test_a_chain_of_somebody_else_is_refused() -> None:
    forged_middle = issued("Middle", OTHER_KEY, "Root", OTHER_KEY, authority=True)
    forged = issued("sns.amazonaws.com", SIGNER_KEY, "Middle", OTHER_KEY)

    assert "does not lead to an authority" in why_refused(
        signed(NOTIFICATION), pem(forged, forged_middle), roots=[ROOT]
    )


def test_an_issuer_that_has_ended_vouches_for_nobody() -> None:
    ended = issued("Middle", MIDDLE_KEY, "Root", ROOT_KEY, authority=True, until=NOON - timedelta(days=1))

    assert "does not lead to an authority" in why_refused(signed(NOTIFICATION), pem(SIGNER, ended), roots=[ROOT])


@pytest.mark.parametrize(
    ("timestamp", "problem"),
    [
        ("2026-03-01T11:00:00.000Z", ""),
        ("2026-03-01T12:59:59.000Z", ""),
        ("2026-03-01T10:59:59.000Z", "the message is more than 3600 seconds old or ahead"),
        ("2026-03-01T13:00:01.000Z", "the message is more than 3600 seconds old or ahead"),
        ("2026-03-01T12:00:00", "field Timestamp is not a time with its zone"),
        ("yesterday", "field Timestamp is not a time"),
    ],
)
def test_with_a_window_an_old_message_is_refused(timestamp: str, problem: str) -> None:
    envelope = signed({**NOTIFICATION, "Timestamp": timestamp})

    if problem:
        assert problem in why_refused(envelope, window=3600)
    else:
        assert proved(envelope, window=3600)
