"""`textback ledger verify` and `head`, against an administrator who gets at the tables."""

import hmac
import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlalchemy as sa

from app.errors import BadInput
from app.record import seals
from app.record.database import Database
from app.record.evidence_key import PEOPLE, derive
from app.record.tables import erasures
from app.serve.commands.ledger import LedgerHead, head_of
from app.serve.ledger_chain import Found
from app.serve.ledger_check import check_ledger
from tests.commands import EVIDENCE_KEY, Run, runner
from tests.conftest import KINDS, fresh_database
from tests.heard import ALICE, NOON
from tests.sealing import STORY, ids_of, record, seal, sealed, tamper


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(database_url, monkeypatch, tmp_path)


def found(database: Database, *exported: LedgerHead) -> list[Found]:
    return check_ledger(database, EVIDENCE_KEY, exported).found


class Case(NamedTuple):
    """`{0}` … `{5}` are the ids of the six entries, sealed two by two; what is found: kind, seal, index of the entry."""

    statements: tuple[str, ...]
    found: tuple[tuple[str, int | None, int | None], ...]


COLUMNS = "program, old_state, new_state, cause, rule, list_version, superseded, effective_at, received_at, commitment"
COPY = f"INSERT INTO ledger SELECT {{}}, {COLUMNS} FROM ledger WHERE id = {{{{0}}}}"
CASES = {
    # --- changed ---
    "another state": Case(("UPDATE ledger SET new_state = 'opted_in' WHERE id = {2}",), (("changed", 2, None),)),
    "another cause": Case(("UPDATE ledger SET cause = 'api' WHERE id = {1}",), (("changed", 1, None),)),
    "another time": Case(
        ("UPDATE ledger SET received_at = '2026-11-22T12:00:00.000001+00:00' WHERE id = {2}",), (("changed", 2, None),)
    ),
    "superseded": Case(("UPDATE ledger SET superseded = true WHERE id = {2}",), (("changed", 2, None),)),
    "the last seal's": Case(("UPDATE ledger SET rule = 'none' WHERE id = {5}",), (("changed", 3, None),)),
    "two of two seals": Case(
        ("UPDATE ledger SET rule = 'none' WHERE id IN ({0}, {2})",), (("changed", 1, None), ("changed", 2, None))
    ),
    # the evidence tells which
    "a commitment": Case(
        ("UPDATE ledger SET commitment = 'f' WHERE id = {2}",), (("changed", 2, None), ("evidence_changed", None, 2))
    ),
    "one for another": Case(
        (COPY.format("{2} + 1"), "DELETE FROM ledger WHERE id = {2}", "DELETE FROM evidence WHERE ledger_id = {2}"),
        (("changed", 2, None), ("evidence_gone", None, None)),
    ),
    # --- removed ---
    "an entry": Case(("DELETE FROM ledger WHERE id = {2}",), (("removed", 2, None), ("removed", None, 2))),
    "an entry with its evidence": Case(
        ("DELETE FROM ledger WHERE id = {2}", "DELETE FROM evidence WHERE ledger_id = {2}"), (("removed", 2, None),)
    ),
    "the newest of a person": Case(
        ("DELETE FROM ledger WHERE id = {3}", "DELETE FROM evidence WHERE ledger_id = {3}"),
        (("removed", 2, None), ("consent", None, 3)),
    ),
    "all under a seal": Case(
        ("DELETE FROM evidence WHERE ledger_id IN ({0}, {1})", "DELETE FROM ledger WHERE id IN ({0}, {1})"),
        (("removed", 1, None),),
    ),
    # --- slipped in ---
    "between two": Case((COPY.format("{2} + 1"),), (("slipped_in", 2, None), ("evidence_gone", None, None))),
    "before all": Case((COPY.format("{0} - 1"),), (("slipped_in", 1, None), ("evidence_gone", None, None))),
    "with an id that no entry has": Case(
        (COPY.format("-5"),), (("slipped_in", None, None), ("evidence_gone", None, None))
    ),
    # --- seals ---
    "a head": Case(("UPDATE seals SET head = 'f' WHERE number = 2",), (("seal_changed", 2, None),)),
    "the last head": Case(("UPDATE seals SET head = 'f' WHERE number = 3",), (("changed", 3, None),)),
    "a number of entries": Case(("UPDATE seals SET entries = 3 WHERE number = 2",), (("seal_changed", 2, None),)),
    "when it was sealed": Case(
        ("UPDATE seals SET sealed_at = '2026-11-22T12:00:00+00:00' WHERE number = 1",), (("changed", 1, None),)
    ),
    "a border": Case(
        ("UPDATE seals SET last_id = last_id - 1 WHERE number = 1",), (("removed", 1, None), ("seal_changed", 2, None), ("slipped_in", None, None))
    ),
    "one is gone": Case(("DELETE FROM seals WHERE number = 2",), (("seal_gone", 2, None),)),
    "the first two are gone": Case(("DELETE FROM seals WHERE number < 3",), (("seal_gone", 1, None),)),
    "one is gone, and an entry under another": Case(
        ("DELETE FROM seals WHERE number = 2", "DELETE FROM evidence WHERE ledger_id = {4}", "DELETE FROM ledger WHERE id = {4}"),
        (("seal_gone", 2, None), ("removed", 3, None), ("consent", None, 4)),
    ),
    # --- evidence ---
    "a text": Case(("UPDATE evidence SET text = 'START' WHERE ledger_id = {1}",), (("evidence_changed", None, 1),)),
    "a person": Case(
        ("UPDATE evidence SET address = '+14155550103' WHERE ledger_id = {2}",),
        (("evidence_changed", None, 2), ("consent", None, 2)),
    ),
    "evidence of nobody who was erased": Case(
        ("DELETE FROM evidence WHERE ledger_id = {2}",), (("evidence_gone", None, None),)
    ),
    # --- lists ---
    "a keyword list": Case(
        ("INSERT INTO keyword_lists VALUES ('abc', 'w', '{{}}', '2026-11-22T12:00:00+00:00')",), (("list_changed", None, None),)
    ),
    # --- consent ---
    "a state": Case(("UPDATE consent SET state = 'opted_in' WHERE ledger_id = {3}",), (("consent", None, 3),)),
    "a time": Case(
        ("UPDATE consent SET as_of = '2027-11-22T12:00:00+00:00' WHERE ledger_id = {3}",), (("consent", None, 3),)
    ),
    "an entry of somebody else": Case(
        ("UPDATE consent SET ledger_id = {5} WHERE ledger_id = {3}",), (("consent", None, 5),)
    ),
    "an entry that is not there": Case(("UPDATE consent SET ledger_id = 1 WHERE ledger_id = {3}",), (("consent", None, None),)),
    "back to an older entry": Case(
        (
            "UPDATE consent SET state = 'opted_in', ledger_id = {0}, as_of = (SELECT effective_at FROM ledger WHERE id"
            " = {0}) WHERE ledger_id = {3}",
        ),
        (("consent", None, 3),),
    ),
    "forgotten": Case(("DELETE FROM consent WHERE ledger_id = {3}",), (("consent", None, 3),)),
    "of an erased person": Case(
        (
            "INSERT INTO suppressions SELECT program, 'hash', 'opted_in', since, as_of, cause, ledger_id, confirmed"
            " FROM consent WHERE ledger_id = {3}",
        ),
        (("consent", None, 3),),
    ),
}  # fmt: skip


