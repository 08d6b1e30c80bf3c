"""What goes with time: raw requests past their retention, keys that were good for seconds, old refusals. Small deletes,
so that no event waits behind one."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import orjson
import sqlalchemy as sa

from app.record.ids import first_id_at, new_id
from app.record.tables import quarantine, raw_requests, seen

CHUNK = 2000

Refusal = tuple[str, datetime, str, str, str, dict[str, str], bytes, str]
"""(webhook, received at, reason, method, target, headers, beginning of the body, client)."""


def drop_old_requests(conn: sa.Connection, now: datetime, days: int) -> int:
    """Delete some raw requests past their retention; how many. Those not yet understood stay until they are."""
    old = (
        sa.select(raw_requests.c.id)
        .where(raw_requests.c.id < first_id_at(now - timedelta(days=days)), raw_requests.c.reading != "undecoded")
        .order_by(raw_requests.c.id)
        .limit(CHUNK)
    )
    return conn.execute(sa.delete(raw_requests).where(raw_requests.c.id.in_(old))).rowcount


def drop_passing_keys(conn: sa.Connection, now: datetime) -> int:
    """Delete keys whose seconds have passed; how many."""
    passed = sa.select(seen.c.key).where(seen.c.repeats_until < now).limit(CHUNK)
    return conn.execute(sa.delete(seen).where(seen.c.key.in_(passed))).rowcount


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
