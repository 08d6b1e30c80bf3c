"""Streams at work: a running server tells a receiver what it records, whatever the receiver answers."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import standardwebhooks

from app.events import Status
from app.record import housekeeping, ids, refusals, registrations, streams, tables
from app.record.database import Database
from app.record.vault import Vault
from app.registration import KINDS
from app.stream import Stream
from tests import fake_provider
from tests.commands import EVIDENCE_KEY, Run, file_of, runner
from tests.conftest import fresh_database
from tests.fake_provider import DROP, FakeProvider, Received, Reply, answer, busy
from tests.heard import ALICE, BOB, CHARLIE, heard, inbound, receipt
from tests.receivers import ENVELOPE, ORGANISATION, Inlet
from tests.serving import Served, serving

SECRET = "whsec_c2l4dGVlbi1ieXRlcy1hcmUtdG9vLWZldw=="


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        yield running


@pytest.fixture
def inlet(provider: FakeProvider) -> Inlet:
    return Inlet(provider)


@contextmanager
def telling(url: str, **given: Any) -> Iterator[Served]:
    with serving(
        url, send=True, allowed_private_destinations=["127.0.0.1"], evidence_key=EVIDENCE_KEY, **given
    ) as running:
        yield running


@pytest.fixture
def served(database_url: str) -> Iterator[Served]:
    with telling(database_url) as running:
        yield running


def registered(served: Served, url: str, **given: Any) -> None:
    wanted = {"name": "crm", "url": url, "timeout": 2, **given}
    if wanted.get("format") == "xdm":
        wanted = {"organisation": ORGANISATION, "schema_id": "https://ns.adobe.com/acme/schemas/1", **wanted}
    made = served.ask("POST", "/v1/streams", wanted)
    assert made.status == 201, made.json


def until(done: Callable[[], Any], seconds: float = 8) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.02)


def say(served: Served, *texts: str, address: str = BOB) -> None:
    for text in texts:
        served.record(heard(inbound(text, address=address), at=datetime.now(UTC)))


def status(served: Served) -> Any:
    return served.ask("GET", "/v1/streams/crm/status").json


def position(served: Served, source: str) -> streams.Position:
    found = served.parts.database.read_now(lambda conn: streams.positions(conn, "crm"))
    return next(each for each in found if each.source == source)


def copied(served: Served, row_id: int, text: str) -> Callable[[sa.Connection], None]:
    """An inbound message with an id of another time, as a node with another clock would write it."""
    table = tables.inbound_messages
    row = served.parts.database.read_now(lambda conn: conn.execute(sa.select(table).limit(1)).one())
    values = dict(row._mapping) | {"id": row_id, "text": text}
    return lambda conn: conn.execute(table.insert(), values) and None


# --- every event --------------------------------------------------------------------------------------------------


def test_an_inlet_is_told_every_kind_of_event_once_in_valid_envelopes(served: Served, inlet: Inlet) -> None:
    registered(served, inlet.url, format="xdm")
    say(served, "STOP", "Are you there?")
    served.record(heard(receipt(Status.DELIVERED, message_id="SM9"), at=datetime.now(UTC)))
    until(lambda: len(inlet.events) == 4)

    [change] = inlet.of("consent")
    assert {e["_textback"]["text"] for e in inlet.of("inbound")} == {"STOP", "Are you there?"}
    assert [e["_textback"]["status"] for e in inlet.of("receipt")] == ["delivered"]
    assert (change["_textback"]["new_state"], change["_textback"]["cause"]) == ("opted_out", "keyword")
    assert change["_textback"]["consent"]["may_send"] is False
    assert change["identityMap"] == {"Phone": [{"id": BOB}]}
    assert (inlet.faults, len(set(inlet.ids))) == ([], 4)
    until(lambda: sum(each["told"] for each in status(served)["sources"]) == 4)
    assert [each["lag_rows"] for each in status(served)["sources"]] == [0, 0, 0]
    metrics = served.ask("GET", "/metrics").body.decode()
    assert 'textback_stream_lag_rows{event="inbound",stream="crm"} 0.0' in metrics
    assert 'textback_stream_standing{stream="crm"} 0.0' in metrics


def test_single_messages_are_told_one_by_one(served: Served, provider: FakeProvider) -> None:
    inlet = Inlet(provider, batch=False)
    registered(served, inlet.url, format="xdm", batch=1, events=["inbound"])
    say(served, "one", "two")
    until(lambda: len(inlet.events) == 2)

    assert inlet.faults == []


def test_cloud_events_are_signed_and_told_again_by_a_replay_under_the_same_ids(
    served: Served, provider: FakeProvider
) -> None:
    def events() -> list[dict[str, Any]]:
        return [event for request in list(provider.requests) for event in request.json]

    provider.judge = lambda _: answer(202)
    before = datetime.now(UTC)
    registered(served, f"{provider.url}/events", secret=SECRET, events=["consent"])
    say(served, "STOP", "START")
    until(lambda: len(events()) == 2)
    replayed = served.ask("POST", "/v1/streams/crm/replay", {"since": (before - timedelta(hours=1)).isoformat()})
    until(lambda: len(events()) >= 4)

    assert replayed.status == 200
    assert [e["id"] for e in events()[:2]] == [e["id"] for e in events()[2:4]]
    assert [e["data"]["new_state"] for e in events()[:2]] == ["opted_out", "opted_in"]
    assert events()[2]["data"]["consent"]["state"] == "opted_in", "an old event tells how the person stands now"
    for request in provider.requests:
        standardwebhooks.Webhook(SECRET).verify(request.body, request.headers)
    assert served.ask("POST", "/v1/streams/crm/replay", {}).status == 422
    assert served.ask("POST", "/v1/streams/crm/replay", {"from_id": "0", "events": ["receipt"]}).status == 422
    assert served.ask("POST", "/v1/streams/nobody/replay", {"from_id": "0"}).status == 404


def test_a_new_stream_begins_now_or_at_the_beginning_and_one_made_anew_begins_anew(
    served: Served, inlet: Inlet
) -> None:
    say(served, "before")
    time.sleep(0.01)
    registered(served, inlet.url, format="xdm", events=["inbound"])
    say(served, "after")
    until(lambda: inlet.events)
    assert served.ask("DELETE", "/v1/streams/crm").status == 204
    registered(served, inlet.url, format="xdm", events=["inbound"], from_the_beginning=True)
    until(lambda: len(inlet.events) == 3)

    assert [e["_textback"]["text"] for e in inlet.events] == ["after", "before", "after"]
    assert inlet.ids[0] == inlet.ids[2]


def test_a_changed_stream_is_told_in_its_new_way_and_of_its_new_events(served: Served, inlet: Inlet) -> None:
    registered(served, inlet.url, format="xdm", events=["inbound"])
    say(served, "STOP")
    until(lambda: inlet.events)
    changed = served.ask("GET", "/v1/streams/crm").json | {"events": ["inbound", "consent"], "tenant": "_textback"}
    assert served.ask("PUT", "/v1/streams/crm", changed).status == 200
    say(served, "START")
    until(lambda: len(inlet.events) == 3)

    assert [e["_textback"]["new_state"] for e in inlet.of("consent")] == ["opted_in"]


# --- what receivers answer ----------------------------------------------------------------------------------------


def test_of_a_batch_what_is_refused_is_kept_what_may_pass_is_sent_again_and_the_rest_is_done(
    served: Served, inlet: Inlet
) -> None:
    inlet.moods = {"poison": 400, "later": 503}
    registered(served, inlet.url, format="xdm", events=["inbound"], from_the_beginning=True)
    say(served, "good", "poison", "later")
    until(lambda: status(served)["refused"] == 1 and "503" in status(served)["problem"])
    [refused] = served.ask("GET", "/v1/streams/crm/refusals").json["items"]
    inlet.moods = {}
    until(lambda: len(inlet.events) == 2)
    until(lambda: not status(served)["problem"])
    assert served.ask("POST", "/v1/streams/crm/refusals/retry", {"all": True}).json == {"retried": 1}
    until(lambda: status(served)["refused"] == 0)

    assert [e["_textback"]["text"] for e in inlet.events] == ["good", "later", "poison"]
    assert refused["reason"] == "the receiver answered 400: Message about +••• has unknown xdm format •••"
    assert refused["event_id"] == inlet.ids[2]


def test_one_event_that_a_batch_is_refused_for_stands_alone_in_the_end(served: Served, provider: FakeProvider) -> None:
    taken: list[str] = []

    def judge(request: Received) -> Reply:
        texts = [event["data"]["text"] for event in request.json]
        if "poison" in texts:
            return answer(400)
        taken.extend(texts)
        return answer(200)

    provider.judge = judge
    say(served, *"abc", "poison", *"defg")
    registered(served, provider.url, events=["inbound"], from_the_beginning=True)
    until(lambda: status(served)["refused"] == 1 and len(taken) == 7)

    assert sorted(taken) == [*"abcdefg"]


def test_requests_of_a_megabyte_are_split_and_an_event_beyond_it_is_refused(served: Served, inlet: Inlet) -> None:
    say(served, "small")
    for number in range(3):
        served.write(copied(served, ids.new_id(), f"{number}" * 400_000))
    served.write(copied(served, ids.new_id(), "x" * 1_100_000))
    registered(served, inlet.url, format="xdm", events=["inbound"], from_the_beginning=True)
    until(lambda: len(inlet.events) == 4 and status(served)["refused"] == 1)

    [refused] = served.ask("GET", "/v1/streams/crm/refusals").json["items"]
    assert "more than the 1,000,000 of a request" in refused["reason"]
    assert max(len(request.body) for request in inlet.provider.requests) <= 1_000_000
    assert inlet.faults == []


@pytest.mark.parametrize(
    ("first", "sentence"),
    [
        (busy("1"), "answered 429"),
        (answer(503), "answered 503"),
        (answer(401), "auth is missing"),
        (DROP, "did not answer"),
    ],
)
def test_a_receiver_that_does_not_take_anything_is_asked_again_and_the_stream_says_why(
    request: pytest.FixtureRequest, tmp_path: Any, inlet: Inlet, first: Reply, sentence: str
) -> None:
    inlet.provider.plan.append(first)
    with fresh_database("sqlite", request, tmp_path) as url, telling(url) as served:
        registered(served, inlet.url, format="xdm", events=["inbound"])
        say(served, "hello")
        until(lambda: sentence in status(served)["problem"])
        assert status(served)["sources"][0]["lag_rows"] == 1
        until(lambda: inlet.events)
        until(lambda: not status(served)["problem"])

    assert len(inlet.events) == 1


# --- nothing is passed --------------------------------------------------------------------------------------------


def test_rows_of_a_node_whose_clock_lags_are_told_although_later_ones_were(served: Served, inlet: Inlet) -> None:
    registered(served, inlet.url, format="xdm", events=["inbound"], from_the_beginning=True)
    say(served, "now")
    until(lambda: inlet.events)
    lagging = ids.first_id_at(datetime.now(UTC) - timedelta(seconds=20))
    served.write(copied(served, lagging, "of a clock that lags"))
    until(lambda: len(inlet.events) == 2)
    until(lambda: len(position(served, "inbound").ahead) == 2)

    assert inlet.events[1]["_textback"]["text"] == "of a clock that lags"
    assert position(served, "inbound").position < lagging, "others may still come"


def test_rows_of_a_node_whose_clock_is_ahead_hold_nothing_back(served: Served, inlet: Inlet) -> None:
    registered(served, inlet.url, format="xdm", events=["inbound"])
    say(served, "now")
    until(lambda: inlet.events)
    served.write(copied(served, ids.first_id_at(datetime.now(UTC) + timedelta(hours=1)), "ahead"))
    until(lambda: len(inlet.events) == 2)
    say(served, "later")
    until(lambda: len(inlet.events) == 3)


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[str]:
    with fresh_database("postgresql", request, tmp_path) as url:
        yield url


def test_a_row_of_a_transaction_that_was_open_for_long_is_told_when_it_is_committed(
    postgres_url: str, inlet: Inlet
) -> None:
    table = tables.inbound_messages
    with telling(postgres_url) as served:
        registered(served, inlet.url, format="xdm", events=["inbound"], from_the_beginning=True)
        say(served, "first")
        until(lambda: inlet.events)
        slow = Database(postgres_url)
        with slow.writers.connect() as conn, conn.begin():
            conn.execute(sa.text("SELECT 1"))
            mine = ids.new_id()
            say(served, "second")
            until(lambda: len(inlet.events) == 2)
            # a second look, by which the second would be settled were it not for the open transaction
            until(lambda: len(position(served, "inbound").ahead) == 2)
            row = conn.execute(sa.select(table).limit(1)).one()
            conn.execute(table.insert(), dict(row._mapping) | {"id": mine, "text": "slow"})
            assert position(served, "inbound").position < mine
        until(lambda: len(inlet.events) == 3)
        slow.close()

    assert [e["_textback"]["text"] for e in inlet.events] == ["first", "second", "slow"]


def test_the_position_follows_what_is_settled_and_no_id_is_made_below_it(
    postgres_url: str, inlet: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.record.settled.settled.__defaults__", (timedelta(seconds=-1),))
    with telling(postgres_url) as served:
        registered(served, inlet.url, format="xdm", events=["inbound"])
        say(served, "one", "two")
        until(lambda: len(inlet.events) == 2)
        until(lambda: position(served, "inbound").told == 2 and not position(served, "inbound").ahead)
        passed = position(served, "inbound").position

        assert passed == served.parts.database.read_now(
            lambda conn: conn.execute(sa.select(sa.func.max(tables.inbound_messages.c.id))).scalar_one()
        )


def test_of_two_processes_one_tells_and_the_other_takes_over(postgres_url: str, inlet: Inlet) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(telling(postgres_url))
        registered(first, inlet.url, format="xdm", events=["inbound"])
        with telling(postgres_url) as second:
            say(first, "one")
            say(second, "two")
            until(lambda: len(inlet.events) == 2)
            stack.pop_all().close()
            say(second, "three")
            until(lambda: len(inlet.events) == 3)

    assert sorted(e["_textback"]["text"] for e in inlet.events) == ["one", "three", "two"]


def test_a_lease_from_before_the_clock_was_set_back_holds_nobody_up(database: Database) -> None:
    noon = datetime.now(UTC)
    saved(database, "inbound")

    def claimed(me: str, at: datetime) -> bool:
        lease = streams.Lease("crm", me, at, at + timedelta(seconds=9))
        return database.write_now(lambda conn: streams.claim(conn, lease, ["inbound"])) is not None

    assert claimed("dead", noon + timedelta(hours=1))
    assert claimed("first", noon)
    assert not claimed("second", noon - timedelta(seconds=30))  # a clock that lags a little


def test_a_source_that_is_added_while_nobody_tells_is_told_of_from_then_on(database: Database) -> None:
    saved(database, "inbound")
    saved(database, "inbound", "consent")
    row_id = ids.new_id()
    time.sleep(0.01)
    saved(database, "inbound", "consent", batch=7)

    found = database.read_now(lambda conn: streams.positions(conn, "crm"))
    assert [(each.source, each.position < row_id) for each in found] == [("consent", True), ("inbound", True)]


def saved(database: Database, *events: str, **given: Any) -> None:
    """A stream as the command line saves it, with no server running."""
    stream = Stream.model_validate({"name": "crm", "url": "http://127.0.0.1/", "events": events, **given})
    act = partial(registrations.save, vault=Vault("a key"), kind=KINDS["stream"], model=stream, now=datetime.now(UTC))
    database.write_now(act)


# --- people -------------------------------------------------------------------------------------------------------


def test_of_erased_people_nothing_is_told_and_it_is_counted(served: Served, inlet: Inlet) -> None:
    say(served, "STOP", address=ALICE)
    say(served, "STOP", address=BOB)
    erased = served.ask("POST", "/v1/erasures", {"address": ALICE, "reason": "asked by letter", "actor": "dora"})
    registered(served, inlet.url, format="xdm", from_the_beginning=True)
    until(lambda: len(inlet.events) == 2)
    until(lambda: sum(each["left_out"] for each in status(served)["sources"]) == 1)

    assert erased.status in {200, 201}, erased.json
    assert ALICE not in json.dumps(inlet.events)


def test_whom_a_consent_policy_leaves_out_is_told_of_by_changes_of_consent_alone(served: Served, inlet: Inlet) -> None:
    policy = {"name": "willing", "marketing_actions": ["crm"], "require": "consent.state = 'opted_in'"}
    assert served.ask("POST", "/v1/policies", policy).status == 201
    registered(served, inlet.url, format="xdm", marketing_actions=["crm"])
    say(served, "START", "hello", address=CHARLIE)
    say(served, "STOP", "hello", address=BOB)
    until(lambda: len(inlet.events) == 4)
    until(lambda: sum(each["left_out"] for each in status(served)["sources"]) == 2)

    assert [e["_textback"]["address"] for e in inlet.of("inbound")] == [CHARLIE, CHARLIE]
    assert {e["_textback"]["new_state"] for e in inlet.of("consent")} == {"opted_in", "opted_out"}


# --- checks and the command line ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"url": "https://dcs.adobedc.net/collection/1", "format": "xdm"}, "say batch = 1"),
        ({"url": "https://dcs.adobedc.net/collection/batch/1", "format": "xdm", "batch": 1}, "say batch = 2 or more"),
        ({"secret": "short"}, "stream 'crm': secret: it must be whsec_"),
        ({"events": ["consent", "consent"]}, "named once"),
        ({"format": "xdm", "schema_id": ""}, "format xdm needs schema_id"),
    ],
)  # fmt: skip
def test_a_stream_that_could_never_tell_is_not_saved(
    request: pytest.FixtureRequest, tmp_path: Any, given: dict[str, Any], sentence: str
) -> None:
    wanted = {"name": "crm", "url": "https://crm.example.com", "organisation": ORGANISATION, "schema_id": "s", **given}
    with fresh_database("sqlite", request, tmp_path) as url, serving(url) as served:
        refused = served.ask("POST", "/v1/streams", wanted)
        registered_now = served.ask("GET", "/v1/streams").json["items"]

    assert refused.status == 422
    assert sentence in refused.json["detail"]
    assert registered_now == []


APPLY = """
[[streams]]
name = "crm"
url = "https://crm.example.com/events"
secret = "whsec_c2l4dGVlbi1ieXRlcy1hcmUtdG9vLWZldw=="
auth = { type = "bearer", token = "the-token" }
headers = { "x-key" = "in-a-header" }
"""


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Run:
    return runner(database_url, monkeypatch, tmp_path)


def test_the_command_line_previews_lists_replays_and_retries(run: Run, database: Database, tmp_path: Any) -> None:
    assert run("apply", file_of(tmp_path, APPLY)).exit_code == 0
    sample = run("streams", "preview", "crm", "--event", "consent")
    run("consent", "set", BOB, "opted_out", "--reason", "by phone", "--actor", "dora")
    [newest] = json.loads(run("streams", "preview", "crm", "--event", "consent", "--json").stdout)
    listed = run("streams", "list")
    replayed = run("streams", "replay", "crm", "--from-id", "0", "--event", "consent")
    [state] = json.loads(run("streams", "list", "--json").stdout)

    assert "# consent: a sample, for there is none yet\nPOST https://crm.example.com/events\n" in sample.stdout
    assert {"the-token", "in-a-header"} & set(sample.stdout.replace('"', " ").split()) == set()
    assert "Authorization: ***" in sample.stdout
    assert (newest["sample"], newest["payload"][0]["subject"]) == (False, BOB)
    assert newest["payload"][0]["data"]["reason"] == "by phone"
    assert "does a sender run?" in listed.stdout
    assert replayed.stdout == "consent: 1 rows to be told\ninbound: 0 rows to be told\nreceipt: 0 rows to be told\n"
    assert {each["event"]: each["lag_rows"] for each in state["sources"]} == {"consent": 1, "inbound": 0, "receipt": 0}
    assert run("streams", "refusals", "crm").exit_code == 0
    assert run("streams", "retry", "crm", "--all").stdout == "0 are sent again\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("preview", "nobody"), "There is no stream 'nobody'; registered are: none."),
        (("replay", "crm"), "Say since when"),
        (("replay", "crm", "--since", "yesterday"), "is not a time with its zone"),
        (("retry", "crm"), "Say which: --all"),
    ],
)
def test_slips_are_told_in_sentences(run: Run, words: tuple[str, ...], sentence: str) -> None:
    result = run("streams", *words)

    assert result.exit_code == 1
    assert sentence in result.stderr


PAGE = (Path(__file__).parent.parent / "config" / "streams.md").read_text("utf-8")


def test_the_example_of_the_page_applies_and_its_commands_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("CRM_SECRET", SECRET)
    [example] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    [commands] = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    applied = run("apply", file_of(tmp_path, example))
    ran = [run(*line.partition("#")[0].split()[1:]) for line in commands.splitlines()]
    previews = json.loads(run("streams", "preview", "journeys", "--json").stdout)

    assert applied.stdout == "stream crm: created\nstream journeys: created\n"
    assert [result.exit_code for result in ran] == [0, 0, 0, 0]
    assert list(ENVELOPE.iter_errors(previews[0]["payload"]["messages"][0])) == []
    assert previews[0]["headers"]["x-gw-ims-org-id"] == "ACME@AdobeOrg"


def test_refusals_go_with_what_they_tell_of_and_changes_of_consent_stay(database: Database) -> None:
    now = datetime.now(UTC)
    kinds = ("inbound", "receipt", "consent")
    told = [refusals.Refused(source, number, "e", "no") for number, source in enumerate((*kinds, "consent"), 1)]
    database.write_now(lambda conn: refusals.add(conn, "crm", told, now))
    database.write_now(lambda conn: refusals.settle(conn, "crm", "consent", [4], now))

    later = now + timedelta(days=40)
    dropped = database.write_now(lambda conn: housekeeping.drop_old(conn, later, "stream_refusals", 30))

    left = database.read_now(lambda conn: refusals.page(conn, "crm", limit=9))
    assert (dropped, [(each.source, each.row_id) for each in left]) == (3, [("consent", 3)])
