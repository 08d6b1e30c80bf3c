"""Public keys for tests: certificates and key sets, and the places where they stand to be fetched."""

import asyncio
import json
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.authenticate.keyring import Keyring
from app.errors import SendFailed
from app.send.connection import Answer
from tests.decoding import SAMPLES

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CERT_URL = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
KEYS_URL = "https://login.example.com/discovery/keys"

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


ROOT_KEY, MIDDLE_KEY, SIGNER_KEY, OTHER_KEY = rsa_key(), rsa_key(), rsa_key(), rsa_key()


def issued(
    name: str, key: Key, issuer: str, issuer_key: Key, *, authority: bool = False, until: datetime | None = None,
    names: list[str] | None = None,
) -> x509.Certificate:  # fmt: skip
    """A certificate; `names`: its host names, its own name unless given."""
    hosts = [x509.DNSName(host) for host in ([] if authority else [name] if names is None else names)]
    usage = x509.KeyUsage(
        digital_signature=not authority, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=authority, crl_sign=authority, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOON - timedelta(days=30))
        .not_valid_after(until or NOON + timedelta(days=300))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


ROOT = issued("Root", ROOT_KEY, "Root", ROOT_KEY, authority=True)
MIDDLE = issued("Middle", MIDDLE_KEY, "Root", ROOT_KEY, authority=True)
SIGNER = issued("sns.amazonaws.com", SIGNER_KEY, "Middle", MIDDLE_KEY)


def jwk(key: Key, kid: str, **fields: str) -> dict[str, Any]:
    algorithm = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", **fields}


def key_set(**keys: Key) -> bytes:
    return json.dumps({"keys": [jwk(key, kid) for kid, key in keys.items()]}).encode()


class Shelf:
    """What stands at URLs, and how often it was asked for; a text is why it cannot be had."""

    def __init__(self, standing: Mapping[str, bytes | str]) -> None:
        self.standing = dict(standing)
        self.asked: list[str] = []
        self.now = NOON

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        await asyncio.sleep(0)
        found = self.standing[url]
        if isinstance(found, str):
            raise SendFailed(found)
        return found

    def ring(self) -> Keyring:
        return Keyring(self.fetch, lambda: self.now)


def filled(url: str, content: bytes) -> Keyring:
    """A keyring that holds what stands at a URL."""
    ring = Shelf({url: content}).ring()
    asyncio.run(ring.fill(url))
    return ring


async def the_internet(_method: str, url: str, *_args: Any, **_options: Any) -> Answer:
    """In the place of `Client.request`: the keys that stand beside the samples, and the confirmations they ask for."""
    for listing in SAMPLES.glob("*/keys.toml"):
        found = tomllib.loads(listing.read_text("utf-8")).get(url)
        if found:
            return Answer(200, {}, (listing.parent / found).read_bytes())
    return Answer(200 if "Action=ConfirmSubscription" in url else 404, {}, b"")
