"""What shall be written down is gathered: while one batch commits, the next gathers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

#: seconds to wait when the database was away
AFTER_FAILURE = 0.5


class Gathering(Generic[T]):
    """`write` is given each batch, in an event loop's task of this name, and deals with all that it may raise."""

    def __init__(self, write: Callable[[list[T]], Awaitable[None]], name: str) -> None:
        self._write = write
        self._name = name
        self._items: list[T] = []
        self._some = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    def add(self, item: T) -> None:
        """It is written soon."""
        self._items.append(item)
        self._some.set()

    async def put_back(self, items: Sequence[T]) -> None:
        """The database is away: they are written before all others, after a while. What has happened is not forgotten,
        or it would happen again."""
        self._items[:0] = items
        self._some.set()
        await asyncio.sleep(AFTER_FAILURE)

    async def stop(self, within: float) -> int:
        """Write what is left, for at most `within` seconds; how many could not be written."""
        self._closing = True
        self._some.set()
        if self._task is None:
            return 0
        _, late = await asyncio.wait([self._task], timeout=within)
        for task in late:
            task.cancel()
        return len(self._items) if late else 0

    async def _run(self) -> None:
        while self._items or not self._closing:
            await self._some.wait()
            self._some.clear()
            batch, self._items = self._items, []
            if batch:
                await self._write(batch)
