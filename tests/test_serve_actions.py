"""Test requests of actions, what is refused on saving, what check says, and the operator's page."""

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app.events import Cause, Change, ConsentState, Heard
from app.record import profiles, tables
from app.record.database import Database
from app.settings import CONFIG_DIR
from tests import fake_provider
from tests.commands import Run, file_of, runner
from tests.fake_provider import FakeProvider, answer
from tests.serving import Served, serving

ALICE = "+14155550100"
TOKEN = "a-token-that-nobody-may-see"
IN_ONLY = {"name": "in-only", "marketing_actions": ["crm"], "require": "consent.state = 'opted_in'"}


@pytest.fixture
def party() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        yield running


@pytest.fixture
def own(database_url: str) -> Iterator[Served]:
    """Of one test alone, with policies and caps."""
    with serving(database_url, allowed_private_destinations=["127.0.0.1"]) as running:
        yield running


@pytest.fixture(scope="module")
def served(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    file = shutil.copy(sqlite_template, tmp_path_factory.mktemp("shared") / "textback.db")
    with serving(f"sqlite:///{file}", allowed_private_destinations=["127.0.0.1"]) as running:
        yield running


def crm(party: FakeProvider, **given: Any) -> dict[str, Any]:
    usual = {
        "name": "crm", "url": f"{party.url}/v1/", "path": "_id + '/notes'", "headers": {"X-Id": "{{_id}}", "X-Own": "our-own-key-1"},
        "payload": {"text": "{{event.text}}", "name": "{{profile.firstName}}"}, "marketing_actions": ["crm"],
        "auth": {"type": "bearer", "token": TOKEN},
    }  # fmt: skip
    return {**usual, **given}


def registered(served: Served, party: FakeProvider, **given: Any) -> None:
    served.ask("DELETE", "/v1/actions/crm")
    answer = served.ask("POST", "/v1/actions", crm(party, **given))
    assert answer.status == 201, answer.body


def tried(served: Served, **body: Any) -> Any:
    answer = served.ask("POST", "/v1/actions/crm/test", body)
    assert answer.status == 200, answer.body
    return answer.json


EVENT = {"_id": "4711", "text": "Hello"}


def test_a_dry_run_shows_the_request_and_sends_nothing(served: Served, party: FakeProvider) -> None:
    registered(served, party)

    found = tried(served, event=EVENT, profile={"firstName": "Ann"}, dry_run=True)

    assert found == {
        "outcome": "dry_run", "problem": "", "policy": "", "tries": 0, "status": 0, "answer": "",
        "request": {
            "method": "POST",
            "url": f"{party.url}/v1/4711/notes",
            "headers": {
                "Content-Type": "application/json", "Charset": "UTF-8", "X-Id": "4711", "X-Own": "***",
                "Authorization": "Bearer ***",
            },
            "body": '{"text":"Hello","name":"Ann"}',
        },
    }  # fmt: skip
    assert party.requests == []


def test_a_test_request_calls_and_shows_what_came_of_it(served: Served, party: FakeProvider) -> None:
    registered(served, party)
    party.plan.append(answer(422, {"error": "no such contact", "you sent": TOKEN, "and": "our-own-key-1"}))

    found = tried(served, event=EVENT, profile={"firstName": "Ann"})

    assert (found["outcome"], found["status"], found["tries"]) == ("http_422", 422, 1)
    assert found["problem"] == "It answered 422."
    assert json.loads(found["answer"]) == {"error": "no such contact", "you sent": "***", "and": "***"}
    assert party.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert party.requests[0].json == {"text": "Hello", "name": "Ann"}


def test_no_secret_is_shown_whatever_the_proof(served: Served, party: FakeProvider) -> None:
    proofs = [
        ({"type": "api_key", "name": "key", "token": TOKEN, "place": "query"}, "{url}/v1/4711/notes?key=***&q=***"),
        ({"type": "oauth", "url": f"{party.url}/token", "body": {"client_secret": TOKEN}}, "Bearer ***"),
        ({"type": "mac", "token": "id", "secret": TOKEN}, "***"),
    ]
    registered(served, party, query={"q": TOKEN})
    party.judge = lambda request: (
        answer(200, {"access_token": "T0ken-of-the-server"})
        if request.target == "/token"
        else answer(200, {"sent": dict(request.headers), "url": request.target})
    )
    for auth, shown in proofs:
        assert served.ask("PUT", "/v1/actions/crm", crm(party, auth=auth, query={"q": TOKEN})).status == 200
        for dry_run in (True, False):
            found = tried(served, event=EVENT, profile={"firstName": "Ann"}, dry_run=dry_run)

            assert found["outcome"] == ("dry_run" if dry_run else "success")
            assert TOKEN not in json.dumps(found)
            assert "T0ken" not in json.dumps(found)
            assert shown.format(url=party.url) in (
                found["request"]["url"], found["request"]["headers"].get("Authorization", ""),
            )  # fmt: skip


def test_what_an_event_always_has_is_filled_in(served: Served, party: FakeProvider) -> None:
    registered(served, party, payload={"e": "{{event}}"})

    found = json.loads(tried(served, event={"text": "Hello"}, dry_run=True)["request"]["body"])["e"]

    assert found["_id"].isdecimal()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", found["received_at"])
    assert (found["type"], found["program"], found["text"]) == ("inbound", "default", "Hello")


def test_a_missing_value_an_unknown_action_and_a_slip_are_told(served: Served, party: FakeProvider) -> None:
    registered(served, party)

    missing = tried(served, event=EVENT)
    unknown = served.ask("POST", "/v1/actions/none/test", {})
    both = served.ask("POST", "/v1/actions/crm/test", {"address": ALICE, "consent": {"state": "opted_in"}})
    nobody = served.ask("POST", "/v1/actions/crm/test", {"address": "nobody"})

    assert (missing["outcome"], missing["request"]) == ("internalError", None)
    assert missing["problem"] == "No request can be made: payload.name: profile.firstName has no value."
    assert (unknown.status, unknown.json["detail"]) == (404, "There is no action of this name.")
    assert (both.status, nobody.status) == (422, 422)
    assert "consent is read where an address is given; leave one of them out" in both.json["detail"]
    assert party.requests == []


def told_out(address: str) -> Heard:
    change = Change("t|1", address, ConsentState.OPTED_OUT, Cause.API, provider_time=None, actor="dora", reason="asked")
    return Heard("hand", "hand", "hand", "default", datetime.now(UTC), (change,))


def test_with_an_address_a_test_is_about_that_person(own: Served, party: FakeProvider) -> None:
    registered(
        own, party, payload={"name": "{{profile.firstName}}", "consent": "{{consent}}", "to": "{{event.address}}"}
    )
    own.write(lambda conn: profiles.put(conn, ALICE, {"firstName": "Ann"}, "crm", datetime.now(UTC)))
    own.record(told_out(ALICE))

    found = json.loads(tried(own, address=ALICE, dry_run=True)["request"]["body"])
    own.ask("POST", "/v1/policies", IN_ONLY)
    excluded = tried(own, address=ALICE, event=EVENT)
    without = tried(own, event=EVENT | {"address": ALICE}, profile={"firstName": "Bob"}, consent={"state": "opted_in"})

    assert (found["name"], found["to"]) == ("Ann", ALICE)
    assert {name: found["consent"][name] for name in ("state", "cause", "may_send")} == {
        "state": "opted_out", "cause": "api", "may_send": False,
    }  # fmt: skip
    assert re.fullmatch(r"20\d\d-.*Z", found["consent"]["since"])
    assert (excluded["outcome"], excluded["policy"], excluded["request"]) == ("excluded", "in-only", None)
    assert excluded["problem"] == "Policy in-only leaves this person out; nothing is sent."
    assert without["outcome"] == "success"
    assert [request.json["name"] for request in party.requests] == ["Bob"]


def test_a_test_counts_against_the_cap(served: Served, party: FakeProvider) -> None:
    registered(served, party, payload={})
    served.ask("POST", "/v1/caps", {"name": f"127.0.0.1:{party.port}", "calls": 1, "per": 3600})

    assert [tried(served, event=EVENT)["outcome"] for _ in range(2)] == ["success", "capped"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"path": "_id +"},
            "action 'crm': path, character 6: here a text in quotes, a field or a function should stand",
        ),
        (
            {"path": "_id + left(text)"},
            "action 'crm': path, character 7: there is no function 'left'; there are concat",
        ),
        ({"payload": {"a": "{{event.txt}}"}}, "action 'crm': payload.a: 'event.txt' is no field; did you mean"),
        (
            {"nullable": ["payload.nam"]},
            "action 'crm': nullable names 'payload.nam', which is no parameter; did you mean",
        ),
        ({"url": "gopher://x/"}, "action 'crm': url: the URL must be like https://api.example.com/messages"),
    ],
)
def test_what_could_never_be_called_is_not_saved(
    served: Served, party: FakeProvider, given: dict[str, Any], sentence: str
) -> None:
    served.ask("DELETE", "/v1/actions/crm")

    answer = served.ask("POST", "/v1/actions", crm(party, **given))

    assert (answer.status, sentence in answer.json["detail"]) == (422, True), answer.json
    assert served.ask("GET", "/v1/actions/crm").status == 404


