"""The normal form of a message, in which `Stop.`, `ＳＴＯＰ`, `STOP 🛑` and `STÖP` are one word.

NFKD, casefold, NFKD; marks and format characters fall away (accents, zero-width, variation selectors); whatever is
neither letter nor digit becomes a blank; blanks collapse. Cyrillic look-alikes stay Cyrillic: they are no keyword.
"""

from functools import lru_cache
from unicodedata import category, normalize

#: longer texts are nobody's keyword and not worth remembering
_SHORT = 40

_ASCII = bytes(ord(chr(code).lower()) if chr(code).isalnum() and code < 128 else 32 for code in range(256))


def normalise(text: str) -> str:
    """The form that keywords are compared in; empty where no letter or digit is left."""
    if text.isascii():
        # most messages; NFKD does nothing to ASCII and casefold only lowers it
        return " ".join(text.encode("ascii").translate(_ASCII).decode("ascii").split())
    return _remembered(text) if len(text) <= _SHORT else _fold(text)


def _fold(text: str) -> str:
    # compatibility caseless matching as Unicode defines it (core specification, 3.13, D146)
    folded = normalize("NFKD", normalize("NFKD", text).casefold())
    return " ".join("".join(map(_visible, folded)).split())


_remembered = lru_cache(maxsize=4096)(_fold)


@lru_cache(maxsize=4096)
def _visible(char: str) -> str:
    kind = category(char)
    if kind in ("Mn", "Me", "Cf"):
        return ""
    # spacing marks (Mc) are the vowels of Indic scripts, so they are part of the word
    return char if kind[0] in "LN" or kind == "Mc" else " "
