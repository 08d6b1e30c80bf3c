"""The provider's send API: a process of its own that no crash reaches. `python -m tests.torture.provider PORT LOG`.

It takes every message after a moment, notices no repetition, and notes each in LOG, one JSON object a line:
`{"reference", "to", "text", "id", "arrived", "answered"}`, times in seconds since 1970.
"""

import asyncio
import os
import random
import sys
import time
from pathlib import Path
from typing import BinaryIO, ClassVar

import httptools
import orjson
import uvloop

#: seconds until it answers, at most: a crash may fall into them
SLOWNESS = 0.04


class Provider(asyncio.Protocol):
    """One keep-alive connection."""

    log: ClassVar[BinaryIO]
    #: what makes its ids unique
    run: ClassVar[int] = int.from_bytes(os.urandom(6), "big")
    taken: ClassVar[int] = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        body, self.body = self.body, b""
        Provider.taken += 1
        taken = {**orjson.loads(body), "id": f"SM{Provider.run:012x}{Provider.taken:020x}", "arrived": time.time()}
        asyncio.get_running_loop().call_later(random.random() * SLOWNESS, self.answer, taken)

    def answer(self, taken: dict[str, object]) -> None:
        """It is written down before anybody hears of it."""
        line = orjson.dumps(taken | {"answered": time.time()}) + b"\n"
        os.write(self.log.fileno(), line)
        body = orjson.dumps({"messages": [{"id": taken["id"]}]})
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        if not self.transport.is_closing():
            self.transport.write(head % len(body) + body)


async def serve(port: int) -> None:
    """Listen until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    with Path(sys.argv[2]).open("ab") as Provider.log:
        uvloop.run(serve(int(sys.argv[1])))
