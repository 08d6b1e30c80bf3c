"""The chain of seals, followed from its beginning: every entry is sealed anew and held against what is stored.

One seal after the other, each in a read of its own: a large ledger takes time, not memory, and holds nobody up. What is
below a seal never changes, so nothing that is recorded meanwhile can look like tampering.
"""

from collections.abc import Iterator
from functools import partial
from typing import Literal, NamedTuple

from sqlalchemy.exc import DataError

from app.errors import BadInput
from app.record import audit, seals
from app.record.database import Database
from app.record.ids import moment_of
from app.record.seals import Covered, Seal

Kind = Literal[
    "changed",
    "removed",
    "slipped_in",
    "seal_changed",
    "seal_gone",
    "evidence_changed",
    "evidence_gone",
    "list_changed",
    "consent",
]
_AT_ONCE = 500


class Found(NamedTuple):
    """Something that is wrong."""

    kind: Kind
    sentence: str
    seal: int | None = None
    """The seal it is about."""
    ledger_id: int | None = None
    """The entry it is about."""


class _Place(NamedTuple):
    """How far the chain was followed."""

    number: int
    last_id: int
    heads: tuple[str, ...]
    """What the next seal may have been made upon: the stored head, then what it should be; empty: nobody knows."""
    doubt: Seal | None = None
    """The seal before, where it does not fit its entries: the next one tells which of both was changed."""


_BEGINNING = _Place(0, seals.FIRST_ID - 1, ("",))


def follow(database: Database, key: bytes) -> Iterator[Seal | Found]:
    """Each seal, with what is wrong about it. Raises BadInput where the table of seals cannot even be read."""
    place = _BEGINNING
    yield from _slipped(database, -(2**63), seals.FIRST_ID - 1, "below the first seal")
    for seal in _all(database):
        yield seal
        yield from _connected(database, place, seal)
        if seal.number != place.number + 1:
            place = place._replace(heads=())
        covered = database.read_now(partial(seals.cover, key=key, first_id=seal.first_id, last_id=seal.last_id))
        yield from _cleared(place, seal, covered)
        found, place = _judged(place, seal, covered)
        yield from found
    if place.doubt:
        yield _changed(place.doubt, _OR_SEAL)


def _all(database: Database) -> Iterator[Seal]:
    number = 0
    try:
        while page := database.read_now(partial(seals.listed, after=number, limit=_AT_ONCE)):
            yield from page
            number = page[-1].number
    except (ValueError, DataError):
        raise BadInput(
            f"After seal {number} the table of seals holds what is no seal: it was changed by hand."
        ) from None


def _connected(database: Database, place: _Place, seal: Seal) -> Iterator[Found]:
    """Whether the seal follows the one before without a gap, in numbers and in ids."""
    if seal.number != place.number + 1:
        gone = f"Seal {place.number + 1} is" if seal.number == place.number + 2 else (
            f"Seals {place.number + 1} to {seal.number - 1} are"
        )  # fmt: skip
        yield Found("seal_gone", f"{gone} gone; what was under them cannot be proved any more.", place.number + 1)
    elif seal.first_id != place.last_id + 1:
        told = f"Seal {seal.number} does not begin where the one before ends: one of both was changed."
        yield Found("seal_changed", told, seal.number)
        yield from _slipped(database, place.last_id + 1, seal.first_id - 1, f"before seal {seal.number}")


def _slipped(database: Database, first_id: int, last_id: int, where: str) -> Iterator[Found]:
    if first_id <= last_id and (count := database.read_now(partial(audit.outside, first_id=first_id, last_id=last_id))):
        yield Found("slipped_in", f"{_entries(count)} {where}, under no seal: slipped in afterwards.")


def _fits(covered: Covered, seal: Seal, head: str) -> bool:
    return seals.head(covered.mac, seal._replace(entries=covered.entries), head) == seal.head


def _cleared(place: _Place, seal: Seal, covered: Covered) -> Iterator[Found]:
    """The doubt about the seal before, cleared by this one, which was made upon its true head."""
    if place.doubt is None:
        return
    fitting = [_fits(covered, seal, head) for head in place.heads]
    if fitting == [False, True]:
        told = f"The head of seal {place.doubt.number} was changed; the next seal proves that its entries were not."
        yield Found("seal_changed", told, place.doubt.number)
    else:
        yield _changed(place.doubt, _NOT_HEAD if any(fitting) else _OR_SEAL)


def _judged(place: _Place, seal: Seal, covered: Covered) -> tuple[list[Found], _Place]:
    """What is wrong about the seal and its entries, and the place after it."""
    there, after = covered.entries, _Place(seal.number, seal.last_id, (seal.head,))
    fitting = any(_fits(covered, seal, head) for head in place.heads)
    if there != seal.entries:
        return [_count_changed(seal, there) if fitting else _miscounted(seal, there)], after
    if fitting or not place.heads:
        return [], after
    rightful = seals.head(covered.mac, seal, place.heads[0])
    return [], after._replace(heads=(seal.head, rightful), doubt=seal)


# --- sentences ----------------------------------------------------------------------------------------------------

_NOT_HEAD = "one was changed or exchanged, or another number of the seal was"
_OR_SEAL = "one was changed or exchanged, or the seal itself was"


def _changed(seal: Seal, what: str) -> Found:
    told = f"{_name(seal)} does not fit them: {what}. Which of them, only their evidence can tell (see below)."
    return Found("changed", told, seal.number)


def _miscounted(seal: Seal, there: int) -> Found:
    apart = abs(there - seal.entries)
    if there < seal.entries:
        return Found("removed", f"{_name(seal)}: {apart:,} of them {_were(apart)} removed.", seal.number)
    return Found("slipped_in", f"{_name(seal)}: {apart:,} more {_were(apart)} slipped in.", seal.number)


def _count_changed(seal: Seal, there: int) -> Found:
    told = f"Seal {seal.number} says {seal.entries:,} entries and was made over {there:,}: its number was changed."
    return Found("seal_changed", told, seal.number)


def _name(seal: Seal) -> str:
    """Ranges begin where the one before ends, so their beginning tells little; the last entry's is near the seal."""
    return f"Seal {seal.number} ({_entries(seal.entries)} up to {moment_of(seal.last_id):%Y-%m-%d %H:%M:%S} UTC)"


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