# --- the command line ---------------------------------------------------------------------------------------------------


@pytest.fixture
def on_any(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS", "127.0.0.1")
    monkeypatch.setenv("CRM_KEY", TOKEN)
    return runner(database_url, monkeypatch, tmp_path)


@pytest.fixture
def run(sqlite_template: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS", "127.0.0.1")
    monkeypatch.setenv("CRM_KEY", TOKEN)
    return runner(f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'textback.db')}", monkeypatch, tmp_path)


def example() -> str:
    found = re.search(r"```toml\n(.*?)```", (CONFIG_DIR / "actions.md").read_text("utf-8"), re.DOTALL)
    assert found
    return found[1]


def local(party: FakeProvider) -> str:
    """The example of the page, with the third party on this machine."""
    return example().replace("https://crm.example.com:8443", party.url).replace("crm.example.com:8443", "127.0.0.1")


KNOWN = ("--profile", "crmId=A-17", "--profile", "firstName=Ann", "--field", "event.text=Hello")
REST = ("--field", "event.received_at=2026-11-27T17:00:00Z", "--field", "consent.may_send=true", "--field", "_id=4711")


def test_the_example_of_the_page_applies_and_does_what_the_page_says(
    run: Run, party: FakeProvider, tmp_path: Path
) -> None:
    applied = run("apply", file_of(tmp_path, example()))
    shown = run("actions", "test", "crm-note", *KNOWN, *REST, "--dry-run")

    assert (applied.exit_code, shown.exit_code) == (0, 0)
    assert applied.stdout == "cap crm.example.com:8443: created\naction crm-note: created\n"
    assert shown.stdout.startswith(
        "--- request: would be sent\nPOST https://crm.example.com:8443/api/contacts/A-17/notes?source=sms\n"
    )
    assert "\nX-Api-Key: ***\n" in shown.stdout
    assert "\nIdempotency-Key: 4711\n" in shown.stdout
    assert '"mayWrite": true,\n  "hour": 17\n' in shown.stdout
    assert '"city": null' in shown.stdout
    assert shown.stdout.endswith("outcome  dry_run\n")
    assert TOKEN not in shown.stdout


def test_the_command_calls_and_its_exit_code_tells(run: Run, party: FakeProvider, tmp_path: Path) -> None:
    run("apply", file_of(tmp_path, local(party)))
    party.plan.extend([answer(200, {"note": 7}), answer(404, {"error": "none"}), answer(200, {"note": 8})])

    yes, no, as_json = (
        run("actions", "test", "crm-note", *KNOWN, *REST, *more) for more in ((), (), ("--json",))
    )  # fmt: skip

    assert (yes.exit_code, no.exit_code, as_json.exit_code) == (0, 1, 0)
    assert yes.stdout.startswith(f"--- request: sent\nPOST {party.url}/api/contacts/A-17/notes?source=sms\n")
    assert yes.stdout.endswith('--- answer: 200\n\n{"note": 7}\n\noutcome  success\nstatus   200\ntries    1\n')
    assert no.stdout.endswith("outcome  http_404\nstatus   404\ntries    1\nproblem  It answered 404.\n")
    assert json.loads(as_json.stdout)["answer"] == '{"note": 8}'
    assert party.requests[0].headers["x-api-key"] == TOKEN
    assert party.requests[0].json["greeting"] == "Dear Ann"


def test_the_command_knows_the_person_of_an_address(on_any: Run, party: FakeProvider, tmp_path: Path) -> None:
    policy = f"[[policies]]\nname = 'in-only'\nrequire = {IN_ONLY['require']!r}\nmarketing_actions = ['crm']\n"
    on_any("apply", file_of(tmp_path, local(party) + policy))
    on_any("profiles", "set", ALICE, "crmId=A-18", "firstName=Ann")
    asked = ("actions", "test", "crm-note", "--address", ALICE, "--field", "event.text=Hello")

    unknown = on_any(*asked)
    on_any("consent", "set", ALICE, "opted_in", "--reason", "asked by phone", "--actor", "dora")
    known = on_any(*asked)

    assert (unknown.exit_code, known.exit_code) == (0, 0)
    assert unknown.stdout == (
        "outcome  excluded\npolicy   in-only\nproblem  Policy in-only leaves this person out; nothing is sent.\n"
    )
    assert [request.target for request in party.requests] == ["/api/contacts/A-18/notes?source=sms"]
    assert party.requests[0].json["mayWrite"] is True


SLIPS = [
    (("none",), "There is no action 'none'; register it first."),
    (("crm-note", "--field", "text=x"), "'text' is no field; write event.text=Hello, profile.name=Ann"),
    (("crm-note", "--field", "event.adress=x"), "'event.adress' is no field; did you mean 'event.address'?"),
    (("crm-note", "--profile", "name"), "'profile.name' has no value; write NAME=VALUE"),
    (("crm-note", "--field", "event.text"), "'event.text' has no value; write NAME=VALUE"),
    (("crm-note", "--profile", "=x"), "'profile.' is no field; write"),
    (
        ("crm-note", "--address", ALICE, "--field", "consent.state=opted_in"),
        "consent is read where an address is given",
    ),
    (("crm-note", "--field", "event.text=x"), "No request can be made: path: profile.crmId has no value."),
]


def test_a_slip_is_told_in_a_sentence(run: Run, tmp_path: Path) -> None:
    run("apply", file_of(tmp_path, example()))

    for words, sentence in SLIPS:
        result = run("actions", "test", *words)

        assert result.exit_code == 1
        assert sentence in result.stdout + result.stderr


def test_what_may_hold_a_key_is_stored_encrypted(run: Run, tmp_path: Path) -> None:
    run("apply", file_of(tmp_path, example()))
    database = Database(f"sqlite:///{tmp_path / 'textback.db'}")

    stored = database.read_now(lambda conn: conn.execute(sa.select(tables.registrations)).all())
    database.close()

    readable = str([row.settings for row in stored if row.kind == "action"])
    assert "crm-note" in readable
    assert not [each for each in (TOKEN, "api/contacts", "event.text", "{{_id}}", "campaign}}") if each in readable]


def test_check_says_what_is_wrong_with_stored_ones(run: Run, tmp_path: Path) -> None:
    run("apply", file_of(tmp_path, example()))
    database = Database(f"sqlite:///{tmp_path / 'textback.db'}")
    rows = tables.registrations

    def spoil(name: str, value: Any) -> str:
        def act(conn: sa.Connection) -> None:
            its = rows.c.name == "crm-note"
            stored = conn.execute(sa.select(rows.c.settings).where(its)).scalar_one()
            conn.execute(rows.update().where(its), {"settings": json.dumps(json.loads(stored) | {name: value})})

        database.write_now(act)
        return run("check").stderr

    calm = run("check").stderr
    run("apply", file_of(tmp_path, example().replace("crm.example.com:8443/api/contacts/", "10.0.0.1/")))
    private = run("check").stderr
    path = spoil("path", "_id +")
    form = spoil("retries", 9)
    blocked = run("apply", file_of(tmp_path, example().replace('"${CRM_KEY}"', '""')))
    database.close()

    assert "crm-note" not in calm
    assert "warning: action 'crm-note' cannot be called: 10.0.0.1 is a private address; where that is meant" in private
    assert "problem: action 'crm-note': path, character 6: here a text in quotes" in path
    assert "problem: The stored action 'crm-note' cannot be used (retries); apply it again." in form
    assert (blocked.exit_code, "action 'crm-note': auth: the token is empty" in blocked.stderr) == (1, True)
