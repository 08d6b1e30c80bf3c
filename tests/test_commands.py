"""The command line: what was promised is there, explains itself, and tells faults in sentences."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app.__main__ import cli
from app.record import tokens
from app.record.database import Database
from app.settings import CONFIG_DIR, Settings
from tests.commands import ACME, KEY, Run, file_of, runner, told

ALICE, BOB, CHARLIE = "+14155550100", "+14155550101", "+14155550102"


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(database_url, monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("consent", "get", "nobody at all"), 1, "is"),
        (("consent", "get", BOB, "--program", "a b"), 1, "'a b' is no program"),
        (
            ("consent", "set", BOB, "opted_out", "--reason", " ", "--actor", "dora"),
            1,
            "needs a --reason and an --actor",
        ),
        (("consent", "set", BOB, "unknown", "--reason", "x"), 2, "'unknown' is not one of"),
        (("replay",), 1, "Say which: --all, or one --id after the other"),
        (("calls", "retry"), 1, "Say which: --all, or one ID after the other"),
        (("dead-letters", "replay"), 1, "Say which: --all, or one ID after the other"),
        (("dead-letters", "replay", "1", "--all"), 1, "Say which: --all, or one ID after the other"),
        (("dead-letters", "resolve", "--reason", "x"), 1, "Say which: one ID after the other"),
        (("dead-letters", "resolve", "1", "--reason", " "), 1, "needs a --reason and an --actor"),
        (("token", "revoke", "nobody"), 1, "There is no live token named 'nobody'"),
    ],
)
def test_a_slip_is_told_in_a_sentence(run: Run, words: tuple[str, ...], code: int, sentence: str) -> None:
    result = run(*words)

    assert (result.exit_code, result.stdout) == (code, "")
    assert sentence in result.stderr


def test_a_token_is_made_listed_and_revoked(run: Run, database: Database) -> None:
    made = run("token", "create", "crm", "--scope", "consent:read", "--scope", "metrics")
    found = database.read_now(lambda conn: tokens.find(conn, made.stdout.strip()))
    listed = run("token", "list")
    revoked = run("token", "revoke", "crm")

    gone = database.read_now(lambda conn: tokens.find(conn, made.stdout.strip()))
    assert made.stdout.startswith("tb_")
    assert found is not None
    assert found.scopes == ("consent:read", "metrics")
    assert "crm   consent:read metrics" in listed.stdout
    assert made.stdout.strip() not in listed.stdout
    assert (told(revoked), gone) == ((0, "crm is revoked\n", ""), None)


def test_migrate_prepares_an_empty_database_and_others_refuse_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTBACK_DATABASE_URL", f"sqlite:///{tmp_path / 'empty.db'}")

    before = run("token", "list"), run("check")
    migrated = run("migrate"), run("migrate")
    after = run("check")

    assert told(before[0]) == (
        1, "", "Error: The database is empty or older than this textback; run: textback migrate\n",
    )  # fmt: skip
    assert before[1].exit_code == 1
    assert re.fullmatch(r"The database is at revision \d+\.\n", migrated[0].stdout)
    assert migrated[1].stdout == migrated[0].stdout
    assert told(after) == (0, "Everything is in order.\n", "")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("DATABASE_URL=postgresql://127.0.0.1:1/none", "The database of TEXTBACK_DATABASE_URL cannot be used"),
        ("DATABASE_URL=mysql://x/y", "names mysql"),
        ("SECRET_KEY=short", "TEXTBACK_SECRET_KEY: Value error, is shorter than 32 characters"),
        ("SECRET_KEY=another-key-another-key-another-key", "A stored secret cannot be decrypted"),
        ("PORT=many", "TEXTBACK_PORT: "),
        (
            'TRUSTED_PROXIES=["10.0.0.0/8"]',
            "TEXTBACK_TRUSTED_PROXIES: Value error, is no JSON: in the environment a list",
        ),
        ("ALLOWED_PRIVATE_DESTINATIONS=[]", "TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS: Value error, is no JSON"),
    ],
)
def test_a_bad_setting_is_told_in_a_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, sentence: str
) -> None:
    file = file_of(tmp_path, ACME)
    run("apply", file)
    monkeypatch.setenv("TEXTBACK_" + setting.partition("=")[0], setting.partition("=")[2])

    results = run("check"), run("apply", file)

    for result in results:
        assert result.exit_code == 1
        assert sentence in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["serve", "send"])
def test_what_runs_long_refuses_a_database_without_its_revision(command: str, tmp_path: Path) -> None:
    env = os.environ | {"TEXTBACK_DATABASE_URL": f"sqlite:///{tmp_path / 'empty.db'}", "TEXTBACK_SECRET_KEY": KEY}

    result = subprocess.run(
        [sys.executable, "-m", "app", command], check=False, capture_output=True, text=True, env=env
    )

    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert "run `textback migrate`" in result.stderr


def test_nothing_is_stored_without_a_key(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEXTBACK_SECRET_KEY")

    result = run("apply", file_of(tmp_path, ACME))

    assert told(result) == (1, "", "Error: TEXTBACK_SECRET_KEY is not set; make one with: openssl rand -hex 32\n")


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for name, command in group.commands.items():
        here = (*path, name)
        found += every_command(command, here) if isinstance(command, click.Group) else [here]
    return found


COMMANDS = every_command(cli)


def test_the_commands_are_those_that_were_promised() -> None:
    assert {" ".join(path) for path in COMMANDS} == {
        "streams", "streams list", "streams preview", "streams replay", "streams refusals", "streams retry",
        "", "serve", "send", "migrate", "apply", "check", "explain", "replay", "doctor",
        "consent", "consent get", "consent set", "consent import", "consent export",
        "profiles", "profiles get", "profiles set", "profiles import", "profiles export",
        "policies", "policies try",
        "providers", "verify", "decode", "ledger", "ledger verify", "ledger head", "evidence",
        "backup", "restore", "drift", "audiences", "audiences list", "audiences try", "lookup", "spool", "spool list", "spool retry", "spool drop", "erase",
        "token", "token create", "token list", "token revoke",
        "actions", "actions test",
        "calls", "calls list", "calls retry", "dead-letters", "dead-letters list", "dead-letters replay", "dead-letters resolve",
    }  # fmt: skip


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_one_example(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*path, "--help"])

    example = f"Example: textback {' '.join(path)}"
    assert result.exit_code == 0
    assert re.findall(r"Example: textback.*", result.stdout)[0].startswith(example.strip())
    assert result.stdout.count("Example:") == 1


def test_it_also_runs_as_a_module() -> None:
    result = subprocess.run([sys.executable, "-m", "app", "--version"], capture_output=True, text=True, check=True)

    assert result.stdout.startswith("textback, version ")


def test_the_example_file_lists_every_setting_with_its_default() -> None:
    text = (CONFIG_DIR / "settings.example.toml").read_text("utf-8")
    given, named = tomllib.loads(text), re.findall(r"^(?:# )?([a-z_]+) = ", text, re.MULTILINE)

    defaults = Settings.model_construct().model_dump()
    without_default = {name for name, value in defaults.items() if value is None}
    url = defaults["database_url"].get_secret_value()
    assert named == list(Settings.model_fields)
    assert given == {
        name: url if name == "database_url" else value
        for name, value in defaults.items()
        if name not in without_default
    }  # fmt: skip
    Settings(**given)
