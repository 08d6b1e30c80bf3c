"""Keys out of TEXTBACK_EVIDENCE_KEY, one for each purpose, so that none of them tells anything of another.

The setting lives outside of the database: who can write every table still cannot make a seal, nor tell a suppressed
person from another.
"""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.settings import Settings

SEALS = "textback ledger seals"
#: erased people are known by their address under this key (see `people`)
PEOPLE = "textback erased people"

MISSING = (
    "TEXTBACK_EVIDENCE_KEY is not set; make one with: openssl rand -hex 32. Keep it outside of the database and of its"
    " backups, and never change it."
)


def derive(secret: str, purpose: str) -> bytes:
    """32 bytes by HKDF-SHA256 (RFC 5869).

    The secret has full entropy (openssl rand), so it is not hardened like a password.
    """
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode()).derive(secret.encode())


def key_for(purpose: str, settings: Settings) -> bytes | None:
    """The key of a purpose; None where no evidence key is set."""
    secret = settings.evidence_secret
    return derive(secret, purpose) if secret else None
