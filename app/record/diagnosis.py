"""What the doctor reads: when a webhook was last heard, what was refused, what waits, what failed, what the clock says.

Nothing of it needs the secret key, so it can be asked when that is what is wrong.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from app.record.ids import first_id_at
from app.record.tables import inbound_messages, outbox, quarantine, raw_requests, receipts, webhooks, work_list

#: failures older than this are history
RECENT = timedelta(days=7)


class Refusal(NamedTuple):
    """A request that did not prove who it is."""

    at: datetime
    reason: str


class Hearing(NamedTuple):
    """How one webhook fares."""

    webhook: str
    last_heard: datetime | None
    #: newest first, the few that are kept
    refusals: tuple[Refusal, ...]
    undecoded: int
    #: why the newest of them could not be read
    problem: str
    #: open entries of the work list by kind
    work: dict[str, int]


class BadEnd(NamedTuple):
    """Replies of the last seven days that ended badly."""

    credential: str
    state: str
    replies: int
    #: of the newest
    reason: str


class Leaving(NamedTuple):
    """How the outbox fares."""

    waiting: int
    oldest_waiting: datetime | None
    bad: tuple[BadEnd, ...]


def webhook_names(conn: sa.Connection) -> list[str]:
    """The names of the registered webhooks."""
    return list(conn.execute(sa.select(webhooks.c.name).order_by(webhooks.c.name)).scalars())


def newest_request(conn: sa.Connection) -> datetime | None:
    """When the newest stored request was received; later than now, if the clock was set back since."""
    rows = sa.select(raw_requests.c.received_at).order_by(raw_requests.c.id.desc()).limit(1)
    return conn.execute(rows).scalar()


def database_time(conn: sa.Connection) -> datetime | None:
    """The clock of PostgreSQL's machine; None for SQLite, which has ours."""
    if conn.dialect.name == "sqlite":
        return None
    theirs = conn.execute(sa.select(sa.func.clock_timestamp(type_=sa.DateTime(timezone=True)))).scalar_one()
    return theirs.astimezone(UTC)


def hearing(conn: sa.Connection, webhook: str) -> Hearing:
    """How the webhook of this name fares."""
    # spelt as in the partial index, or the index is not used
    undecoded = sa.and_(sa.text("reading = 'undecoded'"), raw_requests.c.webhook == webhook)
    newest = sa.select(raw_requests.c.problem).where(undecoded).order_by(raw_requests.c.id.desc()).limit(1)
    return Hearing(
        webhook,
        _last_heard(conn, webhook),
        _refusals(conn, webhook),
        conn.execute(sa.select(sa.func.count()).select_from(raw_requests).where(undecoded)).scalar_one(),
        conn.execute(newest).scalar() or "",
        _work(conn, webhook),
    )


def leaving(conn: sa.Connection, now: datetime) -> Leaving:
    """How the outbox fares."""
    # spelt as in the partial index, or the index is not used
    waits = sa.text("state IN ('pending', 'sending')")
    count, oldest = conn.execute(sa.select(sa.func.count(), sa.func.min(outbox.c.created_at)).where(waits)).one()
    return Leaving(count, oldest, _bad(conn, now))


def _last_heard(conn: sa.Connection, webhook: str) -> datetime | None:
    # Ids rise with time, so the newest row is found from the end of the primary key, without an index of its own.
    newest: Sequence[datetime | None] = [
        conn.execute(
            sa.select(table.c.received_at).where(table.c.webhook == webhook).order_by(table.c.id.desc()).limit(1)
        ).scalar()
        for table in (raw_requests, inbound_messages, receipts)
    ]
    return max((moment for moment in newest if moment), default=None)


def _refusals(conn: sa.Connection, webhook: str) -> tuple[Refusal, ...]:
    rows = sa.select(quarantine.c.received_at, quarantine.c.reason).where(quarantine.c.webhook == webhook)
    return tuple(Refusal(*row) for row in conn.execute(rows.order_by(quarantine.c.id.desc())))


def _work(conn: sa.Connection, webhook: str) -> dict[str, int]:
    is_open = sa.and_(work_list.c.webhook == webhook, work_list.c.resolved_at.is_(None))
    rows = sa.select(work_list.c.kind, sa.func.count()).where(is_open).group_by(work_list.c.kind)
    return {row[0]: row[1] for row in conn.execute(rows.order_by(work_list.c.kind))}


def _bad(conn: sa.Connection, now: datetime) -> tuple[BadEnd, ...]:
    ended = outbox.c.state.in_(("failed", "doubtful", "blocked"))
    grouped = (
        sa.select(
            outbox.c.credential, outbox.c.state, sa.func.count().label("count"), sa.func.max(outbox.c.id).label("id")
        )
        .where(ended, outbox.c.id >= first_id_at(now - RECENT))
        .group_by(outbox.c.credential, outbox.c.state)
        .subquery()
    )
    rows = sa.select(grouped.c.credential, grouped.c.state, grouped.c.count, outbox.c.reason).join_from(
        grouped, outbox, outbox.c.id == grouped.c.id
    )
    return tuple(BadEnd(*row) for row in conn.execute(rows.order_by(grouped.c.credential, grouped.c.state)))
