"""Dead letters, replayed or settled: one way for the command line and the API, whatever died.

A reply is queued again, a request is read again (see `replay`), an item is recorded again where its entry keeps it
whole. Each has an outcome of its own, and one that cannot be replayed keeps no other from it.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import NamedTuple

from app.errors import TextbackError
from app.interpret import Policy, decide, effective
from app.record import dead_letters
from app.record.again import record_parked
from app.record.database import Database
from app.record.dead_letters import NO_SUCH, Kind, Outcome
from app.record.resend import Terms, queue_again
from app.record.settle import Note, settle
from app.record.writer import Writer
from app.serve.replay import Replayed, replay
from app.switchboard import Switchboard

#: ids in one transaction or question, so that no event waits long behind them
_AT_ONCE = 200


class Means(NamedTuple):
    """What it takes."""

    switchboard: Switchboard
    database: Database
    writer: Writer
    policy: Policy


async def replay_all(means: Means, kind: Kind | None, *, doubtful: bool) -> list[Outcome]:
    """Replay all dead letters of this kind, or of every kind (None), oldest first."""
    kinds = Kind if kind is None else (kind,)
    found = [
        await _replay(means, each, await means.database.read(partial(dead_letters.ids, kind=each, doubtful=doubtful)),
                      doubtful=doubtful)
        for each in kinds
    ]  # fmt: skip
    return list(chain.from_iterable(found))


async def replay_some(means: Means, kind: Kind | None, ids: Iterable[int], *, doubtful: bool) -> list[Outcome]:
    """Replay those of these ids; an outcome for each, in their order. `kind` None: each id tells."""
    wanted = list(dict.fromkeys(ids))
    sorted_out = await _sorted_out(means.database, kind, wanted)
    found = [
        outcome
        for each, its_ids in sorted_out.items()
        for outcome in await _replay(means, each, its_ids, doubtful=doubtful)
    ]
    return _in_order(wanted, found)


async def settle_some(
    database: Database, writer: Writer, kind: Kind | None, ids: Iterable[int], *, actor: str, reason: str
) -> list[Outcome]:
    """Settle those of these ids with a note; an outcome for each, in their order."""
    wanted, note = list(dict.fromkeys(ids)), Note(actor, reason, datetime.now(UTC))
    found = [
        outcome
        for each, its_ids in (await _sorted_out(database, kind, wanted)).items()
        for some in _chunks(its_ids)
        for outcome in await writer.run(partial(settle, kind=each, ids=some, note=note))
    ]
    return _in_order(wanted, found)


async def _sorted_out(database: Database, kind: Kind | None, ids: Sequence[int]) -> dict[Kind, list[int]]:
    """The ids by kind; those of nothing are left out."""
    if kind is not None:
        return {kind: list(ids)}
    known: dict[int, Kind] = {}
    for some in _chunks(ids):
        known |= await database.read(partial(dead_letters.kinds_of, wanted=some))
    return {each: [number for number in ids if known.get(number) is each] for each in Kind}


def _in_order(ids: Sequence[int], found: Iterable[Outcome]) -> list[Outcome]:
    by_id = {outcome.id: outcome for outcome in found}
    return [by_id.get(number, Outcome(number, None, done=False, reason=NO_SUCH)) for number in ids]


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))


# --- by kind ------------------------------------------------------------------------------------------------------


async def _replay(means: Means, kind: Kind, ids: Sequence[int], *, doubtful: bool) -> list[Outcome]:
    if kind is Kind.REPLY:
        return await _send_again(means, ids, doubtful=doubtful)
    if kind is Kind.REQUEST:
        return await _read_again(means, ids)
    return [await _record_again(means.writer, number) for number in ids]


async def _send_again(means: Means, ids: Sequence[int], *, doubtful: bool) -> list[Outcome]:
    found: list[Outcome] = []
    for some in _chunks(ids):
        terms = _terms(means.policy, datetime.now(UTC), doubtful=doubtful)
        found += await means.writer.run(partial(queue_again, ids=some, terms=terms))
    return found


def _terms(its_policy: Policy, now: datetime, *, doubtful: bool) -> Terms:
    return Terms(now, lambda category: now + its_policy.deadline(category), effective, doubtful)


async def _read_again(means: Means, ids: Sequence[int]) -> list[Outcome]:
    if not ids:
        return []
    return [_outcome(each) for each in await replay(means.switchboard, means.database, means.writer, ids)]


def _outcome(replayed: Replayed) -> Outcome:
    kind = Kind.REQUEST if replayed.webhook else None
    return Outcome(replayed.id, kind, not replayed.problem, replayed.problem, replayed.new, replayed.seen)


async def _record_again(writer: Writer, number: int) -> Outcome:
    try:
        return await writer.run(partial(record_parked, entry_id=number, decide=decide, now=datetime.now(UTC)))
    except TextbackError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it was, this one only; its neighbours are recorded
        return Outcome(number, Kind.ITEM, done=False, reason=f"the database refused it: {type(error).__name__}")
