"""A provider's block list as a file: one number a line, or CSV with or without a heading.

Every provider exports other columns, so the column can be named. Unnamed, it is the only one that holds numbers; where
two do (from and to), nobody guesses.
"""

import csv
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple, TextIO

from app.errors import BadAddress, BadInput
from app.serve.consent_file import RefusedLine
from app.serve.fields import person

#: rows by which the column is found
_LOOKED_AT = 100
_DELIMITERS = ",;\t"

Row = tuple[int, list[str]]
"""The number of its line, and its cells."""


class Listed(NamedTuple):
    """A line of the list."""

    line: int
    address: str


class Reading(NamedTuple):
    """How the numbers of the file are to be understood."""

    column: str | None = None
    """A heading or a number, counted from 1."""
    region: str | None = None
    """For numbers in national form."""
    international: bool = False
    """They have the country code and no plus."""


def read(file: TextIO, how: Reading) -> Iterator[Listed | RefusedLine]:
    """The lines, without a heading and empty ones. Raises BadInput where the column cannot be found."""
    rows = _rows(file)
    first = list(islice(rows, _LOOKED_AT))
    if not first:
        return
    column = _column(first, how)
    if _is_heading(first[0][1], column, how):
        del first[0]
    for line, cells in chain(first, rows):
        yield _listed(line, cells, column, how)


def _rows(file: TextIO) -> Iterator[Row]:
    heading = file.readline()
    reader = csv.reader(chain([heading], file), delimiter=max(_DELIMITERS, key=heading.count))
    for cells in reader:
        stripped = [cell.strip() for cell in cells]
        if any(stripped):
            yield reader.line_num, stripped


def _listed(line: int, cells: Sequence[str], column: int, how: Reading) -> Listed | RefusedLine:
    if column >= len(cells):
        return RefusedLine(line, f"has no column {column + 1}")
    try:
        return Listed(line, _address(cells[column], how))
    except BadAddress as error:
        return RefusedLine(line, str(error))


def _address(cell: str, how: Reading) -> str:
    text = cell.lstrip("'")  # a spreadsheet's mark for text
    return person("+" + text if how.international and text.isdecimal() else text, how.region)


# --- the column ---------------------------------------------------------------------------------------------------


def _column(rows: Sequence[Row], how: Reading) -> int:
    width = max(len(cells) for _, cells in rows)
    if how.column is not None:
        return _named(how.column, rows[0][1], width)
    numbers = [column for column in range(width) if _holds_numbers(rows, column, how)]
    if len(numbers) == 1:
        return numbers[0]
    if not numbers:
        raise BadInput(
            "No column of the file holds numbers that can be read. For national forms say --region, for country codes"
            " without a plus --international; or name the column with --column."
        )
    names = ", ".join(f"{column + 1} ({rows[0][1][column]})" for column in numbers if column < len(rows[0][1]))
    raise BadInput(f"Several columns hold numbers: {names}. Say with --column which one is the person's.")


def _named(column: str, heading: Sequence[str], width: int) -> int:
    if column.isascii() and column.isdecimal() and 1 <= int(column) <= width:
        return int(column) - 1
    found = [number for number, name in enumerate(heading) if name.casefold() == column.strip().casefold()]
    if len(found) != 1:
        raise BadInput(f"The file has no column '{column}', or several; name one of its heading, or 1 to {width}.")
    return found[0]


def _holds_numbers(rows: Sequence[Row], column: int, how: Reading) -> bool:
    """Most of its cells are. The heading is none, which does not matter."""
    cells = [cells[column] for _, cells in rows if column < len(cells) and cells[column]]
    numbers = sum(_is_number(cell, how) for cell in cells)
    return numbers * 2 >= len(cells) > 0 and numbers > 0


def _is_number(cell: str, how: Reading) -> bool:
    try:
        return "+" in _address(cell, how)
    except BadAddress:
        return False


def _is_heading(cells: Sequence[str], column: int, how: Reading) -> bool:
    """No number, and nothing that was meant to be one."""
    cell = cells[column] if column < len(cells) else ""
    return not _is_number(cell, how) and sum(map(str.isdecimal, cell)) < 5
