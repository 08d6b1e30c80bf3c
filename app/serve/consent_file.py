"""Consent from a file: `address,state[,program]`, a line a person. An import may end nobody's opt-out.

Every line is decided like any other change, at the time of the import; of two lines about one person the opt-out holds.
"""

import asyncio
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

from app.address import mask
from app.errors import BadAddress, BadInput
from app.events import Cause, Change, ConsentState, Heard, Standing
from app.flow import change_by_hand
from app.interpret import effective
from app.interpret.consent import told
from app.record import queries, standings
from app.record.database import Database
from app.record.writer import Writer
from app.serve.fields import person

#: lines that share their look-ups, and mostly their transaction
_AT_ONCE = 500
_PROGRAM = re.compile(r"\*|[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ERASED = (
    "{} was erased on request, and no list brings an erased person back: only an opt-in of their own, or"
    " a change by hand with a reason"
)
_STATES = {state.value: state for state in ConsentState if state is not ConsentState.UNKNOWN}


class Wanted(NamedTuple):
    """A line of the file."""

    line: int
    address: str
    state: ConsentState
    program: str


class RefusedLine(NamedTuple):
    """A line that changed nothing, and why."""

    line: int
    reason: str


class Imported(NamedTuple):
    """What became of the file's lines."""

    changed: int
    unchanged: int
    refused: list[RefusedLine]


def checked_program(text: str) -> str:
    """The program's name, or `*` for all. Raises BadInput."""
    if not _PROGRAM.fullmatch(text):
        raise BadInput(f"'{text}' is no program; its name has letters, digits, dots, dashes, or it is * for all")
    return text


def read_lines(text: Iterable[str], region: str | None, program: str) -> Iterator[Wanted | RefusedLine]:
    """The lines, without a heading and empty ones. `region`: for numbers in national form; `program`: where none is."""
    rows = csv.reader(text)
    for row in rows:
        cells = [cell.strip() for cell in row]
        is_heading = rows.line_num == 1 and cells[:2] == ["address", "state"]
        if any(cells) and not is_heading:
            yield _wanted(rows.line_num, cells, region, program)


def _wanted(line: int, cells: Sequence[str], region: str | None, program: str) -> Wanted | RefusedLine:
    if len(cells) < 2:
        return RefusedLine(line, "has no state; write address,state or address,state,program")
    state = _STATES.get(cells[1].lower())
    if state is None:
        # where the columns are swapped this is a number, which belongs into no error text
        shown = f"'{cells[1][:40]}'" if cells[1].isalpha() else "the second column"
        return RefusedLine(line, f"{shown} is no state; write {', '.join(_STATES)}")
    try:
        named = checked_program(cells[2]) if len(cells) > 2 and cells[2] else program
        return Wanted(line, person(cells[0], region), state, named)
    except (BadAddress, BadInput) as error:
        return RefusedLine(line, str(error))


class Import(NamedTuple):
    """Whose import it is, and why."""

    actor: str
    reason: str
    now: datetime


async def take_in(lines: Sequence[Wanted | RefusedLine], database: Database, writer: Writer, given: Import) -> Imported:
    """Record the lines. Raises StoreUnavailable where the database takes no more; what was recorded by then stays,
    and the same file can be imported again."""
    wanted = [line for line in lines if isinstance(line, Wanted)]
    changed, refused = 0, [line for line in lines if isinstance(line, RefusedLine)]
    unchanged = 0
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        before, erased = await _standings(database, some), await _brought_back(database, some)
        refused += [RefusedLine(line.line, _ERASED.format(mask(line.address))) for line in erased]
        some = [line for line in some if line not in erased]
        news = [line for line in some if before[line].state is not line.state]
        denied = await _record(news, database, writer, given)
        refused += denied
        changed, unchanged = changed + len(news) - len(denied), unchanged + len(some) - len(news)
    return Imported(changed, unchanged, sorted(refused))


async def _record(lines: Sequence[Wanted], database: Database, writer: Writer, given: Import) -> list[RefusedLine]:
    """Have the lines decided and recorded together; those that were not allowed to change anything."""
    await asyncio.gather(*(writer.record(_heard(line, given)) for line in lines))
    after = await _standings(database, lines)
    return [
        RefusedLine(line.line, _denial(line, after[line], given.now))
        for line in lines
        if after[line].state is not line.state
    ]


def _heard(line: Wanted, given: Import) -> Heard:
    return change_by_hand(
        address=line.address,
        program=line.program,
        state=line.state,
        actor=given.actor,
        reason=f"{given.reason}, line {line.line}",
        at=given.now,
        cause=Cause.IMPORT,
    )


async def _brought_back(database: Database, lines: Sequence[Wanted]) -> set[Wanted]:
    """The lines by which an old list would bring erased people back. Nothing is written of them, not even that."""
    hopeful = [line for line in lines if line.state is not ConsentState.OPTED_OUT]
    addresses = {line.address for line in hopeful}
    erased = await database.read(partial(standings.erased, addresses=addresses)) if addresses else set()
    return {line for line in hopeful if line.address in erased}


async def _standings(database: Database, lines: Sequence[Wanted]) -> dict[Wanted, Standing]:
    """What holds for each line's person in the line's program."""
    found: dict[Wanted, Standing] = {}
    for program in {line.program for line in lines}:
        concerned = [line for line in lines if line.program == program]
        addresses = list({line.address for line in concerned})
        rows = await database.read(partial(queries.standings, program=program, addresses=addresses))
        found |= {line: effective(*rows[line.address]) for line in concerned}
    return found


def _denial(line: Wanted, standing: Standing, now: datetime) -> str:
    """Why the line did not take effect: the rule itself says so, asked once more."""
    change = Change("", line.address, line.state, Cause.IMPORT, program=line.program)
    reason = told(standing, change, line.program, now).kept
    return f"{mask(line.address)} stays {standing.state}: {reason or 'something else changed it meanwhile'}"
