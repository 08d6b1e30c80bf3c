"""Long messages whose parts come one by one: each part is kept, and when the last is there, they are decided as one.

Some providers do not join them (https://developer.vonage.com/en/messaging/sms/guides/concatenation-and-encoding). A
part is acknowledged like any event, with its own key and raw request. All parts of a message have one author, and a
batch holds its authors until its commit (`keys`): two last parts on two nodes can neither miss each other nor both find
the message whole.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeGuard

import orjson
import sqlalchemy as sa

from app.changes import WorkRow
from app.events import Event, Heard, Inbound, Piece
from app.record import keys
from app.record.housekeeping import CHUNK
from app.record.ids import first_id_at, new_id
from app.record.joining import LATE_WITHIN, Found, Group, Part, Shelf, call_key, message, text_of
from app.record.shelves import crowded_out, left_over, look_up, put_back
from app.record.tables import decided_parts, inbound_parts, work_list

#: A message is decided without what is missing when so long no part has come. Networks bring the parts within seconds.
#: A part that we could not take comes again: Sinch tries after 5, 10, 20 and 40 seconds, which is 75
#: (https://developers.sinch.com/docs/sms/api-reference/sms/tag/Webhooks/). And a STOP must not wait long: it is
#: confirmed within 5 minutes, or it is too late (see `app.interpret.guard.Policy`).
PARTS_WAIT = timedelta(seconds=90)
#: so long a webhook that was removed may come back and have its messages decided
_WEBHOOK_GONE = timedelta(hours=1)
_LEFT = (
    "a long message of which parts are missing was not decided: its webhook was removed, or could not hear for days; "
    "if it says STOP, change the consent by hand"
)
#: one byte in the header of each part counts them (3GPP TS 23.040, 9.2.3.24.1)
_MOST_PARTS = 255
#: seconds; by then the message is decided, or its parts are others
_CALL_ONCE_IN = 3_600.0
_LONGEST_ITEM = 4_000


class Joined(NamedTuple):
    """What became of the requests of a batch."""

    fresh: list[Heard]
    """The requests as they came; the raw request of a part that came before says so."""
    whole: list[Heard]
    """The same with whole messages in the place of parts."""


class Overdue(NamedTuple):
    """A message of which no further part has come for `PARTS_WAIT`."""

    webhook: str
    received_at: datetime
    """When its newest part was received."""
    event: Inbound
    """Has the writer decide what is there. It looks again then, so this may be told twice, or too late."""


# --- one batch ----------------------------------------------------------------------------------------------------


def join(conn: sa.Connection, fresh: Sequence[Heard]) -> Joined:
    """Join the parts that have come. What waits for others is stored, and what was joined is deleted."""
    now = datetime.now(UTC)
    shelf = look_up(conn, _messages(event for heard in fresh for event in heard.events))
    laid = [_laid(shelf, heard, now) for heard in fresh]
    put_back(conn, shelf)
    whole = [each for heard, messages in laid for each in (_without_parts(heard), *messages)]
    return Joined([heard for heard, _ in laid], whole + _made_room(conn, shelf, fresh, now))


def _messages(events: Iterable[Event]) -> set[tuple[str, str]]:
    return {(event.address, event.piece.whole) for event in events if _is_part(event) and event.piece}


def _is_part(event: Event) -> TypeGuard[Inbound]:
    """Whether it must be joined, or has a message decided. Numbers that cannot be are no reason to wait."""
    if not isinstance(event, Inbound) or event.piece is None:
        return False
    return bool(event.fragment) or 1 <= event.piece.number <= event.piece.total <= _MOST_PARTS


def _without_parts(heard: Heard) -> Heard:
    events = tuple(event for event in heard.events if not _is_part(event))
    return heard if len(events) == len(heard.events) else replace(heard, events=events)


def _laid(shelf: Shelf, heard: Heard, now: datetime) -> tuple[Heard, list[Heard]]:
    """The request, and the messages that its parts complete."""
    whole: list[Heard] = []
    for event in heard.events:
        if _is_part(event):
            found = shelf.called(event.key) if event.fragment else shelf.lay(_part(heard, event, now))
            if found is None:
                heard = _marked(heard, event)
            else:
                whole += [message(heard, each, now) for each in found]
    return heard, whole


def _marked(heard: Heard, event: Inbound) -> Heard:
    """With a word in its raw request, where the part would else have left no trace."""
    if heard.raw is None or event.piece is None:
        return heard
    repeat = f"part {event.piece.number} of {event.piece.total} came again under another id, and counted once"
    return replace(heard, raw=replace(heard.raw, problem="; ".join(filter(None, (heard.raw.problem, repeat)))))


def _part(heard: Heard, event: Inbound, now: datetime) -> Part:
    assert event.piece is not None
    return Part(
        id=new_id(),
        raw_id=heard.raw.id if heard.raw else None,
        webhook=heard.webhook,
        account=heard.account,
        program=heard.program,
        address=event.address,
        sender=event.sender,
        whole=event.piece.whole,
        total=event.piece.total,
        number=event.piece.number,
        provider_id=event.provider_id,
        channel=event.channel,
        text=event.text,
        category=event.provider_category.value if event.provider_category else "",
        answered=event.provider_answered,
        signature=heard.raw.signature if heard.raw else "",
        provider_time=event.provider_time,
        received_at=heard.received_at,
        stored_at=now,
    )


def _made_room(conn: sa.Connection, shelf: Shelf, fresh: Sequence[Heard], now: datetime) -> list[Heard]:
    """Messages decided as they stand, because too many of one person wait."""
    begun = {(part.webhook, part.address) for part in shelf.begun()}
    crowd = crowded_out(conn, begun) if begun else []
    if not crowd:
        return []
    through = {(heard.webhook, event.address): heard for heard in fresh for event in heard.events if _is_part(event)}
    found = _taken(conn, [group for _, group in crowd])
    return [
        message(through[webhook, group.address], each, now) for webhook, group in crowd for each in found.pop(group, [])
    ]


def _taken(conn: sa.Connection, groups: Collection[Group]) -> dict[Group, list[Found]]:
    """Take what is there of these messages."""
    shelf = look_up(conn, {(group.address, group.whole) for group in groups})
    found = {group: shelf.take(group) for group in groups}
    put_back(conn, shelf)
    return found


# --- what hangs ---------------------------------------------------------------------------------------------------


def overdue(conn: sa.Connection, now: datetime, webhooks: Collection[str], *, limit: int = 200) -> list[Overdue]:
    """Messages of these webhooks that shall be decided without what is missing, the longest waiting first.

    What was stored in the future was stored before the clock was set back, and waits no longer.
    """
    part = inbound_parts.c
    common, newest = [part[name] for name in Group._fields], sa.func.max(part.stored_at)
    hears = sa.func.max(sa.case((part.webhook.in_(webhooks), part.webhook)))
    query = (
        sa.select(
            *common,
            hears.label("webhook"),
            sa.func.max(part.received_at).label("received_at"),
            sa.func.max(part.id).label("newest"),
            sa.func.count().label("parts"),
        )
        .group_by(*common)
        .having(hears.is_not(None), sa.or_(newest < now - PARTS_WAIT, newest > now + PARTS_WAIT))
        .order_by(newest)
        .limit(limit)
    )
    return [Overdue(row.webhook, row.received_at, _call(row)) for row in conn.execute(query)]


def _call(row: Any) -> Inbound:
    key, piece = call_key(row.newest, row.parts), Piece(row.whole, 0, row.total)
    return Inbound(
        key, "", row.address, row.sender, "", piece=piece, fragment="incomplete", repeats_within=_CALL_ONCE_IN
    )


# --- what nobody will decide --------------------------------------------------------------------------------------


def give_up(conn: sa.Connection, heard: Heard) -> list[int | None]:
    """Delete the parts of messages that the database refuses to have decided; the ids of their raw requests."""
    calls = [event for event in heard.events if _is_part(event) and event.fragment]
    keys.hold(conn, sorted({call.address for call in calls}))
    shelf = look_up(conn, _messages(calls))
    given = [found for call in calls for found in shelf.called(call.key)]
    put_back(conn, shelf)
    return [part.raw_id for found in given for part in found.parts]


def drop_old(conn: sa.Connection, now: datetime, days: int) -> int:
    """Delete some of what tells late parts when none can come any more; how many rows.

    With it some messages go to the work list that nobody will decide: their webhook is gone, or has not been able to
    hear for so many days.
    """
    told = decided_parts.c.id
    old = sa.select(told).where(told < first_id_at(now - LATE_WITHIN)).order_by(told).limit(CHUNK)
    dropped = conn.execute(decided_parts.delete().where(told.in_(old))).rowcount
    left = left_over(conn, now - _WEBHOOK_GONE, now - timedelta(days=days))
    keys.hold(conn, sorted({group.address for group in left}))
    rows = [_work_row(found.parts) for taken in _taken(conn, left).values() for found in taken]
    if rows:
        conn.execute(work_list.insert(), [row._asdict() for row in rows])
    return dropped + len(left)


def _work_row(parts: Sequence[Part]) -> WorkRow:
    first = parts[0]
    item = orjson.dumps({"from": first.address, "to": first.sender, "text": text_of(parts)}).decode()[:_LONGEST_ITEM]
    return WorkRow(new_id(), first.raw_id, first.webhook, "parked", _LEFT, item, first.received_at)
