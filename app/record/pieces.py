"""Long messages whose parts come one by one: each part is kept, and when the last is there, they are decided as one.

Some providers do not join them (https://developer.vonage.com/en/messaging/sms/guides/concatenation-and-encoding). A
part is acknowledged like any event, with its own key and raw request. All parts of a message have one author, and a
batch holds its authors until its commit (`keys`): two last parts on two nodes can neither miss each other nor both find
the message whole.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple, TypeGuard

import sqlalchemy as sa

from app.events import Event, Heard, Inbound, Piece
from app.record.ids import first_id_at, new_id
from app.record.joining import LATE_WITHIN, Found, Group, Part, Shelf, call_key, message
from app.record.tables import inbound_parts

#: a message is decided without what is missing when so long no part has come
PARTS_WAIT = timedelta(minutes=5)
#: one byte in the header of each part counts them (3GPP TS 23.040, 9.2.3.24.1)
_MOST_PARTS = 255
#: seconds; by then the message is decided, or its newest part is another
_CALL_ONCE_IN = 3_600.0


class Overdue(NamedTuple):
    """A message of which no further part has come for `PARTS_WAIT`."""

    webhook: str
    received_at: datetime
    """When its newest part was received."""
    event: Inbound
    """Has the writer decide what is there. It looks again then, so this may be told twice, or too late."""


def join(conn: sa.Connection, fresh: Sequence[Heard]) -> list[Heard]:
    """The requests with whole messages in the place of parts. What waits is stored, and what was joined is deleted."""
    stored = _stored(conn, (event.address for heard in fresh for event in heard.events if _is_part(event)))
    shelf = Shelf(stored)
    whole = [each for heard in fresh for each in _laid(shelf, heard)]
    _store(conn, stored, shelf.parts())
    return whole


def overdue(conn: sa.Connection, now: datetime, webhooks: Collection[str], *, limit: int = 200) -> list[Overdue]:
    """Messages of these webhooks that shall be decided without what is missing, the longest waiting first.

    How long a part waits is told by its id, which is of the time it was stored: that of a replay was received long ago.
    """
    part = inbound_parts.c
    common, newest = [part[name] for name in Group._fields], sa.func.max(part.id)
    query = (
        sa.select(*common, newest, sa.func.max(part.received_at))
        .where(part.missed.is_(False), part.webhook.in_(webhooks))
        .group_by(*common)
        .having(newest < first_id_at(now - PARTS_WAIT))
        .order_by(newest)
        .limit(limit)
    )
    return [Overdue(row[0], row[-1], _call(Group(*row[:-2]), row[-2])) for row in conn.execute(query)]


def give_up(conn: sa.Connection, heard: Heard) -> list[int | None]:
    """Delete the parts of messages that the database refuses to have decided; the ids of their raw requests."""
    calls = [event for event in heard.events if _is_part(event) and event.fragment]
    groups = {_group(heard, call) for call in calls}
    stored = _stored(conn, (call.address for call in calls))
    given = [part for part in stored if part.group in groups and not part.missed]
    _delete(conn, [part.id for part in given])
    return [part.raw_id for part in given]


def drop_old(conn: sa.Connection, now: datetime, days: int) -> int:
    """Delete what tells late parts when none can come any more, and parts left by webhooks that are gone; how many."""
    part = inbound_parts.c
    told = sa.and_(part.missed.is_(True), part.id < first_id_at(now - LATE_WITHIN))
    left = part.id < first_id_at(now - timedelta(days=days))
    return conn.execute(inbound_parts.delete().where(sa.or_(told, left))).rowcount


# --- one request after the other ----------------------------------------------------------------------------------


def _is_part(event: Event) -> TypeGuard[Inbound]:
    """Whether it must be joined, or has a message decided. Numbers that cannot be are no reason to wait."""
    if not isinstance(event, Inbound) or event.piece is None:
        return False
    return bool(event.fragment) or 1 <= event.piece.number <= event.piece.total <= _MOST_PARTS


def _laid(shelf: Shelf, heard: Heard) -> Iterator[Heard]:
    """The request without its parts, then the messages that these complete."""
    parts = [event for event in heard.events if _is_part(event)]
    yield replace(heard, events=tuple(event for event in heard.events if not _is_part(event))) if parts else heard
    for event in parts:
        yield from (message(heard, found) for found in _found(shelf, heard, event))


def _found(shelf: Shelf, heard: Heard, event: Inbound) -> list[Found]:
    group = _group(heard, event)
    return shelf.call(group, event.key) if event.fragment else shelf.lay(_part(heard, event, group))


def _group(heard: Heard, event: Inbound) -> Group:
    assert event.piece is not None
    return Group(heard.webhook, event.address, event.sender, event.piece.whole, event.piece.total)


def _part(heard: Heard, event: Inbound, group: Group) -> Part:
    assert event.piece is not None
    return Part(
        id=new_id(),
        raw_id=heard.raw.id if heard.raw else None,
        **group._asdict(),
        number=event.piece.number,
        missed=False,
        provider_id=event.provider_id,
        channel=event.channel,
        text=event.text,
        category=event.provider_category.value if event.provider_category else "",
        answered=event.provider_answered,
        signature=heard.raw.signature if heard.raw else "",
        provider_time=event.provider_time,
        received_at=heard.received_at,
    )


def _call(group: Group, newest_id: int) -> Inbound:
    piece = Piece(group.whole, 0, group.total)
    return Inbound(
        call_key(newest_id), "", group.address, group.sender, "",
        piece=piece, fragment="incomplete", repeats_within=_CALL_ONCE_IN,
    )  # fmt: skip


# --- the table ----------------------------------------------------------------------------------------------------


def _stored(conn: sa.Connection, authors: Iterable[str]) -> list[Part]:
    columns = (inbound_parts.c[name] for name in Part._fields)
    query = sa.select(*columns).where(inbound_parts.c.address.in_(set(authors))).order_by(inbound_parts.c.id)
    return [Part(*row) for row in conn.execute(query)]


def _store(conn: sa.Connection, before: Sequence[Part], after: Sequence[Part]) -> None:
    old, new = {part.id for part in before}, {part.id for part in after}
    _delete(conn, old - new)
    born = [part._asdict() for part in after if part.id not in old]
    if born:
        conn.execute(inbound_parts.insert(), born)


def _delete(conn: sa.Connection, ids: Collection[int]) -> None:
    if ids:
        conn.execute(inbound_parts.delete().where(inbound_parts.c.id.in_(ids)))
