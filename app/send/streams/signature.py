"""Each request signed by Standard Webhooks: HMAC-SHA256 over id, time and body, once for each of the secrets.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

from app.errors import BadInput

PREFIX = "whsec_"
#: bytes of a secret, as the standard wants them
SHORTEST, LONGEST = 24, 64
HEADERS = frozenset({"webhook-id", "webhook-timestamp", "webhook-signature"})


def keys_of(secrets: Sequence[str]) -> list[bytes]:
    """The keys that the secrets stand for. Raises BadInput that names the mend, and never the secret."""
    return [_key(secret) for secret in secrets]


def _key(secret: str) -> bytes:
    text = secret.removeprefix(PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not SHORTEST <= len(key) <= LONGEST:
        raise BadInput(
            f"secret: it must be {PREFIX} and the base64 of {SHORTEST} to {LONGEST} random bytes;"
            f" make one with: echo {PREFIX}$(openssl rand -base64 32)"
        )
    return key


def signature(keys: Sequence[bytes], message_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """The three headers. The id is the same for every resend of the same body."""
    moment = str(int(now.timestamp()))
    signed = f"{message_id}.{moment}.".encode() + body
    proofs = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
    proof = " ".join(f"v1,{each}" for each in proofs)
    return {"webhook-id": message_id, "webhook-timestamp": moment, "webhook-signature": proof}
