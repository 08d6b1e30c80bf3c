"""The consent API: who may be written to, and changes by hand."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from app.record import tokens
from tests.heard import ALICE, BOB, CHARLIE, NOON, heard, inbound
from tests.serving import Served, serving, serving_copy

BLAMELESS = {"reason": "wrote to support", "actor": "carol@example.com"}


@pytest.fixture
def served(database_url: str) -> Iterator[Served]:
    with serving(database_url) as running:
        yield running


@pytest.fixture(scope="module")
def shared(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all that is refused before it reaches a database."""
    with serving_copy(sqlite_template, tmp_path_factory) as running:
        yield running


def test_charlie_of_whom_nothing_was_heard_may_be_sent_to(served: Served) -> None:
    answer = served.ask("GET", f"/v1/consent/{CHARLIE}")

    assert answer.status == 200
    assert answer.json == {
        "address": CHARLIE,
        "program": "default",
        "state": "unknown",
        "since": None,
        "cause": None,
        "may_send": True,
    }


def test_charlie_may_not_be_sent_to_where_the_setting_denies_it(database_url: str) -> None:
    with serving(database_url, unknown_consent="deny") as served:
        assert served.ask("GET", f"/v1/consent/{CHARLIE}").json["may_send"] is False


def test_an_opt_out_by_hand_is_answered_read_back_and_kept_with_its_evidence(served: Served) -> None:
    changed = served.ask("PUT", f"/v1/consent/{BOB}", {"state": "opted_out", **BLAMELESS})

    since = changed.json["since"]
    expected = {
        "address": BOB,
        "program": "default",
        "state": "opted_out",
        "since": since,
        "cause": "api",
        "may_send": False,
    }
    assert (changed.status, changed.json) == (200, expected)
    assert since.endswith("Z")
    assert served.ask("GET", f"/v1/consent/{quote(BOB, safe='')}").json == expected
    entry = served.ask("GET", f"/v1/ledger/{BOB}").json["items"][0]
    assert (entry["old_state"], entry["new_state"], entry["cause"]) == ("unknown", "opted_out", "api")
    assert (entry["evidence"]["actor"], entry["evidence"]["reason"]) == ("carol@example.com", "wrote to support")


def test_a_person_with_a_reason_ends_an_opt_out(served: Served) -> None:
    served.ask("PUT", f"/v1/consent/{BOB}", {"state": "opted_out", **BLAMELESS})

    changed = served.ask("PUT", f"/v1/consent/{BOB}", {"state": "opted_in", **BLAMELESS})

    assert (changed.json["state"], changed.json["may_send"]) == ("opted_in", True)


def test_an_opt_out_of_all_programs_holds_in_each(served: Served) -> None:
    served.ask("PUT", f"/v1/consent/{BOB}", {"state": "opted_in", "program": "news", **BLAMELESS})
    served.ask("PUT", f"/v1/consent/{BOB}", {"state": "opted_out", "program": "*", **BLAMELESS})

    answer = served.ask("GET", f"/v1/consent/{BOB}?program=news")

    assert (answer.json["program"], answer.json["state"], answer.json["may_send"]) == ("news", "opted_out", False)


def test_another_program_knows_nothing_of_an_opt_out_from_one(served: Served) -> None:
    served.ask("PUT", f"/v1/consent/{BOB}", {"state": "opted_out", "program": "news", **BLAMELESS})

    assert served.ask("GET", f"/v1/consent/{BOB}?program=offers").json["state"] == "unknown"


def test_many_addresses_are_checked_at_once_and_a_bad_one_spoils_no_other(served: Served) -> None:
    served.ask("PUT", f"/v1/consent/{BOB}", {"state": "opted_out", **BLAMELESS})

    answer = served.ask("POST", "/v1/consent/check", {"addresses": [ALICE, "4155550101", BOB], "program": "default"})

    first, second, third = answer.json["results"]
    assert (first["address"], first["state"], first["may_send"]) == (ALICE, "unknown", True)
    assert second["address"] == "4155550101"
    assert "region" in second["error"]
    assert (third["address"], third["state"], third["may_send"]) == (BOB, "opted_out", False)


def test_a_thousand_addresses_are_checked_and_one_more_is_refused(served: Served) -> None:
    thousand = [f"+1415555{number:04}" for number in range(1000)]

    taken = served.ask("POST", "/v1/consent/check", {"addresses": thousand})
    refused = served.ask("POST", "/v1/consent/check", {"addresses": [*thousand, BOB]})

    assert [result["address"] for result in taken.json["results"]] == thousand
    assert refused.status == 422


