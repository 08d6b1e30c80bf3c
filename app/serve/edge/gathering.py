"""Look-ups that come together are asked together: while one question is under way, the others gather for the next."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from app.errors import Overloaded

K = TypeVar("K")
V = TypeVar("V")

#: keys of one question
MOST = 500


class Gathering(Generic[K, V]):
    """Asks for one key at a time, in few questions. `limit`: of those that may wait; beyond it Overloaded."""

    def __init__(self, ask: Callable[[list[K]], Awaitable[Mapping[K, V]]], limit: int) -> None:
        self._ask, self._limit = ask, limit
        self._waiting: list[tuple[K, asyncio.Future[V | None]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def of(self, key: K) -> V | None:
        """What the question answers for this key; None: nothing. Raises what the question raises."""
        if len(self._waiting) >= self._limit:
            raise Overloaded("more look-ups wait for the database than may")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[V | None] = loop.create_future()
        self._waiting.append((key, future))
        if self._asking is None:
            self._asking = loop.create_task(self._ask_all())
        return await future

    async def _ask_all(self) -> None:
        try:
            while self._waiting:
                some, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                await self._ask_some(some)
        finally:
            self._asking = None

    async def _ask_some(self, some: "list[tuple[K, asyncio.Future[V | None]]]") -> None:
        try:
            found = await self._ask([key for key, _ in some])
        except asyncio.CancelledError:
            for _, future in some:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer is told of it
            for _, future in some:
                if not future.done():
                    future.set_exception(error)
            return
        for key, future in some:
            if not future.done():  # its caller may be gone
                future.set_result(found.get(key))
