"""Everything known about a person: a real story through the server and a provider on loopback, exported and shown."""

import json
import stat
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from app.events import Cause, Change, ConsentState, Status
from app.record import seals, tables
from app.record.database import Database
from app.serve.evidence import PersonEvidence
from app.serve.evidence_page import page
from app.serve.evidence_words import after
from tests import fake_provider
from tests.commands import EVIDENCE_KEY, Run, runner
from tests.fake_provider import FakeProvider
from tests.heard import ALICE, BOB, COMPANY, heard, inbound, receipt
from tests.sealing import seal, tamper
from tests.serving import Served, serving

T = TypeVar("T")
HOSTILE = '<script>alert("1")</script>\u202e\x07&amp;'


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        yield running


def wait_for(what: Callable[[], T]) -> T:
    end = time.monotonic() + 20
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found


@pytest.fixture
def served(database_url: str, provider: FakeProvider) -> Iterator[Served]:
    """A server with a webhook for messages, one for receipts, and a credential to answer through."""
    given = {"allowed_private_destinations": ["127.0.0.1"], "evidence_key": EVIDENCE_KEY}
    with serving(database_url, send=True, **given) as running:
        register(running, provider)
        yield running


def register(served: Served, provider: FakeProvider) -> None:
    for kind, given in (
        ("webhooks", {"name": "receipts", "provider": "custom", "type": "feedback", "scheme": {"type": "token"},
                      "payload": '{"id":"{{messageId}}","state":"{{feedbackStatus}}","to":"{{recipient}}"}',
                      "statuses": {"DELIVRD": "delivered"}}),
        ("credentials", {"name": "acme", "provider": "custom", "url": f"{provider.url}/send", "feedback": "receipts",
                         "payload": '{"to":"{{toNumber}}","text":"{{message}}"}', "message_id": "sid"}),
        ("webhooks", {"name": "texts", "provider": "custom", "type": "inbound", "scheme": {"type": "token"},
                      "credential": "acme", "sender": COMPANY, "program": "news",
                      "payload": '{"id":"{{requestId}}","from":"{{profileNumber}}","to":"{{inboundNumber}}",'
                                 '"text":"{{inboundMessage}}"}'}),
    ):  # fmt: skip
        answer = served.ask("POST", f"/v1/{kind}", given)
        assert answer.status == 201, answer.json


def post(served: Served, webhook: str, body: Any) -> None:
    target = urlsplit(served.ask("GET", f"/v1/webhooks/{webhook}").json["url"]).path
    assert served.ask("POST", target, body, token=None, headers={"content-type": "application/json"}).status == 200


def text(served: Served, text: str, *, number: int = 1, address: str = BOB) -> None:
    post(served, "texts", {"id": f"in-{number}", "from": address, "to": COMPANY, "text": text})


def evidence(served: Served, query: str = "") -> Any:
    answer = served.ask("GET", f"/v1/evidence/{BOB}{query}")
    assert answer.status == 200, answer.json
    return answer.json


def told_delivered(served: Served) -> Any:
    found = evidence(served)
    return found if found["replies"] and found["replies"][0]["delivered_at"] else None


@pytest.fixture
def story(served: Served) -> Served:
    """Bob says STOP; the confirmation is sent, and its receipt says delivered."""
    text(served, "Stop.")
    wait_for(lambda: evidence(served)["messages"])
    post(served, "receipts", {"id": "SM1", "state": "DELIVRD", "to": BOB})
    wait_for(lambda: told_delivered(served))
    return served


# --- the document -------------------------------------------------------------------------------------------------


