"""A TCP proxy before PostgreSQL that can become a black hole: connections stay open, and nothing passes any more."""

import asyncio
import threading
from types import TracebackType
from typing import Self

from tests.postgres import free_port


class Proxy:
    """Forwards a loopback port, in a thread of its own."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._open = threading.Event()
        self._open.set()
        self._loop = asyncio.new_event_loop()
        self._passing: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def swallow(self) -> None:
        """From now on nothing comes through, in either direction, and nobody is told."""
        assert self._passing is not None
        self._loop.call_soon_threadsafe(self._passing.clear)

    def let_pass(self) -> None:
        """What was held is forwarded, and everything after it."""
        assert self._passing is not None
        self._loop.call_soon_threadsafe(self._passing.set)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._begin())
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    async def _begin(self) -> None:
        self._passing = asyncio.Event()
        self._passing.set()
        await asyncio.start_server(self._taken, "127.0.0.1", self.port)
        self._ready.set()

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._passing is not None
        try:
            await self._passing.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._passing is not None
        try:
            while data := await reader.read(65536):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.close()
