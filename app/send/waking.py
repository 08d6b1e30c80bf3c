"""A rest between two looks at the database, which whoever has news may end."""

import asyncio


class Waking:
    """`breath`: seconds that every rest lasts at least; news come in swarms, and one look finds all of them."""

    def __init__(self, breath: float) -> None:
        self._breath = breath
        self._news = asyncio.Event()

    def wake(self) -> None:
        """There are news. To be called in the event loop's thread."""
        self._news.set()

    async def rest(self, seconds: float) -> None:
        """For so long, or until woken; not at all with 0."""
        if seconds:
            await asyncio.sleep(min(seconds, self._breath))
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                return
        self._news.clear()
