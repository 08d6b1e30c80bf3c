"""The end of a process: it says so first, drops nothing, and takes no longer than it may."""

import asyncio
import http.client
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from app import systemd
from tests import fake_provider
from tests.postgres import free_port
from tests.registering import registered
from tests.steady import Load
from tests.test_story import BIN, KEYS, WEBHOOK, is_ready, running, stored_ids, wait_for

#: seconds that a busy machine may take for anything
PATIENCE = 90.0
#: what systemd does between fork and exec: the socket becomes descriptor 3, and the child is told so
PASSING = """
import os, sys
os.dup2(int(sys.argv[1]), 3, inheritable=True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""


#: the same webhook, which answers
SENDING = """
[[credentials]]
name = "out"
provider = "custom"
url = "{url}/messages"
payload = '{{"to":"{{{{toNumber}}}}","text":"{{{{message}}}}"}}'
message_id = "messages.0.id"

[[webhooks]]
name = "infobip"
provider = "infobip"
credential = "out"
sender = "+41790000000"
scheme = {{ type = "token" }}
[webhooks.keywords.opt_out]
reply = "You are out."
"""


def inbound(path: str, message: str) -> bytes:
    item = {"messageId": message, "from": "41790000001", "to": "41790000000", "text": "STOP",
            "receivedAt": "2026-11-22T12:00:00.000+0000"}  # fmt: skip
    body = orjson.dumps({"results": [item]})
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def settings_of(folder: Path, database_url: str, **given: object) -> dict[str, str]:
    found = {"TEXTBACK_DATABASE_URL": database_url, "TEXTBACK_ACCESS_LOG": "false"}
    return KEYS | found | {f"TEXTBACK_{name.upper()}": str(value) for name, value in given.items()}


def ask(port: int, path: str) -> tuple[int, Any, str | None]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, orjson.loads(answer.read()), answer.getheader("connection")
    finally:
        connection.close()


@contextmanager
def activated(folder: Path, listener: socket.socket, **settings: str) -> Iterator["subprocess.Popen[str]"]:
    """`textback serve` as a supervisor starts it, with a socket that it keeps itself."""
    words = [sys.executable, "-c", PASSING, str(listener.fileno()), str(BIN / "textback"), "serve"]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TEXTBACK_")} | settings
    with (folder / "console").open("a") as console:
        process = subprocess.Popen(
            words, cwd=folder, env=environ, stdout=console, stderr=console, text=True, pass_fds=[listener.fileno()]
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def listening(kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    listener = socket.socket(socket.AF_INET, kind)
    listener.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        listener.listen(512)
    return listener


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_single_node_restarts_under_load_and_no_request_fails(tmp_path: Path, database_url: str) -> None:
    with listening() as listener:
        port = listener.getsockname()[1]
        settings = settings_of(tmp_path, database_url)
        path = registered(database_url, WEBHOOK, KEYS["TEXTBACK_SECRET_KEY"])
        load = Load(port, lambda message: inbound(path, message))

        async def story(last: ExitStack) -> None:
            for _ in range(2):
                with activated(tmp_path, listener, **settings) as server:
                    await load.more(150)
                    server.send_signal(signal.SIGTERM)
                    assert await asyncio.to_thread(server.wait, PATIENCE) == 0
            last.enter_context(activated(tmp_path, listener, **settings))
            await load.more(50)  # whoever asked in between has waited

        with ExitStack() as last:
            asyncio.run(load.during(story(last)))

    assert load.failures == []
    assert len(load.acknowledged) == load.sent >= 350
    assert sorted(stored_ids(database_url)) == sorted(load.acknowledged)
    assert f"addresses=['127.0.0.1:{port}'] passed=True" in (tmp_path / "console").read_text()


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_told_to_stop_it_is_not_ready_first_and_serves_on_for_the_delay(tmp_path: Path, database_url: str) -> None:
    port = free_port()
    settings = settings_of(tmp_path, database_url, port=port, shutdown_delay=2)
    path = registered(database_url, WEBHOOK, KEYS["TEXTBACK_SECRET_KEY"])
    load = Load(port, lambda message: inbound(path, message), connections=2, pause=0.02)

    async def story(server: "subprocess.Popen[str]") -> None:
        await load.more(20)
        server.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        status, told, connection = await asyncio.to_thread(ask, port, "/health/ready")
        assert (status, told["ready"], connection) == (503, False, "close")
        assert "told to stop" in told["reasons"][0]
        assert (await asyncio.to_thread(ask, port, "/health/live"))[0] == 200
        await load.more(20)

    with running(tmp_path, "serve", **settings) as server:
        wait_for(lambda: is_ready(port), PATIENCE)
        asyncio.run(load.during(story(server)))

        assert server.wait(PATIENCE) == 0
    assert load.failures == []
    assert load.closed >= 20
    assert sorted(stored_ids(database_url)) == sorted(load.acknowledged)


@contextmanager
def half_sent(port: int, request: bytes) -> Iterator[socket.socket]:
    """A connection on which all but the last byte of a request has gone out."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(request[:-1])
        time.sleep(0.1)
        yield connection


