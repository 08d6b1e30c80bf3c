"""What a running server does beside its requests.

Follow the registry, keep refusals, forget, decide what hangs, seal the ledger.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

import structlog

from app.accept.quarantine import PER_WEBHOOK, Quarantine
from app.flow import hear_overdue
from app.record import (
    calls,
    diagnosis,
    documents,
    evidence_key,
    housekeeping,
    ids,
    outbox,
    partitions,
    pieces,
    registered,
    seals,
)
from app.record.listening import News
from app.record.settled import floor, settled
from app.send import CALL_LEASE, complain
from app.serve.parts import Parts
from app.serve.takeover import take_over
from app.settings import Settings

log = structlog.get_logger()

#: a running server sees a change of the registry within a second
_REGISTRY_EVERY = 0.5
#: what could not be taken over will hardly be half a second later
_REGISTRY_AGAIN = 5.0
_REFUSALS_EVERY = 1.0
_RETENTION_EVERY = 600.0
_INCOMPLETE_EVERY = 15.0
_INCOMPLETE_AT_ONCE = 200


async def watch_registry(parts: Parts) -> None:
    """Follow every change of the registry: told of it where the database tells, and looking for it all the same."""
    news = News(parts.database)
    listener = asyncio.create_task(news.listen())
    try:
        await _watch(parts, news)
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)


async def _watch(parts: Parts, news: News) -> None:
    pause = _REGISTRY_EVERY
    while True:
        await news.wait(pause)
        pause = _REGISTRY_AGAIN
        with _patiently("the registry could not be taken over"):
            if await _follow(parts):
                pause = _REGISTRY_EVERY


async def _follow(parts: Parts) -> bool:
    """Whether the registry is taken over as it is now. Our ids follow the database's clock meanwhile."""
    version, lowest = await parts.database.read(lambda conn: (registered.version(conn), floor(conn)))
    ids.not_below(lowest)
    if version == parts.switchboard.version:
        return True
    return await take_over(parts)


async def keep_refusals(parts: Parts, quarantine: Quarantine) -> None:
    """Write down what was refused, the last few of each webhook."""
    while True:
        await asyncio.sleep(_REFUSALS_EVERY)
        with _patiently("refused requests could not be kept"):
            if rows := _refusals(quarantine):
                await parts.writer.run(partial(housekeeping.keep_refusals, refusals=rows, per_webhook=PER_WEBHOOK))


def _refusals(quarantine: Quarantine) -> list[housekeeping.Refusal]:
    return [
        (r.webhook, r.request.received_at, r.reason, r.request.method, "/in/…", r.headers, r.body, r.request.client)
        for r in quarantine.take()
    ]


async def forget_what_is_old(parts: Parts) -> None:
    """Delete what its retention has ended for, and make room for the months to come."""
    acts = _forgetting(parts.settings)
    while True:
        with _patiently("the months could not be seen to"):
            await _see_to_months(parts)
        for act in acts:
            with _patiently("what is old could not be deleted"):
                await _until_done(partial(parts.writer.run, partial(act, now=await _now(parts))))
        await asyncio.sleep(_RETENTION_EVERY)


async def _see_to_months(parts: Parts) -> None:
    if parts.database.dialect == "sqlite":
        return
    for act in (partitions.ensure, partial(partitions.drop_old, days=_days(parts.settings))):
        await _until_done(partial(parts.database.apart, partial(act, now=await _now(parts))))


async def _now(parts: Parts) -> datetime:
    """By the slower of two clocks, where the database has its own: one that runs ahead would forget too much."""
    ours, theirs = datetime.now(UTC), await parts.database.read(diagnosis.database_time)
    return min(ours, theirs or ours)


def _days(settings: Settings) -> dict[str, int]:
    return {
        "raw_requests": settings.raw_retention_days,
        "inbound_messages": settings.inbound_retention_days,
        "receipts": settings.receipts_retention_days,
    }


def _forgetting(settings: Settings) -> Sequence[Callable[..., int]]:
    """Each is done again until it says 0."""
    kept = {
        "outbox": settings.inbound_retention_days,
        "action_calls": settings.inbound_retention_days,
        "messages": settings.receipts_retention_days,
        "stream_refusals": max(settings.inbound_retention_days, settings.receipts_retention_days),
    }
    return (
        *(partial(housekeeping.drop_old, table=table, days=days) for table, days in (_days(settings) | kept).items()),
        partial(pieces.drop_old, days=settings.raw_retention_days),
        housekeeping.drop_passing_keys,
        documents.forget,
        partial(housekeeping.OldKeys().drop_some, days=settings.key_retention_days),
    )


async def decide_incomplete(parts: Parts) -> None:
    """Have messages decided of which a part is still missing after a while. Told twice, they are decided once.

    And make replies and calls due that wait only because the clock was set back.
    """
    while True:
        with _patiently("replies and calls from before the clock was set back could not be made due"):
            await parts.writer.run(partial(outbox.recall, now=datetime.now(UTC)))
            await parts.writer.run(partial(calls.recall, now=datetime.now(UTC), lease=CALL_LEASE))
        with _patiently("incomplete messages could not be decided"):
            while await _decide_some(parts):  # as many as were asked for: there may be more
                continue
        await asyncio.sleep(_INCOMPLETE_EVERY)


async def _decide_some(parts: Parts) -> bool:
    """Whether there may be more. One that cannot be written waits for the next time."""
    lines = parts.switchboard.by_name
    find = partial(pieces.overdue, now=datetime.now(UTC), webhooks=lines.keys(), limit=_INCOMPLETE_AT_ONCE)
    overdue = await parts.database.read(find)
    mine = [each for each in overdue if each.webhook in lines]
    heard = [hear_overdue(lines[each.webhook], each.event, each.received_at) for each in mine]
    outcomes = await asyncio.gather(*map(parts.writer.record, heard), return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if failures:
        complain("incomplete messages could not be decided", failures[0], messages=len(failures))
    return len(overdue) == _INCOMPLETE_AT_ONCE and not failures


async def seal_ledger(parts: Parts) -> None:
    """Seal what was added to the ledger; without an evidence key nothing, of which `textback check` tells."""
    key = evidence_key.key_for(evidence_key.SEALS, parts.settings)
    while key:
        with _patiently("the ledger could not be sealed"):
            while await _seal_some(parts, key):  # one seal was made: there may be more to seal
                continue
        await asyncio.sleep(parts.settings.seal_every)


async def _seal_some(parts: Parts, key: bytes) -> bool:
    """Whether a seal was made. The writer is only asked for how far, and to store it; a reader does the work."""
    now = await parts.writer.run(settled)
    if now.problem:
        log.warning("the ledger cannot be sealed", reason=now.problem)
        return False
    found = await parts.database.read(partial(seals.next_seal, key=key, mark=now.last_id))
    return found is not None and await parts.writer.run(lambda conn: seals.add(conn, *found))


async def _until_done(do_some: Callable[[], Awaitable[int]]) -> None:
    """Bit by bit, with a pause between, so that no event waits behind something large."""
    while await do_some():  # noqa: ASYNC110 - nothing tells us when events pause
        await asyncio.sleep(0.05)


@contextmanager
def _patiently(sentence: str) -> Iterator[None]:
    """A chore that fails, for whatever reason, is told of and tried again the next time: nobody would start it anew."""
    try:
        yield
    except Exception as error:  # noqa: BLE001
        complain(sentence, error)
