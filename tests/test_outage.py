"""While PostgreSQL is away: refused, frozen, or gone at start. What is heard is acknowledged, kept, and recorded once."""

import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from app.record import tables as t
from app.record.ids import new_id
from app.record.spool import Item, Spool
from tests import postgres
from tests.commands import runner, told
from tests.conftest import fresh_database
from tests.freezing import frozen
from tests.serving import Answer, Served, serving
from tests.test_door import register
from tests.test_story import BIN, KEYS

CAROL, DAVE = "+41791234501", "+41791234502"
WEBHOOK = {"name": "house", "provider": "infobip", "type": "inbound", "scheme": {"type": "token"}, "rate_limit": None}


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with fresh_database("postgresql", request, tmp_path) as found:
        yield found


@contextmanager
def node(url: str, folder: Path, **given: Any) -> Iterator[Served]:
    with serving(url, spool_folder=str(folder / "spool"), outage_after=0.4, **given) as served:
        yield served


def hears(served: Served, **more: Any) -> str:
    """A registered webhook's path."""
    register(served, [WEBHOOK | more])
    return token_path(served)


def token_path(served: Served) -> str:
    [line] = served.parts.switchboard.by_name.values()
    return f"/in/{line.token}"


def say(served: Served, path: str, text: str, *, who: str = CAROL, message_id: str = "") -> Answer:
    item = {"messageId": message_id or f"m{new_id()}", "from": who.removeprefix("+"), "to": "41790000000", "text": text}
    return served.ask("POST", path, {"results": [item | {"receivedAt": "2026-11-22T12:00:00.000+0000"}]}, token=None)


def consent(served: Served, who: str = CAROL) -> tuple[int, Any]:
    answer = served.ask("GET", f"/v1/consent/{who}")
    return answer.status, answer.json["may_send"]


def state(served: Served) -> str:
    return str(served.ask("GET", "/health/ready", token=None).json["state"])


def wait_until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def refused(url: str) -> Iterator[None]:
    """The server is there and lets nobody in."""
    server, _, name = url.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        yield
        conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def stored(served: Served, *columns: Any) -> list[tuple[Any, ...]]:
    query = sa.select(*columns).order_by(columns[0].table.c.id)
    return served.parts.database.read_now(lambda conn: [tuple(row) for row in conn.execute(query)])


def test_what_comes_while_the_database_is_refused_is_acknowledged_and_recorded_once_in_order(
    url: str, tmp_path: Path
) -> None:
    with node(url, tmp_path) as served:
        path = hears(served)
        assert say(served, path, "hello", message_id="m0").status == 200
        with refused(url):
            answers = [say(served, path, text, message_id=f"m{n}") for n, text in enumerate(("hello", "START", "STOP"))]
            away = consent(served), consent(served, DAVE), state(served)
        wait_until(lambda: state(served) == "serving")
        answers.append(say(served, path, "hi", message_id="m3"))

        heard = stored(served, t.inbound_messages.c.provider_id, t.inbound_messages.c.category)
        entries = stored(served, t.ledger.c.new_state, t.ledger.c.superseded)
        back = consent(served), consent(served, DAVE)

    assert [answer.status for answer in answers] == [200] * 4
    assert away == ((200, False), (503, False), "spooling")
    assert heard == [("m0", "default"), ("m1", "opt_in"), ("m2", "opt_out"), ("m3", "default")]
    assert entries == [("opted_in", False), ("opted_out", False)]
    assert back == ((200, False), (200, True))


def test_a_database_that_hangs_counts_as_away_and_requests_under_way_are_kept(tmp_path: Path) -> None:
    with postgres.running() as server:
        with psycopg.connect(f"{server}/postgres", autocommit=True) as conn:
            conn.execute("CREATE DATABASE house")
        with migrated(f"{server}/house"), node(f"{server}/house", tmp_path) as served:
            path = hears(served)
            with frozen(server):
                assert say(served, path, "STOP", message_id="m1").status == 200
                assert (consent(served), consent(served, DAVE)) == ((200, False), (503, False))
                assert state(served) == "spooling"
                assert "textback_store_away 1.0" in served.ask("GET", "/metrics").body.decode()
            wait_until(lambda: state(served) == "serving")
            assert say(served, path, "STOP", message_id="m1").status == 200

            heard = stored(served, t.inbound_messages.c.provider_id)
            assert (heard, consent(served)) == ([("m1",)], (200, False))


@contextmanager
def migrated(url: str) -> Iterator[None]:
    from app.record import schema
    from app.record.database import Database

    database = Database(url)
    schema.upgrade(database)
    database.close()
    yield


