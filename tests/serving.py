"""The real application on loopback, and a plain client for it."""

import asyncio
import http.client
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
import uvicorn

from app.events import Heard, Recorded
from app.main import create_app
from app.send import CallMaker
from app.serve.parts import Parts
from app.settings import Settings

T = TypeVar("T")

ADMIN = "an-admin-token-for-tests"
SECRET_KEY = "a-secret-key-of-32-characters-or-more"


@dataclass(frozen=True)
class Answer:
    """What came back; `json` is None for an empty body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    parts: Parts
    loop: asyncio.AbstractEventLoop

    def record(self, heard: Heard) -> Recorded:
        """Record, and wait for the commit."""
        return self._in_loop(lambda: self.parts.writer.record(heard))

    def write(self, act: Callable[[sa.Connection], T]) -> T:
        """Write through the server's own writer."""
        return self._in_loop(lambda: self.parts.writer.run(act))

    def run(self, story: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(story, self.loop).result(30)

    def _in_loop(self, start: "Callable[[], asyncio.Future[T]]") -> T:
        async def wait() -> T:
            return await start()

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result(30)

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = ADMIN, headers: Mapping[str, str] = {}
    ) -> Answer:
        """One request. A body that is not bytes is sent as JSON."""
        raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=20)
        try:
            connection.request(method, path, raw, {**sent, **headers})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()


@contextmanager
def serving_copy(template: Path, folders: pytest.TempPathFactory) -> Iterator[Served]:
    """The application on a copy of a SQLite file, to be shared by tests of what is refused before anything is written."""
    with serving(f"sqlite:///{shutil.copy(template, folders.mktemp('shared') / 'textback.db')}") as running:
        yield running


@contextmanager
def serving(
    database_url: str, *, send: bool = False, actions: CallMaker | None = None, **given: Any
) -> Iterator[Served]:
    """The application on a free port, until the block ends. `given`: further settings."""
    with tempfile.TemporaryDirectory(prefix="textback-spool-") as spool:
        usual = {"admin_token": ADMIN, "secret_key": SECRET_KEY, "access_log": False, "spool_folder": spool}
        with _serving(Settings(database_url=database_url, **(usual | given)), send=send, actions=actions) as running:
            yield running


@contextmanager
def _serving(settings: Settings, *, send: bool, actions: CallMaker | None = None) -> Iterator[Served]:
    app = create_app(settings, send=send, actions=actions)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="on", ws="none")
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_run, args=(loop, server), name="server")
    thread.start()
    try:
        yield Served(f"http://127.0.0.1:{_port(server, thread)}", app.state.parts, loop)
    finally:
        server.should_exit = True
        thread.join(30)


def _run(loop: asyncio.AbstractEventLoop, server: uvicorn.Server) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(server.serve())


def _port(server: uvicorn.Server, thread: threading.Thread) -> int:
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the application did not start; its log says why")
        time.sleep(0.005)
    return int(server.servers[0].sockets[0].getsockname()[1])
