"""What was heard, decided and delivered, read over HTTP; health, metrics, and errors as problems."""

import http.client
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlalchemy as sa

from app import metrics
from app.changes import Changes
from app.events import Category, Status, Trouble
from app.record import tables
from app.serve.metrics import count_events
from tests.heard import ALICE, BOB, NOON, heard, inbound, make_rules, receipt
from tests.serving import Answer, Served, serving, serving_copy

RULES = make_rules()


@pytest.fixture
def served(database_url: str) -> Iterator[Served]:
    with serving(database_url) as running:
        yield running


@pytest.fixture(scope="module")
def shared(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all that is refused before it reaches a database."""
    with serving_copy(sqlite_template, tmp_path_factory) as running:
        yield running


# --- messages -----------------------------------------------------------------------------------------------------


def test_a_message_is_read_with_its_receipts_by_our_id_and_by_the_providers(served: Served) -> None:
    later = NOON + timedelta(seconds=2)
    served.record(heard(receipt(Status.SENT, message_id="SM1"), at=NOON))
    served.record(heard(receipt(Status.DELIVERED, message_id="SM1", word="Delivered"), at=later))

    found = served.ask("GET", "/v1/messages?provider_id=SM1").json["items"]
    message = found[0]

    assert len(found) == 1
    assert isinstance(message["id"], str)
    assert (message["account"], message["provider_id"], message["recipient"]) == ("twilio", "SM1", BOB)
    assert (message["status"], message["provider_status"]) == ("delivered", "Delivered")
    assert [(each["status"], each["received_at"], each["raised"]) for each in message["receipts"]] == [
        ("sent", "2026-11-22T12:00:00Z", True),
        ("delivered", "2026-11-22T12:00:02Z", True),
    ]
    assert served.ask("GET", f"/v1/messages/{message['id']}").json == message
    assert served.ask("GET", "/v1/messages?provider_id=SM1&account=another").json == {"items": [], "next": None}


@pytest.mark.parametrize("kind", ["messages", "raw"])
@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        pytest.param("1", 404, id="of nobody"),
        pytest.param("9223372036854775807", 404, id="the largest"),
        pytest.param("9223372036854775808", 422, id="too large"),
        pytest.param("-1", 422, id="negative"),
        pytest.param("SM1", 422, id="not ours"),
        pytest.param("%D9%A1", 422, id="a digit of another script"),
    ],
)
def test_an_id_of_nothing_is_404_and_no_id_is_422(shared: Served, kind: str, wanted: str, status: int) -> None:
    assert shared.ask("GET", f"/v1/{kind}/{wanted}").status == status


# --- inbound ------------------------------------------------------------------------------------------------------


@pytest.fixture
def conversation(served: Served) -> Served:
    """Bob says STOP, Alice HELP, Bob START; a minute lies between them."""
    for minute, (address, text) in enumerate([(BOB, "STOP"), (ALICE, "HELP"), (BOB, "START")]):
        served.record(heard(inbound(text, address=address), at=NOON + timedelta(minutes=minute), rules=RULES))
    return served


FOUND = {
    # all, newest first
    "": ["START", "HELP", "STOP"],
    # of a person; the plus may stand as it is
    f"?address={BOB}": ["START", "STOP"],
    "?address=%2B14155550101": ["START", "STOP"],
    "?category=help": ["HELP"],
    "?webhook=acme-inbound": ["START", "HELP", "STOP"],
    "?webhook=another": [],
    "?after=2026-11-22T12:00:30Z": ["START", "HELP"],
    "?before=2026-11-22T12:00:30Z": ["STOP"],
    # another zone, encoded and not
    "?after=2026-11-22T13:00:30%2B01:00&before=2026-11-22T12:01:30Z": ["HELP"],
    "?after=2026-11-22T13:00:30+01:00&limit=1": ["START"],
    # beyond what our ids reach
    "?after=2199-12-31T23:59:59Z": [],
}


def test_inbound_messages_are_found_by_person_category_webhook_and_time(conversation: Served) -> None:
    found = {
        query: [message["text"] for message in conversation.ask("GET", f"/v1/inbound{query}").json["items"]]
        for query in FOUND
    }

    assert found == FOUND


def test_pages_follow_each_other_without_gap_or_repeat(conversation: Served) -> None:
    texts, cursor = [], ""
    for _ in range(4):
        page = conversation.ask("GET", f"/v1/inbound?limit=1{cursor}").json
        texts += [message["text"] for message in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"

    assert texts == ["START", "HELP", "STOP"]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=x", "cursor=x", "category=none", "after=yesterday", "after=2026-11-22T12:00:00",
     "after=1", "before=0001-01-01T00:00:00Z", "webhook=%00", "address=nobody", "unknown=1"],
)  # fmt: skip
def test_a_query_that_means_nothing_is_refused(shared: Served, query: str) -> None:
    answer = shared.ask("GET", f"/v1/inbound?{query}")

    assert (answer.status, answer.headers["content-type"]) == (422, "application/problem+json")


def test_an_inbound_message_shows_what_it_was_taken_for_and_its_raw_request(served: Served) -> None:
    served.record(heard(inbound("Stop."), rules=RULES))

    message = served.ask("GET", f"/v1/inbound?address={BOB}").json["items"][0]
    raw = served.ask("GET", f"/v1/raw/{message['raw_id']}").json

    assert (message["category"], message["keyword"], message["reply"]) == (Category.OPT_OUT, "STOP", "queued")
    assert message["received_at"] == "2026-11-22T12:00:00Z"
    assert (raw["body"], raw["encoding"], raw["signature"]) == ("Body=STOP", "utf-8", "twilio, secret 1 of 1")


def test_what_could_not_be_read_waits_on_the_work_list(served: Served) -> None:
    served.record(heard(troubles=(Trouble("address", "no region", '{"from":"0791234567"}'),)))

    item = served.ask("GET", "/v1/work-list").json["items"][0]

    assert (item["webhook"], item["kind"], item["reason"]) == ("acme-inbound", "address", "no region")


# --- health and metrics -------------------------------------------------------------------------------------------


def test_a_server_that_works_is_alive_and_ready_for_everybody(served: Served) -> None:
    live, ready = (served.ask("GET", f"/health/{which}", token=None) for which in ("live", "ready"))

    assert (live.status, live.json) == (200, {"status": "live"})
    assert (ready.status, ready.json) == (200, {"ready": True, "reasons": []})


def test_a_server_with_an_older_database_is_alive_but_not_ready(served: Served) -> None:
    served.write(lambda conn: conn.execute(sa.text("UPDATE alembic_version SET version_num = '0001'")))

    live, ready = (served.ask("GET", f"/health/{which}", token=None) for which in ("live", "ready"))

    assert (live.status, ready.status, ready.json["ready"]) == (200, 503, False)
    assert "textback migrate" in ready.json["reasons"][0]


def test_metrics_show_what_waits(served: Served) -> None:
    served.record(heard(inbound("STOP"), troubles=(Trouble("item", "no id", "{}"),), rules=RULES))

    answer = served.ask("GET", "/metrics")

    lines = answer.body.decode().splitlines()
    assert (answer.status, answer.headers["content-type"].split(";")[0]) == (200, "text/plain")
    assert "textback_outbox_waiting 1.0" in lines
    assert "textback_work_list_items 1.0" in lines
    assert "textback_undecoded_requests 0.0" in lines
    assert any(line.startswith("textback_commit_seconds_bucket") for line in lines)


def test_events_are_counted_by_webhook_kind_and_category(served: Served) -> None:
    def counted(kind: str, category: str) -> float:
        return metrics.REGISTRY.get_sample_value(
            "textback_events_total", {"webhook": "counted", "kind": kind, "category": category}
        ) or 0.0  # fmt: skip

    commits: list[Changes] = []
    served.parts.writer.listen(lambda _fresh, changes: commits.append(changes))
    events = inbound("STOP"), receipt(Status.SENT, message_id="SM1"), receipt(Status.SENT, message_id="SM2")
    told = replace(heard(*events, rules=RULES), webhook="counted")
    served.record(told)
    served.record(told)
    before = counted("inbound", "opt_out"), counted("receipt", "sent")

    for changes in commits:
        count_events([], changes)

    assert (counted("inbound", "opt_out"), counted("receipt", "sent")) == (before[0] + 1, before[1] + 2)


def test_metrics_want_a_token(shared: Served) -> None:
    assert shared.ask("GET", "/metrics", token=None).status == 401


# --- errors -------------------------------------------------------------------------------------------------------


def problem(answer: Answer) -> tuple[int, str, int]:
    return answer.status, answer.headers["content-type"], answer.json["status"]


def test_a_path_of_nothing_and_a_wrong_method_are_problems_too(shared: Served) -> None:
    nowhere = shared.ask("GET", "/v1/nowhere")
    wrong = shared.ask("PATCH", "/v1/webhooks/acme")

    assert problem(nowhere) == (404, "application/problem+json", 404)
    assert problem(wrong) == (405, "application/problem+json", 405)
    assert {"GET", "PUT", "DELETE"} <= set(wrong.headers["allow"].split(", "))


def test_a_body_over_the_limit_is_413(shared: Served) -> None:
    answer = shared.ask("POST", "/v1/consent/check", b"[" * 1_048_577)

    assert problem(answer) == (413, "application/problem+json", 413)


def test_a_body_that_never_ends_is_given_up(database_url: str) -> None:
    with serving(database_url, request_timeout=0.2) as served:
        connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=20)
        connection.putrequest("POST", "/v1/consent/check")
        connection.putheader("Authorization", "Bearer an-admin-token-for-tests")
        connection.putheader("Content-Length", "100")
        connection.endheaders(b"{")
        status = connection.getresponse().status
        connection.close()

    assert status == 408


def test_a_bug_is_a_500_problem_that_tells_nothing(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.record(heard(receipt(Status.SENT, message_id="SM1")))
    served.write(lambda conn: conn.execute(tables.messages.update().values(parts="no JSON, but +14155550101")))

    answer = served.ask("GET", "/v1/messages?provider_id=SM1")

    assert problem(answer) == (500, "application/problem+json", 500)
    written = capsys.readouterr()
    assert BOB not in answer.body.decode() + written.out + written.err


def test_a_database_that_is_away_is_a_503_problem_and_a_reason(
    database_kind: str, database_url: str, postgres_server: str
) -> None:
    if database_kind == "sqlite":
        pytest.skip("a file does not go away")
    with serving(database_url) as served:
        take_away(postgres_server, database_url.rpartition("/")[2])

        asked, ready = served.ask("GET", f"/v1/consent/{BOB}"), served.ask("GET", "/health/ready")

    assert problem(asked) == (503, "application/problem+json", 503)
    assert int(asked.headers["retry-after"]) > 0
    assert (ready.status, "cannot be reached" in ready.json["reasons"][0]) == (503, True)


def take_away(server: str, name: str) -> None:
    with psycopg.connect(f"{server}/postgres", autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


def test_head_asks_like_get_and_is_answered_without_a_body(shared: Served) -> None:
    answer = shared.ask("HEAD", f"/v1/consent/{BOB}")

    assert (answer.status, answer.body) == (200, b"")