TABLES = ("ledger", "evidence", "seals", "consent", "suppressions", "keyword_lists")


@pytest.fixture(scope="module", params=KINDS)
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A sealed ledger for all cases, with copies of its tables."""
    with fresh_database(request.param, request, tmp_path_factory.mktemp("kept")) as url:
        opened = Database(url)
        sealed(opened)
        tamper(opened, *(f"CREATE TABLE kept_{name} AS SELECT * FROM {name}" for name in TABLES))
        yield opened
        opened.close()


@pytest.fixture
def calm(kept: Database) -> Database:
    """As nobody had ever touched it."""
    back = ((f"DELETE FROM {name}", f"INSERT INTO {name} SELECT * FROM kept_{name}") for name in TABLES)
    tamper(kept, *itertools.chain.from_iterable(back))
    assert found(kept) == []
    return kept


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_whatever_was_tampered_with_is_named_and_nothing_else(calm: Database, case: Case) -> None:
    entries = ids_of(calm)

    tamper(calm, *(statement.format(*entries) for statement in case.statements))

    told = found(calm)
    index = {row_id: number for number, row_id in enumerate(entries)}
    assert [(each.kind, each.seal, index.get(each.ledger_id or 0)) for each in told] == list(case.found)
    assert not any("+1415555" in each.sentence for each in told)


#: what SQLite's columns hold as well, and what PostgreSQL's times can be
ODD = {
    "sqlite": [
        "UPDATE ledger SET effective_at = 'yesterday' WHERE id = {2}", "UPDATE ledger SET received_at = 5 WHERE id = {2}",
        "UPDATE ledger SET rule = x'ff00' WHERE id = {2}", "UPDATE ledger SET superseded = 2 WHERE id = {2}",
    ],
    "postgresql": [
        "UPDATE ledger SET received_at = 'infinity' WHERE id = {2}",
        "UPDATE ledger SET received_at = '0044-03-15 BC' WHERE id = {2}",
    ],
}  # fmt: skip


def test_what_is_no_value_at_all_is_a_change_and_no_crash(database: Database) -> None:
    sealed(database)
    entries = ids_of(database)
    (kept,) = database.read_now(lambda conn: conn.exec_driver_sql(f"SELECT received_at, effective_at, rule, superseded FROM ledger WHERE id = {entries[2]}").all())  # fmt: skip

    kinds = []
    for statement in ODD[database.dialect]:
        tamper(database, statement.format(*entries))
        kinds.append([each.kind for each in found(database)])
        tamper(database, "UPDATE ledger SET received_at = '{}', effective_at = '{}', rule = '{}', superseded = {} WHERE id = {}".format(*kept[:3], bool(kept[3]), entries[2]))  # fmt: skip

    assert kinds == [["changed"]] * len(kinds)
    assert found(database) == []
    tamper(database, "UPDATE seals SET sealed_at = 'infinity' WHERE number = 2")
    with pytest.raises(BadInput, match="the table of seals holds what is no seal"):
        found(database)


def test_evidence_that_is_no_evidence_is_a_change_and_no_crash(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """In SQLite, whose columns hold anything."""
    with fresh_database("sqlite", request, tmp_path) as url:
        database = Database(url)
        sealed(database)
        tamper(database, "UPDATE evidence SET text = x'ff00', salt = x'00' WHERE text = 'START'")

        told = [each.kind for each in found(database)]
        database.close()

    assert told == ["evidence_changed"] * 2


# --- exported heads -----------------------------------------------------------------------------------------------


def test_seals_that_were_cut_off_are_found_by_an_exported_head_alone(database: Database) -> None:
    heads = [head_of(each) for each in sealed(database)]
    tamper(
        database,
        "DELETE FROM seals WHERE number > 1",
        "DELETE FROM consent",
        "DELETE FROM evidence",
        "DELETE FROM ledger",
    )

    alone, held_against = found(database), found(database, *heads)

    assert [each.kind for each in alone] == ["removed"]
    assert [(each.kind, each.seal) for each in held_against] == [("removed", 1), ("seal_gone", 2), ("seal_gone", 3)]
    assert "the chain ends at seal 1" in held_against[1].sentence


def test_a_chain_made_anew_with_the_right_key_is_not_the_exported_one(database: Database) -> None:
    head = head_of(sealed(database)[-1])
    entries = ids_of(database)
    tamper(database, "DELETE FROM seals", f"UPDATE ledger SET rule = 'none' WHERE id = {entries[0]}")
    while seal(database, most=2):
        continue

    assert found(database) == []
    assert [(each.kind, each.seal) for each in found(database, head)] == [("seal_changed", 3)]


# --- no false alarm -----------------------------------------------------------------------------------------------


def test_what_goes_on_meanwhile_never_looks_like_tampering(database: Database) -> None:
    sealed(database)
    done = threading.Event()

    def go_on() -> None:
        for _ in range(6):
            record(database)
            seal(database, most=5)
        done.set()

    thread = threading.Thread(target=go_on)
    thread.start()
    looked = []
    while not done.is_set():
        looked += found(database)
    thread.join()

    assert looked == []
    assert found(database) == []


def test_an_erased_person_leaves_entries_without_evidence_and_no_alarm(run: Run, database: Database) -> None:
    sealed(database)
    now = "'2026-11-22T12:00:00+00:00'"
    tamper(
        database,
        f"INSERT INTO erasures VALUES (1, 'hash', 'dora', 'asked', {now})",
        "INSERT INTO suppressions SELECT program, 'hash', state, since, as_of, cause, ledger_id, confirmed FROM consent"
        f" WHERE address = '{ALICE}'",
        f"DELETE FROM consent WHERE address = '{ALICE}'",
        f"DELETE FROM evidence WHERE address = '{ALICE}'",
    )

    result = run("ledger", "verify")

    assert result.exit_code == 0
    assert "4 of all 6 with their evidence" in result.stdout
    assert "Note: 2 entries have no evidence any more: their people were erased." in result.stdout


def test_an_erasure_that_was_broken_off_is_told_of_and_no_alarm(run: Run, database: Database) -> None:
    """Consent goes first, and the evidence afterwards, bit by bit."""
    sealed(database)
    person = hmac.digest(derive(EVIDENCE_KEY, PEOPLE), ALICE.encode(), "sha256").hex()
    row = {"id": 1, "person": person, "actor": "dora", "reason": "asked", "erased_at": NOON}
    tamper(database, f"DELETE FROM consent WHERE address = '{ALICE}'")
    alarmed = run("ledger", "verify")
    database.write_now(lambda conn: conn.execute(sa.insert(erasures), [row]))

    result = run("ledger", "verify")

    assert (alarmed.exit_code, "is gone, though the ledger has an entry" in alarmed.stdout) == (1, True)
    assert result.exit_code == 0
    assert "Note: 1 person is being erased, or the erasure was broken off" in result.stdout


# --- the commands -------------------------------------------------------------------------------------------------


def test_a_calm_ledger_is_told_of_in_a_line(run: Run, database: Database, tmp_path: Path) -> None:
    sealed(database)
    record(database, STORY[:1])
    (tmp_path / "heads").write_text(run("ledger", "head").stdout * 2)

    result, report = run("ledger", "verify", "--head", "heads"), run("ledger", "verify", "--json")

    assert (result.exit_code, report.exit_code) == (0, 0)
    first, second, third = result.stdout.splitlines()
    assert (
        first == "Nothing was changed, removed or slipped in: 6 entries under 3 seals, 7 of all 7 with their evidence."
    )
    assert second == "All 2 exported heads are in the chain."
    assert third.startswith("Note: 1 entry is not sealed yet, the oldest of 20")
    told = json.loads(report.stdout)
    assert {name: told[name] for name in ("ok", "entries", "seals", "unsealed", "found")} == {
        "ok": True, "entries": 7, "seals": 3, "unsealed": 1, "found": []
    }  # fmt: skip


def test_what_is_wrong_is_told_in_sentences_and_exit_code_1(run: Run, database: Database) -> None:
    sealed(database)
    tamper(database, f"DELETE FROM ledger WHERE id = {ids_of(database)[2]}")

    result, report = run("ledger", "verify"), json.loads(run("ledger", "verify", "--json").stdout)

    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first.startswith("Seal 2 (2 entries up to 20")
    assert first.endswith(" UTC): 1 of them was removed.")
    assert second.endswith(" UTC was removed: its evidence is still there.")
    assert (report["ok"], [(each["kind"], each["seal"]) for each in report["found"]]) == (
        False, [("removed", 2), ("removed", None)]
    )  # fmt: skip
    assert isinstance(report["found"][1]["ledger_id"], str)


def test_another_key_is_suspected_where_no_seal_fits(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed(database)
    monkeypatch.setenv("TEXTBACK_EVIDENCE_KEY", "another" * 6)

    result = run("ledger", "verify")

    assert result.exit_code == 1
    assert "No seal fits at all: is TEXTBACK_EVIDENCE_KEY the key that they were made with?" in result.stdout


def test_of_very_many_faults_some_are_told_and_the_others_counted(run: Run, database: Database) -> None:
    record(database, STORY * 10)
    seal(database)
    tamper(database, "UPDATE evidence SET text = 'x'")

    result = run("ledger", "verify")

    assert result.stdout.count("does not fit its evidence") == 50
    assert "10 more of the same kinds." in result.stdout


def test_the_head_is_exported_as_json_and_over_the_api(run: Run, database: Database) -> None:
    before = run("ledger", "head")
    last = sealed(database)[-1]

    told = json.loads(run("ledger", "head").stdout)

    assert before.exit_code == 1
    assert "There is no seal yet" in before.stderr
    assert (told["number"], told["last_id"], told["head"]) == (3, str(last.last_id), last.head)
    assert LedgerHead.model_validate(told) == head_of(last)
    assert database.read_now(seals.latest) == last


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty; it must hold what `textback ledger head` printed"),
        ("{}", "line 1, is not what `textback ledger head` prints"),
        ('{"number":1,"last_id":"x","head":"","sealed_at":1}', "line 1, is not what"),
    ],
)
def test_a_file_that_holds_no_head_is_refused_with_a_sentence(
    run: Run, tmp_path: Path, content: str, sentence: str
) -> None:
    (tmp_path / "heads").write_text(content)

    result = run("ledger", "verify", "--head", "heads")

    assert (result.exit_code, sentence in result.stderr) == (1, True)


def test_without_a_key_nothing_is_verified_and_check_warns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEXTBACK_EVIDENCE_KEY")

    verified, checked = run("ledger", "verify"), run("check")

    assert (verified.exit_code, verified.stderr) == (1, f"Error: {MISSING}\n")
    assert f"warning: The ledger is not sealed, so it cannot prove that nobody changed it. {MISSING}" in checked.stderr


MISSING = (
    "TEXTBACK_EVIDENCE_KEY is not set; make one with: openssl rand -hex 32. Keep it outside of the database and of its"
    " backups, and never change it."
)
