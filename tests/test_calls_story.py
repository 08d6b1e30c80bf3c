"""Calls with the real app and a real third party: the story, who is left out, and what is kept of it and forgotten."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.events import ConsentState, Heard
from app.interpret import Rules, rules
from app.record import call_log, calls, facts, housekeeping
from app.record.database import Database
from app.record.tables import action_calls, outbox
from app.switchboard import policy
from app.webhook import Webhook
from tests import fake_provider
from tests.commands import Run, runner, told
from tests.fake_provider import FakeProvider, answer
from tests.heard import ALICE, BOB, COMPANY, NOON, heard, inbound, make_rules
from tests.serving import Served, serving
from tests.test_record_calls import add, claim, failure, finish
from tests.third_party import register

WAITING = make_rules(
    keywords={"help": {"action": "shop", "reply": "It is {{action.status}}.", "otherwise": {"error": "Ask again."}}}
)
CALLING = make_rules(keywords={"help": {"action": "desk"}, "default": {"action": "bot", "reply": ""}})


LOOPBACK: Mapping[str, Any] = {"allowed_private_destinations": ["127.0.0.1"]}


@contextmanager
def calling(database_url: str, third_party: FakeProvider, *policies: dict[str, Any]) -> Iterator[Served]:
    """The application, which calls the third party for every action that these rules name."""
    with serving(database_url, send=True, **LOOPBACK) as house:
        register(house, third_party.url, *policies)
        yield house


@pytest.fixture
def third_party() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        yield running


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(database_url, monkeypatch, tmp_path)


def ended(house: Served, **wanted: str) -> list[dict[str, Any]]:
    """The calls, when none of them waits any more."""
    query = "&".join(f"{name}={value}" for name, value in {"limit": "200", **wanted}.items())
    for _ in range(1000):
        found = house.ask("GET", f"/v1/calls?{query}").json["items"]
        if found and all(call["state"] == "done" for call in found):
            return list(found)
        time.sleep(0.01)
    raise AssertionError(f"calls are still under way: {found}")


def at_once(*events: Any, rules: Rules) -> Heard:
    return heard(*events, at=datetime.now(UTC), rules=rules)


# --- the story ----------------------------------------------------------------------------------------------------


def test_a_question_is_called_answered_shown_and_made_again(
    database_url: str, database: Database, third_party: FakeProvider
) -> None:
    third_party.plan.extend([answer(503), answer(200, {"status": "shipped"})])
    with calling(database_url, third_party) as house:
        house.record(at_once(inbound("HELP"), rules=WAITING))
        (failed,) = ended(house, outcome="failed")

        again = house.ask("POST", f"/v1/calls/{failed['id']}/retry")
        (done,) = ended(house, action="shop", outcome="success", address=BOB)
        twice = house.ask("POST", f"/v1/calls/{failed['id']}/retry")
        shown = house.ask("GET", f"/v1/calls/{failed['id']}")
        evidence = house.ask("GET", f"/v1/evidence/{BOB}").json
        metrics = house.ask("GET", "/metrics").body.decode()

    assert (failed["outcome"], failed["tries"], failed["waited_for"]) == ("http_503", 1, True)
    assert (again.status, again.json["state"]) == (200, "pending")
    assert (twice.status, twice.json["detail"]) == (
        409, "The call is left as it is: it has succeeded, and would be made twice.",
    )  # fmt: skip
    assert shown.json == done
    assert done["event"]["text"] == "HELP"
    assert "made again by the API; before: http_503 after 1 tries" in done["note"]
    texts = database.read_now(lambda conn: list(conn.execute(sa.select(outbox.c.text).order_by(outbox.c.id)).scalars()))
    assert texts == ["Ask again.", "It is shipped."]
    assert [call["id"] for call in evidence["calls"]] == [done["id"]]
    assert 'textback_calls_total{action="shop",outcome="http_503"}' in metrics
    assert "textback_calls_waiting 0.0" in metrics


def test_there_is_no_call_of_another_id(database_url: str) -> None:
    with serving(database_url) as house:
        assert house.ask("GET", "/v1/calls/1").status == house.ask("POST", "/v1/calls/1/retry").status == 404


def test_calls_come_newest_first_a_page_at_a_time(database_url: str, database: Database) -> None:
    for n in range(1, 6):
        add(database, n, BOB)

    with serving(database_url) as house:
        first = house.ask("GET", "/v1/calls?limit=3&state=pending").json
        rest = house.ask("GET", f"/v1/calls?limit=3&cursor={first['next']}").json

    assert [call["id"] for call in first["items"]] == ["5", "4", "3"]
    assert ([call["id"] for call in rest["items"]], rest["next"]) == (["2", "1"], None)


# --- who is left out ----------------------------------------------------------------------------------------------

PEOPLE = [f"+1415555{n:04}" for n in range(6)]
STATES = st.dictionaries(st.sampled_from(PEOPLE), st.sampled_from(["START", "STOP", "JOIN"]))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(states=STATES, program=st.sampled_from(["default", "news"]))
def test_whoever_fails_a_consent_policy_is_never_called(
    left_out: tuple[Served, FakeProvider], states: dict[str, str], program: str
) -> None:
    house, third_party = left_out
    webhook = Webhook(
        name="acme", provider="twilio", sender=COMPANY, program=program,
        keywords={"double_opt_in": {"keywords": ["JOIN"]}, "help": {"action": "desk"}},
    )  # fmt: skip
    asking = rules(webhook, {}, {}, frozenset(), policy(house.parts.settings)._replace(calls_per_hour=1000))

    def say(text: str, address: str) -> Heard:
        given = at_once(inbound(text, address=address), rules=asking)
        given.program = program
        return given

    for address, text in states.items():
        house.record(say(text, address))
    before = len(third_party.requests)
    for address in PEOPLE:
        house.record(say("HELP", address))
    newest = ended(house, action="desk")[: len(PEOPLE)]

    def standing(address: str) -> str:
        return str(house.ask("GET", f"/v1/consent/{address}?program={program}").json["state"])

    consenting = {address for address in PEOPLE if standing(address) == ConsentState.OPTED_IN}
    assert {call["address"] for call in newest if call["outcome"] == "success"} == consenting
    assert {call["policy"] for call in newest if call["outcome"] != "success"} <= {"members"}
    assert {call["outcome"] for call in newest} <= {"success", "excluded"}
    assert {request.json["event"]["address"] for request in third_party.requests[before:]} == consenting


@pytest.fixture
def left_out(database_url: str, third_party: FakeProvider) -> Iterator[tuple[Served, FakeProvider]]:
    with calling(database_url, third_party, {"name": "members", "require": "consent.state = 'opted_in'"}) as house:
        yield house, third_party


# --- kept, and forgotten ------------------------------------------------------------------------------------------


def test_an_erased_person_is_called_no_more_and_nothing_of_the_calls_is_left(
    database_url: str, database: Database
) -> None:
    add(database, 1, BOB)
    add(database, 2, BOB, action="other")
    add(database, 3, ALICE)
    (under_way, *_) = claim(database)
    with serving(database_url, evidence_key="an-evidence-key-of-32-characters-or-more") as house:
        erased = house.ask("POST", "/v1/erasures", {"address": BOB, "reason": "asked", "actor": "dora"})

    assert erased.json["calls"] == 2
    assert finish(database, failure(under_way)) == set()
    assert database.read_now(lambda conn: list(conn.execute(sa.select(action_calls.c.id)).scalars())) == [3]


def test_calls_go_with_the_messages_and_what_waits_stays(database: Database) -> None:
    add(database, 1, BOB)
    add(database, 2, ALICE)
    finish(database, failure(claim(database)[0]))

    drop = lambda conn: housekeeping.drop_old(conn, datetime.now(UTC), "action_calls", 1)  # noqa: E731
    assert database.write_now(drop) == 1
    assert database.read_now(lambda conn: list(conn.execute(sa.select(action_calls.c.id)).scalars())) == [2]


def test_what_waited_in_a_backup_may_have_been_made_and_is_not_made_by_itself(database: Database) -> None:
    add(database, 1, BOB)
    add(database, 2, ALICE)
    claim(database, limit=1)

    database.write_now(lambda conn: conn.execute(facts.of_restored_calls(NOON)))

    found = database.read_now(lambda conn: call_log.page(conn, call_log.CallFilter(outcome="failed"), limit=9))
    assert [(call.id, call.outcome, call.problem) for call in found] == [
        (n, "internalError", "restored from a backup; it may have been made before") for n in (2, 1)
    ]
    assert claim(database) == []


# --- the command line ---------------------------------------------------------------------------------------------


def test_the_command_lists_calls_and_has_them_made_again(run: Run, database: Database) -> None:
    add(database, 1, BOB)
    add(database, 2, ALICE, action="mail")
    add(database, 3, "", state="done", outcome="capped", problem="guard: already 5 calls within 1 h", ended_at=NOON)
    finish(database, failure(claim(database)[0]))

    listed, failed = run("calls", "list"), run("calls", "list", "--outcome", "failed", "--json")
    retried = run("calls", "retry", "--all", "--action", "crm", "--actor", "dora")
    left = run("calls", "retry", "1", "77")
    doctor = run("doctor")

    assert "http_500" in listed.stdout
    assert BOB not in listed.stdout
    assert [(call["id"], call["outcome"]) for call in json.loads(failed.stdout)] == [("3", "capped"), ("1", "http_500")]
    assert told(retried) == (0, "2 will be made again, 0 left as they were\n", "")
    assert told(left) == (
        1, "0 will be made again, 2 left as they were\n",
        "1: it waits to be made, or is under way\n77: there is no call of this id\n",
    )  # fmt: skip
    assert doctor.exit_code == 0
    assert [row.attempts for row in claim(database, datetime.now(UTC))] == [1, 2, 1]  # that of 2 had lapsed


# --- kill -9 ------------------------------------------------------------------------------------------------------


def _process(database_url: str, folder: Path, step: str) -> "subprocess.Popen[bytes]":
    """A process that sends and calls, and kills itself at a step."""
    environment = os.environ | {
        "TEXTBACK_DATABASE_URL": database_url, "TEXTBACK_SECRET_KEY": "a-secret-key-of-32-characters-or-more",
        "TEXTBACK_SPOOL_FOLDER": str(folder / "spool"), "TEXTBACK_CALL_CONCURRENCY": "4",
        "TEXTBACK_LOG_LEVEL": "error", "TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS": "127.0.0.1",
    }  # fmt: skip
    return subprocess.Popen([sys.executable, "-m", "tests.calling_process", step], env=environment)


def _let_leases_lapse(database: Database) -> None:
    lapse = sa.text("UPDATE action_calls SET next_at = created_at, claimed_until = created_at WHERE state = 'calling'")
    database.write_now(lambda conn: conn.execute(lapse))


def test_over_kill_9_every_call_is_made_at_least_once_and_its_reply_queued_once(
    database_url: str, database: Database, third_party: FakeProvider, tmp_path: Path
) -> None:
    third_party.judge = lambda _: answer(200, {"status": "shipped"})
    people = [f"+1415557{n:04}" for n in range(20)]
    with serving(database_url, send=False) as door:
        register(door, third_party.url)
        for address in people:
            door.record(at_once(inbound("HELP", address=address), rules=WAITING))

    process = _process(database_url, tmp_path, "called")
    assert process.wait(60) == -signal.SIGKILL
    _let_leases_lapse(database)
    with serving(database_url, send=True, **LOOPBACK) as house:
        ended(house)

    assert {request.json["event"]["address"] for request in third_party.requests} == set(people)
    assert len(third_party.requests) > len(people)
    query = sa.select(outbox.c.address, outbox.c.text).order_by(outbox.c.address)
    assert database.read_now(lambda conn: [tuple(row) for row in conn.execute(query)]) == [
        (address, "It is shipped.") for address in people
    ]
    outcomes = sa.select(action_calls.c.outcome).distinct()
    assert database.read_now(lambda conn: list(conn.execute(outcomes).scalars())) == ["success"]


def test_a_call_that_is_asked_for_by_nobody_heard_is_a_row_like_the_others(database: Database) -> None:
    row = calls.call_row(
        "crm", "test", "{}", NOON, NOON + timedelta(hours=1), claimed_until=NOON + timedelta(minutes=1)
    )
    database.write_now(lambda conn: calls.add(conn, row))

    (found,) = database.read_now(lambda conn: call_log.page(conn, call_log.CallFilter(action="crm"), limit=1))
    assert (found.id, found.state, found.attempts, found.address) == (row.id, "calling", 1, "")


# --- what is told of it -------------------------------------------------------------------------------------------


def test_no_log_has_anything_of_a_person_or_of_what_is_sent(database_url: str, third_party: FakeProvider) -> None:
    """Whatever goes wrong, and however much the third party quotes."""
    quoting = {"message": f"{BOB} said whisper, key hush-hush-hush"}
    third_party.judge = lambda request: answer(400 if "stream" in request.target else 500, quoting)
    path, keys = (
        "event.address + event.text",
        {"headers": {"X-Key": "hush-hush-hush"}, "query": {"who": "{{event.address}}"}},
    )
    bot = {"name": "bot", "url": f"{third_party.url}/bot", "path": path, "retries": 0, "document": "Bot", **keys}
    nowhere = bot | {"name": "desk", "document": None, "url": "https://nowhere.invalid/hush-hush-hush"}
    stream = {"name": "crm", "url": f"{third_party.url}/stream", "batch": 1, "headers": keys["headers"]}
    with capture_logs() as logs, serving(database_url, send=True, log_level="debug", **LOOPBACK) as house:
        for kind, one in (("actions", bot), ("actions", nowhere), ("streams", stream)):
            assert house.ask("POST", f"/v1/{kind}", one).status == 201
        house.record(at_once(inbound("whisper"), inbound("HELP"), rules=CALLING))
        calls = ended(house)
        for _ in range(500):
            if refused := house.ask("GET", "/v1/streams/crm/refusals").json["items"]:
                break
            time.sleep(0.01)
        document = house.ask("GET", f"/customAction?name=bot&documentId={BOB[1:]}&documentVersionId=1")

    assert {call["outcome"] for call in calls} == {"http_500", "internalError"}
    assert refused
    assert document.status == 200
    assert {log["event"] for log in logs} >= {"a call did not succeed"}
    told = f"{logs} {[call['problem'] for call in calls]} {document.body!r}"
    assert not [trace for trace in (BOB[1:], BOB[-10:], "whisper", "hush") if trace in told]
