"""The calls of custom actions: an outbox of their own. Claimed for a while, made, and written down with their answer.

A claim is a lease, as with a reply: a process that dies leaves its calls in state `calling`, and when the lease has
lapsed they are made again, at least once. `next_at` of a claimed row is the end of its lease. Of one person and action
one call is under way, the oldest that is due, so that a third party is told of a START and a STOP in their order.
What a call ends with and the reply that waited for it are one transaction.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.changes import CallRow, OutboxRow
from app.events import Category, Standing
from app.record import facts, profiles, queries
from app.record.ids import new_id
from app.record.sets import Ask, Insert, Inserts
from app.record.tables import Moment, action_calls, iso, outbox, registrations


class State(StrEnum):
    """Where a call stands."""

    PENDING = "pending"
    #: made by a process until `claimed_until`
    CALLING = "calling"
    DONE = "done"


class DueCall(NamedTuple):
    """A claimed call."""

    id: int
    action: str
    trigger: str
    webhook: str
    program: str
    address: str
    """Empty: it is about no person."""
    inbound_id: int | None
    fields: str
    """The event's fields as a JSON object."""
    reply: str
    """The reply that waits for it, as JSON (see `app.interpret.waiting`); empty: none."""
    attempts: int
    """How often it was claimed, the present time included."""
    deadline: datetime
    created_at: datetime
    claimed_until: datetime


class Ended(NamedTuple):
    """What became of a call: `Ended(row.id, *called, row.claimed_until)` with the `Called` of `Actions.call`."""

    id: int
    outcome: str
    response: str
    problem: str
    policy: str
    tries: int
    """Requests that were made."""
    claimed_until: datetime
    """Of whom it was claimed for: what failed is said by the holder of the lease alone."""
    reply: OutboxRow | None = None
    """What had waited for it, ready to leave."""
    silence: str = ""
    """Why nothing leaves that had waited for it."""


# --- adding -------------------------------------------------------------------------------------------------------

_ADD = Inserts("calls", Insert(action_calls, CallRow._fields))


def add(conn: sa.Connection, call: CallRow) -> None:
    """Add one call. One that is made at once is added as `calling` with `claimed_until`, and ended with `finish`."""
    add_all(conn, [call])


def add_all(conn: sa.Connection, rows: Sequence[CallRow]) -> None:
    """Add these."""
    if rows:
        _ADD.run(conn, rows)


def call_row(
    action: str,
    trigger: str,
    fields: str,
    now: datetime,
    deadline: datetime,
    *,
    claimed_until: datetime | None = None,
    webhook: str = "",
    program: str = "",
    address: str = "",
) -> CallRow:
    """A call that no inbound message or receipt asks for; `claimed_until`: it is made at once by whoever adds it."""
    held = claimed_until is not None
    return CallRow(
        new_id(), action, trigger, webhook, program, address, None, fields, "",
        (State.CALLING if held else State.PENDING).value, int(held), claimed_until or now, deadline, now, claimed_until,
    )  # fmt: skip


# --- claiming -----------------------------------------------------------------------------------------------------

#: the others wait while a restored database was not compared: who has opted out is uncertain, and a consent policy
#: would pass them. A consent event says itself how its person stands
_CERTAIN = (Category.OPT_IN.value, Category.OPT_OUT.value, Category.DOUBLE_OPT_IN.value, "document", "test")
# `state IN (…)` is spelt out as in the partial index, which is used only then. MATERIALIZED: the lock is taken once.
_CLAIM = """
    WITH due AS MATERIALIZED (
        SELECT id, action, address FROM action_calls
        WHERE state IN ('pending', 'calling') AND next_at <= :now AND action NOT IN :busy
        AND (address = '' OR (action, address) NOT IN (
            SELECT action, address FROM action_calls
            WHERE state IN ('pending', 'calling') AND next_at > :now AND state = 'calling'))
        AND NOT (trigger NOT IN ({certain}) AND deadline > :now
            AND EXISTS (SELECT 1 FROM facts WHERE name = 'restored'))
        ORDER BY next_at, id LIMIT :limit {lock})
    UPDATE action_calls
    SET state = 'calling', attempts = attempts + 1, claimed_until = :lease_until, next_at = :lease_until
    WHERE id IN (SELECT min(id) FROM due GROUP BY action, CASE address WHEN '' THEN CAST(id AS text) ELSE address END)
    RETURNING id"""


def _claim_statement(lock: str) -> sa.TextClause:
    return sa.text(_CLAIM.format(lock=lock, certain=", ".join(map(repr, _CERTAIN)))).bindparams(
        sa.bindparam("now", type_=Moment),
        sa.bindparam("lease_until", type_=Moment),
        sa.bindparam("busy", expanding=True, type_=sa.Text),
    )


