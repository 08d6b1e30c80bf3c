"""Finding a person where no index finds them: page by page by a table's key, so that no question takes long."""

from collections.abc import Collection
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.record.tables import action_calls, messages, outbox, quarantine, raw_requests, receipts, seen, work_list
from app.record.traces import Traces

#: rows of a page; measured on two busy cores, each of these takes a tenth of a second or two
PAGE = 50_000
_PAGE_OF_REQUESTS = 10_000


class Place(NamedTuple):
    """A table in which no index finds a person: it is searched page by page, by its key."""

    key: "sa.Column[Any]"
    columns: "tuple[sa.Column[Any], ...]"
    """Where a person may be named in others' words; none: `address` tells."""
    address: "sa.Column[str] | None" = None
    page: int = PAGE
    also: "sa.ColumnElement[bool]" = sa.true()
    """Which rows alone."""


PLACES = {
    "messages": Place(messages.c.id, (), messages.c.recipient),
    "requests": Place(
        raw_requests.c.id,
        (raw_requests.c.body, raw_requests.c.target, raw_requests.c.headers),
        page=_PAGE_OF_REQUESTS,
    ),
    "replies": Place(outbox.c.id, (), outbox.c.address),
    "work_list": Place(work_list.c.id, (work_list.c.item,)),
    "refused": Place(quarantine.c.id, (quarantine.c.body, quarantine.c.target, quarantine.c.headers)),
    # of a person's own an index is asked; what is about nobody, such as a document, may name them
    "calls": Place(
        action_calls.c.id,
        (action_calls.c.fields, action_calls.c.response, action_calls.c.problem, action_calls.c.note),
        also=action_calls.c.address == "",
    ),
    "keys": Place(seen.c.key, (seen.c.key,)),
}


class Found(NamedTuple):
    """A page of a search."""

    keys: list[Any]
    end: Any
    """The last key of the page; None: there is no page after it."""


def search(conn: sa.Connection, place: Place, traces: Traces, after: Any) -> Found:
    """The keys of a page's rows that are about the person. `after`: the end of the page before; None: begin."""
    beyond = place.key > after if after is not None else sa.true()
    end = conn.execute(sa.select(place.key).where(beyond).order_by(place.key).offset(place.page - 1).limit(1)).scalar()
    page = sa.and_(beyond, place.key <= end) if end is not None else beyond
    return Found(_about(conn, place, traces, page), end)


def _about(conn: sa.Connection, place: Place, traces: Traces, page: "sa.ColumnElement[bool]") -> list[Any]:
    if place.address is not None:
        return list(conn.execute(sa.select(place.key).where(page, place.address == traces.address)).scalars())
    may_be = sa.or_(*(traces.may_be_in(column, conn.dialect.name) for column in place.columns))
    columns = (column.label(None) for column in place.columns)
    rows = conn.execute(sa.select(place.key, *columns).where(page, place.also, may_be))
    return [row[0] for row in rows if any(_names(traces, value) for value in row[1:])]


def _names(traces: Traces, value: str | bytes) -> bool:
    data = value.encode() if isinstance(value, str) else bytes(value)
    return traces.name(data) or traces.hide(data)


def requests_about(conn: sa.Connection, message_ids: Collection[int]) -> set[int]:
    """The raw requests that brought receipts of these messages."""
    told = sa.select(receipts.c.raw_id).where(receipts.c.message_id.in_(message_ids), receipts.c.raw_id.is_not(None))
    return set(conn.execute(told).scalars())


def receipts_of(conn: sa.Connection, message_ids: Collection[int]) -> int:
    """How many receipts these messages have."""
    told = sa.select(sa.func.count()).select_from(receipts).where(receipts.c.message_id.in_(message_ids))
    return conn.execute(told).scalar_one()


def receipt_ids(conn: sa.Connection, message_ids: Collection[int]) -> set[int]:
    """The receipts of these messages."""
    return set(conn.execute(sa.select(receipts.c.id).where(receipts.c.message_id.in_(message_ids))).scalars())


def requests_with(conn: sa.Connection, entries: Collection[int]) -> set[int]:
    """The raw requests in which these entries of the work list stand."""
    column = work_list.c
    return set(
        conn.execute(sa.select(column.raw_id).where(column.id.in_(entries), column.raw_id.is_not(None))).scalars()
    )


def waited_for(conn: sa.Connection, requests: Collection[int], entries: Collection[int]) -> set[int]:
    """Those of the raw requests of which something else than these entries of the work list waits for a person."""
    column = work_list.c
    others = sa.select(column.raw_id, column.id).where(column.raw_id.in_(requests), column.resolved_at.is_(None))
    return {row.raw_id for row in conn.execute(others) if row.id not in entries}
