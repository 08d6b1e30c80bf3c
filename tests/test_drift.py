"""Drift: a provider's block list against the consent kept here, in both directions; and what ends a restore's doubt."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.errors import BadInput
from app.record import facts, tables
from app.record.database import Database
from app.serve.block_list import Listed, Reading, read
from app.serve.consent_file import RefusedLine
from tests.commands import Run, file_of, runner, state_of

ALICE, BOB, CHARLIE, DAVE = "+14155550100", "+14155550101", "+14155550102", "+14155550103"
#: credential "acme" hears for "news", "other" for "default"
TWO = """
[[credentials]]
name = "acme"
provider = "twilio"
app_id = "AC0123"
auth = { type = "basic", username = "AC0123", password = "${ACME_TOKEN}" }
[[credentials]]
name = "other"
provider = "twilio"
app_id = "AC0124"
auth = { type = "basic", username = "AC0124", password = "${ACME_TOKEN}" }
[[webhooks]]
name = "acme-inbound"
provider = "twilio"
credential = "acme"
program = "news"
secret = "${ACME_TOKEN}"
[[webhooks]]
name = "other-inbound"
provider = "twilio"
credential = "other"
secret = "${ACME_TOKEN}"
"""


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(database_url, monkeypatch, tmp_path)


@pytest.fixture
def tell(run: Run) -> Callable[..., None]:
    def say(address: str, state: str, program: str = "default") -> None:
        done = run("consent", "set", address, state, "--program", program, "--reason", "by phone", "--actor", "dora")
        assert done.exit_code == 0, done.output

    return say


def drift(run: Run, *words: str) -> dict[str, object]:
    result = run("drift", *words, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def kinds(found: dict[str, object]) -> dict[str, str]:
    return {each["address"]: each["kind"] for each in found["differences"]}  # type: ignore[attr-defined]


# --- both directions ----------------------------------------------------------------------------------------------


def test_both_directions_are_shown_and_nothing_is_changed(
    run: Run, tell: Callable[..., None], tmp_path: Path, database: Database
) -> None:
    tell(ALICE, "opted_in")
    tell(BOB, "opted_out")
    tell(DAVE, "opted_out")
    entries = _entries(database)
    file = file_of(tmp_path, f"number\n{ALICE}\n{BOB}\n{CHARLIE}\n", "list.csv")

    found = drift(run, file, "--program", "default", "--missing", "missing.csv")

    assert kinds(found) == {ALICE: "contradicted", CHARLIE: "blocked", DAVE: "missing"}
    assert (found["listed"], found["agree"], found["applied"]) == (3, 1, 0)
    assert _entries(database) == entries
    missing = (tmp_path / "missing.csv").read_text().splitlines()
    assert (missing[0], missing[1].split(",")[0]) == ("address,since,cause", DAVE)


def test_applied_fixes_go_through_the_ledger_and_a_second_run_finds_nothing(
    run: Run, tell: Callable[..., None], tmp_path: Path, database: Database
) -> None:
    tell(ALICE, "opted_in")
    file = file_of(tmp_path, f"{ALICE}\n{BOB}\n", "list.csv")

    result = run("drift", file, "--program", "default", "--apply", "--actor", "dora")
    again = drift(run, file, "--program", "default")

    assert result.exit_code == 0, result.output
    assert "2 opted out here.\n" in result.stdout
    assert again["differences"] == []
    assert state_of(run, ALICE) == {"state": "opted_out", "cause": "provider_event", "may_send": False}
    query = sa.select(tables.evidence.c.actor, tables.evidence.c.reason).where(tables.evidence.c.address == BOB)
    assert database.read_now(lambda conn: [tuple(row) for row in conn.execute(query)]) == [
        ("dora", "drift: list.csv, line 2")
    ]


def test_who_has_opted_in_since_the_list_was_made_stays_in(run: Run, tell: Callable[..., None], tmp_path: Path) -> None:
    tell(ALICE, "opted_in")
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    file = file_of(tmp_path, f"{ALICE}\n{BOB}\n", "list.csv")

    found = drift(run, file, "--program", "default", "--as-of", yesterday, "--apply")

    assert kinds(found) == {ALICE: "opted_in_since", BOB: "blocked"}
    assert state_of(run, ALICE)["state"] == "opted_in"
    assert state_of(run, BOB)["state"] == "opted_out"


def test_an_imported_opt_in_never_wins_over_the_list(run: Run, tmp_path: Path) -> None:
    run("consent", "import", file_of(tmp_path, f"{ALICE},opted_in\n", "people.csv"))
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()

    drift(run, file_of(tmp_path, ALICE, "list.csv"), "--program", "default", "--as-of", yesterday, "--apply")

    assert state_of(run, ALICE)["state"] == "opted_out"


def test_nobody_is_ever_opted_in(run: Run, tell: Callable[..., None], tmp_path: Path) -> None:
    tell(BOB, "opted_out")

    found = drift(run, file_of(tmp_path, ALICE, "list.csv"), "--program", "default", "--apply")

    assert kinds(found) == {ALICE: "blocked", BOB: "missing"}
    assert state_of(run, BOB)["state"] == "opted_out"


def test_an_opt_out_of_all_programs_counts_in_each(run: Run, tell: Callable[..., None], tmp_path: Path) -> None:
    tell(ALICE, "opted_out", "*")
    tell(BOB, "opted_out", "*")
    tell(BOB, "opted_out", "news")  # both rows: shown once
    tell(CHARLIE, "opted_out", "*")
    tell(CHARLIE, "opted_in", "news")  # later, so it holds
    tell(DAVE, "opted_out", "offers")  # of no concern

    found = drift(run, file_of(tmp_path, "+14155550109", "list.csv"), "--program", "news")
    agreed = drift(run, file_of(tmp_path, f"{ALICE}\n{BOB}", "list.csv"), "--program", "news")

    assert [each["address"] for each in found["differences"] if each["kind"] == "missing"] == [BOB, ALICE]  # type: ignore[attr-defined]
    assert (agreed["agree"], agreed["differences"]) == (2, [])


def test_other_kinds_of_addresses_are_not_missed_on_a_list_of_numbers(
    run: Run, tell: Callable[..., None], tmp_path: Path
) -> None:
    tell("whatsapp:+14155550100", "opted_out")
    file = file_of(tmp_path, BOB, "list.csv")

    found = drift(run, file, "--program", "default")
    only = drift(run, file, "--program", "default", "--blocked-only")

    assert (kinds(found), found["other_kinds"]) == ({BOB: "blocked"}, 1)
    assert only["other_kinds"] == 0


def test_more_people_than_a_page_are_compared(run: Run, tmp_path: Path) -> None:
    people = [f"+1415{number:07}" for number in range(5550000, 5552500)]
    run("consent", "import", file_of(tmp_path, "\n".join(f"{a},opted_out" for a in people[:1200]), "in.csv"))

    found = drift(run, file_of(tmp_path, "\n".join(people[1100:]), "list.csv"), "--program", "default", "--apply")
    again = drift(run, "list.csv", "--program", "default")

    assert (found["agree"], found["blocked"], found["missing"], found["applied"]) == (100, 1300, 1100, 1300)
    assert (again["agree"], again["blocked"], again["missing"]) == (1400, 0, 1100)


def test_the_text_shows_the_first_of_each_kind_and_how_many_more(
    run: Run, tell: Callable[..., None], tmp_path: Path
) -> None:
    tell(ALICE, "opted_in")
    people = [f"+1415555{number:04}" for number in range(1000, 1030)]
    file = file_of(tmp_path, "\n".join([ALICE, *people]), "list.csv")

    told = run("drift", file, "--program", "default").stdout.splitlines()

    assert told[0] == "default: 31 people on the list, 0 opted out here too"
    assert told[1] == "30 on the list, and not opted out here"
    assert told[2] == "  +14155551000  unknown  line 2"
    assert told[22] == "  … and 10 more; --json prints all"
    assert told[23] == "1 on the list, and opted in here before it was made"
    assert told[24].startswith(f"  {ALICE}  opted_in since 20")
    assert told[25] == "31 to opt out here; --apply does it."


# --- the file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "how", "expected"),
    [
        pytest.param(f"{ALICE}\n\n{BOB}\n", Reading(), [(1, ALICE), (3, BOB)], id="one number a line"),
        pytest.param(f"phone\n'{ALICE}\n", Reading(), [(2, ALICE)], id="a heading, and a spreadsheet's mark"),
        pytest.param(
            f"date;number;why\n2026-11-01T10:00:00Z;{ALICE};keyword:STOP\n", Reading(), [(2, ALICE)], id="the only one"
        ),
        pytest.param(f"from,to\n{ALICE},{BOB}\n", Reading("to"), [(2, BOB)], id="named"),
        pytest.param(f"from,to\n{ALICE},{BOB}\n", Reading("1"), [(2, ALICE)], id="counted"),
        pytest.param(f"{ALICE},{BOB}\n", Reading("2"), [(1, BOB)], id="counted, without a heading"),
        pytest.param("14155550100\n", Reading(international=True), [(1, ALICE)], id="country code, no plus"),
        pytest.param("(415) 555-0100,Alice\n", Reading(region="US"), [(1, ALICE)], id="national"),
        pytest.param("id\twho\n17\twhatsapp:+14155550100\n", Reading(), [(2, "whatsapp:+14155550100")], id="tabs"),
    ],
)
def test_a_list_comes_in_many_forms(text: str, how: Reading, expected: list[tuple[int, str]]) -> None:
    assert list(read(io.StringIO(text), how)) == [Listed(*each) for each in expected]


@pytest.mark.parametrize(
    ("text", "how", "sentence"),
    [
        pytest.param(f"from,to\n{ALICE},{BOB}\n", Reading(), r"1 \(from\), 2 \(to\)", id="two columns of numbers"),
        pytest.param("4155550100\n4155550101\n", Reading(), "--region", id="national forms without a region"),
        pytest.param(f"a,b\n{ALICE},1\n", Reading("c"), "no column 'c'", id="no such heading"),
        pytest.param(f"{ALICE}\n", Reading("2"), "no column '2'", id="no such number"),
    ],
)
def test_a_column_is_never_guessed(text: str, how: Reading, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        list(read(io.StringIO(text), how))


def test_a_line_that_is_no_number_is_told_and_spoils_no_other() -> None:
    found = list(read(io.StringIO(f"{ALICE}\n4155550101\n12345\n{BOB}\n"), Reading()))

    assert [type(each) for each in found] == [Listed, RefusedLine, RefusedLine, Listed]
    assert "4155550101" not in str(found[1])


@pytest.mark.parametrize(
    ("content", "words", "sentence"),
    [
        pytest.param(b"number\n", ("--program", "default"), "No column", id="no number"),
        pytest.param(b"", ("--program", "default"), "An empty list is compared with nothing", id="empty"),
        pytest.param(b"\xff\xfe+\x001\x00", ("--program", "default"), "not a CSV file in UTF-8", id="UTF-16"),
        pytest.param(b"+14155550100", (), "whose block list", id="nobody's"),
        pytest.param(b"+14155550100", ("--program", "a", "--credential", "b"), "whose block list", id="both"),
        pytest.param(b"+14155550100", ("--credential", "nobody"), "No webhook hears", id="no such credential"),
        pytest.param(b"+14155550100", ("--program", "a b"), "is no program", id="no program"),
        pytest.param(b"+14155550100", ("--program", "a", "--as-of", "noon"), "is no time", id="no time"),
        pytest.param(b"+14155550100", ("--program", "a", "--accept"), "looks at no file", id="accept with a file"),
    ],
)
def test_what_cannot_be_compared_is_told_in_a_sentence(
    sqlite_run: Run, tmp_path: Path, content: bytes, words: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "list.csv").write_bytes(content)

    result = sqlite_run("drift", "list.csv", *words)

    assert result.exit_code == 1
    assert sentence in result.stderr


@pytest.fixture
def sqlite_run(sqlite_template: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(f"sqlite:///{sqlite_template}", monkeypatch, tmp_path)


# --- after a restore ----------------------------------------------------------------------------------------------


@pytest.fixture
def restored(database: Database) -> Database:
    database.write_now(lambda conn: facts.put(conn, facts.RESTORED, "x.backup", datetime.now(UTC)))
    return database


def _is_restored(database: Database) -> bool:
    return database.read_now(facts.restored) is not None


def _entries(database: Database) -> int:
    return database.read_now(
        lambda conn: conn.execute(sa.select(sa.func.count()).select_from(tables.ledger)).scalar_one()
    )


def test_a_list_that_is_applied_ends_the_doubt_and_one_that_is_shown_does_not(
    run: Run, restored: Database, tmp_path: Path
) -> None:
    file = file_of(tmp_path, ALICE, "list.csv")

    shown = run("drift", file, "--program", "default")
    still = _is_restored(restored)
    withheld = state_of(run, BOB)
    applied = drift(run, file, "--program", "default", "--apply", "--actor", "dora")

    assert "may_send stays false for everybody" in shown.stdout
    assert still
    assert withheld == {"state": "unknown", "cause": None, "may_send": False}
    assert applied["withheld"] is False
    assert not _is_restored(restored)
    assert state_of(run, BOB)["may_send"] is True
    assert state_of(run, ALICE)["may_send"] is False
    kept = restored.read_now(lambda conn: conn.execute(sa.select(tables.facts.c.name, tables.facts.c.value)).one())
    assert kept.name.startswith("restored until ")
    assert kept.value.startswith("x.backup, since ")
    assert kept.value.endswith("; dora: drift: list.csv")


def test_a_list_that_does_not_differ_ends_the_doubt(
    run: Run, tell: Callable[..., None], restored: Database, tmp_path: Path
) -> None:
    tell(ALICE, "opted_out")

    found = drift(run, file_of(tmp_path, ALICE, "list.csv"), "--program", "default")

    assert (found["withheld"], _is_restored(restored)) == (False, False)


def test_a_line_that_could_not_be_read_keeps_the_doubt(run: Run, restored: Database, tmp_path: Path) -> None:
    file = file_of(tmp_path, f"{ALICE}\n4155550101\n", "list.csv")

    result = run("drift", file, "--program", "default", "--apply")

    assert result.exit_code == 1
    assert result.stderr.startswith("line 2: ")
    assert _is_restored(restored)
    assert state_of(run, ALICE)["state"] == "opted_out"


def test_every_list_must_be_compared_before_the_doubt_ends(run: Run, restored: Database, tmp_path: Path) -> None:
    run("apply", file_of(tmp_path, TWO))
    file = file_of(tmp_path, ALICE, "list.csv")

    first = run("drift", file, "--credential", "acme", "--apply")
    still = _is_restored(restored)
    second = drift(run, file, "--program", "default", "--apply")

    assert "--credential other" in first.stdout
    assert still
    assert (second["withheld"], second["left"], _is_restored(restored)) == (False, [], False)
    assert state_of(run, ALICE, "news")["state"] == "opted_out"


def test_who_knows_better_accepts_with_a_reason(run: Run, restored: Database) -> None:
    without = run("drift", "--accept")
    accepted = run("drift", "--accept", "--reason", "compared by hand", "--actor", "dora")
    again = run("drift", "--accept", "--reason", "compared by hand", "--actor", "dora")

    assert (without.exit_code, accepted.exit_code, again.exit_code) == (1, 0, 0)
    assert "--reason" in without.stderr
    assert "Nothing to accept" in again.stdout
    value = restored.read_now(lambda conn: conn.execute(sa.select(tables.facts.c.value)).scalar_one())
    assert value.endswith("; dora: compared by hand")
