"""Amazon SNS: an RSA signature over the envelope's fields, by a certificate that stands at a URL of Amazon's.

The envelope is JSON sent as text/plain. Anybody can have Amazon sign a message of a topic of his own, so the topic is
what proves that a message is meant for us: the webhook's secrets are the ARNs of the topics that may speak.
https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html
"""

import base64
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from app.authenticate.certificate import REGION, check
from app.authenticate.evidence import Verifier
from app.authenticate.keyring import Keyring
from app.errors import Refused
from app.request import Request
from app.scheme import SnsScheme

#: what is signed, in this order; all of it must be there but the Subject
_FIELDS = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
#: by SignatureVersion. SHA-1 is what a topic uses unless it is set to 2
_HASHES = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # noqa: S303 - Amazon's, and no collision helps against it
#: the whole URL by what it may be, so that no user, port, query, other host or odd character has a place in it
_CERTIFICATE_URL = re.compile(rf"https://sns\.{REGION}\.amazonaws\.com(?:\.cn)?(?:/[A-Za-z0-9_-]+)+\.pem")


class _Envelope(NamedTuple):
    signed: bytes
    version: str
    signature: bytes
    topic: str
    certificate_url: str
    timestamp: str


def verifier(
    scheme: SnsScheme, secrets: tuple[bytes, ...], keyring: Keyring, roots: Sequence[x509.Certificate] | None = None
) -> Verifier:
    """Expects an envelope of one of the topics that the secrets name, signed by SNS.

    `roots`: who may vouch for the certificate where its issuers come along; the machine's own unless given.
    The verifier raises KeyWanted, with a URL of Amazon's, where the certificate is not at hand.
    """
    topics = {secret.decode("utf-8", "replace"): number for number, secret in enumerate(secrets, 1)}

    def verify(request: Request) -> str:
        envelope = _read(request)
        number = topics.get(envelope.topic)
        if number is None:
            raise Refused("the message's topic is none of the webhook's secrets; enter the topic's ARN there")
        if scheme.window is not None:
            _check_age(envelope.timestamp, request.received_at, scheme.window)
        _check_signature(envelope, keyring, request.received_at, roots)
        return f"sns version {envelope.version}, topic {number} of {len(topics)}"

    return verify


def string_to_sign(fields: dict[str, Any]) -> bytes:
    """Name and value of what is signed, each with a line end. Raises Refused where something of it is missing."""
    kind = fields.get("Type")
    names = _FIELDS.get(kind) if isinstance(kind, str) else None
    if names is None:
        raise Refused(f"field Type is none of {', '.join(_FIELDS)}")
    present = [name for name in names if name != "Subject" or fields.get(name) is not None]
    return "".join(f"{name}\n{_text(fields, name)}\n" for name in present).encode()


def _read(request: Request) -> _Envelope:
    fields = _object(request)
    version = _text(fields, "SignatureVersion")
    if version not in _HASHES:
        raise Refused("field SignatureVersion is neither 1 nor 2")
    signed = string_to_sign(fields)
    url = _text(fields, "SigningCertURL", "SigningCertUrl")
    if not _CERTIFICATE_URL.fullmatch(url):
        raise Refused("field SigningCertURL does not lead to a certificate of Amazon SNS")
    topic, timestamp = fields["TopicArn"], fields["Timestamp"]
    return _Envelope(signed, version, _signature(fields), topic, url, timestamp)


def _object(request: Request) -> dict[str, Any]:
    try:
        fields = orjson.loads(request.body if request.is_json else b"")
    except orjson.JSONDecodeError:
        raise Refused("the body is not JSON, so it is no envelope of SNS") from None
    if not isinstance(fields, dict) or "Signature" not in fields:
        # https://docs.aws.amazon.com/sns/latest/dg/sns-large-payload-raw-message-delivery.html
        raise Refused("the body has no signature; turn raw message delivery off at the SNS subscription")
    return fields


def _text(fields: dict[str, Any], *names: str) -> str:
    """The first of these fields that is there. (Functions of Lambda get SigningCertUrl.)"""
    value = next((fields[name] for name in names if name in fields), None)
    if not isinstance(value, str):
        raise Refused(f"field {names[0]} is {'missing' if value is None else 'not a text'}")
    return value


def _signature(fields: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode(_text(fields, "Signature"), validate=True)
    except ValueError:
        raise Refused("field Signature is not base64") from None


def _check_age(timestamp: str, at: datetime, window: int) -> None:
    try:
        apart = abs(at - datetime.fromisoformat(timestamp))
    except (ValueError, TypeError):
        raise Refused("field Timestamp is not a time with its zone") from None
    if apart > timedelta(seconds=window):
        raise Refused(f"the message is more than {window} seconds old or ahead; check this machine's clock")


def _check_signature(
    envelope: _Envelope, keyring: Keyring, at: datetime, roots: Sequence[x509.Certificate] | None
) -> None:
    chain = keyring.chain(envelope.certificate_url)
    check(chain, at, roots)
    key = chain[0].public_key()
    if not isinstance(key, RSAPublicKey):
        raise Refused("the signing certificate holds no RSA key")
    try:
        key.verify(envelope.signature, envelope.signed, PKCS1v15(), _HASHES[envelope.version])
    except InvalidSignature:
        raise Refused("field Signature does not match the envelope; check that no proxy rewrites the body") from None
