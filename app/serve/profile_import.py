"""Taking in subscriber attributes from a file: batch by batch, the next one read while the last one is written.

Of two lines about one person the last counts. Which people came twice, the database knows: what a line of this import
has told bears its source. So nothing grows with the file.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import NamedTuple

import sqlalchemy as sa

from app.errors import BadInput
from app.record import profiles
from app.record.writer import Writer
from app.serve.profile_file import Line, RefusedLine

#: lines that share a transaction; a server's events wait no longer than it takes
_AT_ONCE = 500

Refuse = Callable[[RefusedLine], None]
Tell = Callable[[int], None]


class Import(NamedTuple):
    """Whose word it is, and since when it holds."""

    source: str
    """Unique for this import."""
    at: datetime
    replace: bool
    """What a line does not name goes, unless it was told later."""


@dataclass(slots=True)
class Imported:
    """What became of the file's lines."""

    lines: int = 0
    recorded: int = 0
    """Attributes that are now as the file says."""
    again: int = 0
    """Lines about people of whom there was one before."""
    refused: int = 0


async def take_in(
    lines: Iterable[Line | RefusedLine], writer: Writer, given: Import, *, refuse: Refuse, tell: Tell
) -> Imported:
    """Record the lines; `refuse` gets those that changed nothing, `tell` the number of lines after each batch.

    Raises StoreUnavailable where the database takes no more; what was recorded by then stays, and the same file can be
    imported again.
    """
    total, rest, writing = Imported(), iter(lines), asyncio.create_task(_nothing())
    while batch := list(islice(rest, _AT_ONCE)):
        await writing
        writing = asyncio.create_task(_batch(batch, writer, given, total, refuse))
        await asyncio.sleep(0)  # it begins, and is written while the next is read
        tell(total.lines)
    await writing
    tell(total.lines)
    return total


async def _nothing() -> None:
    return None


async def _batch(
    batch: Sequence[Line | RefusedLine], writer: Writer, given: Import, total: Imported, refuse: Refuse
) -> None:
    total.lines += len(batch)
    for line in batch:
        if isinstance(line, RefusedLine):
            total.refused += 1
            refuse(line)
    usable = [line for line in batch if isinstance(line, Line)]
    await _record(usable, writer, given, total, refuse)


async def _record(lines: Sequence[Line], writer: Writer, given: Import, total: Imported, refuse: Refuse) -> None:
    """Record the lines together; where that cannot be, halve them until the culprit stands alone."""
    try:
        recorded, again = await writer.run(partial(_write, lines=lines, given=given))
    except BadInput as error:
        if len(lines) == 1:
            total.refused += 1
            refuse(RefusedLine(lines[0].number, str(error), lines[0].text))
            return
        middle = len(lines) // 2
        await _record(lines[:middle], writer, given, total, refuse)
        await _record(lines[middle:], writer, given, total, refuse)
    else:
        total.recorded += recorded
        total.again += again


def _write(conn: sa.Connection, lines: Sequence[Line], given: Import) -> tuple[int, int]:
    """How many attributes are now as the lines say, and how many lines were about people who had come before."""
    people = _people(lines, replace=given.replace)
    again = len(lines) - len(people) + len(profiles.told_by(conn, given.source, people))
    if given.replace:
        profiles.drop_many(conn, list(people), given.at)
    return profiles.put_many(conn, _rows(people), given.source, given.at), again


def _people(lines: Sequence[Line], *, replace: bool) -> dict[str, Mapping[str, str]]:
    people: dict[str, Mapping[str, str]] = {}
    for line in lines:
        before = {} if replace else people.get(line.address, {})
        people[line.address] = {**before, **line.attributes}
    return people


def _rows(people: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str, str]]:
    for address, attributes in people.items():
        for name, value in attributes.items():
            yield address, name, value
