"""Certificates for tests: an authority, and what it signs."""

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_PEM = serialization.Encoding.PEM


class Identity(NamedTuple):
    """A certificate and its key, both in PEM."""

    certificate: str
    key: str


def private_pem(key: ec.EllipticCurvePrivateKey, password: bytes = b"") -> str:
    """The key in PEM."""
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, locked).decode()


@dataclass(frozen=True)
class Authority:
    """Signs certificates."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey
    certificate: str
    """Its own, in PEM."""

    def issue(self, host: str, *, password: bytes = b"") -> Identity:
        """A certificate for a host, or for a client of that name."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        signed = _draft(_name(host), self.name, key).add_extension(names, critical=False)
        certificate = signed.sign(self.key, hashes.SHA256()).public_bytes(_PEM).decode()
        return Identity(certificate, private_pem(key, password))


def authority(name: str) -> Authority:
    """A new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    itself = _draft(_name(name), _name(name), key)
    for extension in (x509.BasicConstraints(ca=True, path_length=0), _MAY_SIGN):
        itself = itself.add_extension(extension, critical=True)
    certificate = itself.sign(key, hashes.SHA256()).public_bytes(_PEM).decode()
    return Authority(_name(name), key, certificate)


def demanding(identity: Identity, clients_of: Authority, folder: Path) -> ssl.SSLContext:
    """A server's context that asks for a client certificate of an authority."""
    file = folder / "server.pem"
    file.write_text(identity.certificate + identity.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.load_verify_locations(cadata=clients_of.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _draft(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - dt.timedelta(days=1),
        not_valid_after=now + dt.timedelta(days=1),
    )


_MAY_SIGN = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
