"""Dead letters through the real server, the command line and a provider on loopback: seen, replayed once, settled."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from app.address import mask
from app.events import Cause, Change, ConsentState, Trouble
from app.interpret import effective
from app.record import dead_letters, keys, tables
from app.record.batch import park
from app.record.database import Database
from app.record.dead_letters import Kind
from app.record.ids import new_id
from app.record.parked import read_back
from app.record.resend import Terms, queue_again
from app.serve.replay import replay
from app.serve.terminal import connect, shown_age, write
from app.settings import Settings
from tests import fake_provider
from tests.commands import KEY, Run, runner
from tests.fake_provider import DROP, FakeProvider, answer
from tests.heard import ALICE, BOB, COMPANY, NOON, heard, inbound
from tests.serving import Answer, Served, serving, serving_copy

PATH = "/v1/dead-letters"
REFUSED = answer(400, {"code": 21211, "message": "Invalid 'To' Phone Number"})
PAYLOAD = (
    '{"message":{"id":"{{requestId}}","from":"{{profileNumber}}","to":"{{inboundNumber}}","text":"{{inboundMessage}}"}}'
)
HOUSE = {"name": "house", "provider": "custom", "credential": "acme", "sender": COMPANY, "scheme": {"type": "token"},
         "payload": PAYLOAD}  # fmt: skip


@dataclass
class House:
    """A server, its provider, and the command line beside it."""

    served: Served
    provider: FakeProvider
    database: Database
    door: str
    count: int = 0

    def text(self, text: str, address: str = BOB) -> None:
        """A person writes."""
        self.count += 1
        message = {"id": f"m{self.count}", "from": address, "to": COMPANY, "text": text}
        assert self.served.ask("POST", self.door, {"message": message}).status == 200

    def replies(self) -> list[Any]:
        rows = sa.select(tables.outbox).order_by(tables.outbox.c.id)
        return list(self.database.read_now(lambda conn: conn.execute(rows).all()))

    def settled(self, *states: str) -> list[Any]:
        """The replies, when they are in these states in the order of their ids."""
        return until(self.replies, lambda rows: [row.state for row in rows] == list(states))

    def listed(self, query: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.served.ask("GET", PATH + query).json["items"]
        return found

    def replay(self, **wanted: Any) -> list[tuple[str, str]]:
        """Outcome and reason of each."""
        asked = self.served.ask("POST", f"{PATH}/replay", wanted)
        assert asked.status == 200, asked.body
        return [(each["outcome"], each["reason"]) for each in asked.json["results"]]

    def confirmed(self, address: str = BOB) -> bool:
        consent = tables.consent.c
        query = sa.select(consent.confirmed).where(consent.address == address, consent.program == "default")
        return bool(self.database.read_now(lambda conn: conn.execute(query).scalar_one()))


def until(ask: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    for _ in range(1000):
        found = ask()
        if good(found):
            return found
        time.sleep(0.01)
    raise AssertionError(f"still not so: {found}")


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        yield running


@pytest.fixture
def house(database_url: str, database: Database, provider: FakeProvider) -> Iterator[House]:
    with serving(database_url, send=True, secret_key=KEY, allowed_private_destinations=["127.0.0.1"]) as served:
        yield opened(served, provider, database)


def opened(served: Served, provider: FakeProvider, database: Database) -> House:
    auth = {"type": "basic", "username": "AC0123", "password": "the-auth-token"}
    credential = {"name": "acme", "provider": "twilio", "app_id": "AC0123", "url": f"{provider.url}/send", "auth": auth}
    assert served.ask("POST", "/v1/credentials", credential).status == 201
    made = served.ask("POST", "/v1/webhooks", HOUSE)
    assert made.status == 201, made.body
    return House(served, provider, database, urlsplit(made.json["url"]).path)


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(database_url, monkeypatch, tmp_path)


REFUSE = {
    "sqlite": "CREATE TRIGGER refuse BEFORE INSERT ON ledger BEGIN SELECT RAISE(ABORT, 'refused'); END",
    "postgresql": "ALTER TABLE ledger ADD CONSTRAINT refuse CHECK (cause NOT IN ('api', 'keyword')) NOT VALID",
}
TAKE = {"sqlite": "DROP TRIGGER refuse", "postgresql": "ALTER TABLE ledger DROP CONSTRAINT refuse"}


def die(database: Database, count: int = 1, **given: Any) -> list[int]:
    """So many failed replies, each to somebody else; their ids."""
    row = {
        "kind": "reply", "webhook": "house", "credential": "acme", "program": "default", "category": "help",
        "sender": COMPANY, "text": "Hi", "inbound_id": None, "state": "failed", "attempts": 6, "next_at": NOON,
        "deadline": NOON, "created_at": NOON, "reason": "the provider answered 400",
    }  # fmt: skip
    rows = [{"id": new_id(), "address": f"+1415{5550200 + n}", **row, **given} for n in range(count)]
    database.write_now(lambda conn: conn.execute(sa.insert(tables.outbox), rows))
    return [each["id"] for each in rows]


# --- replies ------------------------------------------------------------------------------------------------------


def test_a_reply_that_failed_for_good_is_seen_replayed_and_leaves_once(house: House, run: Run) -> None:
    house.provider.plan.append(REFUSED)
    house.text("HELP")
    (failed,) = house.settled("failed")

    (letter,) = house.listed()
    listed, as_json = run("dead-letters", "list"), json.loads(run("dead-letters", "list", "--json").stdout)
    first = house.replay(kind="reply", ids=[letter["id"]])
    (sent,) = house.settled("sent")
    second = house.replay(ids=[letter["id"]])
    third = run("dead-letters", "replay", letter["id"])

    assert {name: letter[name] for name in ("id", "kind", "state", "webhook", "credential", "reason", "tries")} == {
        "id": str(failed.id), "kind": "reply", "state": "failed", "webhook": "house", "credential": "acme",
        "reason": "the provider answered 400 with code 21211", "tries": 1,
    }  # fmt: skip
    assert (letter["address"], letter["text"]) == (BOB, failed.text)
    assert mask(BOB) in listed.stdout
    assert as_json[0]["address"] == mask(BOB)
    assert BOB not in listed.stdout + json.dumps(as_json)
    assert re.search(r"^reply: 1, the oldest \d+ s old\nrequest: 0\nitem: 0$", listed.stdout, re.MULTILINE)
    assert (first, second) == ([("replayed", "")], [("left", "it was sent")])
    assert (third.exit_code, third.stdout) == (1, "0 replayed, 1 left as they were\n")
    assert third.stderr == f"{letter['id']} reply: it was sent\n"
    assert (sent.attempts, sent.deadline > failed.deadline) == (1, True)
    assert sent.note.partition(" ")[2] == "replayed; before: failed after 1 tries: " + letter["reason"]
    assert [request.form["To"] for request in house.provider.requests] == [BOB, BOB]
    assert house.listed() == []


def test_many_replays_at_the_same_time_send_each_reply_once(house: House, database_url: str) -> None:
    ids = die(house.database, 20)
    start = threading.Barrier(6)

    def by_api() -> list[int]:
        start.wait()
        results = house.served.ask("POST", f"{PATH}/replay", {"ids": [str(number) for number in ids]}).json["results"]
        return [int(each["id"]) for each in results if each["outcome"] == "replayed"]

    def by_another_process() -> list[int]:
        other, now = Database(database_url), datetime.now(UTC)
        terms = Terms(now, lambda _: now + timedelta(hours=1), effective)
        start.wait()
        try:
            outcomes = other.write_now(partial(queue_again, ids=ids, terms=terms))
        finally:
            other.close()
        return [each.id for each in outcomes if each.done]

    with ThreadPoolExecutor(6) as threads:
        replays = [threads.submit(each) for each in [by_api, by_another_process] * 3]
        replayed = [number for each in replays for number in each.result()]

    house.settled(*["sent"] * 20)
    assert sorted(replayed) == ids
    assert len(house.provider.requests) == 20


def test_a_replay_waits_for_a_stop_that_is_being_decided_about_the_same_person(house: House, database_url: str) -> None:
    """Else both would confirm the opt-out: this one, and the one that is queued for the newer STOP."""
    number = failed_confirmation(house)
    confirm = sa.update(tables.consent).values(confirmed=True)
    with ThreadPoolExecutor(1) as threads, house.database.writers.begin() as another_node:
        keys.hold(another_node, [BOB])
        replaying = threads.submit(house.replay, ids=[number])
        early, _ = wait([replaying], timeout=0.3)
        another_node.execute(confirm)
        another_node.commit()
        outcomes = replaying.result()

    assert not early
    assert outcomes == [("left", "this opt-out was confirmed since, or is being confirmed")]


def test_all_are_replayed_at_once_and_each_person_gets_their_reply(house: House) -> None:
    die(house.database, 450)

    outcomes = house.replay(all=True)
    again = house.replay(all=True)

    sent = house.settled(*["sent"] * 450)
    assert outcomes == [("replayed", "")] * 450
    assert again == []
    assert sorted(request.form["To"] for request in house.provider.requests) == sorted(row.address for row in sent)


def test_a_reply_that_may_have_left_is_replayed_only_where_that_is_said(house: House, run: Run) -> None:
    house.provider.plan.append(DROP)
    house.text("STOP")
    (doubtful,) = house.settled("doubtful")

    by_id, every = house.replay(ids=[str(doubtful.id)]), house.replay(all=True)
    by_hand = run("dead-letters", "replay", "--all")
    unchanged = house.settled("doubtful")
    risked = run("dead-letters", "replay", "--all", "--doubtful")
    house.settled("sent")

    assert [(outcome, "it may have left" in reason) for outcome, reason in by_id] == [("left", True)]
    assert every == []
    assert (by_hand.exit_code, by_hand.stdout) == (0, "0 replayed, 0 left as they were\n")
    assert by_hand.stderr.startswith("1 replies are left out, for they may have left; --doubtful")
    assert unchanged == [doubtful]
    assert (risked.exit_code, risked.stdout, risked.stderr) == (0, "1 replayed, 0 left as they were\n", "")
    assert len(house.provider.requests) == 2
    assert house.confirmed()


def test_consent_is_looked_at_again_when_a_replayed_reply_is_claimed(house: House) -> None:
    (number,) = die(house.database, address=BOB, category="opt_in")
    house.text("STOP")

    outcomes = house.replay(ids=[str(number)])

    cancelled, _ = house.settled("cancelled", "sent")
    assert outcomes == [("replayed", "")]
    assert cancelled.reason == "no longer opted_in"
    assert [request.form["To"] for request in house.provider.requests] == [BOB]


# --- opt-out confirmations ----------------------------------------------------------------------------------------


def failed_confirmation(house: House) -> str:
    house.provider.plan.append(REFUSED)
    house.text("STOP")
    (row,) = house.settled("failed")
    assert not house.confirmed()
    return str(row.id)


def test_a_confirmation_is_replayed_and_the_next_stop_is_not_confirmed_beside_it(house: House) -> None:
    number = failed_confirmation(house)

    outcomes = house.replay(all=True)
    house.text("STOP")
    house.settled("sent")

    assert outcomes == [("replayed", "")]
    assert house.confirmed()
    assert house.replay(ids=[number]) == [("left", "it was sent")]
    assert len(house.provider.requests) == 2


def test_a_replayed_confirmation_that_fails_again_makes_room_for_another(house: House) -> None:
    failed_confirmation(house)
    house.provider.plan.append(REFUSED)

    house.replay(all=True)
    until(lambda: len(house.provider.requests), lambda count: count == 2)
    house.settled("failed")
    unconfirmed = not house.confirmed()
    house.text("STOP")
    house.settled("failed", "sent")

    assert unconfirmed
    assert house.confirmed()


def test_no_opt_out_is_confirmed_to_somebody_who_is_in_again(house: House) -> None:
    number = failed_confirmation(house)
    house.text("START")
    house.settled("failed", "sent")

    outcomes = house.replay(ids=[number])

    assert outcomes == [("left", "the person is not opted out any more")]
    assert len(house.provider.requests) == 2


def test_no_opt_out_is_confirmed_to_somebody_who_is_in_again_everywhere(house: House) -> None:
    number = failed_confirmation(house)
    change = {"state": "opted_in", "reason": "by phone", "actor": "dora", "program": "*"}
    assert house.served.ask("PUT", f"/v1/consent/{BOB}", change).status == 200

    assert house.replay(ids=[number]) == [("left", "the person is not opted out any more")]
    assert not house.confirmed()


def test_a_newer_stop_that_was_confirmed_leaves_nothing_to_confirm(house: House) -> None:
    number = failed_confirmation(house)
    house.text("STOP")
    house.settled("failed", "sent")

    outcomes = house.replay(ids=[number])

    assert outcomes == [("left", "this opt-out was confirmed since, or is being confirmed")]
    assert len(house.provider.requests) == 2


def test_an_opt_out_that_came_after_an_opt_in_has_its_own_confirmation(house: House) -> None:
    number = failed_confirmation(house)
    house.text("START")
    house.settled("failed", "sent")
    house.provider.plan.append(REFUSED)
    house.text("STOP")
    house.settled("failed", "sent", "failed")

    outcomes = house.replay(all=True)
    house.settled("failed", "sent", "sent")

    assert [outcome for outcome, _ in outcomes] == ["left", "replayed"]
    assert "has opted in and out again since" in outcomes[0][1]
    assert house.replay(ids=[number])[0][0] == "left"


def test_of_two_failed_confirmations_of_one_opt_out_one_leaves(house: House) -> None:
    failed_confirmation(house)
    house.provider.plan.append(REFUSED)
    house.text("STOP")
    house.settled("failed", "failed")

    outcomes = house.replay(all=True)
    house.settled("sent", "failed")

    assert outcomes == [("replayed", ""), ("left", "this opt-out was confirmed since, or is being confirmed")]
    assert len(house.provider.requests) == 3


# --- requests -----------------------------------------------------------------------------------------------------


@pytest.fixture
def unread(house: House) -> House:
    """A STOP that was not understood, for a slip in the mapping that is mended by now."""
    spoilt = {**HOUSE, "payload": PAYLOAD.replace("message", "mesage", 1)}
    assert house.served.ask("PUT", "/v1/webhooks/house", spoilt).status == 200
    house.text("STOP")
    return house


def mend(house: House) -> None:
    assert house.served.ask("PUT", "/v1/webhooks/house", HOUSE).status == 200


def messages(house: House) -> int:
    count = sa.select(sa.func.count()).select_from(tables.inbound_messages)
    return int(house.database.read_now(lambda conn: conn.execute(count).scalar_one()))


def test_a_request_that_was_not_understood_is_replayed_by_the_running_server_when_it_is(unread: House) -> None:
    (letter,) = unread.listed("?kind=request")
    too_early = unread.replay(ids=[letter["id"]])
    mend(unread)

    done = unread.served.ask("POST", f"{PATH}/replay", {"ids": [letter["id"]]}).json["results"]
    again = unread.replay(kind="request", ids=[letter["id"]])
    (reply,) = unread.settled("sent")

    assert (letter["state"], letter["webhook"], letter["raw_id"]) == ("undecoded", "house", letter["id"])
    assert [(outcome, reason.startswith("still not understood: ")) for outcome, reason in too_early] == [("left", True)]
    assert done == [
        {"id": letter["id"], "kind": "request", "outcome": "replayed", "reason": "", "new": 1, "seen": 0}
    ]  # fmt: skip
    assert again == [("left", "it was understood before (events)")]
    assert (unread.listed(), messages(unread), reply.category) == ([], 1, "opt_out")


def test_a_request_that_the_database_refuses_at_its_replay_waits_on_and_keeps_no_other_from_it(unread: House) -> None:
    kind = unread.database.dialect
    unread.text("HELP", ALICE)
    mend(unread)
    unread.database.write_now(lambda conn: conn.exec_driver_sql(REFUSE[kind]))

    stop, help_ = unread.replay(all=True)
    unread.database.write_now(lambda conn: conn.exec_driver_sql(TAKE[kind]))
    again = unread.replay(all=True)

    assert (stop[0], stop[1].partition(":")[0], help_) == ("left", "the database refused it", ("replayed", ""))
    assert again == [("replayed", "")]
    assert (unread.listed(), messages(unread)) == ([], 2)


def test_requests_replayed_by_several_processes_at_once_are_recorded_once(unread: House, database_url: str) -> None:
    for number in range(5):
        unread.text("STOP", f"+1415555030{number}")
    mend(unread)
    start = threading.Barrier(4)

    def another_process() -> list[str]:
        database = Database(database_url)
        try:
            switchboard = connect(Settings(secret_key=KEY), database)
            start.wait()
            return [each.problem for each in write(database, lambda writer: replay(switchboard, database, writer))]
        finally:
            database.close()

    with ThreadPoolExecutor(4) as threads:
        told = [problem for each in [threads.submit(another_process) for _ in range(4)] for problem in each.result()]

    assert told.count("") == 6
    assert all(problem == "" or problem.startswith("it was understood before") for problem in told)
    assert (messages(unread), unread.listed()) == (6, [])


def test_all_of_every_kind_are_replayed_and_those_that_cannot_be_are_told(unread: House) -> None:
    die(unread.database)
    unread.text("HELP", ALICE)
    before = unread.listed()
    mend(unread)
    garbage = unread.served.ask("POST", unread.door, b'{"neither": 1}')

    outcomes = unread.replay(all=True)

    unread.settled("sent", "sent", "sent")
    assert garbage.status == 200
    assert sorted(letter["kind"] for letter in before) == ["reply", "request", "request"]
    assert sorted(outcome for outcome, _ in outcomes) == ["left", "replayed", "replayed", "replayed"]
    assert [letter["kind"] for letter in unread.listed()] == ["request"]


# --- items --------------------------------------------------------------------------------------------------------


def refused_change(database: Database) -> None:
    """An event that the database refused and that came with no request: all that is kept says what it was."""
    told = heard(inbound("STOP"))
    told.raw = None
    database.write_now(lambda conn: park(conn, told, "the database refused it: DataError"))


def test_an_item_without_a_request_waits_for_a_person_who_settles_it(
    run: Run, database: Database, database_url: str
) -> None:
    refused_change(database)
    with serving(database_url, secret_key=KEY) as served:
        letter = served.ask("GET", f"{PATH}?kind=item").json["items"][0]
    listed = run("dead-letters", "list", "--kind", "item")
    left = run("dead-letters", "replay", letter["id"])
    every = run("dead-letters", "replay", "--all")
    settled = run("dead-letters", "resolve", letter["id"], "--reason", "opted out by hand", "--actor", "dora")
    again = run("dead-letters", "resolve", letter["id"], "--reason", "once more", "--actor", "eve")

    work = database.read_now(lambda conn: conn.execute(sa.select(tables.work_list)).one())
    assert (letter["state"], letter["text"], letter["raw_id"]) == ("parked", "inbound", None)
    assert "the database refused it: DataError" in listed.stdout
    for result in (left, every):
        assert (result.exit_code, result.stdout) == (1, "0 replayed, 1 left as they were\n")
        assert "nothing that could be recorded again is kept of it" in result.stderr
    assert (settled.exit_code, settled.stdout) == (0, "1 settled, 0 left as they were\n")
    assert (again.exit_code, again.stderr) == (1, f"{letter['id']} item: it was settled before\n")
    assert (work.resolved_by, work.resolution, work.resolved_at is None) == ("dora", "opted out by hand", False)
    assert json.loads(run("dead-letters", "list", "--json").stdout) == []


def test_a_change_that_the_database_refused_is_recorded_at_its_first_time_when_it_takes_it(house: House) -> None:
    kind = house.database.dialect
    house.database.write_now(lambda conn: conn.exec_driver_sql(REFUSE[kind]))
    change = {"state": "opted_out", "reason": "by phone", "actor": "dora", "program": "news"}
    asked = house.served.ask("PUT", f"/v1/consent/{BOB}", change)

    (letter,) = house.listed()
    too_early = house.replay(ids=[letter["id"]])
    house.database.write_now(lambda conn: conn.exec_driver_sql(TAKE[kind]))
    outcomes = house.replay(all=True)
    again = house.replay(ids=[letter["id"]])

    holds = house.served.ask("GET", f"/v1/consent/{BOB}?program=news").json
    history = house.served.ask("GET", f"/v1/ledger/{BOB}").json["items"]
    assert asked.status == 503
    assert (letter["kind"], letter["state"]) == ("item", "parked")
    assert [(outcome, reason.partition(":")[0]) for outcome, reason in too_early] == [
        ("left", "the database refused it")
    ]
    assert outcomes == [("replayed", "")]
    assert again == [("left", "it was settled before")]
    assert (holds["state"], holds["cause"], holds["since"]) == ("opted_out", "api", letter["since"])
    assert [(entry["evidence"]["actor"], entry["evidence"]["reason"]) for entry in history] == [("dora", "by phone")]
    assert house.listed() == []


def test_a_block_error_that_the_database_refused_is_kept_whole(database: Database) -> None:
    told = Change("b|acme|1", BOB, ConsentState.OPTED_OUT, Cause.BLOCK_ERROR, "default", NOON, about=("a", "m1", BOB))
    before = replace(heard(told), raw=None, rules=None)
    database.write_now(lambda conn: park(conn, before, "the database refused it: DataError"))

    entry = database.read_now(lambda conn: conn.execute(sa.select(tables.work_list)).one())

    assert read_back(entry) == replace(before, late=True)


def test_a_change_that_cannot_be_written_at_all_is_parked_all_the_same(database: Database) -> None:
    told = Change("h|1", BOB, ConsentState.OPTED_OUT, Cause.API, reason="half of a pair: \ud800")
    database.write_now(lambda conn: park(conn, replace(heard(told), raw=None), "the database refused it: DataError"))

    entry = database.read_now(lambda conn: conn.execute(sa.select(tables.work_list)).one())

    assert (entry.item, read_back(entry)) == ("change", None)


def test_an_item_of_a_request_that_waits_to_be_read_again_is_shown_once_as_that_request(
    run: Run, database: Database
) -> None:
    told = heard(troubles=(Trouble("address", "no region", '{"from":"0791234567"}'),))
    database.write_now(lambda conn: park(conn, told, "the database refused it: DataError"))
    entry = database.read_now(lambda conn: conn.execute(sa.select(tables.work_list.c.id)).scalar_one())

    (letter,) = json.loads(run("dead-letters", "list", "--json").stdout)
    replayed = run("dead-letters", "replay", str(entry))
    alone = run("dead-letters", "resolve", str(entry), "--reason", "x", "--actor", "dora")
    whole = run("dead-letters", "resolve", letter["id"], "--reason", "a test of theirs", "--actor", "dora")

    raw, work = (
        database.read_now(lambda conn, table=table: conn.execute(sa.select(table)).one())
        for table in (tables.raw_requests, tables.work_list)
    )
    assert (letter["kind"], letter["reason"]) == ("request", "the database refused it: DataError")
    assert letter["id"] in replayed.stderr
    assert letter["id"] in alone.stderr
    assert [each.exit_code for each in (replayed, alone, whole)] == [1, 1, 0]
    assert raw.reading == "ignored"
    assert raw.problem.partition(" ")[2] == (
        "settled by dora: a test of theirs; before: the database refused it: DataError"
    )
    assert (work.resolved_by, work.resolution) == ("dora", "a test of theirs")
    assert json.loads(run("dead-letters", "list", "--json").stdout) == []


# --- settling and reading -----------------------------------------------------------------------------------------


def ask(served: Served, what: str, **body: Any) -> Answer:
    return served.ask("POST", f"{PATH}/{what}", body)


def test_a_reply_can_be_settled_and_is_not_replayed_then(database: Database, database_url: str) -> None:
    number, gone = (str(each) for each in die(database, 2))
    with serving(database_url) as served:
        settled = ask(served, "resolve", ids=[number, gone, "7"], reason="called them", actor="dora").json["results"]
        replayed = ask(served, "replay", ids=[number]).json["results"]
        every = ask(served, "replay", all=True).json["results"]
        listed = served.ask("GET", PATH).json["items"]

    row = database.read_now(lambda conn: conn.execute(sa.select(tables.outbox).limit(1)).one())
    assert [(each["id"], each["kind"], each["outcome"], each["reason"]) for each in settled] == [
        (number, "reply", "settled", ""), (gone, "reply", "settled", ""),
        ("7", None, "left", "there is no dead letter of this id"),
    ]  # fmt: skip
    assert (replayed[0]["outcome"], "settled by dora: called them" in replayed[0]["reason"]) == ("left", True)
    assert (every, listed, row.state, row.settled_at is None) == ([], [], "failed", False)


def test_blocked_and_cancelled_replies_are_decided_and_no_dead_letters(database: Database, database_url: str) -> None:
    decided = {state: str(die(database, state=state)[0]) for state in ("blocked", "cancelled", "pending", "sending")}
    with serving(database_url) as served:
        listed = served.ask("GET", PATH).json["items"]
        replayed = ask(served, "replay", ids=list(decided.values())).json["results"]

    assert listed == []
    assert [each["outcome"] for each in replayed] == ["left"] * 4
    assert all(each["reason"] for each in replayed)


def test_a_page_follows_the_other_over_all_kinds(database: Database, database_url: str) -> None:
    refused_change(database)
    first = die(database, 2)
    database.write_now(lambda conn: park(conn, heard(), "the database refused it: DataError"))
    last = die(database)
    ids: list[str] = []
    with serving(database_url) as served:
        cursor = ""
        while True:
            page = served.ask("GET", f"{PATH}?limit=2{cursor}").json
            ids += [letter["id"] for letter in page["items"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"

    assert len(ids) == 5
    assert ids == sorted(ids, key=int, reverse=True)
    assert {str(number) for number in (*first, *last)} <= set(ids)


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("replay", {}),
        ("replay", {"ids": ["1"], "all": True}),
        ("replay", {"ids": []}),
        ("replay", {"ids": ["x"]}),
        ("replay", {"all": True, "kind": "letter"}),
        ("resolve", {"ids": ["1"], "reason": "x"}),
        ("resolve", {"ids": ["1"], "reason": " ", "actor": "dora"}),
    ],
)
def test_a_slip_is_told_and_changes_nothing(shared: Served, what: str, body: dict[str, Any]) -> None:
    assert ask(shared, what, **body).status == 422


@pytest.fixture(scope="module")
def shared(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving_copy(sqlite_template, tmp_path_factory) as running:
        yield running


def test_metrics_and_doctor_tell_how_many_there_are_and_how_old(
    run: Run, database: Database, database_url: str
) -> None:
    die(database, 2, created_at=datetime.now(UTC) - timedelta(hours=3))
    die(database, state="doubtful")
    refused_change(database)
    database.write_now(lambda conn: park(conn, heard(), "the database refused it: DataError"))
    with serving(database_url) as served:
        lines = served.ask("GET", "/metrics").body.decode().splitlines()
    told = run("doctor").stdout

    ages = {kind: float(line.split()[-1]) for line in lines for kind in Kind
            if line.startswith(f'textback_dead_letters_oldest_seconds{{kind="{kind}"}}')}  # fmt: skip
    assert {
        f'textback_dead_letters{{kind="{kind}"}} {count}.0'
        for kind, count in (("reply", 3), ("request", 1), ("item", 1))
    } <= set(lines)
    assert 10_800 <= ages[Kind.REPLY] < 11_400
    assert min(ages.values()) > 0
    assert "Dead letters: 3 replies failed for good or ended in doubt, the oldest 3 h old." in told
    assert "textback dead-letters list --kind reply shows them; then: textback dead-letters replay --kind reply" in told
    assert "Dead letters: 1 requests wait to be read again" in told
    assert "Dead letters: 1 items wait for a person" in told


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_199, "120 min"), (7_200, "2 h"), (172_800, "2 days"), (-5, "0 s")],
)
def test_an_age_is_told_in_the_largest_unit_that_tells(seconds: int, shown: str) -> None:
    assert shown_age(timedelta(seconds=seconds)) == shown


def test_every_question_about_dead_letters_uses_an_index(database: Database) -> None:
    """PostgreSQL's planner is told to avoid whole tables; small ones would be read so otherwise."""
    asked: list[tuple[str, Any]] = []
    sa.event.listen(
        database.writers, "before_cursor_execute", lambda _c, _u, sql, given, _x, _m: asked.append((sql, given))
    )

    def ask_all(conn: sa.Connection) -> list[str]:
        if conn.dialect.name == "postgresql":
            conn.exec_driver_sql("SET LOCAL enable_seqscan = off")
        asked.clear()
        dead_letters.page(conn, limit=50, before_id=2**62)
        dead_letters.tallies(conn)
        for kind in Kind:
            dead_letters.ids(conn, kind)
        explain = "EXPLAIN QUERY PLAN" if conn.dialect.name == "sqlite" else "EXPLAIN"
        return [
            "\n".join(str(row) for row in conn.exec_driver_sql(f"{explain} {sql}", given)) for sql, given in list(asked)
        ]

    plans = database.write_now(ask_all)

    assert len(plans) == 12
    for plan in plans:
        # PostgreSQL names the index of each month after the month
        assert re.search("ix_outbox_dead|ix_work_list_open|raw_requests", plan)
        assert not re.search(r"Seq Scan|SCAN (?!.*USING)|Filter: .reading", plan), plan


def test_the_writer_of_the_release_before_fills_the_new_columns(database: Database) -> None:
    die(database)

    row = database.read_now(lambda conn: conn.execute(sa.select(tables.outbox)).one())
    assert (row.settled_at, row.note) == (None, "")
