"""The command line on a fresh database, and what its tests register."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from app.__main__ import cli
from app.record.database import Database

KEY = "k" * 32
EVIDENCE_KEY = "e" * 32

ACME = """
[[credentials]]
name = "acme"
provider = "twilio"
app_id = "AC0123"
auth = { type = "basic", username = "AC0123", password = "${ACME_TOKEN}" }

[[webhooks]]
name = "acme-inbound"
provider = "twilio"
credential = "acme"
sender = "+14155550199"
packs = ["us", "ca", "rcs"]
secret = "${ACME_TOKEN}"
[webhooks.keywords.default]
reply = "@thanks"

[[webhooks]]
name = "acme-receipts"
provider = "twilio"
type = "feedback"
secret = "${ACME_TOKEN}"

[replies]
thanks = "Thanks! Reply HELP for help or STOP to end."
"""

HOUSE = """
[[webhooks]]
name = "house"
provider = "custom"
scheme = { type = "token" }
payload = '{"%s":{"id":"{{requestId}}","from":"{{profileNumber}}","to":"{{inboundNumber}}","text":"{{inboundMessage}}"}}'
"""

Run = Callable[..., Result]


def runner(database_url: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Run:
    """`run("apply", "file.toml")`, in an empty folder."""
    monkeypatch.chdir(folder)
    settings = {
        "DATABASE_URL": database_url, "SECRET_KEY": KEY, "EVIDENCE_KEY": EVIDENCE_KEY,
        "PUBLIC_URL": "https://hooks.example.com",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(f"TEXTBACK_{name}", value)
    monkeypatch.setenv("ACME_TOKEN", "the-auth-token")
    return lambda *words: CliRunner().invoke(cli, words, catch_exceptions=False)


def told(result: Result) -> tuple[int, str, str]:
    return result.exit_code, result.stdout, result.stderr


def file_of(folder: Path, text: str, name: str = "apply.toml") -> str:
    (folder / name).write_text(text, "utf-8")
    return name


def count(database: Database, table: sa.Table) -> int:
    return database.read_now(lambda conn: conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def state_of(run: Run, address: str, program: str = "default") -> dict[str, object]:
    found = json.loads(run("consent", "get", address, "--program", program, "--json").stdout)
    return {name: found[name] for name in ("state", "cause", "may_send")}