_CLAIMS = {"sqlite": _claim_statement(""), "postgresql": _claim_statement("FOR UPDATE SKIP LOCKED")}
# Two claims at once could each take a call of one person. Asked in a statement of its own: the claim must see what the
# former holder of the lock has committed.
_CLAIM_ALONE = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended('textback calls claim', 0))")
_DUE = (
    sa.select(*(action_calls.c[name] for name in DueCall._fields))
    .where(action_calls.c.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(action_calls.c.id)
)


def claim(
    conn: sa.Connection, now: datetime, lease_until: datetime, limit: int, busy: Collection[str] = ()
) -> list[DueCall] | None:
    """Claim up to `limit` calls until `lease_until`, by rising id; none of the actions `busy`, and of one person and
    action at most one, and none beside one under way. None: another process is claiming at this moment, ask again soon.
    """
    if conn.dialect.name == "postgresql" and not conn.execute(_CLAIM_ALONE).scalar_one():
        return None
    bound = {"now": now, "lease_until": lease_until, "limit": limit, "busy": list(busy)}
    ids = conn.execute(_CLAIMS[conn.dialect.name], bound).scalars().all()
    return [DueCall(*row) for row in conn.execute(_DUE, {"ids": ids})] if ids else []


_ANY_DUE = sa.text(
    "SELECT EXISTS (SELECT 1 FROM action_calls WHERE state IN ('pending', 'calling') AND next_at <= :now)"
).bindparams(sa.bindparam("now", type_=Moment))


def any_due(conn: sa.Connection, now: datetime) -> bool:
    """Whether a claim may find something. Cheaper than one, and it disturbs nobody who writes."""
    return bool(conn.execute(_ANY_DUE, {"now": now}).scalar_one())


class Person(NamedTuple):
    """Whom a call is about, as they are now."""

    attributes: dict[str, str]
    own: Standing
    """In the call's program."""
    every: Standing
    """In all programs."""
    restored: bool
    """The database was restored and not yet compared, so how they stand is uncertain."""


def person_of(conn: sa.Connection, row: DueCall) -> Person:
    """The person of a call. Raises StoreUnavailable where an erased one cannot be known."""
    restored = facts.restored(conn) is not None
    standing = queries.standings(conn, row.program, [row.address])[row.address]
    return Person(profiles.read(conn, [row.address])[row.address], *standing, restored)


_REGISTERED = sa.select(sa.literal(True)).where(
    registrations.c.kind == "action", registrations.c.name == sa.bindparam("name")
)


def is_registered(conn: sa.Connection, name: str) -> bool:
    """Whether there is an action of this name now, whoever has heard of it."""
    return conn.execute(_REGISTERED, {"name": name}).scalar() is not None


#: how far the clocks of two nodes may differ
_APART = timedelta(minutes=1)


def recall(conn: sa.Connection, now: datetime, lease: timedelta) -> int:
    """Make due what waits only because the clock was set back since: what was born in the future, and what is claimed
    for longer than any `lease`, whose holder cannot be told from a dead one. How many."""
    column, ahead = action_calls.c, now + _APART
    born_ahead = sa.and_(column.state == State.PENDING.value, column.created_at > ahead)
    held_ahead = sa.and_(column.state == State.CALLING.value, column.next_at == column.claimed_until,
                         column.claimed_until > ahead + lease)  # fmt: skip
    due = sa.and_(sa.text("state IN ('pending', 'calling')"), column.next_at > ahead, sa.or_(born_ahead, held_ahead))
    return conn.execute(sa.update(action_calls).where(due).values(next_at=now)).rowcount


# --- ending -------------------------------------------------------------------------------------------------------

# What succeeded did so whoever holds the lease by now; everything else is said only by the holder.
_FINISH = Ask(
    "WITH v AS (SELECT * FROM given) UPDATE action_calls SET state = 'done', outcome = v.c1, response = v.c2, "
    "problem = v.c3, policy = v.c4, tries = action_calls.tries + v.c5, ended_at = v.c7, claimed_until = NULL "
    "FROM v WHERE action_calls.id = v.c0 AND action_calls.state = 'calling' "
    "AND (v.c1 = 'success' OR action_calls.claimed_until = v.c6) RETURNING action_calls.id",
    ("bigint", "text", "text", "text", "text", "integer", "timestamptz", "timestamptz"),
)
_REPLIES = Inserts("call_replies", Insert(outbox, OutboxRow._fields))
_ANSWERED = Ask(
    "WITH v AS (SELECT * FROM given) UPDATE inbound_messages SET reply = v.c2, outbox_id = v.c1 "
    "FROM v WHERE inbound_messages.id = (SELECT c.inbound_id FROM action_calls c WHERE c.id = v.c0) "
    "RETURNING inbound_messages.id",
    ("bigint", "bigint", "text"),
)
QUEUED = "queued"


def finish(conn: sa.Connection, ended: Sequence[Ended], now: datetime) -> set[int]:
    """Write down what became of claimed calls, and queue the replies that had waited for them. The calls that this
    ended: the others are another's by now, or their person was erased meanwhile."""
    done = {row[0] for row in _FINISH.run(conn, [_finish_row(end, now) for end in ended])}
    mine = [end for end in ended if end.id in done]
    _REPLIES.run(conn, [end.reply for end in mine if end.reply])
    told = [(end.id, end.reply and end.reply.id, QUEUED if end.reply else end.silence) for end in mine]
    _ANSWERED.run(conn, [row for row in told if row[2]])
    return done


def _finish_row(end: Ended, now: datetime) -> tuple[Any, ...]:
    return (
        end.id, end.outcome, end.response, end.problem, end.policy, end.tries, iso(end.claimed_until), iso(now),
    )  # fmt: skip


_GIVE_BACK = Ask(
    "WITH v AS (SELECT * FROM given) UPDATE action_calls SET state = 'pending', claimed_until = NULL, next_at = v.c2, "
    "attempts = action_calls.attempts - v.c3 FROM v "
    "WHERE action_calls.id = v.c0 AND action_calls.state = 'calling' AND action_calls.claimed_until = v.c1 "
    "RETURNING action_calls.id",
    ("bigint", "timestamptz", "timestamptz", "integer"),
)


def give_back(conn: sa.Connection, rows: Sequence[DueCall], now: datetime, *, begun: bool) -> None:
    """Have claimed calls claimed by somebody else; `begun`: their requests may have been made, and are made again."""
    _GIVE_BACK.run(conn, [(row.id, iso(row.claimed_until), iso(now), int(not begun)) for row in rows])
