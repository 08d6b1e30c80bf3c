"""Verify connection, through the API and from the command line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app.record import tables
from tests import fake_provider
from tests.commands import Run, file_of, runner
from tests.fake_provider import DROP, FakeProvider, answer
from tests.serving import Served, serving

ALICE, BOB = "+14155550100", "+14155550101"
PATH = "/v1/credentials/acme/verify"
WANTED = {"number": ALICE, "message": "Does it work?"}
SECRET = "the-auth-token"
#: what a trial must leave as it was
TRACES = (tables.outbox, tables.ledger, tables.evidence, tables.messages, tables.consent, tables.raw_requests)


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        yield running


@pytest.fixture
def served(database_url: str) -> Iterator[Served]:
    with serving(database_url, allowed_private_destinations=["127.0.0.1"]) as running:
        yield running


@pytest.fixture
def acme(served: Served, provider: FakeProvider) -> Served:
    """A server with a credential, and a webhook whose replies leave through it."""
    auth = {"type": "basic", "username": "AC0123", "password": SECRET}
    credential = {"name": "acme", "provider": "twilio", "app_id": "AC0123", "url": f"{provider.url}/send", "auth": auth}
    assert served.ask("POST", "/v1/credentials", credential).status == 201
    webhook = {"name": "in", "provider": "twilio", "credential": "acme", "sender": "+14155550199", "secret": SECRET}
    assert served.ask("POST", "/v1/webhooks", webhook).status == 201
    return served


def traces(served: Served) -> dict[str, int]:
    def count(conn: sa.Connection) -> dict[str, int]:
        return {t.name: conn.execute(sa.select(sa.func.count()).select_from(t)).scalar_one() for t in TRACES}

    return served.parts.database.read_now(count)


def opt_out(served: Served, address: str, program: str, state: str = "opted_out") -> None:
    change = {"state": state, "reason": "by phone", "actor": "dora", "program": program}
    assert served.ask("PUT", f"/v1/consent/{address}", change).status == 200


def test_a_message_goes_out_and_leaves_no_trace(acme: Served, provider: FakeProvider) -> None:
    before = traces(acme)

    found = acme.ask("POST", PATH, WANTED)

    (sent,) = provider.requests
    assert found.status == 200
    assert {name: found.json[name] for name in ("taken", "message_id", "looked_for", "problem", "mend")} == {
        "taken": True, "message_id": "SM1", "looked_for": "sid", "problem": "", "mend": "",
    }  # fmt: skip
    assert found.json["calls"][0]["request"] == {
        "method": "POST",
        "url": f"{provider.url}/send",
        "headers": {
            "Content-Type": "application/x-www-form-urlencoded", "Charset": "UTF-8", "Authorization": "Basic ***",
        },
        "body": sent.body.decode(),
    }  # fmt: skip
    assert (sent.form["To"], sent.form["From"], sent.form["Body"]) == (ALICE, "+14155550199", "Does it work?")
    assert SECRET not in found.body.decode()
    assert traces(acme) == before


def test_what_the_provider_refuses_is_told_with_its_mend(acme: Served, provider: FakeProvider) -> None:
    provider.plan.append(answer(401, {"code": 20003, "message": "Authenticate"}))

    found = acme.ask("POST", PATH, {**WANTED, "sender": "+14155550198"})

    assert (found.status, found.json["taken"]) == (200, False)
    assert found.json["problem"] == "the provider answered 401 with code 20003"
    assert "Compare auth's username and password" in found.json["mend"]
    assert found.json["calls"][0]["answer"]["status"] == 401
    assert provider.requests[0].form["From"] == "+14155550198"


def test_attributes_of_the_person_stand_in_the_request(acme: Served, provider: FakeProvider) -> None:
    credential = {
        "name": "custom",
        "provider": "custom",
        "url": provider.url,
        "payload": '{"to":"{{toNumber}}","name":"{{profile.name}}"}',
    }
    acme.ask("POST", "/v1/credentials", credential)
    acme.ask("PUT", f"/v1/profiles/{ALICE}", {"attributes": {"name": "Alice"}})

    found = acme.ask("POST", "/v1/credentials/custom/verify", WANTED)

    assert found.json["taken"]
    assert provider.requests[0].json == {"to": ALICE, "name": "Alice"}


@pytest.mark.parametrize(
    ("programs", "place"),
    [
        ({"news": "opted_out"}, "program news"),
        ({"*": "opted_out"}, "all programs"),
        ({"*": "opted_out", "news": "opted_in"}, "all programs"),
        ({"news": "opted_out", "shop": "opted_in"}, "program news"),
    ],
    ids=["one program", "all programs", "all but one", "one of two"],
)
def test_nobody_who_said_stop_gets_a_test_message(
    acme: Served, provider: FakeProvider, programs: dict[str, str], place: str
) -> None:
    for program, state in programs.items():
        opt_out(acme, BOB, program, state)

    found = acme.ask("POST", PATH, {**WANTED, "number": BOB})

    assert found.status == 409
    assert found.json["detail"].startswith(f"This number has opted out of {place}, so it gets no test message")
    assert provider.requests == []


def test_who_has_come_back_gets_one(acme: Served) -> None:
    opt_out(acme, BOB, "news")
    opt_out(acme, BOB, "news", "opted_in")

    assert acme.ask("POST", PATH, {**WANTED, "number": BOB}).json["taken"]


@pytest.mark.parametrize(
    ("path", "change", "status", "sentence"),
    [
        (PATH, {"number": "nobody"}, 400, "number: "),
        (PATH, {"number": "0791234567"}, 400, "number: "),
        (PATH, {"number": "short:12345"}, 400, "number: This is a short code"),
        ("/v1/credentials/nobody/verify", {}, 404, "There is no credential of this name."),
        (PATH, {"message": ""}, 422, "message: "),
        (PATH, {"from": "x"}, 422, "from: is not known here"),
    ],
    ids=["no number", "national", "short code", "unknown", "empty text", "misspelt"],
)
def test_a_trial_that_cannot_begin_says_why(
    acme: Served, provider: FakeProvider, *, path: str, change: dict[str, Any], status: int, sentence: str
) -> None:
    found = acme.ask("POST", path, {**WANTED, **change})

    assert found.status == status
    assert found.json["detail"].startswith(sentence)
    assert provider.requests == []


def test_without_a_sender_nobody_is_asked(acme: Served, provider: FakeProvider) -> None:
    acme.ask("DELETE", "/v1/webhooks/in")

    found = acme.ask("POST", PATH, WANTED)

    assert found.status == 422
    assert found.json["detail"].startswith("sender: No webhook's replies leave through this credential")
    assert provider.requests == []


def change(served: Served, old: str, new: str) -> None:
    """Something in the stored credential, as no check of ours would let through."""
    changed = sa.func.replace(tables.credentials.c.settings, old, new)
    served.write(lambda conn: conn.execute(tables.credentials.update().values(settings=changed)) and None)


@pytest.mark.parametrize(("status", "first"), [(201, ""), (401, "The provider does not know the caller.")])
def test_a_message_leaves_without_a_webhook_for_its_receipts_as_replies_do(
    acme: Served, provider: FakeProvider, status: int, first: str
) -> None:
    change(acme, '"feedback":null', '"feedback":"nobody"')
    provider.plan.append(answer(status, {"sid": "SM1"}))

    found = acme.ask("POST", PATH, WANTED)

    (sent,) = provider.requests
    assert (found.status, found.json["taken"], "StatusCallback" in sent.form) == (200, status == 201, False)
    assert found.json["mend"].startswith(first)
    assert found.json["mend"].endswith(
        "The provider is told no URL for its receipts, so none will come: there is no webhook 'nobody' for its feedback."
    )


def test_a_credential_that_cannot_send_says_why(acme: Served, provider: FakeProvider) -> None:
    change(acme, '"provider":"twilio"', '"provider":"gone"')
    without_file = acme.ask("POST", PATH, WANTED)
    change(acme, '"provider":"gone"', '"provider":"twilio"')
    change(acme, '"channel":"sms"', '"channel":"pigeon"')
    unusable = acme.ask("POST", PATH, WANTED)

    assert [each.status for each in (without_file, unusable)] == [409, 409]
    assert "Nothing can be sent through it: credential acme: gone has no way to send sms" in without_file.json["detail"]
    assert "credential 'acme'" in unusable.json["detail"]
    assert provider.requests == []


def test_it_takes_an_admin(acme: Served) -> None:
    token = acme.ask("POST", "/v1/tokens", {"name": "crm", "scopes": ["consent:write"]}).json["token"]

    assert acme.ask("POST", PATH, WANTED, token=token).status == 403


# --- the command --------------------------------------------------------------------------------------------------


HOUSE = """
[[credentials]]
name = "house"
provider = "custom"
url = "{url}/send?api_key=the-key"
auth = {{ type = "bearer", token = "${{ACME_TOKEN}}" }}
payload = '{{"to":"{{{{toNumber}}}}","from":"{{{{fromNumber}}}}","text":"{{{{message}}}}"}}'
message_id = "sid"
"""


@pytest.fixture
def run(database_url: str, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    started = runner(database_url, monkeypatch, tmp_path)
    monkeypatch.setenv("TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS", "127.0.0.1")
    started("apply", file_of(tmp_path, HOUSE.format(url=provider.url)))
    return started


def test_the_command_shows_request_answer_and_id(run: Run, provider: FakeProvider) -> None:
    provider.plan.append(answer(201, {"sid": "SM1\x1b[2J"}))

    result = run("verify", "house", "--number", ALICE, "--from", "ACME", "--message", "Hi")

    lines = result.stdout.splitlines()
    assert (result.exit_code, result.stderr) == (0, "")
    assert lines[:10] == [
        "--- message: sent",
        f"POST {provider.url}/send?api_key=***",
        "Content-Type: application/json",
        "Charset: UTF-8",
        "Authorization: Bearer ***",
        "",
        "{",
        f'  "to": "{ALICE}",',
        '  "from": "ACME",',
        '  "text": "Hi"',
    ]
    assert "message id  SM1\ufffd[2J, looked for at 'sid'" in lines
    assert "taken       yes" in lines
    assert "\x1b" not in result.stdout


def test_the_command_fails_where_the_provider_says_no(run: Run, provider: FakeProvider) -> None:
    provider.plan.extend([answer(403), answer(403)])

    shown = run("verify", "house", "--number", ALICE, "--from", "ACME")
    told = run("verify", "house", "--number", ALICE, "--from", "ACME", "--json")

    assert (shown.exit_code, told.exit_code) == (1, 1)
    assert "taken       no: the provider answered 403" in shown.stdout
    assert "mend        The provider knows the caller and forbids this" in shown.stdout
    assert json.loads(told.stdout)["taken"] is False


def test_the_command_shows_an_answer_that_only_looks_like_json_as_it_is(run: Run, provider: FakeProvider) -> None:
    provider.plan.append(answer(500, b"{oops"))

    result = run("verify", "house", "--number", ALICE, "--from", "ACME")

    assert "\n\n{oops\n" in result.stdout


def test_the_command_shows_a_request_that_was_never_answered(run: Run, provider: FakeProvider) -> None:
    provider.plan.append(DROP)

    result = run("verify", "house", "--number", ALICE, "--from", "ACME")

    assert titles(result.stdout) == ["--- message: sent", "--- message: no answer"]


def test_the_command_says_that_nothing_left(
    run: Run, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS", "")

    forbidden = run("verify", "house", "--number", ALICE, "--from", "ACME")
    run("apply", file_of(tmp_path, HOUSE.format(url=provider.url).replace("{{message}}", "{{$number(message)}}")))
    unmade = run("verify", "house", "--number", ALICE, "--from", "ACME")

    assert titles(forbidden.stdout) == ["--- message: would be sent", "--- message: not sent"]
    assert titles(unmade.stdout) == ["--- message: not sent"]
    assert (forbidden.exit_code, unmade.exit_code, provider.requests) == (1, 1, [])


def titles(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("--- ")]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nobody", "--number", ALICE, "--from", "ACME"), "There is no credential of this name."),
        (("house", "--number", "12", "--from", "ACME"), "number: "),
        (("house", "--number", ALICE), "sender: No webhook's replies leave"),
        (("house", "--number", ALICE, "--from", " "), "sender: is blank"),
    ],
    ids=["unknown", "no number", "no sender", "blank sender"],
)
def test_the_command_tells_a_slip_in_a_sentence(
    run: Run, provider: FakeProvider, words: tuple[str, ...], sentence: str
) -> None:
    result = run("verify", *words)

    assert (result.exit_code, result.stdout) == (1, "")
    assert f"Error: {sentence}" in result.stderr
    assert provider.requests == []
