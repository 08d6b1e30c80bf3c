"""A plain HTTP client: one keep-alive connection, an exact account of what was answered and how long it took."""

import asyncio
import time
from typing import NamedTuple


class Answered(NamedTuple):
    """An answer; seconds from the first byte that was written."""

    status: int
    body: bytes
    seconds: float


class Wire:
    """A connection to a loopback port, opened when it is needed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Connect now, so that the next request only has to be written."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, request: bytes, patience: float) -> Answered | None:
        """The answer; None when the connection was lost, or it took longer than `patience` seconds."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(patience):
                await self.open()
                assert self._writer is not None
                self._writer.write(request)
                status, body = await self._answer()
        except (OSError, EOFError, TimeoutError, ValueError):
            self.close()
            return None
        return Answered(status, body, time.perf_counter() - began)

    async def _answer(self) -> tuple[int, bytes]:
        assert self._reader is not None
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = await self._reader.readexactly(int(fields.get("content-length", 0)))
        if fields.get("connection") == "close":
            self.close()
        return int(head.split(" ", 2)[1]), body

    def close(self) -> None:
        """Let go of the connection."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None


def request(method: str, target: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join([*lines, f"Content-Length: {len(body)}"]) + "\r\n\r\n").encode() + body
