"""Where parts of long messages lie between two batches: tables `inbound_parts` and `decided_parts`.

Only the messages of which a batch brings a part are looked up, so that nobody's other messages, however many, hold the
writer up.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from app.record.joining import Decided, Group, Part, Shelf
from app.record.sets import Ask
from app.record.tables import decided_parts, inbound_parts, webhooks

#: of one person at one webhook; nobody types so many long messages at once, but a machine may begin them without end
MOST_WAITING = 20

_LEFT_AT_ONCE = 100

# the ids are one parameter: a batch may complete more parts than PostgreSQL takes parameters
_DELETE = {
    table: Ask(f"DELETE FROM {table.name} WHERE id IN (SELECT c0 FROM given) RETURNING id", ("bigint",))
    for table in (inbound_parts, decided_parts)
}


def look_up(conn: sa.Connection, messages: Collection[tuple[str, str]]) -> Shelf:
    """What is stored of these messages, given by (address, whole)."""
    if not messages:
        return Shelf((), ())
    parts = _rows(conn, inbound_parts, Part._fields, messages)
    decided = _rows(conn, decided_parts, Decided._fields, messages)
    return Shelf((Part(*row) for row in parts), (Decided(*row) for row in decided))


def _rows(
    conn: sa.Connection, table: sa.Table, fields: Iterable[str], messages: Collection[tuple[str, str]]
) -> Iterator[Sequence[Any]]:
    these = sa.tuple_(table.c.address, table.c.whole).in_(messages)
    yield from conn.execute(sa.select(*(table.c[name] for name in fields)).where(these))


def put_back(conn: sa.Connection, shelf: Shelf) -> None:
    """Store what has changed on the shelf since it was looked up."""
    _exchange(conn, inbound_parts, shelf.before.parts, shelf.waiting())
    _exchange(conn, decided_parts, shelf.before.decided, shelf.decided())


def _exchange(conn: sa.Connection, table: sa.Table, old: Collection[int], rows: Iterable[Part | Decided]) -> None:
    now = {row.id: row for row in rows}
    _DELETE[table].run(conn, [(row_id,) for row_id in old - now.keys()])
    born = [row._asdict() for row_id, row in now.items() if row_id not in old]
    if born:
        conn.execute(table.insert(), born)


def crowded_out(conn: sa.Connection, people: Collection[tuple[str, str]]) -> list[tuple[str, Group]]:
    """What people, given by (webhook, address), have waiting beyond the most: the webhook, and which message.

    Of each person the messages that have waited longest for a part.
    """
    part = inbound_parts.c
    common = [part[name] for name in Group._fields]
    newest_first = sa.func.row_number().over(
        partition_by=(part.webhook, part.address), order_by=sa.func.max(part.id).desc()
    )
    waiting = (
        sa.select(part.webhook.label("through"), *common, newest_first.label("rank"))
        .where(sa.tuple_(part.webhook, part.address).in_(people))
        .group_by(part.webhook, *common)
        .subquery()
    )
    many = sa.select(waiting).where(waiting.c.rank > MOST_WAITING)
    return [(row[0], Group(*row[1:-1])) for row in conn.execute(many)]


def left_over(conn: sa.Connection, removed: datetime, unheard: datetime) -> list[Group]:
    """Some messages whose newest part was stored before `removed` and whose webhooks are gone, or before `unheard`."""
    common, newest = [inbound_parts.c[name] for name in Group._fields], sa.func.max(inbound_parts.c.stored_at)
    query = (
        sa.select(*common)
        .outerjoin_from(inbound_parts, webhooks, webhooks.c.name == inbound_parts.c.webhook)
        .group_by(*common)
        .having(sa.or_(newest < unheard, sa.and_(newest < removed, sa.func.count(webhooks.c.name) == 0)))
        .limit(_LEFT_AT_ONCE)
    )
    return [Group(*row) for row in conn.execute(query)]