def test_a_stop_is_told_from_the_raw_request_to_the_delivered_confirmation(story: Served) -> None:
    found = evidence(story)

    (event,), (message,), (reply,), (sent,) = (found[name] for name in ("events", "inbound", "replies", "messages"))
    assert [(row["program"], row["state"], row["cause"], row["confirmed"]) for row in found["consent"]] == [
        ("news", "opted_out", "keyword", True)
    ]
    assert (event["old_state"], event["new_state"], event["cause"], event["rule"], event["superseded"]) == (
        "unknown", "opted_out", "keyword", "default keyword", False,
    )  # fmt: skip
    basis = event["evidence"]
    assert (basis["text"], basis["normal"], basis["keyword"], basis["actor"]) == ("Stop.", "stop", "STOP", "subscriber")
    assert basis["signature"] == found["requests"][0]["signature"] != ""
    assert (event["commitment_fits"], event["seal"], event["effective_at"]) == (
        True,
        None,
        found["consent"][0]["as_of"],
    )
    assert (message["text"], message["provider_id"], message["outbox_id"]) == ("Stop.", "in-1", reply["id"])
    assert (reply["state"], reply["attempts"], reply["text"]) == ("sent", 1, basis["reply_text"])
    assert (sent["provider_id"], sent["status"], [each["status"] for each in sent["receipts"]]) == (
        "SM1", "delivered", ["delivered"],
    )  # fmt: skip
    assert event["answer"] == reply
    assert 0 <= event["seconds_to_effect"] <= reply["seconds_to_sent"] <= reply["seconds_to_delivered"] < 30
    received, decided = (datetime.fromisoformat(event[name]) for name in ("received_at", "decided_at"))
    assert timedelta(milliseconds=-1) < decided - received < timedelta(seconds=30)


def test_what_the_list_version_held_is_there_and_fits_its_name(story: Served) -> None:
    found = evidence(story)

    (lists,) = found["lists"]
    assert lists["version"] == found["events"][0]["list_version"] == found["inbound"][0]["list_version"]
    assert (lists["webhook"] in ("texts", "receipts"), lists["version_fits"]) == (True, True)
    assert lists["lists"]["opt_out"]["keywords"]["STOP"] == "default keyword"
    assert lists["lists"]["opt_out"]["reply"] == found["replies"][0]["text"]


def test_raw_requests_are_there_as_they_came_also_those_that_are_no_text(story: Served) -> None:
    story.write(lambda conn: conn.execute(sa.update(tables.raw_requests).where(tables.raw_requests.c.webhook == "receipts").values(body=b"\xff\x00")))  # fmt: skip

    message, told = evidence(story)["requests"]

    assert json.loads(message["body"])["text"] == "Stop."
    assert (message["webhook"], message["encoding"]) == ("texts", "utf-8")
    assert json.loads(message["headers"])["content-type"] == "application/json"
    assert (told["webhook"], told["body"], told["encoding"]) == ("receipts", "/wA=", "base64")


def test_the_seal_over_each_entry_is_named_once_there_is_one(story: Served, database: Database) -> None:
    made = wait_for(lambda: seal_now(story))

    found = evidence(story)

    shown = found["events"][0]["seal"]
    assert (shown["number"], shown["head"]) == (1, made.head)
    assert found["ledger_head"] == shown == story.ask("GET", "/v1/ledger-head").json


def seal_now(served: Served) -> seals.Seal | None:
    """As the chore does, without waiting for the entry to be old."""
    own = Database(served.parts.database.url.render_as_string(hide_password=False))
    try:
        return seal(own)
    finally:
        own.close()


def test_a_change_that_a_provider_told_brings_its_request(served: Served) -> None:
    """The ledger does not name the request: it is known by its webhook and the instant."""
    told = Change(key="c|1", address=BOB, state=ConsentState.OPTED_OUT, cause=Cause.PROVIDER_EVENT, actor="twilio")
    now = datetime.now(UTC)
    mine, others = heard(told, at=now), heard(inbound("Hi", address=ALICE), at=now + timedelta(seconds=1))
    served.record(mine)
    served.record(others)

    found = evidence(served)

    assert mine.raw
    assert [request["id"] for request in found["requests"]] == [str(mine.raw.id)]
    assert [event["cause"] for event in found["events"]] == ["provider_event"]


