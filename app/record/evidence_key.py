"""Keys out of TEXTBACK_EVIDENCE_KEY, one for each purpose. Rotating other secrets never touches them."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def derive(secret: str, purpose: str) -> bytes:
    """The 32 bytes for this purpose (HKDF-SHA256, https://www.rfc-editor.org/rfc/rfc5869): none tells another."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode()).derive(secret.encode())
