"""How an address stands in bytes that others wrote: raw requests, items of the work list, unique keys.

A number comes with its country code or without, after a plus, two zeros or nothing, percent-encoded or within base64.
Digits count as the person's only where no further digit stands beside them.
"""

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from app.address import digits_of, split_channel

#: nothing before it belongs to it: not a digit, unless that ends a percent-encoded character (%2014155550100)
_BEGINS = rb"(?:(?<=%[0-9A-Fa-f][0-9])|(?<![0-9]))"
_ENDS = rb"(?![0-9])"
#: base64 in either alphabet, long enough for a number
_LETTERS = re.compile(rb"[A-Za-z0-9+/_-]{8,}")
#: characters from which on an identity without its kind is somebody's
_TELLING = 6
_STANDARD = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True)
class Traces:
    """What tells that bytes are about this address."""

    address: str

    @cached_property
    def _plain(self) -> tuple[str, ...]:
        """What each spelling but base64 has in it. A short identity alone is no trace: many things are called so."""
        within, value = digits_of(self.address)[1], split_channel(self.address)[1]
        texts = [within] if within else [self.address] if len(value) < _TELLING else [self.address, value]
        return tuple(dict.fromkeys(spelt for text in texts for spelt in (text, quote(text, safe=""))))

    @cached_property
    def _wrapped(self) -> tuple[bytes, ...]:
        return tuple(wrapped for text in self._plain for offset in range(3) if (wrapped := _base64(text, offset)))

    @cached_property
    def _named(self) -> re.Pattern[bytes]:
        whole, within = (digits.encode() for digits in digits_of(self.address))
        if whole:
            return re.compile(_BEGINS + rb"(?:(?:00)?" + whole + rb"|0?" + within + rb")" + _ENDS)
        texts = rb"|".join(re.escape(text.encode()) for text in self._plain)
        return re.compile(rb"(?<![0-9A-Za-z])(?:" + texts + rb")(?![0-9A-Za-z])")

    @cached_property
    def _certain(self) -> re.Pattern[bytes]:
        """With the country code; what has none may be another country's number, or an id."""
        whole = digits_of(self.address)[0].encode()
        return re.compile(_BEGINS + rb"(?:00)?(" + whole + rb")" + _ENDS) if whole else self._named

    def name(self, data: bytes) -> bool:
        """Whether the bytes name the person."""
        return self._named.search(data) is not None

    def hide(self, data: bytes) -> bool:
        """Whether base64 in the bytes names the person."""
        return any(wrapped in data for wrapped in self._wrapped) and any(map(self._is_hidden, _LETTERS.findall(data)))

    def _is_hidden(self, letters: bytes) -> bool:
        """In base64 that begins with one of the first four letters; what stands before it may look like base64 too."""
        standard = letters.translate(_STANDARD)
        return any(self.name(b64decode(_in_fours(standard[start:]))) for start in range(4))

    def are_certain(self, data: bytes) -> bool:
        """Whether the bytes name the person, and nobody else can be meant."""
        return self._certain.search(data) is not None

    def struck(self, data: bytes) -> bytes:
        """The bytes with zeros in the place of the person's digits, also where an id holds them in base64 (WhatsApp's
        do); as long as before."""
        data = _LETTERS.sub(lambda found: self._unwrapped(found[0]), data)
        return self._certain.sub(lambda found: b"0" * len(found[0]), data)

    def _unwrapped(self, letters: bytes) -> bytes:
        if self.hide(letters):
            for wrapped in self._wrapped:
                letters = letters.replace(wrapped, b"A" * len(wrapped))
        return letters

    # --- what may be about the person, found by the database; to be looked at again with `name` and `hide` ---

    def may_be_in(self, column: "sa.Column[Any]", dialect: str) -> "sa.ColumnElement[bool]":
        """In a column of text, or in one of bytes, there also within base64."""
        if isinstance(column.type, sa.LargeBinary):
            needles = (*(text.encode() for text in self._plain), *self._wrapped)
            return sa.or_(*(_at(column, needle, dialect) > 0 for needle in needles))
        return sa.or_(*(_at(column, text, dialect) > 0 for text in self._plain))


def _at(column: "sa.Column[Any]", needle: str | bytes, dialect: str) -> "sa.ColumnElement[int]":
    """Where it stands in the column, counted from 1; 0: nowhere."""
    if dialect == "sqlite":
        return sa.func.instr(column, needle)
    return sa.func.strpos(column, needle) if isinstance(needle, str) else sa.func.pg_catalog.position(column, needle)


def _base64(text: str, offset: int) -> bytes:
    """How the text stands within base64 that began `offset` bytes before it, but for letters that it shares with its
    neighbours: what is found by them must be decoded to be sure."""
    letters = b64encode(bytes(offset) + text.encode())
    return letters[(0, 2, 3)[offset] : (offset + len(text.encode())) * 8 // 6]


def _in_fours(letters: bytes) -> bytes:
    """With its padding; a letter alone in the end stands for nothing."""
    return letters[:-1] if len(letters) % 4 == 1 else letters + b"=" * (-len(letters) % 4)
