"""Bytes that are written as text: percent-encoded, base64 or hexadecimal, and the charset of what they hold.

Two bytes a character, or the phone networks' own alphabet of seven bits, go through JSON and forms in such a way.
"""

import binascii
from base64 import b64decode
from urllib.parse import unquote_to_bytes

from app.decode.body import clean_text
from app.provider import Charset, Wrapping

_ALPHABETS = str.maketrans("-_", "+/")
_ESCAPE = 0x1B
#: GSM 03.38, https://www.3gpp.org/dynareport/23038.htm chapter 6.2.1; what escapes is no character of its own
_GSM = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\ufffdÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_ESCAPED = {
    0x0A: "\f", 0x14: "^", 0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]", 0x40: "|", 0x65: "€",
}  # fmt: skip


def unwrapped(text: str, wrapping: Wrapping, charset: Charset) -> str:
    """The text that was wrapped; a byte that is none of the charset becomes U+FFFD. Raises ValueError."""
    data = unwrapped_bytes(text, wrapping)
    return clean_text(_gsm(data) if charset == "gsm" else data.decode(charset, "replace"))


def unwrapped_bytes(text: str, wrapping: Wrapping) -> bytes:
    """The bytes that were wrapped. Raises ValueError where the text is no such thing."""
    if wrapping == "percent":
        return unquote_to_bytes(text.replace("+", " "))
    return bytes.fromhex(text) if wrapping == "hex" else _base64(text)


def _base64(text: str) -> bytes:
    """Both alphabets, with or without padding and line breaks."""
    letters = "".join(text.split()).rstrip("=").translate(_ALPHABETS)
    try:
        return b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _gsm(data: bytes) -> str:
    """A character that the extension table has not is that of the basic one, as the standard has it."""
    found, escaped = [], False
    for byte in data:
        if byte == _ESCAPE and not escaped:
            escaped = True
            continue
        basic = _GSM[byte] if byte < len(_GSM) else "\ufffd"
        found.append(_GSM_ESCAPED.get(byte, basic) if escaped else basic)
        escaped = False
    return "".join(found) + "\ufffd" * escaped
