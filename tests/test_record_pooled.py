"""Behind a pooling proxy in transaction mode: a real pgbouncer between textback and PostgreSQL."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from app import chores
from app.record import schema
from app.record.database import Database
from tests import fake_provider
from tests.commands import runner
from tests.kannel import becomes
from tests.pgbouncer import need_pgbouncer, pooling
from tests.serving import Served, serving
from tests.test_record_listening import HOUSE, listeners

REPLYING = HOUSE | {"credential": "acme", "sender": "+14155550199"}
ACME = {
    "name": "acme",
    "provider": "twilio",
    "app_id": "AC0123",
    "auth": {"type": "basic", "username": "AC0123", "password": "x"},
}
PEOPLE = [f"+1415555{n:04d}" for n in range(100, 140)]


@pytest.fixture
def urls(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """(through the proxy, past it) of a new and empty database."""
    need_pgbouncer()
    server: str = request.getfixturevalue("postgres_server")
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as conn, pooling(server) as proxy:
        conn.execute(f"CREATE DATABASE {name}")
        yield f"{proxy}/{name}", f"{server}/{name}"
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


def text(served: Served, path: str, person: str) -> int:
    told = {"id": f"id-{person}", "from": person, "to": "+14155550199", "text": "STOP"}
    return served.ask("POST", path, told, token=None).status


def transactions(pooled: str) -> int:
    """How many went through the proxy to this database."""
    proxy, _, name = pooled.rpartition("/")
    with psycopg.connect(f"{proxy}/pgbouncer", autocommit=True) as console:
        cursor = console.execute("SHOW STATS_TOTALS")
        columns = [column.name for column in cursor.description or ()]
        rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    return next(int(row["xact_count"]) for row in rows if row["database"] == name)


def test_two_nodes_serve_and_send_through_the_proxy(urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    pooled, direct = urls
    database = Database(pooled, direct_url=direct)
    schema.upgrade(database)
    database.close()
    monkeypatch.setattr(chores, "_REGISTRY_EVERY", 3600)  # only LISTEN tells the other node of the webhook
    with ExitStack() as stack:
        provider = stack.enter_context(fake_provider.running())
        given = {"database_direct_url": direct, "send": True, "allowed_private_destinations": ["127.0.0.1"]}
        one, other = (stack.enter_context(serving(pooled, **given)) for _ in range(2))
        threads = stack.enter_context(ThreadPoolExecutor(8))
        becomes(lambda: listeners(direct), 2)
        assert one.ask("POST", "/v1/credentials", ACME | {"url": provider.url}).status == 201
        path = urlsplit(one.ask("POST", "/v1/webhooks", REPLYING).json["url"]).path
        becomes(lambda: text(other, path, PEOPLE[0]), 200)

        # each twice, once at each node: the second is a repeat
        answers = list(threads.map(lambda pair: text(pair[0], path, pair[1]), product((one, other), PEOPLE)))
        told = one.ask("POST", "/v1/consent/check", {"addresses": PEOPLE}).json
        ready = other.ask("GET", "/health/ready", token=None).status
        becomes(lambda: sorted(request.form["To"] for request in provider.requests), PEOPLE)

    assert (set(answers), ready) == ({200}, 200)
    assert {each["state"] for each in told["results"]} == {"opted_out"}
    with psycopg.connect(direct) as conn:
        found = [conn.execute(f"SELECT count(*) FROM {name}").fetchone() for name in ("ledger", "inbound", "outbox")]
    assert found == [(len(PEOPLE),)] * 3
    assert transactions(pooled) > 50


def test_a_proxy_without_the_direct_url_is_told_with_the_mend(
    urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = runner(urls[0], monkeypatch, tmp_path)("migrate")

    assert told.exit_code == 1
    assert "unsupported startup parameter" in told.stderr
    assert "set TEXTBACK_DATABASE_DIRECT_URL to the server behind it" in told.stderr
