"""An Ed25519 signature (RFC 8032) over a text made of the request's parts; the webhook's secret is the public key.

https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks
"""

from binascii import a2b_base64

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from app.authenticate.evidence import Verifier, digest_shape, encode, from_base64, from_hex, header, readable
from app.authenticate.signed import signed
from app.authenticate.window import check_window
from app.errors import Refused
from app.request import Request
from app.scheme import Ed25519Scheme, Encoding

_SIZE = 32
_WANTED = "an Ed25519 public key: base64 or hex digits of its 32 bytes, or PEM"


def verifier(scheme: Ed25519Scheme, secrets: tuple[bytes, ...]) -> Verifier:
    """Expects the encoded signature of the text. Raises BadInput and NotReady."""
    name, window = scheme.header.lower(), scheme.window
    compose, words = signed(scheme.signed, window)
    keys = readable("ed25519", secrets, _public_key, _WANTED)

    def verify(request: Request) -> str:
        signature = _signature(name, header(request, name), scheme.encoding)
        text = compose(request)
        evidence = next((told for key, told in keys if _fits(key, signature, text)), None)
        if evidence is None:
            raise Refused(f"header {name} does not match {words}; check the public key, and that no proxy changed them")
        if window:
            check_window(request, window)
        return evidence

    return verify


def _signature(name: str, given: bytes, encoding: Encoding) -> bytes:
    shape = digest_shape(encoding, 64)
    if shape.pattern.fullmatch(given):
        given = given.lower() if encoding == "hex" else given
        signature = bytes.fromhex(given.decode()) if encoding == "hex" else a2b_base64(given)
        if encode(signature, encoding) == given:
            return signature
    raise Refused(f"header {name} is not {shape.words}")


def _fits(key: Ed25519PublicKey, signature: bytes, text: bytes) -> bool:
    try:
        key.verify(signature, text)
    except InvalidSignature:
        return False
    return True


def _public_key(secret: bytes) -> Ed25519PublicKey | None:
    given = secret.strip()
    if given.startswith(b"-----BEGIN"):
        return _from_pem(given)
    for raw in (from_hex(given), from_base64(given)):
        if raw and len(raw) == _SIZE:
            return Ed25519PublicKey.from_public_bytes(raw)
    return None


def _from_pem(given: bytes) -> Ed25519PublicKey | None:
    try:
        key = load_pem_public_key(given)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PublicKey) else None
