"""Calls of actions, to read, and to be made once more because a person says so."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.record.calls import State
from app.record.ids import first_id_at
from app.record.resend import noted
from app.record.tables import action_calls, iso

SUCCESS = "success"
#: of the ends, those that are asked for together
FAILED = "failed"
NO_SUCH = "there is no call of this id"
_WAITING = sa.text("state IN ('pending', 'calling')")
_call = action_calls.c


class Call(NamedTuple):
    """A row of `action_calls`."""

    id: int
    action: str
    trigger: str
    webhook: str
    program: str
    address: str
    inbound_id: int | None
    fields: str
    reply: str
    state: str
    attempts: int
    tries: int
    next_at: datetime
    deadline: datetime
    created_at: datetime
    ended_at: datetime | None
    outcome: str
    policy: str
    response: str
    problem: str
    note: str


class CallFilter(NamedTuple):
    """Which calls are wanted; None: no matter."""

    action: str | None = None
    outcome: str | None = None
    """As in the table, or `failed`: whatever ended neither in success nor excluded."""
    state: str | None = None
    address: str | None = None


class Waiting(NamedTuple):
    """The calls that wait or are under way."""

    calls: int
    oldest: datetime | None


class Again(NamedTuple):
    """What became of a call that shall be made once more."""

    id: int
    done: bool
    reason: str = ""
    """Why it is left."""


_COLUMNS = [_call[name] for name in Call._fields]


def page(conn: sa.Connection, wanted: CallFilter, *, limit: int, before_id: int | None = None) -> list[Call]:
    """A page of calls, newest first; `before_id`: the id of the last of the page before."""
    query = sa.select(*_COLUMNS).where(*_conditions(wanted)).order_by(_call.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(_call.id < before_id)
    return [Call(*row) for row in conn.execute(query)]


def _conditions(wanted: CallFilter) -> "list[sa.ColumnElement[bool]]":
    if wanted.outcome == FAILED:
        rest = _conditions(wanted._replace(outcome=None))
        return [*rest, _call.state == State.DONE.value, _call.outcome.not_in((SUCCESS, "excluded"))]
    return [_call[name] == value for name, value in wanted._asdict().items() if value is not None]


def one(conn: sa.Connection, call_id: int) -> Call | None:
    """A call; None where there is none of this id."""
    row = conn.execute(sa.select(*_COLUMNS).where(_call.id == call_id)).one_or_none()
    return Call(*row) if row else None


def waiting(conn: sa.Connection) -> Waiting:
    """What waits."""
    query = sa.select(sa.func.count(), sa.func.min(_call.created_at)).select_from(action_calls).where(_WAITING)
    return Waiting(*conn.execute(query).one())


def failed_since(conn: sa.Connection, since: datetime) -> list[tuple[str, str, int]]:
    """(action, outcome, how many) of the calls asked for since then that ended neither in success nor excluded."""
    query = (
        sa.select(_call.action, _call.outcome, sa.func.count())
        .where(*_conditions(CallFilter(outcome=FAILED)), _call.id >= first_id_at(since))
        .group_by(_call.action, _call.outcome)
        .order_by(_call.action, _call.outcome)
    )
    return [(row[0], row[1], row[2]) for row in conn.execute(query)]


# --- once more ----------------------------------------------------------------------------------------------------


def call_again(conn: sa.Connection, ids: Sequence[int], now: datetime, wait: timedelta, actor: str) -> list[Again]:
    """Have ended calls made once more, within `wait`; one for each id, in their order.

    What succeeded is left, for a third party that has done its work shall not do it twice. Policies are asked anew, and
    the reply that waited leaves when there is an answer now, after consent was looked at again.
    """
    held = {row.id: row for row in conn.execute(sa.select(*_COLUMNS).where(_call.id.in_(ids)).with_for_update())}
    found = [Again(each, *_judged(held.get(each))) for each in ids]
    for each in {again.id for again in found if again.done}:
        conn.execute(action_calls.update().where(_call.id == each).values(_waiting_again(held[each], now, wait, actor)))
    return found


def _judged(row: Any) -> tuple[bool, str]:
    """Whether it is made again, and why not."""
    if row is None:
        return False, NO_SUCH
    if row.state != State.DONE:
        return False, "it waits to be made, or is under way"
    return (False, "it has succeeded, and would be made twice") if row.outcome == SUCCESS else (True, "")


def _waiting_again(row: Any, now: datetime, wait: timedelta, actor: str) -> dict[str, Any]:
    before = f"{row.outcome} after {row.tries} tries: {row.problem or row.policy}"
    return {
        "state": State.PENDING.value, "attempts": 0, "next_at": now, "deadline": now + wait, "ended_at": None,
        "outcome": "", "policy": "", "response": "", "problem": "",
        "note": noted(f"{iso(now)} made again by {actor}; before: {before}", row.note),
    }  # fmt: skip
