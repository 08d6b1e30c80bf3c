"""The dry run of policies, what check says of them, and the operator's page."""

import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import CONFIG_DIR
from tests.commands import Run, file_of, runner
from tests.serving import Served, serving

PAGE = (CONFIG_DIR / "governance.md").read_text("utf-8")
EXAMPLE = "\n".join(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
STREAM = """
[[streams]]
name = "bus"
url = "https://bus.example"
marketing_actions = ["analytics"]
"""
DESTINATION = """
[[datastreams]]
name = "shop"
[[destinations]]
name = "ads"
alias = "ads"
datastream = "shop"
marketing_actions = ["advertising"]
"""
ALICE, BOB, CHARLIE, DORA = "+14155550100", "+14155550101", "+14155550102", "+14155550103"


@pytest.fixture
def run(sqlite_template: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Where it is not the database that matters."""
    file = shutil.copy(sqlite_template, tmp_path / "textback.db")
    return prepared(runner(f"sqlite:///{file}", monkeypatch, tmp_path), tmp_path)


@pytest.fixture
def run_on_each(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return prepared(runner(database_url, monkeypatch, tmp_path), tmp_path)


def prepared(found: Run, folder: Path) -> Run:
    result = found("apply", file_of(folder, EXAMPLE + STREAM + DESTINATION))
    assert (result.exit_code, result.stderr) == (0, "")
    return found


def people(run: Run, folder: Path) -> None:
    """Alice opted in and is of age, Bob is not of age, Charlie opted out, of Dora only her age is known."""
    consent = f"{ALICE},opted_in\n{BOB},opted_in\n{CHARLIE},opted_out\n"
    assert run("consent", "import", file_of(folder, consent, "c.csv"), "--actor", "us").exit_code == 0
    ages = f"address,age\n{ALICE},21\n{BOB},17\n{CHARLIE},40\n{DORA},40\n"
    assert run("profiles", "import", file_of(folder, ages, "p.csv")).exit_code == 0


def lines(run: Run, *words: str) -> list[str]:
    result = run("policies", "try", *words)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.splitlines()


# --- the page -----------------------------------------------------------------------------------------------------


def test_the_page_s_violation_is_the_one_that_is_told(run: Run, tmp_path: Path) -> None:
    with_mail = EXAMPLE.replace('city = "{{profile.city}}"', 'email = "{{profile.email}}"')
    assert with_mail != EXAMPLE
    result = run("apply", file_of(tmp_path, with_mail))
    assert result.exit_code == 1
    assert result.stderr.removeprefix("Error: ").strip() in PAGE


def test_the_page_s_commands_work(run: Run, tmp_path: Path) -> None:
    people(run, tmp_path)
    commands = re.findall(r"^textback (policies .*)$", PAGE, re.MULTILINE)
    assert len(commands) == 3
    assert [run(*command.split()).exit_code for command in commands] == [0, 0, 0]


# --- the command --------------------------------------------------------------------------------------------------


def test_a_stored_person_is_tried(run: Run, tmp_path: Path) -> None:
    people(run, tmp_path)

    alice, bob = (lines(run, "--action", "ad-platform", "--address", who) for who in (ALICE, BOB))

    assert alice == [
        "For action 'ad-platform' (advertising):",
        "  left out: field event.keyword is made of event.text, which has label C2, which policy 'texts-stay-here'"
        " denies",
        "  left out: field event.normal is made of event.text, which has label C2, which policy 'texts-stay-here'"
        " denies",
        "  left out: field event.text has label C2, which policy 'texts-stay-here' denies",
        "  left out: field profile.email has label I1, which policy 'no-identity-in-ads' denies for advertising",
        "  policy 'ads-by-consent': the person stays",
    ]
    assert bob[-1] == "  policy 'ads-by-consent': the person would be left out"


def test_a_person_is_described_instead(run: Run) -> None:
    def last(*words: str) -> str:
        return lines(run, "--destination", "ads", *words)[-1]

    assert last("--profile", "age=18", "--state", "opted_in").endswith("the person stays")
    assert last("--profile", "age=18", "--state", "pending").endswith("the person would be left out")
    assert last("--profile", "age=old", "--state", "opted_in") == (
        "  policy 'ads-by-consent': the person would be left out, since the expression fails at character 40: a text is"
        " not a number"
    )
    assert last().endswith("somebody unknown would be left out")
    assert last("--address", BOB, "--profile", "age=30", "--state", "opted_in").endswith("the person stays")


def test_a_use_that_no_policy_is_about_keeps_what_is_for_every_use(run: Run) -> None:
    told = lines(run, "--stream", "bus")
    assert told[0] == "For stream 'bus' (analytics):"
    assert [line for line in told if "profile.email" in line] == []
    assert told[-1] == "  no policy would leave anybody out"


def test_where_nothing_is_denied_that_is_said(run: Run, tmp_path: Path) -> None:
    run("apply", file_of(tmp_path, '[[policies]]\nname = "texts-stay-here"\ndeny = ["C12"]\n'))
    assert lines(run, "--marketing-action", "printing") == [
        "For marketing action printing:",
        "  no field would be left out",
        "  no policy would leave anybody out",
    ]
    quiet = '[[actions]]\nname = "quiet"\nurl = "https://quiet.example"\n'
    assert run("apply", file_of(tmp_path, quiet)).exit_code == 0
    assert lines(run, "--action", "quiet")[0] == "For action 'quiet', which names no marketing action:"


def test_everybody_is_counted_a_page_at_a_time(
    run_on_each: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(run_on_each, tmp_path)
    counted = ("--action", "ad-platform", "--all")
    for page in (1_000, 3):
        monkeypatch.setattr("app.serve.commands.policies.MOST", page)
        assert lines(run_on_each, *counted)[-2:] == [
            "  3 of 4 stored people would be left out, which is everybody",
            "    3 first by policy 'ads-by-consent'",
        ]
    assert lines(run_on_each, *counted, "--most", "2")[-2] == (
        "  1 of 2 stored people would be left out; there are more, see --most"
    )
    found = json.loads(run_on_each("policies", "try", *counted, "--json").stdout)
    assert found["people"] == {"looked_at": 4, "excluded": 3, "by_policy": {"ads-by-consent": 3}, "next": None}


def test_people_are_those_of_the_program_of_all_programs_and_with_attributes(run_on_each: Run, tmp_path: Path) -> None:
    people(run_on_each, tmp_path)
    elsewhere = f"{DORA[:-1]}4,opted_in,news\n{DORA[:-1]}5,opted_out,*\n"
    run_on_each("consent", "import", file_of(tmp_path, "address,state,program\n" + elsewhere, "c.csv"), "--actor", "us")

    def looked_at(*words: str) -> int:
        found = run_on_each("policies", "try", "--stream", "bus", "--all", "--json", *words)
        return int(json.loads(found.stdout)["people"]["looked_at"])

    # three with consent, Dora, and one who is out of everything; of news one more, but those with attributes alone
    assert (looked_at(), looked_at("--program", "news")) == (5, 6)


SLIPS = {
    (): "Say what the data would be used for: one of action, stream, destination and marketing action.",
    ("--action", "a", "--stream", "b"): "Say what the data would be used for: one of",
    ("--action", "gone"): "There is no action 'gone'; there are: ad-platform.",
    ("--action", "no/name"): "What is given cannot be used: --action: String should match",
    ("--marketing-action", "/"): "What is given cannot be used: --marketing-actions: String should match",
    ("--stream", "bus", "--profile", "age"): "A value has no name before a =; write NAME=VALUE.",
    ("--stream", "bus", "--address", "nobody"): "This is a short code or an alphanumeric sender, not a person",
}


def test_a_slip_is_told(run: Run) -> None:
    for words, sentence in SLIPS.items():
        result = run("policies", "try", *words)
        assert result.exit_code == 1, words
        assert sentence in result.stderr


# --- the API ------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(database_url: str) -> Iterator[Served]:
    with serving(database_url) as running:
        for kind, entries in tomllib.loads(EXAMPLE).items():
            for entry in entries:
                assert running.ask("POST", f"/v1/{kind}", entry).status == 201
        yield running


def test_the_api_tells_the_same(served: Served) -> None:
    served.ask("PUT", f"/v1/profiles/{ALICE}", {"attributes": {"age": "21"}})
    consent = {"state": "opted_in", "reason": "asked", "actor": "us"}
    served.ask("PUT", f"/v1/consent/{ALICE}", consent)
    served.ask("PUT", f"/v1/profiles/{BOB}", {"attributes": {"age": "17"}})

    found = served.ask("POST", "/v1/policies/try", {"action": "ad-platform", "address": ALICE, "people": 1})

    assert found.status == 200
    assert found.json["left_out"][-1] == {
        "field": "profile.email",
        "label": "I1",
        "policy": "no-identity-in-ads",
        "reason": "field profile.email has label I1, which policy 'no-identity-in-ads' denies for advertising",
    }
    assert found.json["policies"] == [{"policy": "ads-by-consent", "is_met": True, "problem": ""}]
    assert (found.json["excluded_by"], found.json["marketing_actions"]) == (None, ["advertising"])
    assert found.json["people"] == {"looked_at": 1, "excluded": 0, "by_policy": {}, "next": ALICE}
    rest = served.ask("POST", "/v1/policies/try", {"marketing_actions": ["advertising"], "people": 9, "after": ALICE})
    assert rest.json["people"] == {"looked_at": 1, "excluded": 1, "by_policy": {"ads-by-consent": 1}, "next": None}
    assert (rest.json["excluded_by"], rest.json["use"]) == ("ads-by-consent", "marketing action advertising")


def test_the_api_s_slips_are_problems(served: Served) -> None:
    both = served.ask("POST", "/v1/policies/try", {"action": "ad-platform", "marketing_actions": []})
    assert (both.status, both.json["detail"]) == (422, "Say what the data would be used for: one of action, stream,"
                                                  " destination and marketing action.")  # fmt: skip
    nothing = served.ask("POST", "/v1/policies/try", {"marketing_actions": []})
    assert (nothing.status, nothing.json["use"]) == (200, "no marketing action")
    assert served.ask("POST", "/v1/policies/try", {"action": "gone"}).status == 422
    assert served.ask("POST", "/v1/policies/try", {"action": "ad-platform", "people": 1_001}).status == 422
    assert served.ask("POST", "/v1/policies/try", {"action": "ad-platform"}, token=None).status == 401
    # a policy of this name is a registration like any other
    assert served.ask("GET", "/v1/policies/try").status == 404


# --- check --------------------------------------------------------------------------------------------------------


def findings(run: Run) -> list[str]:
    told = run("check").stderr.splitlines()
    return [line for line in told if "sealed" not in line and not line.startswith("problem")]


def test_check_tells_what_does_nothing_and_what_streams_go_without(run: Run, tmp_path: Path) -> None:
    run("apply", file_of(tmp_path, '[[labels]]\nname = "event.adress"\nlabels = ["S9x"]\n'
        '[[policies]]\nname = "idle"\nmarketing_actions = ["advertizing"]\ndeny = ["C7", "PHI"]\n'))  # fmt: skip

    assert findings(run) == [
        "warning: policy 'idle' denies C7, PHI, which no field has, so it keeps nothing back; label some",
        "warning: policy 'idle' is about advertizing, which no action, stream or destination names, so it is never"
        " asked; compare how it is spelt there",
        "note: field event.adress has S9x, which no policy denies, so it may leave for all of that",
        "note: field event.text has own-health, which no policy denies, so it may leave for all of that",
        "note: no policy is about marketing action analytics, so only those about every use hold for it",
        "note: stream 'bus' goes without a field: field event.keyword is made of event.text, which has label C2, which"
        " policy 'texts-stay-here' denies",
        "note: stream 'bus' goes without a field: field event.normal is made of event.text, which has label C2, which"
        " policy 'texts-stay-here' denies",
        "note: stream 'bus' goes without a field: field event.text has label C2, which policy 'texts-stay-here' denies",
        "warning: event.adress is labelled, and there is no such field of event; compare how it is spelt",
        "warning: profile.email is labelled, and nobody has such an attribute; compare how it is spelt",
    ]


def test_check_is_silent_of_governance_where_there_is_none(
    sqlite_template: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = shutil.copy(sqlite_template, tmp_path / "textback.db")
    assert findings(runner(f"sqlite:///{file}", monkeypatch, tmp_path)) == []
