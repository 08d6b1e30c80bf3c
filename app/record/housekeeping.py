"""What goes with time: what was heard and sent past its retention, keys, old refusals. Small deletes, so that no event
waits behind one; in PostgreSQL what was heard goes by whole months (see `partitions`). The ledger never goes."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

import orjson
import sqlalchemy as sa

from app.record import partitions
from app.record.ids import first_id_at, new_id
from app.record.tables import Moment, quarantine, seen

CHUNK = 2000
#: of the table of keys, 8 KiB each, looked at in one step; and steps in one run
_PAGES, _STEPS = 64, 100
_OLD = "at < :past AND repeats_until IS NULL"
_OLDEST_KEYS = sa.text(
    f"DELETE FROM seen WHERE rowid IN (SELECT rowid FROM seen ORDER BY rowid LIMIT {CHUNK}) AND {_OLD}"
).bindparams(sa.bindparam("past", type_=Moment))
_OLD_KEYS = sa.text(
    f"DELETE FROM seen WHERE ctid >= CAST(:first AS tid) AND ctid < CAST(:end AS tid) AND {_OLD}"
).bindparams(sa.bindparam("past", type_=Moment))
_KEY_PAGES = sa.text("SELECT pg_relation_size('seen') / current_setting('block_size')::int")

Refusal = tuple[str, datetime, str, str, str, dict[str, str], bytes, str]
"""(webhook, received at, reason, method, target, headers, beginning of the body, client)."""


#: what stays although it is old: what is not yet understood, what has not left, what was told of lately
_STAYS = {
    "raw_requests": "reading = 'undecoded'",
    "outbox": "state IN ('pending', 'sending')",
    "action_calls": "state IN ('pending', 'calling')",
    "messages": "status_at >= :past",
    # a change of consent is never told too late
    "stream_refusals": "source = 'consent' AND settled_at IS NULL",
}


def drop_old(conn: sa.Connection, now: datetime, table: str, days: int) -> int:
    """Delete some rows of a table past their days; how many. Of a table in PostgreSQL that is partitioned, only what is
    in no month."""
    past = now - timedelta(days=days)
    mine = f"{table}_default" if conn.dialect.name == "postgresql" and table in partitions.TABLES else table
    stays = f"AND NOT ({_STAYS[table]})" if table in _STAYS else ""
    old = f"SELECT id FROM {mine} WHERE id < :before {stays} ORDER BY id LIMIT {CHUNK}"
    delete = sa.text(f"DELETE FROM {mine} WHERE id IN ({old})")
    if ":past" in stays:
        delete = delete.bindparams(sa.bindparam("past", past, Moment))
    return conn.execute(delete, {"before": first_id_at(past)}).rowcount


def drop_passing_keys(conn: sa.Connection, now: datetime) -> int:
    """Delete keys whose seconds have passed; how many."""
    passed = sa.select(seen.c.key).where(seen.c.repeats_until < now).limit(CHUNK)
    return conn.execute(sa.delete(seen).where(seen.c.key.in_(passed))).rowcount


class OldKeys:
    """Forgets the keys of events that are past their retention, without an index on their time.

    In SQLite the oldest are the first rows. PostgreSQL fills the gaps that deleted rows leave, so the table is walked
    through, some pages each run, from page to page and from its end to its beginning: five million keys take hours, and
    each run reads some megabytes of it in small steps. An index would cost at each new key.
    """

    def __init__(self) -> None:
        self._page: int | None = None
        self._steps = 0

    def drop_some(self, conn: sa.Connection, now: datetime, days: int) -> int:
        """Look at some more keys and delete the old ones; 0 when this run has looked at enough."""
        past = now - timedelta(days=days)
        if conn.dialect.name == "sqlite":
            return conn.execute(_OLDEST_KEYS, {"past": past}).rowcount
        pages = conn.execute(_KEY_PAGES).scalar_one()
        start = secrets.randbelow(pages + 1) if self._page is None else self._page
        first = start if start < pages else 0
        conn.execute(_OLD_KEYS, {"past": past, "first": f"({first},0)", "end": f"({first + _PAGES},0)"})
        self._page = first + _PAGES
        self._steps = (self._steps + 1) % min(_STEPS, pages // _PAGES + 2)
        return self._steps


def keep_refusals(conn: sa.Connection, refusals: Sequence[Refusal], per_webhook: int) -> None:
    """Store refused requests, and of each webhook only the newest."""
    rows = [
        dict(zip(quarantine.columns.keys(), (new_id(), *head, orjson.dumps(headers).decode(), *tail), strict=True))
        for *head, headers, body, client in refusals
        for tail in [(body, client)]
    ]
    conn.execute(sa.insert(quarantine), rows)
    for webhook in {row["webhook"] for row in rows}:
        mine = quarantine.c.webhook == webhook
        newest = sa.select(quarantine.c.id).where(mine).order_by(quarantine.c.id.desc()).limit(per_webhook)
        conn.execute(sa.delete(quarantine).where(mine, quarantine.c.id.not_in(newest.scalar_subquery())))
