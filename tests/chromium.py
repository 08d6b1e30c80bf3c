"""Headless Chromium, driven over its DevTools pipe (https://chromedevtools.github.io/devtools-protocol/), and TLS for it.

`--remote-debugging-pipe` speaks JSON with a NUL after each message on file descriptors 3 and 4, so no port is open and
no library is needed.
"""

import asyncio
import base64
import json
import os
import shutil
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import authority

#: set, a machine without Chromium or the SDK fails the tests instead of leaving them out
REQUIRED = "TEXTBACK_REQUIRE_BROWSER"
#: seconds that a test may take with it
_PATIENCE = 120.0
_FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-dev-shm-usage", "--ignore-certificate-errors",
)  # fmt: skip


def missing(reason: str) -> None:
    """Skip the test, or fail it where a browser is required."""
    if os.environ.get(REQUIRED):
        pytest.fail(reason)
    pytest.skip(reason)


class Browser:
    """A running Chromium with one page."""

    def __init__(self, ask: int, hear: int) -> None:
        self._ask, self._hear = os.fdopen(ask, "wb", buffering=0), os.fdopen(hear, "rb", buffering=0)
        self._number, self._rest = 0, b""
        self._session: str | None = None
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **parameters: Any) -> Any:
        """The result of a command. Raises AssertionError where it fails; events that come before it are dropped."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._ask.write(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            read = self._hear.read(65_536)
            assert read, "Chromium has ended"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def visit(self, url: str) -> None:
        """Load a page anew, and wait until it stands."""
        self.command("Page.navigate", url=url)
        self.value("new Promise(done => document.readyState == 'complete' ? done() : addEventListener('load', done))")

    def value(self, expression: str) -> Any:
        """What JavaScript gives in the page, promises awaited."""
        found = self.command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def screenshot(self, file: Path) -> None:
        """What a person would see."""
        file.write_bytes(base64.b64decode(self.command("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        """Close the pipes, upon which Chromium ends."""
        self._ask.close()
        self._hear.close()


@contextmanager
def browsing(hosts: Mapping[str, int]) -> Iterator[Browser]:
    """Chromium with a profile of its own, to which each of these hosts is a port of loopback, and others are nowhere."""
    program = shutil.which("chromium")
    if not program:
        missing("chromium is not installed: apt-get install chromium")
    rules = ", ".join([*(f"MAP {host} 127.0.0.1:{port}" for host, port in hosts.items()), "MAP * ~NOTFOUND"])
    (their_in, ask), (hear, their_out) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(prefix="textback-chromium-", ignore_cleanup_errors=True) as profile:
        words = [str(program), *_FLAGS, f"--user-data-dir={profile}", f"--host-resolver-rules={rules}", "about:blank"]
        # its pipe is on 3 and 4, whatever numbers ours have
        script = f'exec "$@" 3<&{their_in} 4>&{their_out}'
        process = subprocess.Popen(
            ["bash", "-c", script, "bash", *words],
            pass_fds=(their_in, their_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(their_in)
        os.close(their_out)
        # a browser that hangs is ended, so that reading from it ends too
        watch = threading.Timer(_PATIENCE, process.kill)
        watch.start()
        try:
            browser = Browser(ask, hear)
            yield browser
            browser.close()
            process.wait(20)
        finally:
            watch.cancel()
            if process.poll() is None:
                process.kill()
                process.wait(20)


@contextmanager
def tls_before(port: int, *hosts: str) -> Iterator[int]:
    """A port that speaks TLS with a certificate of our own, and hands everything on to a port of loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        identity = authority("Tests").issue(hosts[0])
        file = Path(folder) / "identity.pem"
        file.write_text(identity.certificate + identity.key)
        context.load_cert_chain(file)
    loop, started = asyncio.new_event_loop(), threading.Event()
    thread = threading.Thread(target=_run, args=(loop, context, port, started, found := []))
    thread.start()
    started.wait(20)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)


def _run(
    loop: asyncio.AbstractEventLoop, context: ssl.SSLContext, port: int, started: threading.Event, found: list[int]
) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beyond_reader, beyond_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pipe(reader, beyond_writer), _pipe(beyond_reader, writer), return_exceptions=True)

    asyncio.set_event_loop(loop)
    server = loop.run_until_complete(asyncio.start_server(connect, "127.0.0.1", 0, ssl=context))
    found.append(server.sockets[0].getsockname()[1])
    started.set()
    loop.run_forever()
    server.close()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0.05))
    loop.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while some := await reader.read(65_536):
            writer.write(some)
            await writer.drain()
    finally:
        writer.close()
