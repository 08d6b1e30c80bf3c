"""How the parts begin to run, and how they end: in the order that loses nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog

from app.changes import Changes
from app.chores import watch_registry
from app.errors import StoreUnavailable
from app.events import Heard
from app.record.away import DATABASE_ERRORS
from app.send import Caller, Sender, Streams
from app.serve.metrics import count_events
from app.serve.parts import Parts
from app.serve.takeover import take_over, take_over_last_known

log = structlog.get_logger()

#: seconds at the end in which the writer writes what waits
_WRITING = 3.0


@asynccontextmanager
async def running(parts: Parts, *chores: Any) -> AsyncIterator[None]:
    """Writer, intake, registry watch, sender and chores; ended in the order that loses nothing."""
    parts.writer.start()
    parts.writer.listen(count_events)
    await parts.intake.start(away=not await _taken_over(parts))
    tasks = [asyncio.create_task(chore) for chore in (watch_registry(parts), *chores)]
    if parts.sender:
        parts.writer.listen(partial(_hand_over, asyncio.get_running_loop(), parts.sender, parts.caller))
        parts.sender.start()
    if parts.caller:
        parts.caller.start()
    if parts.streams:
        parts.writer.listen(partial(_nudge, asyncio.get_running_loop(), parts.streams))
        parts.streams.start()
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _stop_sending(parts)
        await _stop_writing(parts)
        await parts.intake.stop()
        parts.client.close()
        parts.database.close()


async def _stop_sending(parts: Parts) -> None:
    """First the caller, in half of the time there is: what it ends with may be a reply, which still leaves then."""
    if parts.caller:
        await parts.caller.stop(within=parts.stopping.left(spared=_WRITING) / 2)
    if parts.streams:
        await parts.streams.stop(within=parts.stopping.left(spared=2 * _WRITING))
    if parts.sender:
        await parts.sender.stop(within=parts.stopping.left(spared=_WRITING))


async def _taken_over(parts: Parts) -> bool:
    """Whether the registry could be read. Else it is as it was last read; without that, nothing could be heard."""
    try:
        await take_over(parts)
    except (StoreUnavailable, *DATABASE_ERRORS) as error:
        if not await take_over_last_known(parts):
            raise
        log.warning("PostgreSQL is away; the webhooks are those last known", error=type(error).__name__)
        return False
    return True


async def _stop_writing(parts: Parts) -> None:
    """Write what waits; a database that does not answer is not waited for, for nothing more depends on it."""
    stopping = asyncio.create_task(parts.writer.stop())
    _, late = await asyncio.wait({stopping}, timeout=_WRITING)
    while late:
        parts.database.interrupt()
        _, late = await asyncio.wait({stopping}, timeout=parts.settings.outage_after)


def _hand_over(
    loop: asyncio.AbstractEventLoop, sender: Sender, caller: Caller | None, _fresh: Sequence[Heard], changes: Changes
) -> None:
    if changes.outbox:
        loop.call_soon_threadsafe(sender.take, changes)
    if changes.calls and caller:
        loop.call_soon_threadsafe(caller.nudge)


def _nudge(loop: asyncio.AbstractEventLoop, streams: Streams, _fresh: Sequence[Heard], _changes: Changes) -> None:
    if streams.busy:
        loop.call_soon_threadsafe(streams.nudge)
