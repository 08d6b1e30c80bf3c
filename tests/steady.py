"""A steady load of inbound messages that keeps count of every request: what was sent, acknowledged, and what failed.

It is a strict caller: a connection that was kept open and is reset under a request counts as a failure, although many
clients would try again.
"""

import asyncio
import random
import re
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
CLOSES = re.compile(rb"connection: close", re.IGNORECASE)

#: from a message's id to the whole request
Make = Callable[[str], bytes]


@dataclass
class Load:
    """`connections` that are kept open; each sends, waits for the answer, pauses a moment, and sends again."""

    port: int
    make: Make
    connections: int = 8
    #: the longest of the pauses, in seconds
    pause: float = 0.05
    tls: ssl.SSLContext | None = None
    server_name: str = "localhost"
    source: str = "127.0.0.1"
    sent: int = 0
    acknowledged: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    #: answers that closed their connection in an orderly way
    closed: int = 0

    async def during(self, story: Coroutine[Any, Any, None]) -> None:
        """Run while the story does."""
        over = asyncio.Event()
        running = [asyncio.create_task(self._one(over)) for _ in range(self.connections)]
        try:
            await story
        finally:
            over.set()
            await asyncio.gather(*running)

    async def more(self, count: int) -> None:
        """Wait until so many more have been acknowledged, or something failed."""
        wanted = len(self.acknowledged) + count
        while len(self.acknowledged) < wanted and not self.failures:  # noqa: ASYNC110 - its own counter
            await asyncio.sleep(0.01)

    async def _one(self, over: asyncio.Event) -> None:
        while not over.is_set():
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self.port, ssl=self.tls, server_hostname=self.server_name if self.tls else None,
                local_addr=(self.source, 0),
            )  # fmt: skip
            try:
                while not over.is_set() and await self._ask(reader, writer):  # noqa: ASYNC110 - a pause
                    await asyncio.sleep(random.uniform(0, self.pause))
            finally:
                writer.close()
                await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection may be used again."""
        self.sent += 1
        message = f"steady-{self.sent}"
        try:
            writer.write(self.make(message))
            async with asyncio.timeout(60):
                head = await reader.readuntil(b"\r\n\r\n")
                length = LENGTH.search(head)
                if length:
                    await reader.readexactly(int(length[1]))
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.failures.append(f"{message}: {error!r}")
            return False
        status = head.split(b" ", 2)[1]
        if status == b"200":
            self.acknowledged.append(message)
        else:
            self.failures.append(f"{message}: {head.splitlines()[0].decode()}")
        self.closed += bool(CLOSES.search(head))
        return not CLOSES.search(head)