def answered(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_request_under_way_is_answered_and_an_idle_connection_is_not_waited_for(
    tmp_path: Path, database_url: str
) -> None:
    port = free_port()
    settings = settings_of(tmp_path, database_url, port=port)
    request = inbound(registered(database_url, WEBHOOK, KEYS["TEXTBACK_SECRET_KEY"]), "late")

    with running(tmp_path, "serve", **settings) as server:
        wait_for(lambda: is_ready(port), PATIENCE)
        with half_sent(port, request) as slow, socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as idle:
            server.send_signal(signal.SIGTERM)
            assert answered(idle) == b""
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))

            slow.sendall(request[-1:])
            answer = answered(slow)
        assert server.wait(PATIENCE) == 0

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer
    assert stored_ids(database_url) == ["late"]


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_second_signal_ends_it_at_once(tmp_path: Path, database_url: str) -> None:
    port = free_port()
    settings = settings_of(tmp_path, database_url, port=port, shutdown_deadline=600, request_timeout=600)
    request = inbound(registered(database_url, WEBHOOK, KEYS["TEXTBACK_SECRET_KEY"]), "never")

    with running(tmp_path, "serve", **settings) as server:
        wait_for(lambda: is_ready(port), PATIENCE)
        with half_sent(port, request):
            server.send_signal(signal.SIGTERM)
            wait_for(lambda: "told to stop" in (tmp_path / "console").read_text())
            assert server.poll() is None
            server.send_signal(signal.SIGINT)

            assert server.wait(PATIENCE) == -signal.SIGINT


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_a_database_that_hangs_does_not_hold_it_beyond_the_deadline(tmp_path: Path, database_url: str) -> None:
    port = free_port()
    settings = settings_of(tmp_path, database_url, port=port, shutdown_deadline=3)
    request = inbound(registered(database_url, WEBHOOK, KEYS["TEXTBACK_SECRET_KEY"]), "waits")

    with running(tmp_path, "serve", **settings) as server, psycopg.connect(database_url) as other:
        wait_for(lambda: is_ready(port), PATIENCE)
        other.execute("LOCK TABLE inbound_messages")
        with half_sent(port, request) as connection:
            connection.sendall(request[-1:])
            time.sleep(0.2)
            server.send_signal(signal.SIGTERM)

            assert server.wait(PATIENCE) in (0, 1)  # the lock is held until here


def test_whatever_hangs_cannot_hold_the_process_beyond_its_end() -> None:
    hanging = "import time; from app.server import end_after; end_after(0.2); time.sleep(3600)"

    ended = subprocess.run(
        [sys.executable, "-c", hanging], check=False, capture_output=True, text=True, timeout=PATIENCE
    )

    assert ended.returncode == 1
    assert "did not end in time" in ended.stdout + ended.stderr


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_send_under_way_is_finished_and_marked(tmp_path: Path, database_url: str) -> None:
    port = free_port()
    with fake_provider.running() as provider:
        provider.plan.append(fake_provider.answer(200, {"messages": [{"id": "S1"}]}, pause=1.0))
        settings = settings_of(tmp_path, database_url, port=port, allowed_private_destinations="127.0.0.1")
        path = registered(database_url, SENDING.format(url=provider.url), KEYS["TEXTBACK_SECRET_KEY"])
        with running(tmp_path, "serve", **settings) as server:
            wait_for(lambda: is_ready(port), PATIENCE)
            with half_sent(port, request := inbound(path, "m1")) as connection:
                connection.sendall(request[-1:])
                wait_for(lambda: provider.requests, PATIENCE)
            server.send_signal(signal.SIGTERM)
            assert server.wait(PATIENCE) == 0

    with sqlite3.connect(database_url.removeprefix("sqlite:///")) as conn:
        assert conn.execute("SELECT state, attempts, provider_id FROM outbox").fetchall() == [("sent", 1, "S1")]


@pytest.mark.parametrize("words", [("serve",), ("send",)])
@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_whoever_started_it_is_told_when_it_is_ready_and_when_it_stops(
    tmp_path: Path, database_url: str, words: tuple[str, ...]
) -> None:
    settings = settings_of(tmp_path, database_url, port=free_port())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.settimeout(PATIENCE)
        told.bind(str(tmp_path / "notify"))
        with running(tmp_path, *words, **settings, NOTIFY_SOCKET=str(tmp_path / "notify")) as process:
            assert told.recv(100) == b"READY=1"
            process.send_signal(signal.SIGTERM)
            assert told.recv(100) == b"STOPPING=1"
            assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_socket_that_takes_no_connections_is_refused_in_a_sentence(tmp_path: Path, database_url: str) -> None:
    with (
        listening(socket.SOCK_DGRAM) as wrong,
        activated(tmp_path, wrong, **settings_of(tmp_path, database_url)) as server,
    ):
        assert server.wait(PATIENCE) == 1

    told = (tmp_path / "console").read_text()
    assert "no listening TCP socket" in told
    assert "ListenStream=" in told
    assert "Traceback" not in told


def test_sockets_that_were_passed_to_another_process_are_not_ours() -> None:
    environ = {"LISTEN_PID": str(os.getppid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http", "PATH": "/bin"}

    assert systemd.inherited(environ) == []
    assert environ == {"PATH": "/bin"}