def test_a_node_that_starts_during_the_outage_knows_its_webhooks_and_tokens(url: str, tmp_path: Path) -> None:
    with node(url, tmp_path) as served:
        path = hears(served)
        token = served.ask("POST", "/v1/tokens", {"name": "shop", "scopes": ["consent:read"]}).json["token"]
        wait_until(lambda: served.ask("GET", f"/v1/consent/{CAROL}", token=token).status == 200)
        register(served, [WEBHOOK | {"program": "news"}])  # a change, so that the registry is read and kept again
    with refused(url):
        with node(url, tmp_path) as served:
            assert say(served, path, "STOP", message_id="m1").status == 200
            asked = served.ask("GET", f"/v1/consent/{CAROL}?program=news", token=token)
        # ended and begun again, still without a database
        with node(url, tmp_path) as served:
            again = served.ask("GET", f"/v1/consent/{CAROL}?program=news", token=token)
            unknown = served.ask("GET", f"/v1/consent/{CAROL}?program=news", token="tb_forged")
    with node(url, tmp_path) as served:
        wait_until(lambda: state(served) == "serving")
        heard = stored(served, t.inbound_messages.c.provider_id, t.inbound_messages.c.program)

    assert [(a.status, a.json["state"], a.json["may_send"]) for a in (asked, again)] == [(200, "opted_out", False)] * 2
    assert unknown.status == 401
    assert heard == [("m1", "news")]
    sealed = (tmp_path / "spool" / "registry.sealed").read_bytes()
    assert b"infobip" not in sealed
    assert path.removeprefix("/in/").encode() not in sealed


