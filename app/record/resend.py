"""Replies that failed for good, or may have failed, and are queued once more because a person says so.

A reply is replayed only while it is dead: whoever comes second finds it waiting, on its way or sent, and leaves it.
Consent is looked at again when it is claimed, as for every reply. An opt-out confirmation is looked at here as well,
for there is one for each opt-out: it takes part in the flag `consent.confirmed`, which `outbox.mark` takes back when a
confirmation fails, so that the next STOP is confirmed again.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.events import Category, ConsentState, Standing
from app.record import keys, queries
from app.record.dead_letters import NO_SUCH, Kind, Outcome
from app.record.sets import Ask
from app.record.tables import consent, iso, outbox

_DOUBTFUL = "doubtful"
_MAY_HAVE_LEFT = (
    'it may have left, and a replay may double it; where that is better than none, say --doubtful ("doubtful": true)'
)
_NOT_DEAD = {
    "pending": "it waits to be sent",
    "sending": "it is on its way",
    "sent": "it was sent",
    "cancelled": "it was cancelled, which is no failure",
    "blocked": "the provider keeps the person on its own block list, which is no failure",
}
_NO_LONGER_OUT = "the person is not opted out any more"
_OUT_AGAIN = "the person has opted in and out again since, and that opt-out has a confirmation of its own"
_CONFIRMED = "this opt-out was confirmed since, or is being confirmed"
_NOTE_LENGTH = 2_000

_Standings = Mapping[tuple[str, str], tuple[Standing, Standing]]
"""By (program, address): in the program, and in all programs."""


class Terms(NamedTuple):
    """On what terms replies are queued again."""

    now: datetime
    deadline: Callable[[Category], datetime]
    """Until when a reply of the category may leave."""
    effective: Callable[[Standing, Standing], Standing]
    """What holds for a person: of their standing in the program, and in all programs."""
    doubtful: bool = False
    """Also those that may have left."""


def queue_again(conn: sa.Connection, ids: Sequence[int], terms: Terms) -> list[Outcome]:
    """Queue the dead replies of these ids once more; an outcome for each, in their order."""
    rows = _held(conn, ids)
    refused = _refused(rows, _standings(conn, rows.values()), ids, terms)
    again = [row for row in rows.values() if row.id not in refused]
    _confirm(conn, again)
    _QUEUE.run(conn, [_queued(row, terms) for row in again])
    return [Outcome(n, Kind.REPLY if n in rows else None, n not in refused, refused.get(n, "")) for n in ids]


def _held(conn: sa.Connection, ids: Sequence[int]) -> Mapping[int, Any]:
    """The rows, in this transaction's hand: first the people, as a batch holds them, then the rows, in one order."""
    those = outbox.c.id.in_(ids)
    keys.hold(conn, sorted(set(conn.execute(sa.select(outbox.c.address).where(those)).scalars())))
    columns = (
        "id", "state", "program", "category", "address", "attempts", "reason", "created_at", "settled_at", "note",
    )  # fmt: skip
    rows = sa.select(*(outbox.c[name] for name in columns)).where(those).order_by(outbox.c.id).with_for_update()
    return {row.id: row for row in conn.execute(rows)}


def _refused(rows: Mapping[int, Any], standings: _Standings, ids: Sequence[int], terms: Terms) -> dict[int, str]:
    """Which of them are left as they are, and why. Of several confirmations of one opt-out the first is queued."""
    found: dict[int, str] = {}
    confirming: set[tuple[str, str]] = set()
    for number in ids:
        row = rows.get(number)
        if why_not := _why_not(row, terms) or _why_not_confirmed(row, standings, confirming, terms):
            found[number] = why_not
        elif row and row.category == Category.OPT_OUT:
            confirming.add((row.program, row.address))
    return found


def _why_not(row: Any, terms: Terms) -> str:
    """Why a reply, whatever it says, is left; empty: it need not be."""
    if row is None:
        return NO_SUCH
    if row.state in _NOT_DEAD:
        return _NOT_DEAD[row.state]
    if row.settled_at is not None:
        return f"it was settled: {row.note.partition(chr(10))[0]}"
    return _MAY_HAVE_LEFT if row.state == _DOUBTFUL and not terms.doubtful else ""


def _why_not_confirmed(row: Any, standings: _Standings, confirming: Set[tuple[str, str]], terms: Terms) -> str:
    """Why a reply does not confirm an opt-out any more; empty: it does, or is none that would.

    The flag of one that may have left still stands, for its own sake: no other was queued beside it.
    """
    if row.category != Category.OPT_OUT:
        return ""
    own, every = standings[row.program, row.address]
    holds = terms.effective(own, every)
    if not own.state is holds.state is ConsentState.OPTED_OUT:
        return _NO_LONGER_OUT
    if own.since is None or own.since > row.created_at:
        return _OUT_AGAIN
    already = (row.program, row.address) in confirming or (own.confirmed and row.state != _DOUBTFUL)
    return _CONFIRMED if already else ""


# --- people -------------------------------------------------------------------------------------------------------

_CONFIRM = (
    sa.update(consent)
    .values(confirmed=True)
    .where(consent.c.program == sa.bindparam("of_program"), consent.c.address == sa.bindparam("of_address"))
)


def _standings(conn: sa.Connection, rows: Iterable[Any]) -> _Standings:
    """Of those to whom an opt-out shall be confirmed."""
    people: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.category == Category.OPT_OUT:
            people[row.program].append(row.address)
    return {
        (program, address): found
        for program, addresses in people.items()
        for address, found in queries.standings(conn, program, addresses).items()
    }


def _confirm(conn: sa.Connection, rows: Iterable[Any]) -> None:
    """The opt-outs of these confirmations count as confirmed again, so that another STOP is not answered beside."""
    given = [{"of_program": r.program, "of_address": r.address} for r in rows if r.category == Category.OPT_OUT]
    if given:
        conn.execute(_CONFIRM, given)


# --- the outbox ---------------------------------------------------------------------------------------------------

_QUEUE = Ask(
    "WITH v AS (SELECT * FROM given) UPDATE outbox SET state = 'pending', attempts = 0, next_at = v.c1, "
    "deadline = v.c2, claimed_until = NULL, reason = v.c3, note = v.c4 "
    "FROM v WHERE outbox.id = v.c0 RETURNING outbox.id",
    ("bigint", "timestamptz", "timestamptz", "text", "text"),
)


def _queued(row: Any, terms: Terms) -> tuple[Any, ...]:
    deadline = terms.deadline(Category(row.category))
    before = f"{row.state} after {row.attempts} tries: {row.reason}"
    note = noted(f"{iso(terms.now)} replayed; before: {before}", row.note)
    return row.id, iso(terms.now), iso(deadline), f"replayed; before: {before}", note


def noted(line: str, before: str) -> str:
    """A line on top of the notes there are, of which the oldest may go."""
    return f"{line}\n{before}".rstrip()[:_NOTE_LENGTH]
