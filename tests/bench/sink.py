"""The provider's send API as a loopback sink: takes every message at once, and counts. `python -m tests.bench.sink PORT`.

`GET /count` answers how many messages arrived so far.
"""

import asyncio
import sys
from typing import ClassVar

import httptools
import uvloop

#: odd, so that each number gives another id; a provider's ids are no long rows of digits, which JSON readers dread
SCATTER = 0x9E3779B97F4A7C15F39CC0605CEDC835


class Sink(asyncio.Protocol):
    """One keep-alive connection."""

    arrived: ClassVar[int] = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_message_complete(self) -> None:
        if self.url == b"/count":
            self.answer(b"200 OK", b"%d" % Sink.arrived)
        else:
            Sink.arrived += 1
            self.answer(b"201 Created", b'{"sid":"SM%032x","status":"queued"}' % (Sink.arrived * SCATTER % 2**128))
        if not self.parser.should_keep_alive():
            self.transport.close()

    def answer(self, status: bytes, body: bytes) -> None:
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)


async def serve(port: int) -> None:
    """Listen until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
