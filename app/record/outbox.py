"""The outbox: replies are claimed for a while, sent, and marked with what became of them.

A claim is a lease. A process that dies leaves its rows in state `sending`, and when the lease has lapsed they are
claimed again: at least once. `next_at` of a claimed row is the end of its lease, so one index tells what is due. A
process that records and sends has its replies born claimed (see `app.send.handover`).
Per address one reply is in flight, the oldest that is due; a reply that waits for its next try holds no other back.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.events import EVERY_PROGRAM, NOBODY, Category, ConsentState, Standing, Status
from app.record import keys, memberships
from app.record.ids import new_id
from app.record.sets import Ask, Insert, Inserts
from app.record.standings import MARK_SQL, Place, in_both, with_suppressed
from app.record.tables import Moment, consent, iso, messages, outbox


class State(StrEnum):
    """Where a reply stands."""

    PENDING = "pending"
    #: claimed by a sender until `claimed_until`
    SENDING = "sending"
    SENT = "sent"
    #: consent or deadline forbade it before it left
    CANCELLED = "cancelled"
    #: the provider keeps the person on its own block list
    BLOCKED = "blocked"
    #: it may have left, and may not be repeated
    DOUBTFUL = "doubtful"
    FAILED = "failed"


class Due(NamedTuple):
    """A claimed reply, and how its recipient stands."""

    id: int
    webhook: str
    credential: str
    program: str
    category: str
    address: str
    sender: str
    text: str
    attempts: int
    """Tries, the present one included."""
    deadline: datetime
    created_at: datetime
    claimed_until: datetime
    own: Standing
    """In the reply's program."""
    every: Standing
    """In all programs."""
    content: str = ""
    """Suggestions and fallback of a rich reply as JSON (see `app.reply.Reply`); empty: it is plain."""


class Outcome(NamedTuple):
    """What became of a claimed reply."""

    row: Due
    state: State
    reason: str = ""
    account: str = ""
    """Of the credential; needed when sent."""
    provider_id: str = ""
    sent_at: datetime | None = None
    next_at: datetime | None = None
    """When pending again: not before."""
    counts: bool = True
    """Whether it was a try. False: it was given back untouched."""


#: replies for people who have not opted out, which nobody knows of a restored database: they wait until it was compared
#: with the block lists, or for their deadline
WAIT_WHILE_RESTORED = (Category.DEFAULT.value, Category.CUSTOM.value)
_WAITING = ", ".join(repr(category) for category in WAIT_WHILE_RESTORED)


#: how far the clocks of two nodes may differ
_APART = timedelta(minutes=1)


# --- claiming -----------------------------------------------------------------------------------------------------

# `state IN (…)` is spelt out as in the partial index, which is used only then. MATERIALIZED: the lock is taken once.
_CLAIM = """
    WITH due AS MATERIALIZED (
        SELECT id, address FROM outbox
        WHERE state IN ('pending', 'sending') AND next_at <= :now AND NOT (
            category IN ({waiting}) AND deadline > :now
            AND EXISTS (SELECT 1 FROM facts WHERE name = 'restored')
        ) AND address NOT IN (
            SELECT address FROM outbox
            WHERE state IN ('pending', 'sending') AND next_at > :now AND state = 'sending' AND claimed_until > :now)
        ORDER BY next_at LIMIT :limit {lock})
    UPDATE outbox SET state = 'sending', attempts = attempts + 1, claimed_until = :lease_until, next_at = :lease_until
    WHERE id IN (SELECT min(id) FROM due GROUP BY address)
    RETURNING id"""


def _claim_statement(lock: str) -> sa.TextClause:
    return sa.text(_CLAIM.format(lock=lock, waiting=_WAITING)).bindparams(
        sa.bindparam("now", type_=Moment), sa.bindparam("lease_until", type_=Moment)
    )


_CLAIMS = {"sqlite": _claim_statement(""), "postgresql": _claim_statement("FOR UPDATE SKIP LOCKED")}
# Two claims at once could each take a reply of one address. Asked in a statement of its own: the claim must see what
# the former holder of the lock has committed.
_CLAIM_ALONE = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended('textback outbox claim', 0))")

