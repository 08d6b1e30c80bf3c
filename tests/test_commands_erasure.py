"""Erasing a person from the command line, and lists that would bring them back."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.__main__ import cli
from app.interpret import decide
from app.record import tables
from app.record.database import Database
from app.record.writer import Writer
from tests.commands import Run, count, file_of, runner, state_of, told
from tests.heard import ALICE, BOB, heard, inbound

KEY = "an-evidence-key-of-32-characters-or-more"


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    monkeypatch.setenv("TEXTBACK_EVIDENCE_KEY", KEY)
    return runner(database_url, monkeypatch, tmp_path)


def said(database: Database, *texts: str) -> None:
    async def record() -> None:
        writer = Writer(database, decide)
        writer.start()
        for text in texts:
            await writer.record(heard(inbound(text)))
        await writer.stop()

    asyncio.run(record())


ERASE = ("erase", BOB, "--reason", "a letter", "--actor", "dora")


def test_it_tells_what_there_is_and_asks_before_it_erases(run: Run, database: Database) -> None:
    said(database, "STOP", "hello")

    refused = CliRunner().invoke(cli, ERASE, input="n\n")
    kept = count(database, tables.inbound_messages)
    done = CliRunner().invoke(cli, ERASE, input="y\n")

    assert (refused.exit_code, kept) == (1, 2)
    for line in (
        "What there is of +1415•••01:",
        "  1 consent",
        "  2 inbound messages",
        "  2 raw requests, to be emptied",
    ):
        assert line in refused.stderr
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "+1415•••01 is erased."
    assert "programs in which they stay suppressed  1" in done.stdout
    assert BOB[1:] not in refused.output + done.output
    assert count(database, tables.inbound_messages) == 0
    assert state_of(run, BOB) == {"state": "opted_out", "cause": "keyword", "may_send": False}


def test_its_counts_can_be_read_by_a_machine(run: Run, database: Database) -> None:
    said(database, "STOP")

    done = run(*ERASE, "--yes", "--json")

    assert (json.loads(done.stdout)["suppressed"], done.stderr) == (1, "")


def test_no_list_brings_an_erased_person_back(run: Run, database: Database, tmp_path: Path) -> None:
    said(database, "STOP")
    run(*ERASE, "--yes")

    people = file_of(tmp_path, f"{BOB},opted_in\n{BOB},pending,news\n{BOB},opted_out\n{ALICE},opted_in\n", "people.csv")
    imported = run("consent", "import", people, "--actor", "dora")
    profiles = run(
        "profiles", "import", file_of(tmp_path, f"number,firstName\n{BOB},Bob\n{ALICE},Alice\n", "names.csv")
    )
    exported = run("consent", "export")

    assert imported.exit_code == 1
    assert imported.stdout == "1 changed, 1 were so already, 2 refused\n"
    assert [line.partition(" was erased")[0] for line in imported.stderr.splitlines()] == [
        "line 1: +1415•••01",
        "line 2: +1415•••01",
    ]
    assert "was erased on request" in profiles.output
    assert state_of(run, BOB)["state"] == "opted_out"
    assert count(database, tables.profile_attributes) == 1
    assert [line.split(",")[0] for line in exported.stdout.splitlines()] == ["address", ALICE]
    assert exported.stderr.startswith("1 erased people stay suppressed and are not in this list")


def test_a_list_brings_nobody_back_who_had_opted_in_before_either(run: Run, database: Database, tmp_path: Path) -> None:
    said(database, "START")
    run(*ERASE, "--yes")
    people = file_of(tmp_path, f"{BOB},opted_in\n", "people.csv")

    refused = run("consent", "import", people, "--actor", "dora")
    by_hand = run("consent", "set", BOB, "opted_in", "--reason", "signed again", "--actor", "dora")
    again = run("consent", "import", people, "--actor", "dora")
    profile = run("profiles", "set", BOB, "firstName=Bob")

    assert (refused.exit_code, refused.stdout) == (1, "0 changed, 0 were so already, 1 refused\n")
    assert (by_hand.exit_code, state_of(run, BOB)["state"]) == (0, "opted_in")
    assert told(again) == (0, "0 changed, 1 were so already, 0 refused\n", "")
    assert profile.exit_code == 0


def test_without_the_right_key_every_command_says_so(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    said(database, "STOP")
    run(*ERASE, "--yes")

    monkeypatch.setenv("TEXTBACK_EVIDENCE_KEY", "x" * 40)
    wrong = [run("consent", "get", BOB), run(*ERASE, "--yes"), run("serve"), run("check")]
    monkeypatch.delenv("TEXTBACK_EVIDENCE_KEY")
    missing = [run("consent", "get", BOB), run("serve"), run("send"), run("check")]

    assert {result.exit_code for result in wrong + missing} == {1}
    assert all("TEXTBACK_EVIDENCE_KEY is not the key under which" in result.stderr for result in wrong)
    assert all("TEXTBACK_EVIDENCE_KEY is not set, and people were erased" in result.stderr for result in missing)


def test_without_a_key_nobody_is_erased(run: Run, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    said(database, "STOP")
    monkeypatch.delenv("TEXTBACK_EVIDENCE_KEY")

    refused = run(*ERASE, "--yes")

    assert refused.exit_code == 1
    assert "make one with: openssl rand -hex 32" in refused.stderr
    assert count(database, tables.consent) == 1
