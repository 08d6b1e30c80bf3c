"""Keep memberships of audiences ready: work the stale off as they come, and everybody when conditions change.

Told after each commit, it follows within milliseconds; what others wrote (another node, the command line, the sender's
marks) it finds within half a second. Working out is a reader's, so the writer only stores. People who changed come
first; a rebuild goes on when there are none, and then it rests as long as it worked, so that no event waits.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from app.audience import WorkOut
from app.changes import Changes
from app.events import Heard
from app.interpret import audiences
from app.record import generations, memberships, rebuilding
from app.record.memberships import Worked
from app.record.registry import Registered
from app.send import complain
from app.serve.parts import Parts
from app.settings import Settings

T = TypeVar("T")

_LOOK_EVERY = 0.5
_AGAIN = 5.0
_BETWEEN = 0.05


def work_out(settings: Settings) -> WorkOut:
    """From conditions and people to audiences, by the settings: what look-ups and upkeep both use."""
    return partial(audiences.work_out, unknown_consent=settings.unknown_consent)


class Upkeep:
    """The chore, and what it is told."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._work_out = work_out(parts.settings)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._is_needed = self._is_sure = False
        self._after = ""
        parts.followers.append(self.follow)
        parts.writer.listen(self.told)

    def follow(self, registered: Registered) -> None:
        """The registry has changed."""
        self._is_needed = bool(registered.others.audiences)
        self._woken.set()

    def told(self, _fresh: Sequence[Heard], _changes: Changes) -> None:
        """Something was committed; told in the writer's thread."""
        if self._is_needed and self._loop is not None and not self._woken.is_set():
            self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """For ever."""
        self._loop = asyncio.get_running_loop()
        while True:
            pause = _LOOK_EVERY if self._is_needed else None
            try:
                await self._catch_up()
            except Exception as error:  # noqa: BLE001 - whatever it was, look-ups work out on the spot meanwhile
                complain("memberships of audiences could not be brought up to date", error)
                pause = _AGAIN
            await self._rest(pause)

    async def _rest(self, pause: float | None) -> None:
        """Until somebody wakes us, and no longer than this."""
        try:
            await asyncio.wait_for(self._woken.wait(), pause)
        except TimeoutError:
            return

    async def _catch_up(self) -> None:
        """Until nothing is left to do."""
        self._woken.clear()
        if not self._is_needed:
            await self._forget()
            return
        if not self._is_sure:
            await self._write(memberships.doubt)
            self._is_sure = True
        await self._renew()
        while await self._work_some() or await self._find_some():
            continue

    async def _forget(self) -> None:
        """What was kept for audiences that are gone."""
        while await self._write(rebuilding.forget_some):  # noqa: ASYNC110 - no event waits behind it
            await asyncio.sleep(_BETWEEN)

    async def _renew(self) -> None:
        """Where the day is over, or the setting is another one."""
        setting = self._parts.settings.unknown_consent
        seen = await self._parts.database.read(generations.read)
        now = datetime.now(UTC)
        if seen and (seen.unknown_consent != setting or generations.is_due(seen, now)):
            await self._write(partial(generations.renew, now=now, unknown_consent=setting))

    async def _write(self, act: Callable[[sa.Connection], T]) -> T:
        """In PostgreSQL in a transaction of its own: two nodes that hold the people of a batch, and then wait for those
        of the other's rebuild, would wait for each other."""
        if self._parts.database.dialect == "postgresql":
            return await self._parts.database.apart(act)
        return await self._parts.writer.run(act)

    async def _work_some(self) -> bool:
        """Work out a page of stale people; whether some were stored."""
        began = time.monotonic()
        rows, is_full = await self._parts.database.read(self._worked_out)
        self._after = rows[-1].address if is_full and rows else ""
        if not rows:
            return False
        stored = await self._write(partial(memberships.store, rows=rows, now=datetime.now(UTC)))
        if is_full or self._parts.writer.waiting:  # there is much to do, for us or for events: theirs comes first
            await asyncio.sleep(time.monotonic() - began)
        return stored > 0

    def _worked_out(self, conn: sa.Connection) -> tuple[list[Worked], bool]:
        found = memberships.stale(conn, self._after, rebuilding.PAGE)
        if not found and self._after:
            found = memberships.stale(conn, "", rebuilding.PAGE)
        return memberships.worked_out(conn, found, self._work_out), len(found) == rebuilding.PAGE

    async def _find_some(self) -> bool:
        """Find more people for a rebuild; whether that led further."""
        seen = await self._parts.database.read(rebuilding.look)
        if seen is None or not seen.generation.source:
            return False
        began = time.monotonic()
        further = await self._write(partial(rebuilding.step, seen=seen, now=datetime.now(UTC)))
        await asyncio.sleep(time.monotonic() - began)
        return further