_own, _every = consent.alias("own"), consent.alias("every")
_DUE_COLUMNS = Due._fields[: Due._fields.index("own")]
_STANDING_COLUMNS = ("state", "since", "as_of", "cause", "confirmed")
_DUE = (
    sa.select(
        *(outbox.c[name] for name in _DUE_COLUMNS),
        *(_own.c[name] for name in _STANDING_COLUMNS),
        *(_every.c[name] for name in _STANDING_COLUMNS),
        outbox.c.content,
        sa.literal_column(MARK_SQL),
    )
    .outerjoin(_own, sa.and_(_own.c.program == outbox.c.program, _own.c.address == outbox.c.address))
    .outerjoin(_every, sa.and_(_every.c.program == EVERY_PROGRAM, _every.c.address == outbox.c.address))
    .where(outbox.c.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(outbox.c.id)
)


def claim(conn: sa.Connection, now: datetime, lease_until: datetime, limit: int) -> list[Due] | None:
    """Claim up to `limit` replies until `lease_until`, by rising id; of each address at most one, and none in flight.

    None: another process is claiming at this moment, ask again soon.
    """
    if conn.dialect.name == "postgresql" and not conn.execute(_CLAIM_ALONE).scalar_one():
        return None
    bound = {"now": now, "lease_until": lease_until, "limit": limit}
    ids = conn.execute(_CLAIMS[conn.dialect.name], bound).scalars().all()
    rows = conn.execute(_DUE, {"ids": ids}).all() if ids else []
    claimed = [_due(row) for row in rows]
    return claimed if not rows or rows[0][-1] is None else _with_suppressed(conn, rows[0][-1], claimed)


def _due(row: Sequence[Any]) -> Due:
    width = len(_DUE_COLUMNS)
    middle = width + len(_STANDING_COLUMNS)
    return Due._make([*row[:width], _standing(row[width:middle]), _standing(row[middle:-2]), row[-2]])


def _with_suppressed(conn: sa.Connection, check: str, rows: Sequence[Due]) -> list[Due]:
    """With what is kept of people who were erased."""
    found: dict[Place, Standing] = {}
    for row in rows:
        found |= {(row.program, row.address): row.own, (EVERY_PROGRAM, row.address): row.every}
    found = with_suppressed(conn, check, found, found)
    both = [in_both(found, row.program, row.address) for row in rows]
    return [row._replace(own=own, every=every) for row, (own, every) in zip(rows, both, strict=True)]


def _standing(values: Sequence[Any]) -> Standing:
    return NOBODY if values[0] is None else Standing(ConsentState(values[0]), *values[1:])


def recall(conn: sa.Connection, now: datetime) -> int:
    """Make due what was born in the future: the clock was set back since, and it would wait until it is there again."""
    column, ahead = outbox.c, now + _APART
    born_ahead = sa.and_(sa.text("state IN ('pending', 'sending')"), column.next_at > ahead, column.created_at > ahead)
    waiting = sa.update(outbox).where(born_ahead, column.state == State.PENDING.value).values(next_at=now)
    return conn.execute(waiting).rowcount


# --- marking ------------------------------------------------------------------------------------------------------

# What was sent stays sent, whoever holds the lease by now; everything else is said only by the holder.
_MARK = Ask(
    "WITH v AS (SELECT * FROM given) UPDATE outbox SET state = v.c1, reason = v.c2, provider_id = v.c3, "
    "sent_at = v.c4, next_at = coalesce(v.c5, outbox.next_at), attempts = outbox.attempts - v.c6, claimed_until = NULL "
    "FROM v WHERE outbox.id = v.c0 AND outbox.state = 'sending' AND (v.c1 = 'sent' OR outbox.claimed_until = v.c7) "
    "RETURNING outbox.id, EXISTS (SELECT 1 FROM messages m WHERE m.provider_id = 'ref:' || outbox.id)",
    ("bigint", "text", "text", "text", "timestamptz", "timestamptz", "integer", "timestamptz"),
)
# A receipt that brought our reference and no id of the provider's, and came before this mark: rare, so it is asked for
# only where the mark has seen a message of that name, or could not look.
_ADOPT = Ask(
    "WITH v AS (SELECT * FROM given) UPDATE messages SET outbox_id = v.c0, sender = v.c2 "
    "FROM v WHERE messages.provider_id = 'ref:' || v.c0 AND messages.account = v.c1 RETURNING messages.outbox_id",
    ("bigint", "text", "text"),
)
_MESSAGE_COLUMNS = messages.columns.keys()
_MESSAGES = Inserts(
    "sent",
    Insert(
        messages,
        _MESSAGE_COLUMNS,
        "ON CONFLICT (provider_id, recipient, account) DO UPDATE SET outbox_id = excluded.outbox_id, "
        "sender = excluded.sender",
    ),
)
_UNCONFIRM = (
    sa.update(consent)
    .values(confirmed=False)
    .where(
        consent.c.program == sa.bindparam("of_program"),
        consent.c.address == sa.bindparam("of_address"),
        consent.c.state == ConsentState.OPTED_OUT.value,
        consent.c.since <= sa.bindparam("queued_at", type_=Moment),
    )
)


def mark(conn: sa.Connection, outcomes: Sequence[Outcome]) -> None:
    """Write down what became of claimed replies. What was sent becomes a message that receipts will be about.

    A confirmation that never left makes room for another: the next STOP of that person is confirmed again.
    """
    # As a batch holds them that records a receipt. Else one that has just looked and found no message would give its
    # receipt to a message of its own, while the row that stays is ours.
    keys.hold(conn, sorted(_names(outcomes)))
    marked = {row[0]: bool(row[1]) for row in _MARK.run(conn, [_mark_row(outcome) for outcome in outcomes])}
    sent = _not_erased(conn, [outcome for outcome in outcomes if outcome.state is State.SENT], marked.keys())
    if sent:
        _add_messages(conn, sent, marked)
    unconfirmed = [_unconfirm_row(o.row) for o in outcomes if _leaves_unconfirmed(o) and o.row.id in marked]
    if unconfirmed:
        conn.execute(_UNCONFIRM, unconfirmed)


def _not_erased(conn: sa.Connection, sent: list[Outcome], marked: Collection[int]) -> list[Outcome]:
    """Those that still stand in the outbox: while one was in flight, its recipient may have been erased."""
    unmarked = [outcome.row.id for outcome in sent if outcome.row.id not in marked]
    if not unmarked:
        return sent
    here = {*marked, *conn.execute(sa.select(outbox.c.id).where(outbox.c.id.in_(unmarked))).scalars()}
    return [outcome for outcome in sent if outcome.row.id in here]


def _mark_row(outcome: Outcome) -> tuple[Any, ...]:
    row, state, reason, _, provider_id, sent_at, next_at, counts = outcome
    lease = iso(row.claimed_until)
    return (
        row.id,
        state,
        reason,
        provider_id,
        sent_at and iso(sent_at),
        next_at and iso(next_at),
        int(not counts),
        lease,
    )


def _add_messages(conn: sa.Connection, sent: Sequence[Outcome], marked: Mapping[int, bool]) -> None:
    """`marked`: by id, whether a receipt has brought its reference before."""
    named = [(o.row.id, o.account, o.row.sender) for o in sent if marked.get(o.row.id, True)]
    known = {row[0] for row in _ADOPT.run(conn, named)}
    # In one order for all nodes, and each key once: PostgreSQL refuses to touch a row twice.
    rows = {_message_key(o): _message_row(o, marked) for o in sent if o.row.id not in known}
    _MESSAGES.run(conn, [rows[key] for key in sorted(rows)])
    memberships.link(conn, ((key[1], row[0]) for key, row in rows.items()))


def _names(outcomes: Sequence[Outcome]) -> set[str]:
    """The messages that receipts may name, in the words of `known.Concerned.names`."""
    sent = [outcome for outcome in outcomes if outcome.state is State.SENT]
    references = {str(outcome.row.id) for outcome in sent}
    return references | {f"ref:{reference}" for reference in references} | {outcome.provider_id for outcome in sent}


def _message_key(outcome: Outcome) -> tuple[str, str, str]:
    return outcome.provider_id, outcome.row.address, outcome.account


def _message_row(outcome: Outcome, marked: Mapping[int, bool]) -> tuple[Any, ...]:
    """The row of `messages`. It has the reply's own id, which is the reference that receipts may echo.

    A reply that was already marked by another sender, after our lease had lapsed, left twice and is two messages.
    """
    row = outcome.row
    message_id = row.id if row.id in marked else new_id()
    at = outcome.sent_at or row.created_at
    return (message_id, outcome.account, outcome.provider_id, row.address, row.sender, row.id, Status.QUEUED.value,
            "", "", "", "", at, at)  # fmt: skip


def _leaves_unconfirmed(outcome: Outcome) -> bool:
    return outcome.row.category == Category.OPT_OUT and outcome.state in (State.CANCELLED, State.FAILED)


def _unconfirm_row(row: Due) -> dict[str, Any]:
    return {"of_program": row.program, "of_address": row.address, "queued_at": row.created_at}