def test_a_node_that_was_never_here_does_not_start_without_its_database(url: str, tmp_path: Path) -> None:
    settings = KEYS | {"TEXTBACK_DATABASE_URL": url, "TEXTBACK_PORT": str(postgres.free_port())}
    with refused(url):
        ended = subprocess.run(
            [BIN / "textback", "serve"], cwd=tmp_path, env=os.environ | settings, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip

    assert ended.returncode == 1
    assert "The database of TEXTBACK_DATABASE_URL cannot be used" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_poisoned_item_is_set_aside_and_the_rest_goes_on(url: str, tmp_path: Path) -> None:
    with node(url, tmp_path) as served:
        path = hears(served)
        with refused(url):
            for number in range(3):
                assert say(served, path, "STOP", who=f"+4179123460{number}", message_id=f"m{number}").status == 200
            with sqlite3.connect(tmp_path / "spool" / "spool-1.db") as conn:
                conn.execute("UPDATE spool SET heard = x'7b7d' WHERE id = 2")
        wait_until(lambda: state(served) == "serving")
        notes = served.ask("GET", "/health/ready", token=None).json["notes"]
        heard = stored(served, t.inbound_messages.c.provider_id)
        asked = consent(served, "+41791234601")

    assert heard == [("m0",), ("m2",)]
    assert notes == ["1 items of the spool wait for a person; see: textback spool list"]
    assert asked == (200, False), "what it said of consent holds on"


def test_what_was_committed_before_the_answer_was_lost_is_not_recorded_again(url: str, tmp_path: Path) -> None:
    """Also a request without any event, which has no key that would tell."""
    with node(url, tmp_path) as served:
        path = hears(served)
        served.ask("POST", path, {"nonsense": True}, token=None)
        with refused(url):
            served.ask("POST", path, {"nonsense": 2}, token=None)
            keep_a_copy(tmp_path / "spool" / "spool-1.db")
        wait_until(lambda: state(served) == "serving")
        wait_until(lambda: len(stored(served, t.raw_requests.c.id)) == 2)
        with refused(url):  # the same items once more, as after a crash between commit and deletion
            with sqlite3.connect(tmp_path / "spool" / "spool-1.db") as conn:
                conn.execute("INSERT INTO spool SELECT * FROM kept")
            assert say(served, path, "hi").status == 200
        wait_until(lambda: state(served) == "serving")
        readings = stored(served, t.raw_requests.c.reading)

    assert readings == [("undecoded",), ("undecoded",), ("events",)]


def keep_a_copy(spool: Path) -> None:
    with sqlite3.connect(spool) as conn:
        conn.execute("CREATE TABLE kept AS SELECT * FROM spool")


def test_a_full_spool_is_told_and_nothing_is_acknowledged(url: str, tmp_path: Path) -> None:
    with node(url, tmp_path, spool_limit=1_048_576, body_limit=2_000_000) as served:
        path = hears(served)
        with refused(url):
            statuses = [say(served, path, "x" * 300_000).status for _ in range(8)]
            ready = served.ask("GET", "/health/ready", token=None)
            refusal = say(served, path, "x" * 300_000)
        wait_until(lambda: state(served) == "serving")
        heard = stored(served, t.inbound_messages.c.id)

    assert statuses[0] == 200
    assert statuses[-1] == 503
    assert int(refusal.headers["retry-after"]) > 0
    assert (ready.status, "full" in ready.json["reasons"][0]) == (503, True)
    assert len(heard) == statuses.count(200)


def test_while_the_spool_drains_a_person_who_waits_in_it_queues_up_behind(url: str, tmp_path: Path) -> None:
    with node(url, tmp_path) as served:
        path = hears(served)
        with refused(url):
            for number in range(600):
                say(served, path, "hello", who=f"+417912{number:05}", message_id=f"old{number}")
            say(served, path, "START", message_id="old")
        wait_until(lambda: state(served) != "spooling")
        say(served, path, "STOP", message_id="new")
        wait_until(lambda: state(served) == "serving")
        heard = [row[0] for row in stored(served, t.inbound_messages.c.provider_id)]
        changes = stored(served, t.ledger.c.new_state, t.ledger.c.superseded)

    assert sorted(heard) == sorted([f"old{number}" for number in range(600)] + ["old", "new"])
    assert changes == [("opted_in", False), ("opted_out", False)]


def test_a_webhook_beyond_its_rate_limit_is_told_to_come_again_but_a_stop_is_heard(url: str, tmp_path: Path) -> None:
    with node(url, tmp_path) as served:
        path = hears(served, rate_limit=2)
        statuses = [say(served, path, "hello").status for _ in range(12)]
        stop = say(served, path, "STOP")

    assert statuses[:2] == [200, 200]
    assert statuses.count(503) >= 5
    assert stop.status == 200


def test_what_was_set_aside_is_listed_taken_back_by_a_person_and_recorded(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook is removed while its requests wait; registered again, they are recorded."""
    run = runner(url, monkeypatch, tmp_path)
    monkeypatch.setenv("TEXTBACK_SPOOL_FOLDER", str(tmp_path / "spool"))
    with node(url, tmp_path) as served:
        path = hears(served)
        with refused(url):
            assert say(served, path, "STOP", message_id="m1").status == 200
            served.parts.switchboard.by_name.clear()
        wait_until(lambda: state(served) == "serving")
        listed, nothing = run("spool", "list"), run("spool", "retry")
        hears(served)
        retried = run("spool", "retry", "--all")
        wait_until(lambda: bool(stored(served, t.inbound_messages.c.id)))
        wait_until(lambda: "0 were set aside" in run("spool", "list").stdout)

    assert "spool-1.db: 0 requests wait, 1 were set aside" in listed.stdout
    assert "hear it; mend that" in " ".join(listed.stdout.split())
    assert told(nothing)[0] == 1
    assert told(retried) == (0, "1 items wait for the database again\n", "")


def test_a_person_who_has_done_what_an_item_says_deletes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner("sqlite:///unused.db", monkeypatch, tmp_path)
    spool = Spool.own(tmp_path / "data" / "spool", 1_048_576)
    spool.add([Item("2026-11-22T12:00:00+00:00", "house", "[]", "[]", b'{"said":"STOP"}', b"")])
    spool.set_aside(spool.first()[0], "damaged")
    spool.close()

    dropped = run("spool", "drop", "1", "--yes")

    assert told(dropped) == (0, '{"said":"STOP"}\n', "")
    assert "0 requests wait, 0 were set aside" in run("spool", "list").stdout


def test_no_other_node_says_yes_before_the_stops_of_this_one_are_in_the_database(url: str, tmp_path: Path) -> None:
    """The other node reaches the database again while this one's spool is still full."""
    with node(url, tmp_path / "one") as one, node(url, tmp_path / "two") as two:
        path = hears(one)
        wait_until(lambda: consent(two, CAROL) == (200, True))
        with refused(url):
            for number in range(1_000):
                say(one, path, "hello", who=f"+417912{number:05}")
            assert say(one, path, "STOP").status == 200
            wait_until(lambda: consent(two, CAROL) == (503, False))
        seen = set()
        while (answer := consent(two, CAROL)) != (200, False):
            seen.add(answer)
        wait_until(lambda: consent(two, DAVE) == (200, True))

    assert seen <= {(503, False)}
