"""2 authenticate: Ed25519 signatures, where the webhook's secret is a public key."""

import base64
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.authenticate import verifier
from app.errors import NotReady
from app.request import Request
from app.scheme import Ed25519Scheme
from tests.authenticating import (
    GOOD,
    TELNYX_BODY,
    TELNYX_HEADERS,
    TELNYX_KEY,
    TELNYX_SCHEME,
    TELNYX_SEED,
    changed,
    reason,
    request,
    second,
)

PRIVATE = Ed25519PrivateKey.from_private_bytes(TELNYX_SEED)
PUBLIC = PRIVATE.public_key()
RAW = PUBLIC.public_bytes_raw()
PEM = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
EC_PEM = generate_private_key(SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
PLAIN = Ed25519Scheme(header="x-signature", encoding="hex")


def telnyx_headers(body: bytes, stamp: int) -> dict[str, str]:
    signature = PRIVATE.sign(str(stamp).encode() + b"|" + body)
    return {"telnyx-signature-ed25519": base64.b64encode(signature).decode(), "telnyx-timestamp": str(stamp)}


KEYS = {
    "base64": TELNYX_KEY.encode(),
    "url_safe": base64.urlsafe_b64encode(RAW),
    "no_padding": TELNYX_KEY.rstrip("=").encode(),
    "hex": RAW.hex().encode(),
    "upper_case_hex": RAW.hex().upper().encode(),
    "pem": PEM,
    "pem_without_line_end": PEM.strip(),
    "line_end_behind": TELNYX_KEY.encode() + b"\n",
}


@pytest.mark.parametrize("secret", KEYS.values(), ids=KEYS)
def test_a_public_key_is_read_in_any_of_its_usual_forms(secret: bytes):
    _, _, asked = GOOD["telnyx"]

    evidence = verifier(TELNYX_SCHEME, (secret,))(asked)

    assert evidence == "ed25519, secret 1 of 1"


BROKEN_KEYS = {
    "words": b"not a key",
    "too_short": base64.b64encode(RAW[:-1]),
    "too_long": base64.b64encode(RAW + b"\0"),
    "short_hex": RAW.hex()[:-2].encode(),
    "cut_pem": PEM[:60],
    "other_kind_of_key": EC_PEM,
    "pem_of_nothing": b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
    "beyond_ascii": "schlüssel".encode(),
}


@pytest.mark.parametrize("secret", BROKEN_KEYS.values(), ids=BROKEN_KEYS)
def test_without_a_readable_public_key_we_are_not_ready(secret: bytes):
    _, _, asked = GOOD["telnyx"]
    check = verifier(TELNYX_SCHEME, (secret,))

    with pytest.raises(NotReady) as not_ready:
        check(asked)

    assert str(not_ready.value) == (
        "the webhook's secret is not an Ed25519 public key: base64 or hex digits of its 32 bytes, or PEM; "
        "copy it from the provider once more"
    )


@pytest.mark.parametrize("fold", [str.lower, str.upper])
def test_a_signature_may_be_hex(fold: Callable[[str], str]):
    asked = request({"x-signature": fold(PRIVATE.sign(b"{}").hex())}, b"{}")

    evidence = verifier(PLAIN, (RAW.hex().encode(),))(asked)

    assert evidence == "ed25519, secret 1 of 1"


TWISTED = {
    "base64": base64.b64encode(PRIVATE.sign(b"{}")).decode(),
    "cut": PRIVATE.sign(b"{}").hex()[:-2],
    "blank_behind": PRIVATE.sign(b"{}").hex() + " ",
}


@pytest.mark.parametrize("signature", TWISTED.values(), ids=TWISTED)
def test_a_signature_in_another_form_is_refused(signature: str):
    told = reason(PLAIN, TELNYX_KEY, request({"x-signature": signature}, b"{}"))

    assert told == "header x-signature is not 128 hex digits"


def test_two_texts_for_the_same_bytes_are_not_both_a_signature():
    """The last letter before the padding has bits that decoding drops."""
    _, _, asked = GOOD["telnyx"]
    twin = asked.headers["telnyx-signature-ed25519"].replace("g==", "h==")

    told = reason(TELNYX_SCHEME, TELNYX_KEY, changed(asked, headers=asked.headers | {"telnyx-signature-ed25519": twin}))

    assert told == "header telnyx-signature-ed25519 is not base64 of 64 bytes"


@pytest.mark.parametrize(("late", "expected"), [(301, "301 seconds behind"), (-301, "301 seconds ahead of")])
def test_a_proof_outside_of_the_window_is_refused(late: int, expected: str):
    _, _, asked = GOOD["telnyx"]

    told = reason(TELNYX_SCHEME, TELNYX_KEY, changed(asked, at=second(1737655802 + late)))

    assert told == f"header telnyx-timestamp is {expected} our clock and 300 are allowed; check the server's clock"


def test_a_new_time_on_an_old_proof_is_refused():
    headers = TELNYX_HEADERS | {"telnyx-timestamp": "1737659402"}

    told = reason(TELNYX_SCHEME, TELNYX_KEY, request(headers, TELNYX_BODY, at=second(1737659402)))

    assert told.startswith("header telnyx-signature-ed25519 does not match header telnyx-timestamp and the body; ")


# --- the provider's own library -----------------------------------------------------------------------------------


class Telnyx:
    """Telnyx's own verification. It takes the bare curve from PyNaCl; here cryptography, which we have, stands for it."""

    class VerifyKey:
        def __init__(self, raw: bytes) -> None:
            self._key = Ed25519PublicKey.from_public_bytes(raw)

        def verify(self, message: bytes, signature: bytes) -> bytes:
            self._key.verify(signature, message)
            return message

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        parts: dict[str, dict[str, Any]] = {
            "nacl": {},
            "nacl.signing": {"VerifyKey": self.VerifyKey},
            "nacl.exceptions": {"BadSignatureError": InvalidSignature},
        }
        for name, members in parts.items():
            module = ModuleType(name)
            vars(module).update(members)
            monkeypatch.setitem(sys.modules, name, module)

    def accepts(self, asked: Request) -> bool:
        from telnyx.lib import webhook_verification as sdk

        try:
            sdk.verify_webhook_signature(asked.body, asked.headers, TELNYX_KEY)
        except sdk.WebhookVerificationError:
            return False
        return True


def test_telnyx_s_own_library_accepts_and_refuses_the_same(monkeypatch: pytest.MonkeyPatch):
    telnyx, now = Telnyx(monkeypatch), int(time.time())
    here = {"at": datetime.fromtimestamp(now, UTC)}
    right = telnyx_headers(TELNYX_BODY, now)
    tries = {
        "right": request(right, TELNYX_BODY, **here),
        "other_body": request(right, TELNYX_BODY + b" ", **here),
        "other_time": request(right | {"telnyx-timestamp": str(now - 1)}, TELNYX_BODY, **here),
        "an_hour_old": request(telnyx_headers(TELNYX_BODY, now - 3600), TELNYX_BODY, **here),
        "no_time": request({"telnyx-signature-ed25519": right["telnyx-signature-ed25519"]}, TELNYX_BODY, **here),
        "no_signature": request({"telnyx-timestamp": str(now)}, TELNYX_BODY, **here),
    }

    theirs = {name: telnyx.accepts(asked) for name, asked in tries.items()}

    assert theirs == dict.fromkeys(tries, False) | {"right": True}
    assert verifier(TELNYX_SCHEME, (TELNYX_KEY.encode(),))(tries.pop("right")) == "ed25519, secret 1 of 1"
    assert all(reason(TELNYX_SCHEME, TELNYX_KEY, asked) for asked in tries.values())
