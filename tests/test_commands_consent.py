"""Consent from the command line: by hand, from a file, into a file."""

import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.record import tables
from app.record.database import Database
from tests.commands import Run, file_of, runner, state_of, told

ALICE, BOB, CHARLIE = "+14155550100", "+14155550101", "+14155550102"


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(database_url, monkeypatch, tmp_path)


def test_consent_is_unknown_until_somebody_says_something(run: Run) -> None:
    result = run("consent", "get", CHARLIE)

    assert told(result) == (
        0,
        f"address   {CHARLIE}\nprogram   default\nstate     unknown\nsince\ncause\nmay_send  True\n",
        "",
    )


def test_consent_set_is_a_change_with_actor_and_reason_in_the_ledger(run: Run, database: Database) -> None:
    result = run(
        "consent", "set", "(415) 555-0101", "opted_out", "--region", "US", "--reason", "by phone", "--actor", "dora"
    )

    row = database.read_now(lambda conn: conn.execute(sa.select(tables.evidence)).one())
    assert result.exit_code == 0
    assert state_of(run, BOB) == {"state": "opted_out", "cause": "api", "may_send": False}
    assert state_of(run, BOB, "news") == {"state": "unknown", "cause": None, "may_send": True}
    assert (row.address, row.actor, row.reason) == (BOB, "dora", "by phone")


def test_an_import_ends_no_opt_out_and_tells_each_refused_line(run: Run, tmp_path: Path, database: Database) -> None:
    run("consent", "set", BOB, "opted_out", "--reason", "by phone", "--actor", "dora")
    run("consent", "set", "+14155550104", "opted_out", "--program", "*", "--reason", "by phone", "--actor", "dora")
    lines = [
        "address,state,program",
        f"{ALICE},opted_in",
        "",
        f"{BOB},opted_in",  # 4: opted out
        f"{CHARLIE},OPTED_OUT,news",
        "+1 415 555 0100,opted_in",  # as in line 2
        "not a number,opted_in",  # 7
        f"{ALICE},maybe",  # 8
        ALICE,  # 9
        "+14155550104,opted_in,news",  # 10: opted out of everything
        f"{BOB},opted_out",
    ]

    result = run("consent", "import", file_of(tmp_path, "\n".join(lines), "people.csv"), "--actor", "dora")
    again = run("consent", "import", "people.csv", "--actor", "dora")

    refused = [re.match(r"line (\d+): (.*)", line).groups() for line in result.stderr.splitlines()]  # type: ignore[union-attr]
    assert (result.exit_code, again.exit_code) == (1, 1)
    assert result.stdout == "3 changed, 1 were so already, 5 refused\n"
    assert [number for number, _ in refused] == ["4", "7", "8", "9", "10"]
    assert refused[0][1].startswith("+1415•••01 stays opted_out: ")
    assert "import never ends an opt-out" in refused[0][1]
    assert again.stdout == "0 changed, 4 were so already, 5 refused\n"
    assert state_of(run, ALICE) == {"state": "opted_in", "cause": "import", "may_send": True}
    assert state_of(run, BOB) == {"state": "opted_out", "cause": "api", "may_send": False}
    assert state_of(run, CHARLIE, "news") == {"state": "opted_out", "cause": "import", "may_send": False}
    reasons = database.read_now(lambda conn: [*conn.execute(sa.select(tables.evidence.c.reason)).scalars()])
    assert "import of people.csv, line 2" in reasons


def test_of_two_lines_about_one_person_the_opt_out_holds(run: Run, tmp_path: Path) -> None:
    file = file_of(tmp_path, f"{ALICE},opted_out\n{ALICE},opted_in\n", "people.csv")

    result = run("consent", "import", file)

    assert state_of(run, ALICE)["state"] == "opted_out"
    assert result.exit_code == 1
    assert result.stderr.startswith("line 2: +1415•••00 stays opted_out: ")


def test_a_file_that_is_not_text_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_bytes(b"\xff\xfe\x00")

    result = run("consent", "import", "people.csv")

    assert result.exit_code == 1
    assert "people.csv is not a CSV file in UTF-8" in result.stderr


def test_an_export_can_be_imported_and_brings_what_holds_for_all_programs(run: Run, tmp_path: Path) -> None:
    for address, state, program in (
        (ALICE, "opted_in", "news"),
        (BOB, "opted_out", "*"),
        (CHARLIE, "opted_out", "shop"),
    ):
        run("consent", "set", address, state, "--program", program, "--reason", "by phone", "--actor", "dora")

    everybody, news = run("consent", "export"), run("consent", "export", "--program", "news")
    imported = run("consent", "import", file_of(tmp_path, everybody.stdout, "people.csv"))

    rows = [line.split(",") for line in everybody.stdout.splitlines()]
    assert rows[0] == ["address", "state", "program", "since", "cause"]
    assert [row[:3] + row[4:] for row in rows[1:]] == [
        [ALICE, "opted_in", "news", "api"],
        [BOB, "opted_out", "*", "api"],
        [CHARLIE, "opted_out", "shop", "api"],
    ]
    assert news.stdout.splitlines() == [line for line in everybody.stdout.splitlines() if ",shop," not in line]
    assert told(imported) == (0, "0 changed, 3 were so already, 0 refused\n", "")
