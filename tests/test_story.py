"""textback as its users run it: processes of their own, started by the command line, and killed."""

import asyncio
import http.client
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import psycopg
import pytest

from tests.postgres import free_port

BIN = Path(sys.executable).parent
KEYS = {"TEXTBACK_SECRET_KEY": "k" * 40, "TEXTBACK_ADMIN_TOKEN": "t" * 24}
WEBHOOK = """
[[webhooks]]
name = "infobip"
provider = "infobip"
scheme = { type = "token" }
"""


@contextmanager
def running(folder: Path, *words: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """`textback words…` in a folder of its own."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TEXTBACK_")} | settings
    with (folder / "console").open("a+") as console:
        process = subprocess.Popen(
            [BIN / "textback", *words], cwd=folder, env=environ, stdout=console, stderr=console, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def textback(folder: Path, *words: str, **settings: str) -> str:
    return subprocess.run(
        [BIN / "textback", *words], cwd=folder, env=os.environ | settings, check=True, capture_output=True, text=True
    ).stdout


def texting(folder: Path, *words: str) -> str:
    """A person texts, through the demo's provider."""
    return subprocess.run(
        [sys.executable, "-m", "app.demo", *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def console(folder: Path) -> str:
    return (folder / "console").read_text()


def wait_for(what: Any, seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end:
            raise AssertionError("it did not happen in time")
        time.sleep(0.03)
    return found


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_make_run_a_stop_again_and_a_start(tmp_path: Path) -> None:
    """What the README promises: STOP is in the views with evidence and answered once; then START, and an action."""

    def query(sql: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(tmp_path / "data" / "textback.db") as conn:
            return conn.execute(sql).fetchall()

    with running(tmp_path, "serve", "--migrate", "--demo", "--port", str(free_port())) as server:
        wait_for(lambda: "textback is listening" in console(tmp_path))

        assert "answered 200" in texting(tmp_path, "STOP")
        wait_for(lambda: query("SELECT 1 FROM delivery WHERE status = 'delivered'"))
        assert query("SELECT address, state FROM current_consent") == [("+14155550100", "opted_out")]
        history = query("SELECT old_state, new_state, cause, text, keyword, signature FROM consent_history")
        assert history == [("unknown", "opted_out", "keyword", "STOP", "STOP", "hmac, secret 1 of 1")]
        assert query("SELECT category, reply, reply_state FROM inbound") == [("opt_out", "queued", "sent")]

        assert "answered 200" in texting(tmp_path, "--again")
        assert "answered 200" in texting(tmp_path, "STOP")
        wait_for(lambda: len(query("SELECT 1 FROM inbound")) == 2)
        assert len(query("SELECT 1 FROM delivery")) == 1
        assert query("SELECT reply FROM inbound ORDER BY id DESC LIMIT 1") != [("queued",)]

        texting(tmp_path, "START")
        wait_for(lambda: query("SELECT 1 FROM current_consent WHERE state = 'opted_in'"))
        wait_for(lambda: len(query("SELECT 1 FROM delivery WHERE status = 'delivered'")) == 2)

        texting(tmp_path, "ORDER")
        wait_for(lambda: 'shows: "Your order A-1001 is on its way."' in console(tmp_path))

        server.send_signal(signal.SIGTERM)
        assert server.wait(20) in (0, -signal.SIGTERM)
    told = console(tmp_path)
    assert 'heard     "STOP" from +1415•••00: opt_out' in told
    assert "recorded  unknown -> opted_out" in told
    assert "sent      the phone" in told
    assert "receipt   delivered" in told
    assert "called    the shop, for the order of +1415•••00" in told
    assert "14155550100" not in told


class Load:
    """Inbound messages over keep-alive connections; remembers which were acknowledged."""

    def __init__(self, url: str) -> None:
        self.url = urlsplit(url)
        self.acknowledged: list[str] = []
        self._number = 0

    async def run(self, connections: int, until: "asyncio.Event") -> None:
        await asyncio.gather(*[self._one(until) for _ in range(connections)])

    async def _one(self, until: "asyncio.Event") -> None:
        while not until.is_set():
            try:
                reader, writer = await asyncio.open_connection(self.url.hostname, self.url.port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            try:
                while not until.is_set():
                    await self._send(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                continue
            finally:
                writer.close()
                await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._number += 1
        sid = f"m{self._number}"
        item = {"messageId": sid, "from": f"4179{self._number % 5000:07}", "to": "41790000000", "text": "STOP",
                "receivedAt": "2026-11-22T12:00:00.000+0000"}  # fmt: skip
        body = orjson.dumps({"results": [item]})
        head = f"POST {self.url.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answer)
        if length:
            await reader.readexactly(int(length[1]))
        if answer.startswith(b"HTTP/1.1 200"):
            self.acknowledged.append(sid)


def stored_ids(database_url: str) -> list[str]:
    sql = "SELECT provider_id FROM inbound_messages"
    if database_url.startswith("sqlite"):
        with sqlite3.connect(database_url.removeprefix("sqlite:///")) as conn:
            return [row[0] for row in conn.execute(sql)]
    with psycopg.connect(database_url) as conn:
        return [row[0] for row in conn.execute(sql)]


async def kill_during_load(load: Load, process: subprocess.Popen[str], enough: int) -> None:
    done = asyncio.Event()
    running_load = asyncio.create_task(load.run(16, done))
    before = len(load.acknowledged)
    while len(load.acknowledged) - before < enough:  # noqa: ASYNC110 - a load generator polls its own counter
        await asyncio.sleep(0.01)
    process.kill()
    process.wait()
    done.set()
    await running_load


def test_after_kill_9_during_load_nothing_acknowledged_is_missing(tmp_path: Path, database_url: str) -> None:
    port = free_port()
    settings = KEYS | {"TEXTBACK_DATABASE_URL": database_url, "TEXTBACK_PORT": str(port)}
    (tmp_path / "apply.toml").write_text(WEBHOOK)
    [webhook] = orjson.loads(textback(tmp_path, "apply", "apply.toml", "--json", **settings))
    load = Load(webhook["url"])

    for _ in range(3):
        with running(tmp_path, "serve", **settings) as server:
            wait_for(lambda: is_ready(port))
            asyncio.run(kill_during_load(load, server, enough=200))
    with running(tmp_path, "serve", **settings):
        wait_for(lambda: is_ready(port))

    stored = stored_ids(database_url)
    assert len(load.acknowledged) >= 600
    assert set(load.acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))


def test_a_second_server_on_one_sqlite_file_is_refused(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    settings = KEYS | {"TEXTBACK_DATABASE_URL": f"sqlite:///{tmp_path / 'one.db'}"}
    with running(tmp_path, "serve", "--migrate", "--port", str(ports[0]), **settings):
        wait_for(lambda: is_ready(ports[0]))

        second = subprocess.run(
            [BIN / "textback", "serve", "--port", str(ports[1])],
            cwd=tmp_path, env=os.environ | settings, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    assert second.returncode == 1
    assert "SQLite takes one server" in second.stderr


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"TEXTBACK_SECRET_KEY": ""}, "TEXTBACK_SECRET_KEY"),
        ({"TEXTBACK_SECRET_KEY": "short"}, "openssl rand -hex 32"),
        ({"TEXTBACK_DATABASE_URL": "mysql://x"}, "sqlite or postgresql"),
        ({}, "textback migrate"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(tmp_path: Path, settings: dict[str, str], sentence: str) -> None:
    environ = os.environ | KEYS | settings
    words: Sequence[Any] = [BIN / "textback", "serve", "--port", str(free_port())]

    refused = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=30, check=False)

    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr
