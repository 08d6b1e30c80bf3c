"""The web server, and the way out: told to stop, it says so, answers whatever still comes, and drops nothing.

At SIGTERM or SIGINT, one after the other:

1. It is not ready any more, and each answer closes its connection, so that proxies go elsewhere. For `shutdown_delay`
   seconds it serves on.
2. It takes no new connections. Open ones end with their next answer, or when none was asked for a moment.
3. Requests under way finish, then the lifespan ends the sender and the writer (see main).

A second signal ends it where it stands, and so does a thread of its own, `shutdown_deadline` seconds after the delay,
whatever hangs by then. Neither loses what was acknowledged: that was committed before.
"""

import asyncio
import os
import signal
import socket
import threading
from types import FrameType
from typing import NoReturn

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app import systemd
from app.serve.stopping import Stopping
from app.settings import Settings

log = structlog.get_logger()

#: seconds that an open connection without a request is kept after the listeners are closed: a proxy may have sent a
#: request on it a moment ago, and would get a reset for an answer
_LAST_WORD = 0.5
_CLOSE = (b"connection", b"close")


class Server(uvicorn.Server):
    """uvicorn, with an end of our own. `sockets`: passed to us, instead of one to be opened."""

    def __init__(
        self, config: uvicorn.Config, settings: Settings, stopping: Stopping, sockets: list[socket.socket]
    ) -> None:
        super().__init__(config)
        self._settings = settings
        self._stopping = stopping
        self._passed = sockets
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = False

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Until SIGTERM or SIGINT."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets or self._passed or None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Everything runs and listens; whoever started us is told."""
        await super().startup(sockets)
        for listener in self.servers:
            log.info("listening", addresses=[_address(each) for each in listener.sockets], passed=bool(sockets))
        systemd.tell("READY=1")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """A signal: the first begins the end, the second is the end."""
        if self._told or self._loop is None:
            end_at_once(sig)
        self._told = True
        self._loop.call_soon_threadsafe(self._begin_to_stop)

    def _begin_to_stop(self) -> None:
        delay, deadline = self._settings.shutdown_delay, self._settings.shutdown_deadline
        log.info("told to stop", still_serving=delay, deadline=deadline)
        systemd.tell("STOPPING=1")
        self._stopping.begin(delay + deadline)
        end_after(delay + deadline)
        self._close_with_the_next_answer()
        asyncio.get_running_loop().call_later(delay, self._leave)

    def _leave(self) -> None:
        self.should_exit = True

    def _close_with_the_next_answer(self) -> None:
        self.config.encoded_headers.append(_CLOSE)  # of which uvicorn makes the headers of all answers once a second
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        for connection in self.server_state.connections:
            if isinstance(connection, HttpToolsProtocol) and _is_busy(connection):
                connection.shutdown()  # its request has begun with the old headers

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listeners, let the open connections end by themselves, then go uvicorn's way."""
        for listener in self.servers:
            listener.close()
        for passed in sockets or []:
            passed.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + _LAST_WORD
        while self.server_state.connections and loop.time() < end:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)


def _is_busy(connection: HttpToolsProtocol) -> bool:
    return connection.cycle is not None and not connection.cycle.response_complete


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# --- ends ---------------------------------------------------------------------------------------------------------


async def until_told(stopping: Stopping, deadline: float) -> None:
    """Wait for SIGTERM or SIGINT in a process that serves nobody; the end may take `deadline` seconds then."""
    loop = asyncio.get_running_loop()

    def told(sig: int) -> None:
        if stopping.is_set():
            end_at_once(sig)
        systemd.tell("STOPPING=1")
        stopping.begin(deadline)
        end_after(deadline)

    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, told, sig)
    systemd.tell("READY=1")
    await stopping.wait()


def end_at_once(sig: int) -> NoReturn:
    """As if nobody had handled the signal."""
    signal.signal(sig, signal.SIG_DFL)
    signal.raise_signal(sig)
    os._exit(1)  # the signal was blocked


def end_after(seconds: float) -> None:
    """End the process in so many seconds, unless it has ended by then: whatever hangs, it cannot hold this thread."""

    def end() -> None:
        log.error("what was under way did not end in time; ended all the same", seconds=seconds)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
