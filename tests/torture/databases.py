"""The database under torture: SQLite's file, or a PostgreSQL of our own that is killed, frozen, stopped and started again."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.bench.processes import alive, children
from tests.postgres import Server, startable
from tests.torture.proxy import Proxy


@dataclass(slots=True)
class Store:
    """Where the nodes keep what they hear."""

    #: for the nodes
    url: str
    #: past the proxy, where there is one
    direct_url: str
    server: Server | None = None
    proxy: Proxy | None = None

    @property
    def kind(self) -> str:
        """`sqlite` or `postgresql`."""
        return "postgresql" if self.server else "sqlite"


@contextmanager
def store(kind: str, folder: Path, *, proxied: bool = False) -> Iterator[Store]:
    """An empty database of that kind in `folder`, gone afterwards. `proxied`: the nodes reach it through a proxy."""
    if kind == "sqlite":
        url = f"sqlite:///{folder / 'textback.db'}"
        yield Store(url, url)
        return
    with ExitStack() as stack:
        server = stack.enter_context(startable(durable=True, folder=folder))
        stack.callback(thaw, server)
        with psycopg.connect(f"{server.url}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE torture")
        proxy = stack.enter_context(Proxy(server.port)) if proxied else None
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}" if proxy else server.url
        yield Store(f"{url}/torture", f"{server.url}/torture", server, proxy)


def kill(server: Server) -> None:
    """`kill -9` of the postmaster and everything it has started, and started again on the same data."""
    _end(server, signal.SIGKILL)
    start_again(server)


def kill_backend(server: Server) -> None:
    """`kill -9` of one of its processes: it throws everybody out, recovers, and is there again by itself."""
    with psycopg.connect(f"{server.url}/torture") as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'textback' ORDER BY random() LIMIT 1"
        ).fetchone()
    if found:
        with suppress(ProcessLookupError):
            os.kill(found[0], signal.SIGKILL)
    wait_until_it_answers(server)


def stop_at_once(server: Server) -> None:
    """It refuses connections from now on."""
    server.stop(signal.SIGQUIT)


def start_again(server: Server, seconds: float = 60.0) -> None:
    """Start on the same data, which needs a moment while processes of the killed one are still there."""
    end = time.monotonic() + seconds
    while True:
        try:
            server.start()
            break
        except RuntimeError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
    wait_until_it_answers(server)


def wait_until_it_answers(server: Server, seconds: float = 60.0) -> None:
    """Until it has recovered."""
    end = time.monotonic() + seconds
    while True:
        try:
            with psycopg.connect(f"{server.url}/torture", connect_timeout=2) as connection:
                connection.execute("SELECT 1")
                break
        except psycopg.Error:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def freeze(server: Server) -> None:
    """Postmaster and all its processes stand still; connections stay open, and new ones are taken by the kernel."""
    for pid in _all(server):
        _tell(pid, signal.SIGSTOP)


def thaw(server: Server) -> None:
    """They go on."""
    for pid in _all(server):
        _tell(pid, signal.SIGCONT)


def _end(server: Server, how: signal.Signals) -> None:
    theirs = _all(server)
    for pid in theirs:
        _tell(pid, how)
    server.stop(how)
    while any(alive(pid) for pid in theirs):
        time.sleep(0.02)


def _all(server: Server) -> list[int]:
    return [server.pid, *children(server.pid)]


def _tell(pid: int, what: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, what)