def test_messages_of_other_systems_and_the_profile_belong_to_it_and_other_people_do_not(story: Served) -> None:
    story.record(heard(receipt(Status.SENT, message_id="other", recipient=BOB)))
    story.record(heard(receipt(Status.SENT, message_id="another", recipient=ALICE)))
    text(story, "STOP", number=2, address=ALICE)
    row = {"address": BOB, "name": "city", "value": "Berne", "source": "import", "updated_at": datetime.now(UTC)}
    story.write(lambda conn: conn.execute(sa.insert(tables.profile_attributes), [row]))
    linked = {"ecid": "77", "address": BOB, "linked_at": datetime(2026, 11, 22, 12, 0, tzinfo=UTC)}
    story.write(lambda conn: conn.execute(tables.identities.insert(), linked))
    member = {"address": BOB, "audiences": " loyal ", "generation": 1, "computed_at": linked["linked_at"]}
    story.write(lambda conn: conn.execute(tables.memberships.insert(), member))

    found = evidence(story)

    assert sorted(message["provider_id"] for message in found["messages"]) == ["SM1", "other"]
    assert [(each["name"], each["value"]) for each in found["profile"]] == [("city", "Berne")]
    assert (found["audiences"], found["browsers"]) == (["loyal"], [{"ecid": "77", "linked_at": "2026-11-22T12:00:00Z"}])
    assert ALICE not in json.dumps(found)


def test_a_program_shows_its_own_and_what_holds_for_all(story: Served) -> None:
    for program in ("*", "sales"):
        given = {"state": "opted_out", "reason": "by phone", "actor": "dora", "program": program}
        assert story.ask("PUT", f"/v1/consent/{BOB}", given).status == 200
    story.record(heard(receipt(Status.SENT, message_id="other", recipient=BOB)))

    everything, news, sales = evidence(story), evidence(story, "?program=news"), evidence(story, "?program=sales")

    def programs(found: Any) -> list[list[str]]:
        return [[row["program"] for row in found[name]] for name in ("consent", "events", "inbound", "replies")]

    assert programs(everything) == [["*", "news", "sales"], ["news", "*", "sales"], ["news"], ["news"]]
    assert programs(news) == [["*", "news"], ["news", "*"], ["news"], ["news"]]
    assert programs(sales) == [["*", "sales"], ["*", "sales"], [], []]
    assert [len(found["messages"]) for found in (everything, news, sales)] == [2, 1, 0]
    assert everything["events"][1]["evidence"]["reason"] == "by phone"


def test_only_admins_may_ask_and_of_a_stranger_nothing_is_known(served: Served) -> None:
    token = served.ask("POST", "/v1/tokens", {"name": "crm", "scopes": ["consent:read"]}).json["token"]

    found = evidence(served)

    assert served.ask("GET", f"/v1/evidence/{BOB}", token=token).status == 403
    assert served.ask("GET", "/v1/evidence/nobody").status == 422
    assert [found[name] for name in ("consent", "events", "inbound", "replies", "messages", "requests")] == [[]] * 6


def test_evidence_that_was_changed_is_shown_as_what_does_not_fit(story: Served, database: Database) -> None:
    tamper(database, "UPDATE evidence SET text = 'START'", "UPDATE keyword_lists SET lists = '{}'")

    found = evidence(story)

    assert [event["commitment_fits"] for event in found["events"]] == [False]
    assert [lists["version_fits"] for lists in found["lists"]] == [False]
    shown = page(PersonEvidence.model_validate(found))
    assert "does not fit" in shown
    assert "They are not what the version was made of." in shown


# --- the page -----------------------------------------------------------------------------------------------------


