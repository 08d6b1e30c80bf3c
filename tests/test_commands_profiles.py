"""Subscriber attributes from the command line: by hand, from a file, into a file."""

import json
import os
import pty
import re
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.record import profiles
from app.record.database import Database
from app.serve import profile_report
from tests.commands import Run, runner, told
from tests.heard import ALICE, BOB, CHARLIE, NOON

ROOT = Path(__file__).parent.parent


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(database_url, monkeypatch, tmp_path)


def people(database: Database) -> dict[str, dict[str, str]]:
    found = database.read_now(lambda conn: profiles.listed(conn, limit=1000))
    return {each.address: each.attributes for each in found}


def file_of(folder: Path, lines: Sequence[str] | bytes, name: str = "people.csv") -> str:
    (folder / name).write_bytes(lines if isinstance(lines, bytes) else "\n".join(lines).encode())
    return name


def refused(stderr: str) -> list[tuple[int, str]]:
    return [(int(m[1]), m[2]) for m in re.finditer(r"^line (\d+): (.*)$", stderr, re.MULTILINE)]


# --- by hand ------------------------------------------------------------------------------------------------------


def test_attributes_are_set_deleted_replaced_and_shown(run: Run) -> None:
    run("profiles", "set", ALICE, "firstName=Alice", "city=Basel", "note=a=b")
    changed = run("profiles", "set", "(415) 555-0100", "city=", "zip=4000", "--region", "US")
    as_json = run("profiles", "get", ALICE, "--json")
    replaced = run("profiles", "set", ALICE, "language=de", "--replace")
    emptied = run("profiles", "set", ALICE, "--replace")

    assert told(changed) == (0, f"address    {ALICE}\nfirstName  Alice\nnote       a=b\nzip        4000\n", "")
    assert json.loads(as_json.stdout) == {
        "address": ALICE,
        "attributes": {"firstName": "Alice", "note": "a=b", "zip": "4000"},
    }
    assert replaced.stdout == f"address   {ALICE}\nlanguage  de\n"
    assert emptied.stdout == f"address  {ALICE}\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("get", "nobody"), "This is a short code or an alphanumeric sender"),
        (("set", ALICE), "Say what to set: NAME=VALUE"),
        (("set", ALICE, "firstName"), "An attribute has no ="),
        (("set", ALICE, "first name=Alice"), "'first name' is no name of an attribute"),
        (("import", "people.csv", "--as-of", "2126-01-01"), "--as-of is in the future"),
    ],
)
def test_a_slip_is_told_in_a_sentence(run: Run, tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    file_of(tmp_path, ["address,name"])

    result = run("profiles", *words)

    assert (result.exit_code, result.stdout) == (1, "")
    assert sentence in result.stderr


# --- from a file --------------------------------------------------------------------------------------------------


def test_a_file_is_taken_in_whatever_its_columns(run: Run, database: Database, tmp_path: Path) -> None:
    lines = [
        "phone;firstName;note",
        f'{ALICE};Alice;"two',
        'lines; and a ""quotation"""',
        "",
        "(415) 555-0101;Bob;",
    ]
    text = b"\xef\xbb\xbf" + "\r\n".join(lines).encode()

    result = run("profiles", "import", file_of(tmp_path, text), "--region", "US")

    assert told(result) == (0, "2 lines, 3 attributes recorded, 0 refused\n", "")
    assert people(database) == {
        ALICE: {"firstName": "Alice", "note": 'two\r\nlines; and a "quotation"'},
        BOB: {"firstName": "Bob"},
    }


def test_json_lines_are_taken_in(run: Run, database: Database, tmp_path: Path) -> None:
    lines = [
        json.dumps({"address": ALICE, "firstName": "Alice", "age": 30, "vip": True, "note": None}),
        f'{{"number": "{BOB}", "attributes": {{"id": 12345678901234567890123}}}}',
        f'{{"address": "{CHARLIE}", "tags": ["a"]}}',
        '{"name": "nobody"}',
        "[]",
        "{",
        "",
        f'{{"address": "{CHARLIE}", "attributes": "a"}}',
        json.dumps({"address": CHARLIE, **{f"a{i}": "x" for i in range(101)}}),
    ]

    result = run("profiles", "import", file_of(tmp_path, lines, "people.jsonl"))

    assert result.exit_code == 1
    assert result.stdout == "8 lines, 4 attributes recorded, 6 refused\n"
    assert people(database) == {
        ALICE: {"firstName": "Alice", "age": "30", "vip": "true"},
        BOB: {"id": "12345678901234567890123"},
    }
    assert refused(result.stderr) == [
        (3, "the value of attribute 'tags' is neither a text nor a number"),
        (4, "is no object with one text that is called address or number or phone"),
        (5, "is no object with one text that is called address or number or phone"),
        (6, "is no JSON"),
        (8, "has attributes that are no object"),
        (9, "has 101 attributes; a person has 100 at most"),
    ]


def test_refused_lines_are_told_and_kept_and_their_neighbours_are_recorded(
    run: Run, database: Database, tmp_path: Path
) -> None:
    lines = [
        b"address,firstName,city",
        b"+14155550100,Alice,Basel",
        b"4155550199123456,Dora,Basel",  # 3
        b"+14155550101,Bob",  # 4
        b"+14155550102,\xff\xfe,Basel",  # 5
        b"+14155550102," + b"x" * 2001 + b",Basel",  # 6
        b'+14155550103,"Eve"x,Basel',  # 7
        b"+14155550102,Charlie,Basel",
        b'+14155550104,"never closed,Basel',  # 9
        b"+14155550105,Frank,Basel",
    ]

    result = run("profiles", "import", file_of(tmp_path, b"\n".join(lines)), "--refused", "refused.csv")

    kept = (tmp_path / "refused.csv").read_bytes().split(b"\n")
    assert result.exit_code == 1
    assert result.stdout == "8 lines, 4 attributes recorded, 6 refused\n"
    assert [number for number, _ in refused(result.stderr)] == [3, 4, 5, 6, 7, 9]
    assert refused(result.stderr)[1:4] == [
        (4, "has 2 values, and the heading 3"),
        (5, "has bytes in it that are not UTF-8"),
        (6, "the value of attribute 'firstName' has 2,001 characters or a NUL; shorten it to 2,000 without one"),
    ]
    assert "look for a quotation mark that is never closed" in result.stderr
    assert re.search(r"\d{7}", result.stderr) is None
    assert kept == [lines[0], *lines[2:7], lines[8], lines[9], b""]
    assert stat.S_IMODE((tmp_path / "refused.csv").stat().st_mode) == 0o600
    assert people(database) == {
        ALICE: {"firstName": "Alice", "city": "Basel"},
        CHARLIE: {"firstName": "Charlie", "city": "Basel"},
    }


def test_refused_lines_can_be_mended_and_imported(run: Run, database: Database, tmp_path: Path) -> None:
    file = file_of(tmp_path, ["address,firstName", f"{ALICE},Alice", "5550101,Bob"])
    run("profiles", "import", file, "--refused", "refused.csv")

    again = run("profiles", "import", "refused.csv", "--region", "US")
    (tmp_path / "refused.csv").write_text((tmp_path / "refused.csv").read_text().replace("5550101", BOB))
    mended = run("profiles", "import", "refused.csv")

    assert (again.exit_code, mended.exit_code) == (1, 0)
    assert people(database) == {ALICE: {"firstName": "Alice"}, BOB: {"firstName": "Bob"}}


def test_of_several_lines_about_one_person_the_last_counts_and_that_is_told(
    run: Run, database: Database, tmp_path: Path
) -> None:
    many = [f"+4179{i:07d},x,y" for i in range(600)]  # more than share a transaction
    lines = ["address,firstName,city", f"{ALICE},Alicia,Basel", *many, f"{ALICE},Alice,", f"{BOB},Rob,", f"{BOB},Bob,"]

    result = run("profiles", "import", file_of(tmp_path, lines))
    again = run("profiles", "import", "people.csv")

    assert result.stdout == (
        "604 lines, 1,204 attributes recorded, 0 refused, 2 about somebody who had one before (the last counts)\n"
    )
    assert again.stdout == result.stdout
    assert people(database)[ALICE] == {"firstName": "Alice", "city": "Basel"}
    assert people(database)[BOB] == {"firstName": "Bob"}


def test_replace_leaves_nothing_but_the_last_line(run: Run, database: Database, tmp_path: Path) -> None:
    run("profiles", "set", ALICE, "zip=4000")
    run("profiles", "set", BOB, "zip=4000")
    many = [f"+4179{i:07d},x," for i in range(600)]
    lines = ["address,firstName,city", f"{ALICE},Alicia,Basel", *many, f"{ALICE},Alice,"]

    result = run("profiles", "import", file_of(tmp_path, lines), "--replace")

    assert result.exit_code == 0
    assert people(database)[ALICE] == {"firstName": "Alice"}
    assert people(database)[BOB] == {"zip": "4000"}


@pytest.mark.parametrize("flags", [(), ("--replace",)], ids=["merged", "replaced"])
def test_what_was_told_later_than_the_file_stays(
    run: Run, database: Database, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    run("profiles", "set", ALICE, "frequency=daily")
    file = file_of(tmp_path, ["address,frequency,city", f"{ALICE},weekly,Basel"])

    run("profiles", "import", file, "--as-of", "2026-01-31", *flags)

    assert people(database) == {ALICE: {"frequency": "daily", "city": "Basel"}}


def test_one_person_with_too_many_attributes_spoils_no_other(run: Run, database: Database, tmp_path: Path) -> None:
    full = {f"a{i}": "x" for i in range(100)}
    database.write_now(lambda conn: profiles.put(conn, BOB, full, "crm", NOON))
    lines = ["address,firstName", f"{ALICE},Alice", f"{BOB},Bob", f"{CHARLIE},Charlie"]

    result = run("profiles", "import", file_of(tmp_path, lines))

    assert result.exit_code == 1
    assert result.stdout == "3 lines, 2 attributes recorded, 1 refused\n"
    assert refused(result.stderr) == [
        (3, "a person would have more than 100 attributes; leave some out, or delete some first")
    ]
    assert people(database) == {ALICE: {"firstName": "Alice"}, BOB: full, CHARLIE: {"firstName": "Charlie"}}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "The first line must be a heading such as address,firstName"),
        (b"firstName,address\n", "The first line must be a heading such as address,firstName"),
        (b"+14155550100,Alice\n", "The first line must be a heading such as address,firstName"),
        ("address,firstName".encode("utf-16"), "The file is not in UTF-8"),
        (b"address,first name\n", "'first name' is no name of an attribute"),
        (b"address,a,a\n", "The heading has a name twice"),
        (b'address,"a\n', "The first line is no CSV"),
        (b"address," + b",".join(b"a%d" % i for i in range(101)), "The heading has 101 attributes"),
    ],
    ids=["empty", "second", "none", "utf-16", "blank", "twice", "quotation", "many"],
)
def test_a_file_without_a_usable_heading_is_refused_whole(
    run: Run, database: Database, tmp_path: Path, text: bytes, sentence: str
) -> None:
    result = run("profiles", "import", file_of(tmp_path, text))

    assert (result.exit_code, result.stdout) == (1, "")
    assert sentence in result.stderr
    assert people(database) == {}


