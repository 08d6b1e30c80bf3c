"""The spool as the event loop sees it: items go in together and are on the disk before anybody is told.

The file is worked on in one thread. In memory stands who waits there, so that it can be asked at once.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import structlog

from app.errors import NotReady, StoreUnavailable
from app.events import Heard, Recorded
from app.record.held import Held, Saying, names_text, read_names, read_sayings, sayings_text
from app.record.known import Concerned
from app.record.spool import Item, Spool
from app.record.spooled import dump
from app.record.tables import iso

T = TypeVar("T")
log = structlog.get_logger()

#: seconds between looks at what ended processes left, and at what a person took back
_ABSORB_EVERY = 5.0
_LOOK_EVERY = 0.05


class _Keeping(NamedTuple):
    """An item on its way to the disk, and who waits for it."""

    item: Item
    names: Sequence[str]
    sayings: Sequence[Saying]
    answer: Recorded
    future: "asyncio.Future[Recorded]"


class Shelter:
    """Takes requests in while the database is away."""

    def __init__(self, open_spool: Callable[[], Spool], sayings: Callable[[Heard], Sequence[Saying]]) -> None:
        """`open_spool`: called at the start. `sayings`: of a request on people's consent (`app.interpret.sayings`)."""
        self._open_spool = open_spool
        self._sayings = sayings
        self.held = Held()
        #: items that a person must look at
        self.aside = 0
        #: why the disk takes nothing at present; empty: it does
        self.refused = ""
        self._queue: list[_Keeping] = []
        self._some = asyncio.Event()
        self._writing = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._task: asyncio.Task[None] | None = None
        self._absorbed_at = 0.0

    async def start(self) -> None:
        """Begin; what waits since the last time is known from here on. Raises BadInput where the folder is unusable."""
        self._spool = await self._in_thread(self._open_spool)
        await self.absorb()
        await self._learn()
        self._task = asyncio.create_task(self._write_on(), name="spool")

    async def stop(self) -> None:
        """Write what waits for the disk, then end."""
        while self._queue:  # noqa: ASYNC110 - the one task that empties it tells nobody
            await asyncio.sleep(_LOOK_EVERY)
        async with self._writing:
            if self._task:
                self._task.cancel()
        self._thread.shutdown(wait=True)
        self._spool.close()

    # --- in ---

    def keep(self, heard: Heard, future: "asyncio.Future[Recorded] | None" = None) -> "asyncio.Future[Recorded]":
        """Keep a request; the future is done when it is on the disk, or StoreUnavailable."""
        names, said = Concerned([heard]).names(), self._sayings(heard)
        text, body = dump(heard)
        item = Item(iso(heard.received_at), heard.webhook, names_text(names), sayings_text(said), text, body)
        future = future or asyncio.get_running_loop().create_future()
        answer = Recorded(new=len(heard.events) + len(heard.troubles), seen=0)
        self.held.add(names, said)
        self._queue.append(_Keeping(item, names, said, answer, future))
        self._some.set()
        return future

    async def _write_on(self) -> None:
        """Whatever waits when a commit ends goes into the next one together."""
        while True:
            await self._some.wait()
            self._some.clear()
            async with self._writing:
                batch, self._queue = self._queue, []
                if batch:
                    await self._write(batch)

    async def _write(self, batch: Sequence[_Keeping]) -> None:
        try:
            await self._in_thread(partial(self._spool.add, [each.item for each in batch]))
        except Exception as error:  # noqa: BLE001 - whatever it was, the providers must be told to come again
            self._refuse(batch, str(error) if isinstance(error, NotReady) else type(error).__name__)
            return
        self.refused = ""
        for each in batch:
            if not each.future.done():
                each.future.set_result(each.answer)

    def _refuse(self, batch: Sequence[_Keeping], reason: str) -> None:
        self.refused = reason
        log.error("the spool takes nothing", reason=reason, requests=len(batch))
        for each in batch:
            self.held.release(each.names, each.sayings)
            if not each.future.done():
                each.future.set_exception(StoreUnavailable(f"PostgreSQL is away, and {reason}"))

    # --- out ---

    async def first(self) -> list[Item]:
        """The items that wait longest."""
        return await self._in_thread(self._spool.first)

    async def forget(self, items: Sequence[Item]) -> None:
        """These are recorded."""
        if not items:
            return
        await self._in_thread(partial(self._spool.drop, [item.id for item in items]))
        for item in items:
            self.held.release(read_names(item.names), read_sayings(item.sayings))
        if not self.held:
            await self._in_thread(self._spool.shrink)

    async def set_aside(self, item: Item, reason: str) -> None:
        """Let an item wait for a person, so that it holds nobody up.

        What it says of people's consent holds on: it may be a STOP.
        """
        log.error("an item of the spool was set aside; see: textback spool list", webhook=item.webhook, reason=reason)
        await self._in_thread(partial(self._spool.set_aside, item, reason))
        self.aside += 1
        self.held.release(read_names(item.names), ())

    async def absorb(self) -> None:
        """Look, now and then, for what ended processes left and for what a person took back."""
        now = asyncio.get_running_loop().time()
        if self._task and now < self._absorbed_at + _ABSORB_EVERY:
            return
        self._absorbed_at = now
        async with self._writing:
            taken = await self._in_thread(self._spool.absorb)
            waiting, _ = await self._in_thread(self._spool.count)
        if self._task and (taken or waiting > self.held.items):
            await self._learn()

    async def _learn(self) -> None:
        """Know anew who waits: somebody else has put something into the file."""
        async with self._writing:
            held = Held()
            for names, said in await self._in_thread(self._spool.signs):
                held.add(read_names(names), read_sayings(said))
            held.items, self.aside = await self._in_thread(self._spool.count)
            for each in self._queue:
                held.add(each.names, each.sayings)
            self.held = held

    async def bytes(self) -> int:
        """What waits takes so much of the disk."""
        return await self._in_thread(self._spool.size)

    async def _in_thread(self, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)
