"""A provider on loopback: it keeps what it was sent, and answers as it is told. A real server in a thread of its own."""

import asyncio
import json
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl


class Received(NamedTuple):
    """A request as it came in. `headers` has lower-case names."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Reply(NamedTuple):
    """Raw bytes to answer with, after `pause` seconds; then the connection is closed or kept."""

    data: bytes
    keep: bool = True
    pause: float = 0.0


def answer(status: int, body: Any = None, headers: Mapping[str, str] = {}, *, pause: float = 0.0) -> Reply:
    """An ordinary answer; a body that is not bytes is sent as JSON."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return Reply(f"HTTP/1.1 {status} X\r\n{lines}Content-Length: {len(raw)}\r\n\r\n".encode() + raw, pause=pause)


def busy(retry_after: str = "1") -> Reply:
    return answer(429, {"code": 20429}, {"Retry-After": retry_after})


def blocked() -> Reply:
    return answer(400, {"code": 21610, "message": "Attempt to send to unsubscribed recipient +14155550101"})


def redirect(to: str) -> Reply:
    return answer(302, None, {"Location": to})


def chunked(*pieces: bytes, status: int = 201) -> Reply:
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))
    return Reply(b"HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\n" % status + body)


HANG = Reply(b"", pause=3600)
DROP = Reply(b"", keep=False)
CUT = Reply(b'HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{"sid":', keep=False)


@dataclass
class FakeProvider:
    """What it is and what it heard. The plan is used up answer by answer; then every message is taken."""

    url: str = ""
    port: int = 0
    requests: list[Received] = field(default_factory=list)
    plan: deque[Reply] = field(default_factory=deque)
    judge: "Callable[[Received], Reply | None] | None" = None
    """Looks at each request before the plan does; None: nothing against it."""
    connections: int = 0
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    loop: asyncio.AbstractEventLoop | None = None

    @property
    def texts(self) -> list[str]:
        """What the messages said, in the order in which they came."""
        return [request.form["Body"] for request in self.requests]

    def hang_up(self) -> None:
        """Close the connections that the other side keeps for later."""
        assert self.loop is not None
        for writer in list(self.open):
            self.loop.call_soon_threadsafe(writer.close)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._one(reader, writer):
                    pass
        finally:
            self.open.discard(writer)
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Received(method, target, headers, body)
        self.requests.append(request)
        reply = (self.judge(request) if self.judge else None) or self._planned()
        await asyncio.sleep(reply.pause)
        writer.write(reply.data)
        await writer.drain()
        return reply.keep

    def _planned(self) -> Reply:
        return self.plan.popleft() if self.plan else answer(201, {"sid": f"SM{len(self.requests)}"})


@contextmanager
def running(*, tls: ssl.SSLContext | None = None) -> Iterator[FakeProvider]:
    """A provider that listens until the block ends."""
    loop = asyncio.new_event_loop()
    provider = FakeProvider(loop=loop)
    server = loop.run_until_complete(asyncio.start_server(provider.serve, "127.0.0.1", 0, ssl=tls))
    provider.port = server.sockets[0].getsockname()[1]
    provider.url = f"{'https' if tls else 'http'}://127.0.0.1:{provider.port}"
    thread = threading.Thread(target=loop.run_forever, name="fake provider")
    thread.start()
    try:
        yield provider
    finally:
        asyncio.run_coroutine_threadsafe(_close(provider, server), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


async def _close(provider: FakeProvider, server: asyncio.Server) -> None:
    server.close()
    for writer in list(provider.open):
        writer.transport.abort()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
