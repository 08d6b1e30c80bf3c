"""Erasing a person on request: what was said by them and about them goes, and a STOP stays effective without them.

`suppress` comes first, in one short transaction: from its commit on the person is known by a keyed hash alone, and what
they say then is a new beginning. The rest follows in small steps, so that no event waits behind one: look (`searching`,
in a reader), then remove. Broken off at any point it is finished by erasing once more.
The ledger stays as it is: what its commitments were made of is gone, with the salt.

A raw request may hold several people's events, and other rows point to it, so none is deleted: `blank` empties it. One
that nobody has understood yet may be another person's STOP: in that the digits are struck out, and the rest is kept.
What cannot be found: hashes of whole events in `seen`, which nobody can read without knowing the event.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.address import is_reachable
from app.errors import BadInput
from app.events import ConsentState, Standing
from app.record import generations, keys, memberships, people, portraits, queries
from app.record.ids import new_id
from app.record.overwriting import overwriting
from app.record.searching import PLACES
from app.record.standings import holding
from app.record.tables import (
    action_calls,
    consent,
    decided_parts,
    erasures,
    evidence,
    identities,
    inbound_messages,
    inbound_parts,
    outbox,
    person_messages,
    profile_attributes,
    raw_requests,
    receipts,
    reply_guard,
    stale_memberships,
    stream_refusals,
    suppressions,
)
from app.record.tables import memberships as members
from app.record.traces import Traces

#: rows that one step removes, and raw requests, each of which may have a megabyte
CHUNK = 500
REQUESTS = 50
_BLANKED = "emptied, because a person in it was erased"
_STRUCK = "digits are struck out, because a person in it was erased"
_KEPT_STATES = (ConsentState.OPTED_OUT.value, ConsentState.PENDING.value)
_WAITING = sa.text("state IN ('pending', 'sending')")


class Asked(NamedTuple):
    """Who shall be erased, who asks for it, and why."""

    address: str
    actor: str
    reason: str
    now: datetime


class Owned(NamedTuple):
    """The rows of a person that an index finds, by their ids."""

    evidence: list[int]
    inbound: list[int]
    requests: list[int]
    """Raw requests that brought their messages."""


class Present(NamedTuple):
    """What there is of a person."""

    owned: Owned
    found: dict[str, list[Any]]
    """By place; see `searching.PLACES`."""
    linked: set[int]
    """Raw requests that brought what is recorded of them, or waits on the work list."""
    understood: set[int]
    """Those of them in which nothing of anybody else waits to be understood."""
    receipts: Collection[int]
    """Of messages that they were sent."""

    @property
    def requests(self) -> list[int]:
        """The raw requests that are about them."""
        return sorted(self.linked.union(self.found["requests"]))


class Begun(NamedTuple):
    """What the first step found for the others, and what it did."""

    owned: Owned
    counts: dict[str, int]


#: what the first step deletes: few rows, found by an index
_AT_ONCE: dict[str, tuple[tuple[sa.Table, "sa.ColumnElement[bool] | sa.TextClause"], ...]] = {
    "attributes": ((profile_attributes, sa.true()),),
    "replies": ((outbox, _WAITING),),
    "calls": ((action_calls, sa.true()),),
    "parts": ((inbound_parts, sa.true()), (decided_parts, sa.true())),
    "guards": ((reply_guard, sa.true()),),
    "audiences": tuple((each, sa.true()) for each in (members, stale_memberships, person_messages)),
    "browsers": ((identities, sa.true()),),
}


# --- the first step -----------------------------------------------------------------------------------------------


def suppress(conn: sa.Connection, asked: Asked) -> Begun:
    """Keep a STOP under the person's hash in the place of their consent, and delete what could still act on them.

    Raises BadInput without the key, or with another than before, where the reason names the person, and for a sender.
    """
    if not is_reachable(asked.address):
        raise BadInput("A short code or an alphanumeric sender is no person; nothing was erased.")
    if Traces(asked.address).name(f"{asked.reason} {asked.actor}".encode()):
        raise BadInput("The reason or the actor names the person, and both are kept; say it without the number.")
    with overwriting(conn):
        keys.hold(conn, [asked.address])
        person = people.first_used(conn, asked.now).person(asked.address)
        generations.unnamed(conn, asked.address, asked.now)
        owned_now = owned(conn, asked.address)
        counts = _keep_suppressed(conn, asked.address, person) | _delete_at_once(conn, asked.address)
        conn.execute(erasures.insert(), {
            "id": new_id(), "person": person, "actor": asked.actor, "reason": asked.reason, "erased_at": asked.now,
        })  # fmt: skip
    return Begun(owned_now, counts)


def owned(conn: sa.Connection, address: str) -> Owned:
    """What an index finds of the person now."""

    def ids(column: "sa.Column[Any]", of: "sa.Column[str]") -> list[int]:
        return list(conn.execute(sa.select(column).where(of == address, column.is_not(None)).distinct()).scalars())

    said, parts = inbound_messages.c, inbound_parts.c
    requests = {*ids(said.raw_id, said.address), *ids(parts.raw_id, parts.address)}
    return Owned(ids(evidence.c.ledger_id, evidence.c.address), ids(said.id, said.address), sorted(requests))


def counted(conn: sa.Connection, address: str) -> dict[str, int]:
    """What the first step would delete."""
    found = {
        name: sum(_count(conn, table, address, also) for table, also in places) for name, places in _AT_ONCE.items()
    }
    states = [row.state for row in _consent_rows(conn, address)]
    return {"consent": len(states), "suppressed": sum(state in _KEPT_STATES for state in states)} | found


def _count(conn: sa.Connection, table: sa.Table, address: str, also: Any) -> int:
    rows = sa.select(sa.func.count()).select_from(table).where(table.c.address == address, also)
    return conn.execute(rows).scalar_one()


def _delete_at_once(conn: sa.Connection, address: str) -> dict[str, int]:
    return {
        name: sum(conn.execute(table.delete().where(table.c.address == address, also)).rowcount for table, also in its)
        for name, its in _AT_ONCE.items()
    }


def _keep_suppressed(conn: sa.Connection, address: str, person: str) -> dict[str, int]:
    """Of each program the state that holds now, where it is one that forbids; who had opted in is unknown then."""
    kept = {row.program: row for row in conn.execute(sa.select(suppressions).where(suppressions.c.person == person))}
    rows, unconfirmed = _consent_rows(conn, address), _unconfirmed(conn, address)
    for row in rows:
        before = kept.get(row.program)
        if before is None or holding(_standing(row), _standing(before)) != _standing(before):
            here = sa.and_(suppressions.c.program == row.program, suppressions.c.person == person)
            conn.execute(suppressions.delete().where(here))
            if row.state in _KEPT_STATES:
                confirmed = row.confirmed and row.program not in unconfirmed
                conn.execute(suppressions.insert(), _suppression(row, person) | {"confirmed": confirmed})
        conn.execute(consent.delete().where(consent.c.program == row.program, consent.c.address == address))
    left = sa.select(sa.func.count()).select_from(suppressions).where(suppressions.c.person == person)
    return {"consent": len(rows), "suppressed": conn.execute(left).scalar_one()}


def _consent_rows(conn: sa.Connection, address: str) -> Sequence[Any]:
    programs = queries.programs_of(conn, address)
    return conn.execute(sa.select(consent).where(consent.c.program.in_(programs), consent.c.address == address)).all()


def _unconfirmed(conn: sa.Connection, address: str) -> set[str]:
    """The programs in which the confirmation of an opt-out has not left, and will not: the next STOP is confirmed."""
    waits = sa.and_(_WAITING, outbox.c.state == "pending", outbox.c.category == "opt_out")
    return set(conn.execute(sa.select(outbox.c.program).where(waits, outbox.c.address == address)).scalars())


def _standing(row: Any) -> Standing:
    return Standing(ConsentState(row.state), row.since, row.as_of, row.cause, row.confirmed)


def _suppression(row: Any, person: str) -> dict[str, Any]:
    values = {name: value for name, value in row._mapping.items() if name != "address"}  # noqa: SLF001 - its public name
    return values | {"person": person}


# --- removing -----------------------------------------------------------------------------------------------------


def deletions(there: Present) -> Iterator[tuple[str, "sa.Column[Any]", Collection[Any]]]:
    """What to delete, in the order that leaves everything to be found again where it is broken off."""
    # a receiver may quote the event in what it says of it
    told = {*there.owned.inbound, *there.owned.evidence, *there.receipts}
    yield "refusals", stream_refusals.c.row_id, told
    yield "receipts", receipts.c.message_id, there.found["messages"]
    for name, place in PLACES.items():
        if name != "requests":
            yield name, place.key, there.found[name]
    yield "inbound", inbound_messages.c.id, there.owned.inbound
    yield "evidence", evidence.c.ledger_id, there.owned.evidence


def delete(conn: sa.Connection, key: "sa.Column[Any]", found: Collection[Any]) -> int:
    """Delete the rows of these keys; how many there were."""
    with overwriting(conn):
        return conn.execute(key.table.delete().where(key.in_(found))).rowcount


def leave_audiences(conn: sa.Connection, address: str, now: datetime) -> None:
    """Once more, in the end: a rebuild may have come to what was still recorded of them. Who is back is left in."""
    with overwriting(conn):
        generations.unnamed(conn, address, now)
        (portrait,) = portraits.read(conn, [address])
        if portrait.is_known:
            memberships.touch(conn, [address])
            return
        for table, _ in _AT_ONCE["audiences"]:
            conn.execute(table.delete().where(table.c.address == address))


def blank(
    conn: sa.Connection, found: Collection[int], traces: Traces, *, understood: Collection[int]
) -> dict[str, int]:
    """Empty these raw requests, or strike the person out; how many of each.

    `understood`: those that are known to hold nothing of anybody else that waits to be understood.
    """
    counts = {"requests": 0, "struck": 0}
    with overwriting(conn):
        for row in conn.execute(sa.select(raw_requests).where(raw_requests.c.id.in_(found))).all():
            strike = row.reading == "undecoded" and row.id not in understood
            changed = _struck(row, traces) if strike else _emptied(row)
            if changed:
                conn.execute(raw_requests.update().where(raw_requests.c.id == row.id).values(changed))
                counts["struck" if strike else "requests"] += 1
    return counts


def _emptied(row: Any) -> dict[str, Any]:
    """What it was stays: when, whose webhook, how it was proved. It is not read again."""
    reading = "ignored" if row.reading == "undecoded" else row.reading
    return {"target": "/in/…", "headers": "{}", "body": b"", "reading": reading, "problem": _BLANKED}


def _struck(row: Any, traces: Traces) -> dict[str, Any]:
    told = [row.target.encode(), row.headers.encode(), bytes(row.body)]
    if not any(map(traces.are_certain, told)):
        # within base64 alone: an envelope of one message, and it is this person's
        return _emptied(row) if traces.hide(told[-1]) else {}
    target, headers, body = map(traces.struck, told)
    problem = "; ".join(filter(None, (row.problem, _STRUCK)))
    return {"target": target.decode(), "headers": headers.decode(), "body": body, "problem": problem}
