"""How an address stands in bytes that others wrote: raw requests, items of the work list, unique keys.

A number comes with its country code or without, after a plus, two zeros or nothing, percent-encoded or within base64.
Digits count as the person's only where no further digit stands beside them.
"""

import re
from base64 import b64encode
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from app.address import digits_of, split_channel

#: nothing before it belongs to it: not a digit, unless that ends a percent-encoded character (%2014155550100)
_BEGINS = rb"(?:(?<=%[0-9A-Fa-f][0-9])|(?<![0-9]))"
_ENDS = rb"(?![0-9])"


@dataclass(frozen=True)
class Traces:
    """What tells that bytes are about this address."""

    address: str

    @cached_property
    def core(self) -> str:
        """What stands in each of its spellings but base64."""
        return digits_of(self.address)[1] or split_channel(self.address)[1]

    @cached_property
    def _plain(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.core, quote(self.core, safe=""))))

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
        return any(wrapped in data for wrapped in self._wrapped)

    def are_certain(self, data: bytes) -> bool:
        """Whether the bytes name the person, and nobody else can be meant."""
        return self._certain.search(data) is not None

    def struck(self, data: bytes) -> bytes:
        """The bytes with zeros in the place of the person's digits; as long as before."""
        return self._certain.sub(lambda found: b"0" * len(found[0]), data)

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
    """How the text stands within base64 that began `offset` bytes before it; without the letters that it shares."""
    letters = b64encode(bytes(offset) + text.encode())
    return letters[(0, 2, 3)[offset] : (offset + len(text.encode())) * 8 // 6]