@pytest.mark.parametrize(
    ("path", "address"),
    [
        pytest.param("/v1/consent/+14155550100", ALICE, id="plus as it is"),
        pytest.param("/v1/consent/%2B14155550100", ALICE, id="plus encoded"),
        pytest.param("/v1/consent/%2B1%20(415)%20555-0100", ALICE, id="with blanks and brackets"),
        pytest.param("/v1/consent/0041791234567", "+41791234567", id="00 instead of plus"),
        pytest.param("/v1/consent/0791234567?region=CH", "+41791234567", id="national form"),
        pytest.param("/v1/consent/sms:+14155550100", ALICE, id="a phone channel falls away"),
        pytest.param("/v1/consent/whatsapp:user/1", "whatsapp:user/1", id="another identity, with a slash"),
        pytest.param("/v1/consent/short:12345", "short:12345", id="a short code that is called one"),
    ],
)
def test_an_address_is_taken_in_many_forms(shared: Served, path: str, address: str) -> None:
    answer = shared.ask("GET", path)

    assert (answer.status, answer.json["address"]) == (200, address)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/v1/consent/4155550100", id="national form without region"),
        pytest.param("/v1/consent/0791234567?region=QQ", id="no such region"),
        pytest.param("/v1/consent/12345", id="a short code, most likely half a number"),
        pytest.param("/v1/consent/not-an-address", id="a word"),
        pytest.param("/v1/consent/whatsapp:", id="nobody"),
        pytest.param("/v1/consent/%00", id="NUL"),
        pytest.param("/v1/consent/+14155550100?program=two%20words", id="no program"),
        pytest.param("/v1/consent/+14155550100?progam=news", id="a misspelt parameter"),
        pytest.param("/v1/consent/+14155550100?program=a&program=b", id="a parameter twice"),
        pytest.param("/v1/consent/+14155550100?address=+14155550101", id="another address in the query"),
    ],
)
def test_what_is_no_address_or_program_is_refused_with_a_sentence(shared: Served, path: str) -> None:
    answer = shared.ask("GET", path)

    assert (answer.status, answer.headers["content-type"]) == (422, "application/problem+json")
    assert len(answer.json["detail"]) > 10


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({"state": "opted_out", "actor": "carol"}, "reason", id="no reason"),
        pytest.param({"state": "opted_out", "reason": " ", "actor": "carol"}, "reason", id="blank reason"),
        pytest.param({"state": "opted_out", "reason": "asked"}, "actor", id="no actor"),
        pytest.param({"state": "opted_out", "reason": "a\0b", "actor": "carol"}, "reason", id="NUL"),
        pytest.param({"state": "unknown", **BLAMELESS}, "state", id="nobody becomes unknown again"),
        pytest.param({"state": "opted_out", "since": "2026-01-01", **BLAMELESS}, "since", id="a field too many"),
        pytest.param([], "body", id="a list"),
        pytest.param(b"{", "body", id="not JSON"),
        pytest.param(b"", "body", id="nothing"),
        pytest.param(b"\xff", "body", id="not UTF-8"),
    ],
)
def test_a_change_without_a_valid_state_reason_and_actor_is_refused(shared: Served, body: Any, field: str) -> None:
    answer = shared.ask("PUT", f"/v1/consent/{BOB}", body)

    assert (answer.status, [error["field"] for error in answer.json["errors"]]) == (422, [field])
    assert shared.ask("GET", f"/v1/ledger/{BOB}").json == {"items": [], "next": None}


def test_a_stop_is_seen_by_the_api_as_soon_as_it_is_recorded(served: Served) -> None:
    served.record(heard(inbound("STOP")))

    answer = served.ask("GET", f"/v1/consent/{BOB}")

    assert answer.json == {
        "address": BOB,
        "program": "default",
        "state": "opted_out",
        "since": "2026-11-22T12:00:00Z",
        "cause": "keyword",
        "may_send": False,
    }


def test_a_ledger_comes_newest_first_a_page_at_a_time(served: Served) -> None:
    for number, word in enumerate(("STOP", "START", "STOP")):
        served.record(heard(inbound(word), at=NOON + timedelta(minutes=number)))

    first = served.ask("GET", f"/v1/ledger/{BOB}?limit=2").json
    second = served.ask("GET", f"/v1/ledger/{BOB}?limit=2&cursor={first['next']}").json

    assert [entry["new_state"] for entry in first["items"]] == ["opted_out", "opted_in"]
    assert [entry["new_state"] for entry in second["items"]] == ["opted_out"]
    assert second["next"] is None


# --- tokens -------------------------------------------------------------------------------------------------------


def test_a_token_with_the_reading_scope_reads_and_does_not_write(served: Served) -> None:
    token = served.write(lambda conn: tokens.create(conn, "crm", ["consent:read"], NOON))

    read = served.ask("GET", f"/v1/consent/{BOB}", token=token)
    written = served.ask("PUT", f"/v1/consent/{BOB}", {"state": "opted_out", **BLAMELESS}, token=token)

    assert (read.status, written.status) == (200, 403)
    assert "consent:write" in written.json["detail"]
    assert "insufficient_scope" in written.headers["www-authenticate"]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no token"),
        pytest.param({"Authorization": "Bearer"}, id="an empty one"),
        pytest.param({"Authorization": "Basic YWRtaW46YWRtaW4="}, id="another scheme"),
        pytest.param({"Authorization": "Bearer an-admin-token-for-test"}, id="one character short"),
        pytest.param({"Authorization": "Bearer caf\u00e9"}, id="not ASCII"),
    ],
)
def test_who_has_no_token_is_told_how_to_get_one(shared: Served, headers: dict[str, str]) -> None:
    answer = shared.ask("GET", f"/v1/consent/{BOB}", token=None, headers=headers)

    assert (answer.status, answer.headers["content-type"]) == (401, "application/problem+json")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert BOB not in answer.body.decode()


def test_without_an_admin_token_a_caller_is_told_how_to_make_one(database_url: str) -> None:
    with serving(database_url, admin_token=None) as served:
        answer = served.ask("GET", f"/v1/consent/{BOB}", token=None)

    assert answer.status == 401
    assert "TEXTBACK_ADMIN_TOKEN" in answer.json["detail"]
    assert "textback token create" in answer.json["detail"]
