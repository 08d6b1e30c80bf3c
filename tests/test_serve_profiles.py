"""Subscriber attributes through the API."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.heard import ALICE, BOB, CHARLIE
from tests.serving import Served, serving, serving_copy


@pytest.fixture
def served(database_url: str) -> Iterator[Served]:
    with serving(database_url) as running:
        yield running


@pytest.fixture(scope="module")
def shared(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all that is refused before it reaches a database."""
    with serving_copy(sqlite_template, tmp_path_factory) as running:
        yield running


def put(served: Served, address: str, **attributes: str) -> Any:
    return served.ask("PUT", f"/v1/profiles/{address}", {"attributes": attributes, "source": "crm"})


def attributes_of(served: Served, address: str) -> dict[str, str]:
    found: dict[str, str] = served.ask("GET", f"/v1/profiles/{address}").json["attributes"]
    return found


def test_what_was_put_is_read_with_who_told_it_and_when(served: Served) -> None:
    answer = put(served, ALICE, firstName="Alice", city="Basel")

    found = served.ask("GET", f"/v1/profiles/{ALICE}")
    at = answer.json["updated_at"]
    assert (answer.status, found.status) == (200, 200)
    assert at.endswith("Z")
    assert found.json == answer.json == {
        "address": ALICE,
        "attributes": {"city": "Basel", "firstName": "Alice"},
        "updated_at": at,
        "details": [
            {"name": "city", "value": "Basel", "source": "crm", "updated_at": at},
            {"name": "firstName", "value": "Alice", "source": "crm", "updated_at": at},
        ],
    }  # fmt: skip


def test_charlie_of_whom_nothing_was_told_has_no_attributes(served: Served) -> None:
    assert served.ask("GET", f"/v1/profiles/{CHARLIE}").json == {
        "address": CHARLIE, "attributes": {}, "updated_at": None, "details": [],
    }  # fmt: skip


def test_put_replaces_and_patch_changes(served: Served) -> None:
    put(served, ALICE, firstName="Alice", city="Basel")

    patched = served.ask("PATCH", f"/v1/profiles/{ALICE}", {"attributes": {"city": "Bern", "zip": "3000"}})
    emptied = served.ask("PATCH", f"/v1/profiles/{ALICE}", {"attributes": {"zip": None, "unheard": None}})
    replaced = put(served, ALICE, language="de")

    assert patched.json["attributes"] == {"firstName": "Alice", "city": "Bern", "zip": "3000"}
    assert emptied.json["attributes"] == {"firstName": "Alice", "city": "Bern"}
    assert replaced.json["attributes"] == attributes_of(served, ALICE) == {"language": "de"}


def test_who_is_deleted_is_gone_and_nobody_else(served: Served) -> None:
    put(served, ALICE, firstName="Alice")
    put(served, BOB, firstName="Bob")

    answers = [served.ask("DELETE", f"/v1/profiles/{ALICE}").status for _ in range(2)]

    assert answers == [204, 204]
    assert (attributes_of(served, ALICE), attributes_of(served, BOB)) == ({}, {"firstName": "Bob"})


def test_everybody_is_listed_page_by_page(served: Served) -> None:
    for address, name in ((BOB, "Bob"), (ALICE, "Alice"), (CHARLIE, "Charlie")):
        put(served, address, firstName=name)

    first = served.ask("GET", "/v1/profiles?limit=2").json
    second = served.ask("GET", f"/v1/profiles?limit=2&cursor={first['next']}").json

    assert [each["attributes"]["firstName"] for each in first["items"]] == ["Alice", "Bob"]
    assert first["next"] == BOB
    assert [(each["address"], each["attributes"]) for each in second["items"]] == [(CHARLIE, {"firstName": "Charlie"})]
    assert second["next"] is None


def test_a_number_in_any_form_is_one_person(served: Served) -> None:
    served.ask("PUT", "/v1/profiles/(415)%20555-0100?region=US", {"attributes": {"firstName": "Alice"}})

    assert attributes_of(served, "%2B1%20415%20555%200100") == {"firstName": "Alice"}


@pytest.mark.parametrize(
    ("address", "attributes", "sentence"),
    [
        ("nobody", {"a": "b"}, "short code or an alphanumeric sender"),
        (ALICE, {"first name": "Alice"}, "it should match"),
        (ALICE, {"a": "x" * 2001}, "at most 2000 characters"),
        (ALICE, {"a": "b\0"}, "NUL"),
        (ALICE, {f"a{i}": "b" for i in range(101)}, "at most 100 items"),
        (ALICE, {"a": 1}, "valid string"),
    ],
    ids=["address", "name", "long", "NUL", "many", "number"],
)
def test_what_cannot_be_kept_is_refused(shared: Served, address: str, attributes: Any, sentence: str) -> None:
    answers = [shared.ask(method, f"/v1/profiles/{address}", {"attributes": attributes}) for method in ("PUT", "PATCH")]

    assert [answer.status for answer in answers] == [422, 422]
    for answer in answers:
        assert sentence in answer.json["detail"]


def test_nobody_gets_more_than_the_most_attributes_bit_by_bit(served: Served) -> None:
    put(served, ALICE, **{f"a{i}": "b" for i in range(100)})

    answer = served.ask("PATCH", f"/v1/profiles/{ALICE}", {"attributes": {"one.more": "b"}})

    assert answer.status == 422
    assert "more than 100 attributes" in answer.json["detail"]
    assert len(attributes_of(served, ALICE)) == 100


@pytest.mark.parametrize(
    ("method", "scope", "status"),
    [
        ("GET", "consent:read", 200), ("GET", "metrics", 403),
        ("PUT", "consent:write", 200), ("PUT", "consent:read", 403),
        ("PATCH", "consent:write", 200), ("PATCH", "consent:read", 403),
        ("DELETE", "consent:write", 204), ("DELETE", "consent:read", 403),
    ],
)  # fmt: skip
def test_it_takes_a_token_of_the_right_scope(shared: Served, method: str, scope: str, status: int) -> None:
    wanted = {"name": f"{method.lower()}-{scope.replace(':', '-')}", "scopes": [scope]}
    token = shared.ask("POST", "/v1/tokens", wanted).json["token"]
    body = None if method in ("GET", "DELETE") else {"attributes": {"a": "b"}}

    assert shared.ask(method, f"/v1/profiles/{ALICE}", body, token=token).status == status
