"""Drift: where a provider's block list and the consent kept here differ, and the mend of the one side that is ours.

Whoever is on the list and has not opted out here is opted out: no message reaches them, and an opt-out that was lost is
worse than one too many. That holds also for people who have opted in before the list was made. Who has opted in since
then stays in, for the list cannot know of it. Nobody is ever opted in: an opt-out here that the provider does not have
is shown, to be told the provider.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import NamedTuple

import sqlalchemy as sa

from app.events import NOBODY, Cause, Change, ConsentState, Heard, Standing
from app.interpret import effective
from app.interpret.consent import told
from app.record import drift, queries
from app.record.database import Database
from app.record.drift import BlockList
from app.record.ids import new_id
from app.record.writer import Writer


class Kind(StrEnum):
    """How the two sides differ about a person."""

    #: on the list, and here nothing speaks against it: opted out by --apply
    BLOCKED = "blocked"
    #: on the list, and opted in here before it was made: opted out by --apply
    CONTRADICTED = "contradicted"
    #: on the list, and opted in (or asked to be) since it was made: stays so; to be lifted at the provider
    SINCE = "opted_in_since"
    #: opted out here and not on the list: to be added at the provider
    MISSING = "missing"


#: what --apply mends
MENDED = (Kind.BLOCKED, Kind.CONTRADICTED)


class Difference(NamedTuple):
    """One person about whom the two sides differ."""

    kind: Kind
    address: str
    line: int | None
    """Of the list."""
    standing: Standing
    """Here."""


class Asked(NamedTuple):
    """What is compared, and on whose word."""

    program: str
    made_at: datetime
    """When the provider made the list."""
    now: datetime
    actor: str
    reason: str
    blocked_only: bool = False
    """Leave out who is missing on the list."""


@dataclass(slots=True)
class Compared:
    """What came of it."""

    listed: int = 0
    agree: int = 0
    """On the list, and opted out here."""
    differ: Counter[Kind] = field(default_factory=Counter)
    applied: int = 0
    failed: int = 0
    """To be opted out, and still not: something later was recorded meanwhile, or the database refused it."""
    other_kinds: int = 0
    """Opted out here under an address of a kind that the list has none of, such as whatsapp: not compared."""

    @property
    def open(self) -> int:
        """People whom --apply would opt out, or should have."""
        return sum(self.differ[kind] for kind in MENDED) - self.applied


Tell = Callable[[Difference], None]


async def compare(listed: BlockList, database: Database, writer: Writer | None, asked: Asked, tell: Tell) -> Compared:
    """Compare both directions, a page of people at a time; with a writer, opt out whom the list has and we do not.

    Raises StoreUnavailable where the database takes no more; what was recorded stays, and the same run can be repeated.
    """
    found = Compared(listed=len(listed))
    for page in listed.pages():
        differences = _differences(page, database, asked)
        found.agree += len(page) - len(differences)
        _tell_all(differences, found, tell)
        if writer is not None:
            await _mend([each for each in differences if each.kind in MENDED], database, writer, asked, found)
    if not asked.blocked_only:
        _tell_all(_missing(listed, database, asked.program, found), found, tell)
    return found


def _tell_all(differences: Iterable[Difference], found: Compared, tell: Tell) -> None:
    for difference in differences:
        found.differ[difference.kind] += 1
        tell(difference)


def _differences(page: Sequence[tuple[str, int]], database: Database, asked: Asked) -> list[Difference]:
    standings = _standings(database, asked.program, [address for address, _ in page])
    return [
        _difference(address, line, standings[address], asked)
        for address, line in page
        if standings[address].state is not ConsentState.OPTED_OUT
    ]


async def _mend(
    differences: Sequence[Difference], database: Database, writer: Writer, asked: Asked, found: Compared
) -> None:
    await asyncio.gather(*(writer.record(_heard(each, asked)) for each in differences))
    after = _standings(database, asked.program, [each.address for each in differences])
    mended = sum(standing.state is ConsentState.OPTED_OUT for standing in after.values())
    found.applied, found.failed = found.applied + mended, found.failed + len(differences) - mended


def _difference(address: str, line: int, standing: Standing, asked: Asked) -> Difference:
    change = _change(address, line, asked)
    if told(standing, change, asked.program, min(asked.made_at, asked.now)).superseded:
        kind = Kind.SINCE
    else:
        kind = Kind.CONTRADICTED if standing.state is ConsentState.OPTED_IN else Kind.BLOCKED
    return Difference(kind, address, line, standing)


def _change(address: str, line: int, asked: Asked) -> Change:
    """The provider's word, effective when it made the list; who brought it here is the actor."""
    return Change(
        key=f"h|{new_id()}",
        address=address,
        state=ConsentState.OPTED_OUT,
        cause=Cause.PROVIDER_EVENT,
        program=asked.program,
        provider_time=asked.made_at,
        actor=asked.actor,
        reason=f"{asked.reason}, line {line}",
    )


def _heard(difference: Difference, asked: Asked) -> Heard:
    change = _change(difference.address, difference.line or 0, asked)
    return Heard("", "", "", asked.program, asked.now, (change,))


# --- the other direction ------------------------------------------------------------------------------------------


def _missing(listed: BlockList, database: Database, program: str, found: Compared) -> Iterator[Difference]:
    kinds = listed.kinds()
    for people in _opted_out(database, program):
        comparable = {address: standing for address, standing in people.items() if _kind_of(address) in kinds}
        found.other_kinds += len(people) - len(comparable)
        on_it = listed.among(list(comparable))
        for address, standing in comparable.items():
            if address not in on_it:
                yield Difference(Kind.MISSING, address, None, standing)


def _kind_of(address: str) -> str:
    head, colon, _ = address.partition(":")
    return head + colon if colon else ""


def _opted_out(database: Database, program: str) -> Iterator[dict[str, Standing]]:
    """Everybody who has opted out of the program, a page at a time, each once."""
    for asked in drift.programs_to_ask(program):
        after = ""
        while addresses := database.read_now(partial(drift.opted_out, program=asked, after=after)):
            after = addresses[-1]
            yield database.read_now(partial(_holding, program=program, asked=asked, addresses=addresses))


def _holding(conn: sa.Connection, program: str, asked: str, addresses: Sequence[str]) -> dict[str, Standing]:
    """Who of them really has. Those who have both rows were met with the program's own."""
    rows = queries.standings(conn, program, addresses)
    return {
        address: effective(own, every)
        for address, (own, every) in rows.items()
        if effective(own, every).state is ConsentState.OPTED_OUT
        and (asked == program or own.state is not ConsentState.OPTED_OUT)
    }


def _standings(database: Database, program: str, addresses: Sequence[str]) -> dict[str, Standing]:
    rows = database.read_now(partial(queries.standings, program=program, addresses=addresses))
    return {address: effective(*rows.get(address, (NOBODY, NOBODY))) for address in addresses}