def test_many_refused_lines_are_counted_and_not_all_told(run: Run, tmp_path: Path) -> None:
    file = file_of(tmp_path, ["address,firstName", *["nobody,x"] * 60])

    result = run("profiles", "import", file)

    assert len(refused(result.stderr)) == 50
    assert result.stderr.endswith("… and 10 more; --refused FILE keeps them all\n")


def test_progress_is_told_line_by_line_where_there_is_no_terminal(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_report, "_NEWS", 400)
    lines = ["address,firstName", *[f"+4179{i:07d},x" for i in range(1100)]]

    result = run("profiles", "import", file_of(tmp_path, lines))

    assert result.stderr == "500 lines\n1,000 lines\n"


def test_progress_is_a_bar_on_a_terminal(run: Run, tmp_path: Path) -> None:
    file_of(tmp_path, ["address,firstName", f"{ALICE},Alice"])
    reading, writing = pty.openpty()

    result = subprocess.run(
        [sys.executable, "-m", "app", "profiles", "import", "people.csv"],
        check=False, cwd=tmp_path, stdout=subprocess.PIPE, stderr=writing,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"},
    )  # fmt: skip

    shown = os.read(reading, 65_536)
    os.close(reading)
    os.close(writing)
    assert (result.returncode, result.stdout) == (0, b"1 lines, 1 attributes recorded, 0 refused\n")
    assert b"1 lines" in shown


# --- into a file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_export_can_be_imported(run: Run, database: Database, tmp_path: Path, kind: str) -> None:
    run("profiles", "set", ALICE, "firstName=Alice", 'note=a, "b"\nc')
    run("profiles", "set", BOB, "city=Zürich")
    before = people(database)

    exported = run("profiles", "export", "--format", kind)
    for address in before:
        run("profiles", "set", address, "--replace")
    emptied = people(database)
    imported = run("profiles", "import", file_of(tmp_path, exported.stdout_bytes, f"people.{kind}"))

    assert emptied == {}
    assert told(imported) == (0, "2 lines, 3 attributes recorded, 0 refused\n", "")
    assert people(database) == before
