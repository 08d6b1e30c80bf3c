"""Explain, replay and doctor: what would happen, once more, and what is wrong."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from app import flow
from app.record import housekeeping, registry, tables
from app.record.database import Database
from app.request import Request
from app.serve.terminal import connect, write
from app.settings import Settings
from tests.commands import ACME, HOUSE, KEY, Run, count, file_of, runner, state_of, told

ALICE, BOB, CHARLIE = "+14155550100", "+14155550101", "+14155550102"
NOW = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(database_url, monkeypatch, tmp_path)


def test_explain_tells_the_decision_and_writes_nothing(run: Run, tmp_path: Path, database: Database) -> None:
    run("apply", file_of(tmp_path, ACME))

    stop = json.loads(run("explain", "Stöp 🛑", "--webhook", "acme-inbound", "--json").stdout)
    other = run("explain", "don't stop", "--webhook", "acme-inbound")

    assert {name: stop[name] for name in ("category", "rule", "keyword", "normal", "old_state", "new_state")} == {
        "category": "opt_out",
        "rule": "default keyword",
        "keyword": "STOP",
        "normal": "stop",
        "old_state": "unknown",
        "new_state": "opted_out",
    }
    assert stop["reply"]
    assert re.search(r"^reply +Thanks! Reply HELP for help or STOP to end\.$", other.stdout, re.MULTILINE)
    assert [count(database, table) for table in (tables.inbound_messages, tables.ledger, tables.keyword_lists)] == [
        0
    ] * 3


def test_explain_begins_from_what_is_stored_of_the_person(run: Run, tmp_path: Path) -> None:
    run("apply", file_of(tmp_path, ACME))
    run("consent", "set", BOB, "opted_out", "--reason", "asked by phone", "--actor", "dora")

    known = json.loads(run("explain", "hello", "--webhook", "acme-inbound", "--address", BOB, "--json").stdout)
    plain = json.loads(run("explain", "START", "--address", BOB, "--json").stdout)

    assert (known["old_state"], known["new_state"], known["reply"]) == ("opted_out", "opted_out", "")
    assert (plain["old_state"], plain["new_state"]) == ("opted_out", "opted_in")


def test_explain_without_a_webhook_needs_no_database(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTBACK_DATABASE_URL", "postgresql://127.0.0.1:1/nothing")

    result = run("explain", "STOP", "--json")

    assert json.loads(result.stdout)["category"] == "opt_out"


def test_explain_names_the_webhooks_there_are(run: Run, tmp_path: Path) -> None:
    run("apply", file_of(tmp_path, ACME))

    result = run("explain", "STOP", "--webhook", "acme")

    assert told(result) == (1, "", "Error: There is no webhook 'acme'; there are: acme-inbound, acme-receipts.\n")


def hear(database: Database, *bodies: str, at: datetime = NOW) -> list[int]:
    """Requests to the webhook `house`, recorded as the server would; the ids of their stored copies."""
    settings = Settings(secret_key=KEY)
    line = connect(settings, database).by_name["house"]
    heards = [flow.hear(line, _request(body, at))[0] for body in bodies]

    async def story(writer):
        for heard in heards:
            await writer.record(heard)

    write(database, story)
    return [heard.raw.id for heard in heards if heard.raw]


def _request(body: str, at: datetime) -> Request:
    return Request("POST", "/in/x", {"content-type": "application/json"}, body.encode(), at)


def message(name: str, number: str, text: str) -> str:
    return json.dumps({"message": {"id": name, "from": number, "to": "+14155550199", "text": text}})


def test_replay_records_what_is_understood_now_once_and_at_its_first_time(
    run: Run, tmp_path: Path, database: Database
) -> None:
    run("apply", file_of(tmp_path, HOUSE % "mesage"))  # a slip in the payload
    first, second = hear(database, message("m1", BOB, "STOP"), '{"unknown": 1}')
    run("apply", file_of(tmp_path, HOUSE % "message"))

    result, again = run("replay", "--all"), run("replay", "--id", str(first))

    raw = tables.raw_requests.c
    readings = database.read_now(
        lambda conn: [tuple(r) for r in conn.execute(sa.select(raw.id, raw.reading).order_by(raw.id))]
    )
    entry = database.read_now(lambda conn: conn.execute(sa.select(tables.ledger, tables.evidence)
                                                        .join_from(tables.ledger, tables.evidence, sa.true())).one())  # fmt: skip
    inbound = database.read_now(lambda conn: conn.execute(sa.select(tables.inbound_messages)).one())
    assert result.exit_code == 1  # the other one is left
    assert result.stdout == "1 requests understood, 1 events recorded, 1 left as they were\n"
    assert result.stderr.startswith(f"{second} house: still not understood: ")
    assert again.stderr == f"{first} house: it was understood before (events)\n"
    assert readings == [(first, "events"), (second, "undecoded")]
    assert (inbound.raw_id, inbound.received_at, inbound.category) == (first, NOW, "opt_out")
    assert (entry.effective_at, entry.signature, entry.address) == (NOW, "token", BOB)
    assert count(database, tables.keyword_lists) == 1


def test_replay_of_an_old_stop_does_not_undo_a_later_start(run: Run, tmp_path: Path, database: Database) -> None:
    run("apply", file_of(tmp_path, HOUSE % "mesage"))
    hear(database, message("m1", BOB, "STOP"))
    run("apply", file_of(tmp_path, HOUSE % "message"))
    hear(database, message("m2", BOB, "START"), at=NOW + timedelta(hours=1))

    result = run("replay", "--all")

    assert result.exit_code == 0
    assert state_of(run, BOB)["state"] == "opted_in"


def test_replay_of_what_came_again_meanwhile_records_nothing_twice(
    run: Run, tmp_path: Path, database: Database
) -> None:
    run("apply", file_of(tmp_path, HOUSE % "mesage"))
    (number,) = hear(database, message("m1", BOB, "STOP"))
    run("apply", file_of(tmp_path, HOUSE % "message"))
    hear(database, message("m1", BOB, "STOP"))

    result = run("replay", "--id", str(number))

    raw = tables.raw_requests.c
    readings = database.read_now(
        lambda conn: conn.execute(sa.select(raw.reading, raw.problem).where(raw.id == number)).one()
    )
    assert told(result) == (0, "1 requests understood, 0 events recorded, 0 left as they were\n", "")
    assert tuple(readings) == ("events", "")
    assert count(database, tables.inbound_messages) == 1


HOUSE_LIST = """
[[webhooks]]
name = "house"
provider = "custom"
scheme = { type = "token" }
%s
payload = '{"to":"{{inboundNumber}}","list":[{"id":"{{requestId}}","from":"{{profileNumber}}","text":"{{inboundMessage}}"}]}'
"""
HOUSE_LIST_WITHOUT_ID = HOUSE_LIST.replace('"id":"{{requestId}}",', "")
#: Bob's number as Swiss people write it; nobody can tell so without a region
BOB_AT_HOME, BOB_IN_FULL = "079 123 45 67", "+41791234567"


def listed(*items: tuple[str, str, str]) -> str:
    messages = [{"id": name, "from": number, "text": text} for name, number, text in items]
    return json.dumps({"to": "+14155550199", "list": messages})


def without_ids(*items: tuple[str, str]) -> str:
    return json.dumps({"to": "+14155550199", "list": [{"from": number, "text": text} for number, text in items]})


def stored(database: Database) -> list[tuple[object, ...]]:
    """Of each stored request its reading, and whether it says what could not be read."""
    raw = tables.raw_requests.c
    query = sa.select(raw.reading, raw.problem != "").order_by(raw.id)
    return database.read_now(lambda conn: [tuple(row) for row in conn.execute(query)])


def heard_from(database: Database) -> list[tuple[object, ...]]:
    column = tables.inbound_messages.c
    query = sa.select(column.address, column.category, column.received_at).order_by(column.address)
    return database.read_now(lambda conn: [tuple(row) for row in conn.execute(query)])


def work(database: Database) -> list[tuple[str, bool]]:
    """The kinds on the work list, and whether each is resolved."""
    column = tables.work_list.c
    query = sa.select(column.kind, column.resolved_at.is_not(None)).order_by(column.id)
    return database.read_now(lambda conn: [(kind, bool(done)) for kind, done in conn.execute(query)])


def test_a_partly_read_request_is_recorded_at_once_and_the_rest_at_its_replay(
    run: Run, tmp_path: Path, database: Database
) -> None:
    run("apply", file_of(tmp_path, HOUSE_LIST % ""))
    hear(database, listed(("m1", ALICE, "STOP"), ("m2", BOB_AT_HOME, "STOP")))
    before = heard_from(database), work(database), stored(database)
    run("apply", file_of(tmp_path, HOUSE_LIST % 'region = "CH"'))

    result = run("replay", "--all")

    alice, bob = (ALICE, "opt_out", NOW), (BOB_IN_FULL, "opt_out", NOW)
    assert before == ([alice], [("address", False)], [("undecoded", True)])
    assert told(result) == (0, "1 requests understood, 1 events recorded, 0 left as they were\n", "")
    assert (heard_from(database), work(database), stored(database)) == (
        [alice, bob], [("address", True)], [("events", False)],
    )  # fmt: skip
    assert [state_of(run, who)["state"] for who in (ALICE, BOB_IN_FULL)] == ["opted_out"] * 2


def test_a_partly_read_request_waits_on_while_an_item_is_left_and_its_entries_are_not_doubled(
    run: Run, tmp_path: Path, database: Database
) -> None:
    run("apply", file_of(tmp_path, HOUSE_LIST % ""))
    (number,) = hear(database, listed(("m1", ALICE, "STOP"), ("m2", BOB_AT_HOME, "STOP"), ("m3", "+1", "STOP")))
    unchanged = run("replay", "--all")
    between = heard_from(database), work(database), stored(database)
    run("apply", file_of(tmp_path, HOUSE_LIST % 'region = "CH"'))

    result = run("replay", "--all")

    alice, bob = (ALICE, "opt_out", NOW), (BOB_IN_FULL, "opt_out", NOW)
    assert unchanged.stdout == "0 requests understood, 0 events recorded, 1 left as they were\n"
    assert between == ([alice], [("address", False)] * 2, [("undecoded", True)])
    assert result.exit_code == 1
    assert result.stdout == "0 requests understood, 1 events recorded, 1 left as they were\n"
    assert result.stderr.startswith(f"{number} house: of its items, 1 still cannot be read: ")
    assert (heard_from(database), work(database), stored(database)) == (
        [alice, bob], [("address", True), ("address", False)], [("undecoded", True)],
    )  # fmt: skip


def test_replay_does_not_double_a_message_whose_key_was_good_for_seconds(
    run: Run, tmp_path: Path, database: Database
) -> None:
    run("apply", file_of(tmp_path, HOUSE_LIST_WITHOUT_ID % ""))
    hear(database, without_ids((ALICE, "STOP"), (BOB_AT_HOME, "STOP")))
    gone = database.write_now(lambda conn: housekeeping.drop_passing_keys(conn, NOW + timedelta(hours=1)))
    run("apply", file_of(tmp_path, HOUSE_LIST_WITHOUT_ID % 'region = "CH"'))

    result = run("replay", "--all")

    assert gone == 1
    assert told(result) == (0, "1 requests understood, 1 events recorded, 0 left as they were\n", "")
    assert heard_from(database) == [(ALICE, "opt_out", NOW), (BOB_IN_FULL, "opt_out", NOW)]


def test_replay_tells_why_it_cannot(run: Run, tmp_path: Path, database: Database) -> None:
    run("apply", file_of(tmp_path, HOUSE % "mesage"))
    (number,) = hear(database, message("m1", BOB, "STOP"))
    database.write_now(lambda conn: registry.delete_webhook(conn, "house"))

    result = run("replay", "--id", str(number), "--id", "7")

    assert result.exit_code == 1
    assert result.stderr == (
        "7: there is no stored request of this id; they are kept for some days only\n"
        f"{number} house: there is no webhook 'house' any more\n"
    )


def test_doctor_says_how_webhooks_fare_and_what_to_mend(run: Run, tmp_path: Path, database: Database) -> None:
    run("apply", file_of(tmp_path, HOUSE % "mesage"))
    run("apply", file_of(tmp_path, ACME, "acme.toml"))
    hear(database, message("m1", BOB, "STOP"))
    now = datetime.now(UTC)
    refused = {"webhook": "acme-inbound", "received_at": NOW, "reason": "the signature is wrong", "body": b""}
    texts = dict.fromkeys(("method", "target", "headers", "client"), "")
    waiting = {
        "kind": "reply", "webhook": "acme-inbound", "credential": "acme", "program": "default", "category": "help",
        "address": BOB, "sender": "", "text": "x", "inbound_id": None, "attempts": 0, "next_at": NOW, "deadline": NOW,
    }  # fmt: skip
    work = {"webhook": "house", "kind": "address", "reason": "", "item": "", "received_at": NOW, "raw_id": None}
    with database.writers.begin() as conn:
        conn.execute(tables.quarantine.insert(), refused | texts | {"id": 1})
        conn.execute(tables.outbox.insert(), waiting | {"id": 1, "state": "pending", "created_at": NOW})
        conn.execute(
            tables.outbox.insert(), waiting | {"id": 2**62, "state": "failed", "created_at": now, "reason": "400"}
        )
        conn.execute(tables.work_list.insert(), work | {"id": 1, "resolved_at": None})
        conn.execute(tables.work_list.insert(), work | {"id": 2, "resolved_at": NOW})

    result = run("doctor")

    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [re.split(r"  +", line) for line in lines[1:5]] == [
        ["name", "last heard", "refused", "not understood", "work list"],
        ["acme-inbound", "never", "1", "0", "0"],
        ["acme-receipts", "never", "0", "0", "0"],
        ["house", str(NOW), "0", "1", "1"],
    ]
    assert lines[6:8] == ["replies waiting  1", f"oldest of them   {NOW}"]
    for sentence in (
        "webhook 'acme-receipts' was never heard; enter its URL",
        f"webhook 'acme-inbound' refused a request at {NOW}: the signature is wrong",
        "webhook 'house' has 1 requests that were not understood: ",
        "webhook 'house' has 1 items of kind 'address' on the work list",
        "Replies wait for more than a minute; is a sender running",
        "1 replies through 'acme' failed in the last 7 days, lately: 400",
    ):
        assert sentence in result.stdout


def test_doctor_names_a_stream_that_stands_still_and_why(run: Run, database: Database) -> None:
    row = {"source": "consent", "position": 1, "updated_at": datetime.now(UTC)}
    rows = [row | {"stream": "crm", "problem": "the receiver answered 410"}, row | {"stream": "fine", "problem": ""}]
    database.write_now(lambda conn: conn.execute(tables.stream_positions.insert(), rows))

    told = run("doctor").stdout

    assert "stream 'crm' stands still: the receiver answered 410" in told
    assert "fine" not in told


def test_doctor_says_what_comes_first_where_nothing_is_registered(run: Run) -> None:
    result = run("doctor")

    assert result.exit_code == 0
    assert "No webhook is registered; write an apply file" in result.stdout
