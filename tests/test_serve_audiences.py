"""Audiences of a running server: kept ready as people write, asked by API and command line."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app.events import Status
from app.record import facts, memberships, rebuilding, tables
from app.record.database import Database
from app.serve import upkeep
from tests.commands import Run, count, file_of, runner, told
from tests.heard import ALICE, BOB, NOON, heard, inbound, receipt
from tests.serving import Served, serving, serving_copy

OUT = {"name": "out", "description": "", "id": "id-of-out", "condition": 'consent.default.state = "opted_out"'}
FILE = """
[[audiences]]
name = "read"
condition = 'messages.read > 0 and consent.default.may_send'

[[audiences]]
name = "adults"
condition = '$number(profile.age) >= 18'

[[datastreams]]
name = "site"
origins = ["https://www.example.com"]

[[destinations]]
name = "home"
alias = "homepage"
datastream = "site"
audiences = ["read", "adults"]
attributes = ["age", "city"]
"""


@pytest.fixture
def served(database_url: str) -> Iterator[Served]:
    with serving(database_url) as running:
        yield running


def until(what: Callable[[], Any]) -> Any:
    for _ in range(1000):
        if found := what():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


def stored(served: Served, address: str = BOB) -> list[str]:
    return served.parts.database.read_now(lambda conn: memberships.stored(conn, address))


def status(served: Served, name: str = "out") -> Any:
    return served.ask("GET", f"/v1/audiences/{name}/status").json


def test_a_running_server_follows_whoever_writes(served: Served, database: Database) -> None:
    served.record(heard(inbound("STOP", address=ALICE)))
    assert served.ask("POST", "/v1/audiences", OUT).status == 201
    until(lambda: stored(served, ALICE) == ["out"])

    served.record(heard(inbound("STOP")))
    until(lambda: stored(served) == ["out"])

    everybody = lambda: status(served) if status(served)["state"] == "ready" else None  # noqa: E731
    found = until(everybody)
    assert (found["members"], found["reached"], found["waiting"], found["id"]) == (2, 2, 0, "id-of-out")
    # another process
    database.write_now(lambda conn: conn.execute(tables.consent.delete().where(tables.consent.c.address == BOB)))
    database.write_now(lambda conn: memberships.touch(conn, [BOB]))
    until(lambda: stored(served) == [])


def test_a_changed_condition_reaches_everybody_and_the_last_audience_takes_all_with_it(served: Served) -> None:
    served.record(heard(inbound("hello")))
    served.ask("POST", "/v1/audiences", OUT)
    until(lambda: status(served)["state"] == "ready")

    assert served.ask("PUT", "/v1/audiences/out", OUT | {"condition": "true"}).status == 200

    until(lambda: stored(served) == ["out"])
    assert served.ask("DELETE", "/v1/audiences/out").status == 204
    until(lambda: count(served.parts.database, tables.memberships) == 0)


def test_where_upkeep_fails_it_is_tried_again(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_AGAIN", 0.01)
    failed: list[int] = []

    def fail(_conn: sa.Connection) -> None:
        failed.append(1)
        raise RuntimeError("no")

    with monkeypatch.context() as broken:
        broken.setattr(rebuilding, "look", fail)
        served.record(heard(inbound("STOP")))
        served.ask("POST", "/v1/audiences", OUT)
        until(lambda: len(failed) > 1)

    until(lambda: stored(served) == ["out"])


def test_members_come_a_page_at_a_time(served: Served) -> None:
    for address in (ALICE, BOB):
        served.record(heard(inbound("STOP", address=address)))
    served.ask("POST", "/v1/audiences", OUT)
    until(lambda: stored(served) and stored(served, ALICE))

    first = served.ask("GET", "/v1/audiences/out/members?limit=1").json
    second = served.ask("GET", f"/v1/audiences/out/members?limit=1&cursor={first['next']}").json

    assert first == {"items": [{"address": ALICE}], "next": ALICE}
    assert (second["items"], served.ask("GET", "/v1/audiences/none/members").status) == ([{"address": BOB}], 404)


def test_a_condition_is_tried_before_it_is_registered(served: Served) -> None:
    served.record(heard(inbound("STOP")))
    served.record(heard(inbound("hello", address=ALICE)))

    def tried(**given: Any) -> Any:
        return served.ask("POST", "/v1/audiences/try", given).json

    one = tried(condition=OUT["condition"], address=BOB)
    assert (one["people"], one["members"], one["sees"]["consent"]["default"]["state"]) == (1, 1, "opted_out")
    assert one["note"].startswith("Which messages people were sent is not noted")
    some = tried(condition="$number(consent.default.state) > 1")
    assert (some["people"], some["members"], some["failed"], some["sees"]) == (1, 0, 1, None)
    assert some["problem"].endswith("a text is not a number")
    assert tried(condition="true", address="+14155550177")["sees"] == {}
    assert (tried(condition="1 +")["status"], "1 +" in tried(condition="1 +")["detail"]) == (422, True)


def test_what_cannot_work_is_not_registered(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    page = {"name": "d", "alias": "d", "datastream": "s"}
    with serving_copy(sqlite_template, tmp_path_factory) as served:
        served.ask("POST", "/v1/audiences", OUT)
        served.ask("POST", "/v1/datastreams", {"name": "s"})
        refused = [
            served.ask("POST", f"/v1/{kind}", wanted)
            for kind, wanted in (
                ("audiences", {"name": "a", "condition": "1 +"}),
                ("audiences", {"name": "a", "id": "id-of-out", "condition": "true"}),
                ("destinations", page | {"datastream": "no"}),
                ("destinations", page | {"audiences": ["no"]}),
            )
        ]

    assert [each.status for each in refused] == [422] * 4
    told = [each.json["detail"] for each in refused]
    assert told[0].startswith("audience 'a': its condition is no JSONata: ")
    assert told[1].startswith("audiences 'a' and 'out' have one id, id-of-out; ")
    assert told[2:] == [
        "destination 'd': there is no datastream 'no'; add it, or apply it first",
        "destination 'd': there is no audience 'no'; add it, or take it out",
    ]


def test_an_audience_that_a_destination_has_is_not_deleted(served: Served) -> None:
    served.ask("POST", "/v1/audiences", OUT)
    served.ask("POST", "/v1/datastreams", {"name": "s"})
    served.ask("POST", "/v1/destinations", {"name": "d", "alias": "d", "datastream": "s", "audiences": ["out"]})

    assert served.ask("DELETE", "/v1/audiences/out").status == 409


# --- from the command line ----------------------------------------------------------------------------------------


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(database_url, monkeypatch, tmp_path)


def test_the_command_line_tells_what_pages_would_be_told_and_why(run: Run, database_url: str, tmp_path: Path) -> None:
    assert told(run("apply", file_of(tmp_path, FILE)))[0] == 0
    assert "nobody is in any audience yet" in run("lookup", BOB).stdout.replace(
        "nothing is recorded", "nobody is in any audience yet"
    )
    assert run("profiles", "set", BOB, "age=33").exit_code == 0
    assert "nobody is in any audience yet" in run("lookup", BOB).stdout
    listed = json.loads(run("audiences", "list", "--json").stdout)
    assert [(each["name"], each["state"], each["members"]) for each in listed] == [
        ("adults", "gathering", 0), ("read", "gathering", 0),
    ]  # fmt: skip
    assert "is being noted" in run("audiences", "list").stdout
    with serving(database_url, secret_key="k" * 32, evidence_key="e" * 32) as served:
        served.record(heard(receipt(Status.READ)))
        until(lambda: stored(served) == ["adults", "read"])
        linked = {"ecid": "77", "address": BOB, "linked_at": NOON}
        served.write(lambda conn: conn.execute(tables.identities.insert(), linked))
        until(lambda: status(served, "read")["state"] == "ready")
        by_api = served.ask("GET", f"/v1/lookups/{BOB}").json

    by_command = json.loads(run("lookup", BOB, "--json").stdout)
    assert by_command == by_api
    assert (by_api["is_known"], by_api["is_ready"], by_api["browsers"]) == (True, True, ["77"])
    assert [(each["name"], each["is_member"]) for each in by_api["audiences"]] == [("adults", True), ("read", True)]
    ((told_page),) = by_api["destinations"]
    assert (told_page["alias"], told_page["attributes"]) == ("homepage", {"age": "33"})
    assert [each["name"] for each in told_page["segments"]] == ["read", "adults"]
    shown = run("lookup", BOB).stdout
    assert "homepage" in shown
    assert "ready" in shown
    assert "1 people are worked out, 0 wait." in run("audiences", "list").stdout
    assert run("profiles", "set", BOB, "age=").exit_code == 0
    assert "worked out for this look-up" in run("lookup", BOB).stdout


def test_a_rebuild_is_told_of(run: Run, database: Database, tmp_path: Path) -> None:
    run("apply", file_of(tmp_path, FILE))
    for _ in range(2):
        seen = database.read_now(rebuilding.look)
        assert seen is not None
        database.write_now(lambda conn, seen=seen: rebuilding.step(conn, seen, NOON))

    assert "others are looked for" in run("audiences", "list").stdout


def test_a_condition_is_tried_from_the_command_line(run: Run, database: Database) -> None:
    assert run("audiences", "list").stdout.startswith("Audiences")
    run("profiles", "set", BOB, "age=old")
    run("profiles", "set", ALICE, "age=44")
    database.write_now(lambda conn: facts.put(conn, "anything", "", NOON))

    some = told(run("audiences", "try", "$number(profile.age) > 18"))
    one = run("audiences", "try", "$number(profile.age) > 18", "--address", ALICE)
    no = run("audiences", "try", "false", "--address", ALICE)
    as_json = json.loads(run("audiences", "try", "true", "--json").stdout)

    assert some[1].startswith("It is true of 1 of 2 people.\nIt fails for 1: the expression fails")
    assert one.stdout.startswith("It is true of this person.")
    assert '"age": "44"' in one.stdout
    assert no.stdout.startswith("It is not true of this person.")
    assert (as_json["people"], as_json["members"]) == (2, 2)
    assert run("audiences", "try", "1 +").exit_code == 1
