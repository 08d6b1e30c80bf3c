"""Subscriber attributes from a file, a person a line: CSV with a heading, or JSON lines.

The file is read as it is used, so that a million people need no more memory than one. A line that cannot be used is
refused with its reason, and its neighbours are read.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TextIO

from app.errors import BadAddress, BadInput
from app.record import profiles
from app.serve.fields import person

#: what the first column may be called
ADDRESS_NAMES = ("address", "number", "phone")
_DELIMITERS = ",;\t"
_LONG = re.compile(r"\d{6,}")


class Line(NamedTuple):
    """A person and their attributes."""

    number: int
    """Of the line in the file, counted from 1; of its first, where it has several."""
    address: str
    attributes: dict[str, str]
    """Those that have a value: an empty one says nothing."""
    text: str
    """As it stands in the file."""


class RefusedLine(NamedTuple):
    """A line that changed nothing, and why."""

    number: int
    reason: str
    text: str


class _Kept:
    """The lines of a file, of which those of the present record are kept."""

    def __init__(self, file: Iterable[str]) -> None:
        self._lines = iter(file)
        self._kept: list[str] = []
        self.number = 0
        """Of the first kept line."""
        self._read = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._read += 1
        self._kept.append(line)
        return line

    def begin(self) -> None:
        """The next line begins a record."""
        self._kept, self.number = [], self._read + 1

    @property
    def text(self) -> str:
        return "".join(self._kept)


# --- CSV ----------------------------------------------------------------------------------------------------------


class CsvFile:
    """A CSV file, read up to its heading. Raises BadInput for one that cannot be used."""

    def __init__(self, file: TextIO, region: str | None) -> None:
        lines = _Kept(file)
        lines.begin()
        self.heading = next(lines, "")
        """As it stands in the file."""
        delimiter = max(_DELIMITERS, key=self.heading.count)
        self._columns = _columns(self.heading, delimiter)
        self._rows = csv.reader(lines, delimiter=delimiter, strict=True)
        self._lines, self._region = lines, region

    def __iter__(self) -> Iterator[Line | RefusedLine]:
        """The lines, without empty ones."""
        while True:
            self._lines.begin()
            try:
                cells = next(self._rows)
            except StopIteration:
                return
            except csv.Error as error:
                reason = f"is no CSV: {error}; look for a quotation mark that is never closed"
                yield RefusedLine(self._lines.number, reason, self._lines.text)
                continue
            if any(map(str.strip, cells)):
                yield self._line(cells)

    def _line(self, cells: list[str]) -> Line | RefusedLine:
        number, text = self._lines.number, self._lines.text
        if len(cells) != len(self._columns) + 1:
            return RefusedLine(number, f"has {len(cells)} values, and the heading {len(self._columns) + 1}", text)
        values = zip(self._columns, cells[1:], strict=True)
        try:
            return _line(number, cells[0], {name: value for name, value in values if value}, text, self._region)
        except (BadAddress, BadInput) as error:
            return RefusedLine(number, _reason(error), text)


def _columns(heading: str, delimiter: str) -> list[str]:
    if not _is_utf8(heading):
        raise BadInput("The file is not in UTF-8; save it as CSV UTF-8.")
    try:
        cells = [cell.strip() for cell in next(csv.reader([heading], delimiter=delimiter, strict=True), [])]
    except csv.Error as error:
        raise BadInput(f"The first line is no CSV: {error}") from None
    if not cells or cells[0].lower() not in ADDRESS_NAMES:
        raise BadInput(f"The first line must be a heading such as address,firstName: its first name is {_ANY}.")
    names = cells[1:]
    for name in names:
        profiles.check(name, "")
    if len(set(names)) < len(names):
        raise BadInput("The heading has a name twice; one column per attribute.")
    if len(names) > profiles.MOST:
        raise BadInput(f"The heading has {len(names)} attributes; a person has {profiles.MOST} at most.")
    return names


_ANY = " or ".join(ADDRESS_NAMES)


# --- JSON lines ---------------------------------------------------------------------------------------------------


class JsonLinesFile:
    """A file with a JSON object a line: `{"address": "+41…", "firstName": "…"}`, or its attributes in `attributes`."""

    heading = ""

    def __init__(self, file: TextIO, region: str | None) -> None:
        self._file, self._region = file, region

    def __iter__(self) -> Iterator[Line | RefusedLine]:
        """The lines, without empty ones."""
        for number, text in enumerate(self._file, 1):
            if text.strip():
                yield self._line(number, text)

    def _line(self, number: int, text: str) -> Line | RefusedLine:
        try:
            address, attributes = _object(text)
            return _line(number, address, attributes, text, self._region)
        except (BadAddress, BadInput) as error:
            return RefusedLine(number, _reason(error), text)


def _object(text: str) -> tuple[str, dict[str, str]]:
    try:
        # numbers as they are written: an id of twenty digits is no float
        found = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        raise BadInput("is no JSON") from None
    named = [name for name in ADDRESS_NAMES if isinstance(found, dict) and isinstance(found.get(name), str)]
    if len(named) != 1:
        raise BadInput(f"is no object with one text that is called {_ANY}")
    address = found.pop(named[0])
    inner = found.pop("attributes", {})
    if not isinstance(inner, dict):
        raise BadInput("has attributes that are no object")
    values = {name: _value(name, value) for name, value in (found | inner).items()}
    return address, {name: value for name, value in values.items() if value}


def _value(name: str, value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
    raise BadInput(f"the value of attribute '{name[:64]}' is neither a text nor a number")


# --- both ---------------------------------------------------------------------------------------------------------


def _line(number: int, given: str, attributes: dict[str, str], text: str, region: str | None) -> Line:
    if not _is_utf8(text):
        raise BadInput("has bytes in it that are not UTF-8")
    if len(attributes) > profiles.MOST:
        raise BadInput(f"has {len(attributes)} attributes; a person has {profiles.MOST} at most")
    for name, value in attributes.items():
        profiles.check(name, value)
    return Line(number, person(given, region), attributes, text)


def _reason(error: Exception) -> str:
    """The sentence, without a number that somebody took for a name."""
    return _LONG.sub("•••", str(error))


def _is_utf8(text: str) -> bool:
    """Other bytes come out of the file as halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
