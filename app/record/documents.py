"""A document's action runs once: a key that the first request holds, and the call that it made.

`repeats_until` of a key is the end of its hold: of the lease while the call is made, of the window once it has
succeeded. A call that failed lets go of its key, so it may be tried again at once. One whose process died keeps it
until the lease has lapsed; then the next request makes the same call again, with the same `_id`: at least once, and
more than once only after a crash.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa

from app.record import calls
from app.record.calls import State
from app.record.ids import new_id
from app.record.tables import Moment, action_calls, document_runs

TRIGGER = "document"
#: `next_at` of such a call: no worker makes it (again), only another request does
_NEVER = datetime(9999, 12, 31, tzinfo=UTC)
#: how long a call that its process never ended waits for a request that makes it again
_PATIENCE = timedelta(hours=1)
_CHUNK = 2000
_ENDED_UNKNOWN = "The process that made this call ended before it was answered; whether it was done is not known."

_HOLD = sa.text(
    "INSERT INTO document_runs (key, call_id, repeats_until) VALUES (:key, :call_id, :until) "
    "ON CONFLICT (key) DO UPDATE SET repeats_until = excluded.repeats_until "
    "WHERE document_runs.repeats_until <= :now RETURNING call_id"
).bindparams(sa.bindparam("until", type_=Moment), sa.bindparam("now", type_=Moment))


class Wanted(NamedTuple):
    """What a request wants to be run."""

    action: str
    event: Mapping[str, Any]
    """Its fields, without `_id`."""

    @property
    def key(self) -> str:
        """The same for the same action, document and version."""
        parts = (self.action, self.event["documentId"], self.event["documentVersionId"])
        return sha256("\0".join(parts).encode()).hexdigest()


class Held(NamedTuple):
    """Which call a request is about."""

    key: str
    call_id: int
    event: Mapping[str, Any] | None
    """What to call with; None: another request makes the call, or has made it."""


class Standing(NamedTuple):
    """How a call stands. `outcome`, `policy` and `problem` are empty while it is made."""

    done: bool
    outcome: str
    policy: str
    problem: str
    claimed_until: datetime | None


def hold(conn: sa.Connection, wanted: Wanted, now: datetime, lease_until: datetime) -> Held:
    """Take the key, and write down the call that is about to be made; or learn which call has it."""
    fresh = new_id()
    row = {"key": wanted.key, "call_id": fresh, "until": lease_until, "now": now}
    mine = conn.execute(_HOLD, row).scalar_one_or_none()
    if mine is None:
        by_key = sa.select(document_runs.c.call_id).where(document_runs.c.key == wanted.key)
        return Held(wanted.key, conn.execute(by_key).scalar_one(), None)
    if mine != fresh and (event := _resumed(conn, mine, lease_until)) is not None:
        return Held(wanted.key, mine, event)
    return _begun(conn, wanted, fresh, now, lease_until)


def _resumed(conn: sa.Connection, call_id: int, lease_until: datetime) -> Mapping[str, Any] | None:
    """The fields of a call whose process died; None where it is done, or gone with its retention."""
    unended = sa.and_(action_calls.c.id == call_id, action_calls.c.state == State.CALLING.value)
    again = sa.update(action_calls).where(unended).returning(action_calls.c.fields)
    fields = conn.execute(again.values(claimed_until=lease_until, attempts=action_calls.c.attempts + 1)).scalar()
    return orjson.loads(fields) if fields is not None else None


def _begun(conn: sa.Connection, wanted: Wanted, call_id: int, now: datetime, lease_until: datetime) -> Held:
    event = {**wanted.event, "_id": str(call_id)}
    fields = orjson.dumps(event).decode()
    row = calls.call_row(wanted.action, TRIGGER, fields, now, lease_until, claimed_until=lease_until)
    calls.add(conn, row._replace(id=call_id, next_at=_NEVER))
    conn.execute(sa.update(document_runs).where(document_runs.c.key == wanted.key).values(call_id=call_id))
    return Held(wanted.key, call_id, event)


def settle(
    conn: sa.Connection,
    held: Held,
    *,
    outcome: str,
    policy: str,
    response: str,
    problem: str,
    tries: int,
    now: datetime,
    window: float,
) -> None:
    """Write down what became of a call. A success is remembered for `window` seconds; anything else lets go of the key.

    The key is left alone where its lease had lapsed and another request holds it by now.
    """
    ended = {"outcome": outcome, "policy": policy, "response": response, "problem": problem}
    its_call = sa.update(action_calls).where(action_calls.c.id == held.call_id)
    conn.execute(
        its_call.values(
            state=State.DONE.value, claimed_until=None, ended_at=now, tries=action_calls.c.tries + tries, **ended
        )
    )
    mine = sa.and_(document_runs.c.key == held.key, document_runs.c.call_id == held.call_id)
    if outcome == "success":
        conn.execute(sa.update(document_runs).where(mine).values(repeats_until=now + timedelta(seconds=window)))
    else:
        conn.execute(sa.delete(document_runs).where(mine))


def standing(conn: sa.Connection, call_id: int) -> Standing | None:
    """How a call stands; None where it is gone."""
    column = action_calls.c
    query = sa.select(column.state, column.outcome, column.policy, column.problem, column.claimed_until)
    row = conn.execute(query.where(column.id == call_id)).one_or_none()
    return Standing(row[0] == State.DONE, *row[1:]) if row else None


def forget(conn: sa.Connection, now: datetime) -> int:
    """Delete keys that hold nothing any more, and end the calls that nobody ends; how many keys."""
    past = now - _PATIENCE
    left = sa.and_(sa.text("state IN ('pending', 'calling')"), action_calls.c.trigger == TRIGGER,
                   action_calls.c.claimed_until < past)  # fmt: skip
    ended = {"state": State.DONE.value, "outcome": "internalError", "problem": _ENDED_UNKNOWN, "claimed_until": None}
    conn.execute(sa.update(action_calls).where(left).values(ended_at=now, **ended))
    passed = sa.select(document_runs.c.key).where(document_runs.c.repeats_until < past).limit(_CHUNK)
    return conn.execute(sa.delete(document_runs).where(document_runs.c.key.in_(passed))).rowcount
