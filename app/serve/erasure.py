"""Erasing a person on request, and what there is to be erased."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Annotated, Any

import sqlalchemy as sa
import structlog
from pydantic import Field

from app import steps
from app.record import erasure
from app.record.database import Database
from app.record.erasure import CHUNK, REQUESTS, Asked, Owned, Present
from app.record.overwriting import empty_log
from app.record.searching import (
    PLACES,
    Place,
    receipt_ids,
    receipts_of,
    requests_about,
    requests_with,
    search,
    waited_for,
)
from app.record.tokens import Scope
from app.record.traces import Traces
from app.record.writer import Writer
from app.serve.fields import RawAddress, Region, Said, person
from app.serve.operation import Call, Operation, Params
from app.spec import Spec

#: how often and how long apart, in seconds, the write-ahead log is tried to be emptied
_LOG_TRIES, _LOG_PAUSE = 20, 0.25

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Erased:
    """How many of each there were; a second erasure of the same person finds what has come since."""

    suppressed: Annotated[int, Field(description="Programs in which the person stays suppressed, by a keyed hash.")]
    consent: int
    evidence: Annotated[int, Field(description="Evidence of ledger entries; the entries stay, with their commitment.")]
    inbound: int
    parts: int
    replies: Annotated[int, Field(description="Replies, those that had not left included.")]
    calls: Annotated[int, Field(description="Calls of custom actions, those that had not been made included.")]
    messages: int
    receipts: int
    attributes: int
    guards: int
    audiences: Annotated[int, Field(description="What was kept to know which audiences they are in.")]
    browsers: Annotated[int, Field(description="Browsers that were linked to them.")]
    requests: Annotated[int, Field(description="Raw requests that were emptied.")]
    struck: Annotated[
        int, Field(description="Raw requests not understood so far, in which the number alone was struck out.")
    ]
    work_list: int
    refused: Annotated[int, Field(description="Refused requests that were kept for the doctor.")]
    refusals: Annotated[int, Field(description="What receivers of streams said of events that they refused.")]
    keys: Annotated[int, Field(description="Unique keys of events that held the address.")]


class Wanted(Spec):
    """Who shall be erased, who asks for it, and why; neither may name the person, for both are kept."""

    address: RawAddress
    reason: Said
    actor: Said
    region: Region | None = None


# --- looking ------------------------------------------------------------------------------------------------------


async def present(database: Database, address: str, owned: Owned) -> Present:
    """Search every place, without holding anybody up.

    Measured on two busy cores: 12 seconds for 500,000 raw requests of 1 kB with as many messages, receipts and replies
    and twice as many keys; nearly all of it for the raw requests.
    """
    traces = Traces(address)
    found = {name: await _search(database, place, traces) for name, place in PLACES.items()}
    linked, entries = set(owned.requests), set(found["work_list"])
    waiting: set[int] = set()
    its_receipts: set[int] = set()
    for some in _chunks(found["messages"], CHUNK):
        linked |= await database.read(partial(requests_about, message_ids=some))
        its_receipts |= await database.read(partial(receipt_ids, message_ids=some))
    for some in _chunks(found["work_list"], CHUNK):
        linked |= await database.read(partial(requests_with, entries=some))
    for some in _chunks(linked, CHUNK):
        waiting |= await database.read(partial(waited_for, requests=some, entries=entries))
    return Present(owned, found, linked, linked - waiting, its_receipts)


async def _search(database: Database, place: Place, traces: Traces) -> list[Any]:
    found, after = [], None
    while True:
        page = await database.read(partial(search, place=place, traces=traces, after=after))
        found += page.keys
        after = page.end
        if after is None:
            return found


async def preview(database: Database, address: str) -> Counter[str]:
    """How much `erase` would remove, roughly: what comes meanwhile is not in it."""
    owned = await database.read(partial(erasure.owned, address=address))
    there = await present(database, address, owned)
    counts = Counter(await database.read(partial(erasure.counted, address=address)))
    counts.update({"evidence": len(owned.evidence), "inbound": len(owned.inbound)})
    counts.update({name: len(keys) for name, keys in there.found.items() if name not in ("requests", "replies")})
    counts["requests"] = len(there.requests)
    counts["replies"] = len(there.found["replies"])
    for some in _chunks(there.found["messages"], CHUNK):
        counts["receipts"] += await database.read(partial(receipts_of, message_ids=some))
    return counts


# --- erasing ------------------------------------------------------------------------------------------------------


async def erase(database: Database, writer: Writer, asked: Asked) -> Erased:
    """Erase the person; safe to repeat, and to be repeated where it was broken off.

    A reply in flight may still arrive, and nothing of it is written. Raises BadInput where the key is missing or wrong.
    """
    begun = await writer.run(partial(erasure.suppress, asked=asked))
    steps.reached("person suppressed")
    there = await present(database, asked.address, begun.owned)
    counts = Counter(begun.counts)
    counts.update(await _blank(writer, there, Traces(asked.address)))
    for name, column, found in erasure.deletions(there):
        counts[name] += await _delete(writer, column, found)
        steps.reached(f"{name} erased")
    await writer.run(partial(erasure.leave_audiences, address=asked.address, now=datetime.now(UTC)))
    await _empty_log(database)
    return Erased(**{name: counts[name] for name in Erased.__dataclass_fields__})


async def _blank(writer: Writer, there: Present, traces: Traces) -> Counter[str]:
    counts: Counter[str] = Counter()
    for some in _chunks(there.requests, REQUESTS):
        act = partial(erasure.blank, found=some, traces=traces, understood=there.understood)
        counts.update(await writer.run(act))
    return counts


async def _delete(writer: Writer, column: "sa.Column[Any]", found: Collection[Any]) -> int:
    return sum([await writer.run(partial(erasure.delete, key=column, found=some)) for some in _chunks(found, CHUNK)])


async def _empty_log(database: Database) -> None:
    for _ in range(_LOG_TRIES):
        if await asyncio.to_thread(empty_log, database):
            return
        await asyncio.sleep(_LOG_PAUSE)
    _log.warning("somebody was erased; old pages stay in the write-ahead log until it is written anew")


def _chunks(rows: Collection[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(rows)
    while some := list(islice(rest, size)):
        yield some


# --- the operation ------------------------------------------------------------------------------------------------


async def create(call: Call[Params, Wanted]) -> Erased:
    """Erase a person."""
    wanted = call.body
    asked = Asked(person(wanted.address, wanted.region), wanted.actor, wanted.reason, datetime.now(UTC))
    return await erase(call.parts.database, call.parts.writer, asked)


OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/erasures",
        summary="Erase a person on request; a STOP stays effective, under a keyed hash",
        handler=create,
        scope=Scope.ADMIN,
        body=Wanted,
        answer=Erased,
    ),
)
