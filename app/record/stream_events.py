"""What streams tell of: entries of the ledger, inbound messages and receipts, found by their rising ids.

Each source is a table and how its rows become the fields of an event. A row that names nobody any more, because the
person was erased, is found by its id and has no event.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.events import EVERY_PROGRAM, Standing
from app.record import facts, profiles, refusals, standings, streams
from app.record.ids import moment_of
from app.record.tables import evidence, inbound_messages, ledger, messages, receipts
from app.stream import Source

_l, _e, _i, _r, _m = ledger.c, evidence.c, inbound_messages.c, receipts.c, messages.c

_TABLES: Mapping[str, sa.Table] = {"consent": ledger, "inbound": inbound_messages, "receipt": receipts}
_FIELDS: Mapping[str, Sequence[Any]] = {
    "consent": (
        _l.id, _e.address, _l.program, _e.webhook, _l.received_at, _l.effective_at, _l.old_state, _l.new_state,
        _l.superseded, _l.cause, _l.rule, _l.list_version, _e.keyword, _e.actor, _e.reason,
    ),
    "inbound": (
        _i.id, _i.address, _i.program, _i.webhook, _i.provider, _i.received_at, _i.effective_at, _i.provider_id,
        _i.sender, _i.channel, _i.text, _i.normal, _i.category, _i.keyword,
    ),
    "receipt": (
        _r.id, _m.recipient.label("address"), _r.webhook, _m.account, _r.received_at, _r.provider_time,
        _m.provider_id.label("message_id"), _m.sender, _r.status, _r.provider_status, _r.code, _r.error_text, _r.part,
        _r.raised,
    ),
}  # fmt: skip
_FROM: Mapping[str, Any] = {
    "consent": ledger.join(evidence, _e.ledger_id == _l.id),
    "inbound": inbound_messages,
    "receipt": receipts.join(messages, _m.id == _r.message_id),
}


class Happened(NamedTuple):
    """An event, and the person whom it is about as they are now."""

    row_id: int
    source: Source
    event: dict[str, Any]
    profile: dict[str, str]
    own: Standing
    """In the event's program."""
    every: Standing
    """In all programs."""
    withheld: bool
    """Nobody may be sent to, because the database was restored and not yet compared."""

    @property
    def address(self) -> str:
        """Whom it is about; empty where a receipt does not say."""
        return str(self.event["address"])


class Lag(NamedTuple):
    """What is recorded and not told of yet."""

    rows: int
    """At most `COUNTED`."""
    oldest: datetime | None


class Telling(NamedTuple):
    """How a stream stands."""

    problem: str
    refused: int
    lags: Mapping[Source, Lag]
    """By source."""


#: rows that are counted, at most
COUNTED = 10_000


def ids_above(conn: sa.Connection, source: Source, above: int, limit: int) -> list[int]:
    """The lowest ids above this one, rising."""
    its_id = _TABLES[source].c.id
    return list(conn.execute(sa.select(its_id).where(its_id > above).order_by(its_id).limit(limit)).scalars())


def newest_id(conn: sa.Connection, source: Source) -> int | None:
    """The newest row of a source that still has an event; None: there is none."""
    its_id = _FIELDS[source][0]
    query = sa.select(its_id).select_from(_FROM[source]).order_by(its_id.desc()).limit(1)
    return conn.execute(query).scalar()


def lag(conn: sa.Connection, source: Source, position: int, ahead: Collection[int]) -> Lag:
    """What is not told of yet."""
    waiting = [row_id for row_id in ids_above(conn, source, position, COUNTED + len(ahead)) if row_id not in ahead]
    return Lag(min(len(waiting), COUNTED), moment_of(waiting[0]) if waiting else None)


def telling(conn: sa.Connection) -> dict[str, Telling]:
    """How each stream stands, by its name."""
    return {name: _telling(conn, name) for name in streams.names(conn)}


def _telling(conn: sa.Connection, stream: str) -> Telling:
    found = streams.positions(conn, stream)
    problem = next((each.problem for each in found if each.problem), "")
    lags = {each.source: lag(conn, each.source, each.position, each.ahead) for each in found}
    return Telling(problem, refusals.count(conn, stream), lags)


def read(conn: sa.Connection, source: Source, row_ids: Collection[int], programs: Mapping[str, str]) -> list[Happened]:
    """The events of these rows, rising; rows that name nobody any more have none.

    `programs`: of each webhook, for receipts, whose messages know none.
    """
    withheld = facts.restored(conn) is not None  # before the standings: see there
    columns = _FIELDS[source]
    query = sa.select(*columns).select_from(_FROM[source]).where(columns[0].in_(row_ids)).order_by(columns[0])
    events = [_event(source, row._mapping, programs) for row in conn.execute(query)]  # noqa: SLF001 - its public name
    people = {event["address"] for event in events} - {""}
    attributes = profiles.read(conn, people)
    held = standings.of(conn, {(name, event["address"]) for event in events for name in _programs_of(event)})
    return [
        Happened(
            int(event["sequence"]),
            source,
            event,
            attributes.get(event["address"], {}),
            *standings.in_both(held, event["program"], event["address"]),
            withheld,
        )
        for event in events
    ]


def _programs_of(event: Mapping[str, Any]) -> set[str]:
    return {event["program"], EVERY_PROGRAM}


def _event(source: Source, row: Mapping[Any, Any], programs: Mapping[str, str]) -> dict[str, Any]:
    """The fields of `event.…`, see `app.action`; times stay times."""
    fields = {str(name): value for name, value in row.items() if name != "id"}  # orjson takes no other texts as names
    fields.setdefault("program", programs.get(fields["webhook"], EVERY_PROGRAM))
    return {"type": source, "sequence": str(row["id"]), **fields}