class Reading(HTMLParser):
    """What a browser would see: balanced tags, their names, what they load, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.loaded: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [
            value or "" for name, value in attrs if name in ("src", "href", "srcset") or name.startswith("on")
        ]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if self.open and self.open[-1] != "style" else ""


def test_the_page_tells_the_story_in_the_order_of_time_and_loads_nothing(story: Served) -> None:
    html = page(PersonEvidence.model_validate(evidence(story)))

    seen = Reading(html)
    assert seen.open == []
    assert seen.loaded == []
    assert not {"script", "link", "img", "iframe", "object"} & seen.tags
    assert "url(" not in html
    assert "@import" not in html
    titles = ["They wrote", "Consent: unknown → opted out", "We answered", "Receipt: delivered"]
    places = [seen.text.index(title) for title in titles]
    assert places == sorted(places)
    assert "in effect after" in seen.text
    assert BOB in seen.text


def test_nothing_that_others_sent_becomes_mark_up(served: Served) -> None:
    body = HOSTILE.replace("\x07", "")
    text(served, body)
    given = {"state": "opted_out", "reason": HOSTILE.replace("\x07", "\u202d"), "actor": "<i>dora</i>"}
    assert served.ask("PUT", f"/v1/consent/{BOB}", given).status == 200
    served.record(heard(inbound(HOSTILE), at=datetime.now(UTC)))
    row = {
        "address": BOB,
        "name": "<b>",
        "value": HOSTILE,
        "source": "'\"><img src=x>",
        "updated_at": datetime.now(UTC),
    }
    served.write(lambda conn: conn.execute(sa.insert(tables.profile_attributes), [row]))

    html = page(PersonEvidence.model_validate(evidence(served)))

    seen = Reading(html)
    assert not {"script", "img", "i"} & seen.tags
    assert body in seen.text
    assert "<i>dora</i>" in seen.text
    assert "\x07" not in html


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "–"), (0.0, "0.000 s"), (1.23456, "1.235 s"), (12.34, "12.3 s"), (61.4, "1 min 1 s"),
        (59.99, "60.0 s"), (3599.9, "1 h 0 min"), (7260.0, "2 h 1 min"), (864000.0, "10 days"),
    ],
)  # fmt: skip
def test_a_duration_is_told_the_coarser_the_longer(seconds: float | None, told: str) -> None:
    assert after(seconds).replace("&nbsp;", " ") == told


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(database_url, monkeypatch, tmp_path)


def test_the_command_writes_both_for_nobody_else_to_read(run: Run, story: Served, tmp_path: Path) -> None:
    both = run("evidence", BOB, "--json", "bob.json", "--html", "bob.html")
    printed, html = run("evidence", BOB), run("evidence", BOB, "--html", "-")

    document = json.loads((tmp_path / "bob.json").read_text())
    assert (both.exit_code, both.stdout) == (0, "")
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("bob.json", "bob.html")} == {0o600}
    assert json.loads(printed.stdout) | {"exported_at": ""} == document | {"exported_at": ""}
    assert document | {"exported_at": ""} == evidence(story) | {"exported_at": ""}
    assert html.stdout.startswith("<!doctype html>")
    assert (tmp_path / "bob.html").read_text().count("<li") == html.stdout.count("<li") == 4


def test_the_command_tells_of_a_stranger_of_a_bad_address_and_of_a_bad_place(run: Run) -> None:
    stranger, short, nowhere, twice = (
        run("evidence", ALICE), run("evidence", "12345"), run("evidence", ALICE, "--html", "no/such/place.html"),
        run("evidence", ALICE, "--html", "-", "--json", "-"),
    )  # fmt: skip

    assert (stranger.exit_code, json.loads(stranger.stdout)["events"]) == (0, [])
    assert "Nothing is known about +1415•••00; the export says so." in stranger.stderr
    assert (short.exit_code, "short code" in short.stderr) == (1, True)
    assert (nowhere.exit_code, nowhere.stderr) == (
        1, "Error: no/such/place.html cannot be written: No such file or directory\n",
    )  # fmt: skip
    assert (twice.exit_code, "Only one of --json and --html" in twice.stderr) == (1, True)
    empty = run("evidence", ALICE, "--html", "-").stdout
    assert "Nothing was ever decided about this person's consent." in empty
