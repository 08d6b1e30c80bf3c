"""The ECID, by which a browser is known: 38 digits, drawn by us, and the cookie in which the SDK keeps it.

The cookie's value is what the vendor's is: base64url of a protobuf message whose first field is the ECID, because the
SDK reads it too (https://github.com/adobe/alloy, core/src/utils/createDecodeKndctrCookie.js). So browsers that have a
cookie of the vendor's stay who they are.
"""

import binascii
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode

#: namespace of the identity
ECID = "ECID"
#: seconds that the cookie lasts after each look-up, as the vendor's does: 395 days
MAX_AGE = 34_128_000

_DIGITS = 38
_FORM = re.compile(r"[0-9]{38}", re.ASCII)
#: field 1, of the kind that has a length, and the length
_HEAD = bytes([1 << 3 | 2, _DIGITS])
_LONGEST = 1_024


def minted() -> str:
    """A new one. Nobody guesses it: it has 126 bits."""
    return f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}d}"


def is_ecid(value: object) -> bool:
    """Whether it has the form of one."""
    return isinstance(value, str) and _FORM.fullmatch(value) is not None


def cookie_name(organisation: str) -> str:
    """`kndctr_<organisation>_identity`; the SDK writes the first @ as _."""
    return f"kndctr_{organisation.replace('@', '_', 1)}_identity"


def cookie_value(ecid: str) -> str:
    """What the SDK shall keep."""
    return urlsafe_b64encode(_HEAD + ecid.encode()).decode().rstrip("=")


def read_cookie(value: object) -> str:
    """The ECID of a cookie's value; empty where there is none in it."""
    if not isinstance(value, str) or not value.isascii() or len(value) > _LONGEST:
        return ""
    try:
        raw = urlsafe_b64decode(value.rstrip("=") + "=" * (-len(value.rstrip("=")) % 4))
    except (binascii.Error, ValueError):
        return ""
    ecid = raw[len(_HEAD) : len(_HEAD) + _DIGITS].decode("latin-1")
    return ecid if raw.startswith(_HEAD) and is_ecid(ecid) else ""
