"""The apply file: all of it or none, told in sentences; and what check says of the result."""

import json
import re
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.provider import load_providers
from app.record import registry, tables
from app.record.database import Database
from app.record.vault import Vault
from app.serve import apply, apply_file
from app.settings import CONFIG_DIR
from app.webhook import load_packs
from tests.commands import ACME, HOUSE, KEY, Run, count, file_of, runner, told

NOW = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(database_url, monkeypatch, tmp_path)


def test_apply_prints_each_webhook_with_its_url_and_again_changes_nothing(
    run: Run, tmp_path: Path, database: Database
) -> None:
    file = file_of(tmp_path, ACME)

    first, again, listed = run("apply", file), run("apply", file), run("apply", file, "--json")

    found = database.read_now(lambda conn: registry.load(conn, Vault(KEY)))
    inbound, receipts = (f"https://hooks.example.com/in/{entry.token}" for entry in found.webhooks)
    assert told(first) == (
        0,
        "credential acme: created\nreply thanks: created\n"
        f"webhook acme-inbound: created  {inbound}\nwebhook acme-receipts: created  {receipts}\n",
        "",
    )
    assert again.stdout == first.stdout.replace("created", "unchanged")
    assert json.loads(listed.stdout) == [
        {"name": "acme-inbound", "url": inbound, "outcome": "unchanged"},
        {"name": "acme-receipts", "url": receipts, "outcome": "unchanged"},
    ]
    assert found.webhooks[0].webhook.secrets == (b"the-auth-token",)


def test_what_the_file_does_not_name_stays(run: Run, tmp_path: Path, database: Database) -> None:
    run("apply", file_of(tmp_path, ACME))
    before = database.read_now(lambda conn: registry.load(conn, Vault(KEY)))

    result = run("apply", file_of(tmp_path, '[replies]\nbye = "Bye."'))

    after = database.read_now(lambda conn: registry.load(conn, Vault(KEY)))
    assert told(result) == (0, "reply bye: created\n", "")
    assert after == before._replace(version=before.version + 1, replies={**before.replies, "bye": "Bye."})


def test_without_a_public_url_host_and_port_are_printed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEXTBACK_PUBLIC_URL")
    monkeypatch.setenv("TEXTBACK_PORT", "9000")
    monkeypatch.setenv("TEXTBACK_HOST", "::1")

    result = run("apply", file_of(tmp_path, HOUSE % "message"), "--json")

    assert json.loads(result.stdout)[0]["url"].startswith("http://[::1]:9000/in/")


HOUSE_CREDENTIAL = """
[[credentials]]
name = "house"
provider = "custom"
url = "https://sms.example.com/send"
payload = '{"to":"{{toNumber}}","from":"{{fromNumber}}","text":"{{message}}"}'
message_id = "id"
"""

BAD_FILES = {
    "a variable that is not set": (
        ACME.replace("ACME_TOKEN", "NOT_SET"), "${NOT_SET} is not set in the environment; set it and apply again.",
    ),
    "a setting of textback itself": (
        ACME.replace("ACME_TOKEN", "TEXTBACK_SECRET_KEY"), "${TEXTBACK_SECRET_KEY} is textback's own setting",
    ),
    "the same in small letters": (
        ACME.replace("ACME_TOKEN", "textback_secret_key"), "${textback_secret_key} is textback's own setting",
    ),
    "not TOML": ("[[webhooks", "apply.toml is not TOML"),
    "a misspelt field": (
        ACME.replace("packs =", "pakcs ="), "webhooks 'acme-inbound' pakcs: is not known here; did you mean 'packs'?",
    ),
    "an entry without a name": ('[[webhooks]]\nprovider = "twilio"', "webhooks number 1 name: is missing"),
    "a kind in the singular": ('[[action]]\nname = "crm"', "action: is not known here; did you mean 'actions'?"),
    "a name with a blank": ('[[actions]]\nname = "a b"\nurl = "https://x.example"', "actions 'a b' name: should be small letters"),
    "an ending that there is not": (
        ACME + '[[webhooks.keywords.custom]]\nkeywords = ["ORDER"]\notherwise = { http404 = "x" }',
        "keywords.custom.0.otherwise.http404: should be what a call may end with: http_404",
    ),
    "no label": ('[[labels]]\nname = "profile.email"\nlabels = []', "labels 'profile.email' labels: should not be empty"),
    "a URL as a cap": ('[[caps]]\nname = "https://x.example/"', "name: should be a host, or a host with its port"),
    "one name twice": (
        ACME + '[[webhooks]]\nname = "acme-inbound"\nprovider = "twilio"', "webhook 'acme-inbound' twice",
    ),
    "no such provider": (ACME.replace('"twilio"', '"twillio"'), "there is no provider 'twillio'; choose from"),
    "no such credential": (
        ACME.replace('credential = "acme"', 'credential = "amce"'),
        "webhook 'acme-inbound': there is no credential 'amce'; add it to the file, or apply it first.",
    ),
    "no such reply": (ACME.replace("thanks =", "thank_you ="), "thanks"),
    "no such pack": (ACME.replace('"rcs"', '"uk"'), "no keyword pack 'uk'"),
    "a word in two categories": (
        ACME + "[webhooks.keywords.opt_in]\nkeywords = ['STOP']", "'STOP' stands in opt_out (default keyword) and in opt_in (keyword)",
    ),
    "a payload that is no JSON": (HOUSE.replace('"%s":', ""), "webhook house: payload is not JSON"),
    "an empty reply": ('[replies]\nthanks = ""', "replies.thanks: should not be empty"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_refused_whole_with_a_sentence(
    run: Run, tmp_path: Path, database: Database, text: str, sentence: str
) -> None:
    result = run("apply", file_of(tmp_path, text))

    assert result.exit_code == 1
    assert result.stdout == ""
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert "the-auth-token" not in result.stderr
    assert [count(database, table) for table in (tables.credentials, tables.webhooks, tables.replies)] == [0, 0, 0]


def test_every_fault_of_a_file_is_told_at_once(run: Run, tmp_path: Path) -> None:
    text = ACME.replace('["us", "ca", "rcs"]', '["uk"]').replace('provider = "twilio"\napp', 'provider = "nobody"\napp')

    result = run("apply", file_of(tmp_path, text))

    faults = result.stderr.removeprefix("Error: ").splitlines()
    assert [re.split(r"[:;]", fault)[0] for fault in faults] == ["credential 'acme'", "webhook acme-inbound"]


def test_a_reply_that_changes_is_checked_with_the_webhooks_that_use_it(database: Database) -> None:
    catalogue, vault = apply.Catalogue(load_providers(CONFIG_DIR), load_packs(CONFIG_DIR)), Vault(KEY)
    wanted = apply_file.parse(apply_file.expand(tomllib.loads(ACME), {"ACME_TOKEN": "token"}))

    with database.writers.begin() as conn:
        created = apply.apply(conn, vault, catalogue, wanted, NOW)
        text = apply.save_reply_checked(conn, vault, catalogue, "thanks", "Thank you!", NOW)
        again = apply.save_webhook_checked(conn, vault, catalogue, wanted.webhooks[0], NOW)
        credential = apply.save_credential_checked(conn, vault, catalogue, wanted.credentials[0], NOW)

    assert created == apply.Applied(
        {"acme": "created"}, {"acme-inbound": "created", "acme-receipts": "created"}, {"thanks": "created"}
    )
    assert (text, again, credential) == ("changed", "unchanged", "unchanged")


def test_expand_replaces_inside_every_text_and_names_what_is_missing() -> None:
    tree = {"a": ["${ONE}-${TWO}", {"b": "x${ONE}"}], "n": 5}

    filled = apply_file.expand(tree, {"ONE": "1", "TWO": "2"})

    assert filled == {"a": ["1-2", {"b": "x1"}], "n": 5}
    with pytest.raises(apply.BadInput, match=r"^\$\{TWO\}, \$\{ONE\} is not set"):
        apply_file.expand({"a": "${TWO} ${ONE} ${TWO}"}, {"ONE": ""})


def test_check_finds_nothing_where_all_is_well(run: Run, tmp_path: Path) -> None:
    applied = run("apply", file_of(tmp_path, HOUSE_CREDENTIAL + ACME))

    result = run("check", "--strict")

    assert applied.exit_code == 0
    assert (result.exit_code, result.stdout) == (0, "Everything is in order.\n")
    assert all(line.startswith("note: ") for line in result.stderr.splitlines())


def test_check_warns_of_words_that_no_list_reaches_and_strict_fails(run: Run, tmp_path: Path) -> None:
    run("apply", file_of(tmp_path, ACME.replace(', "ca", "rcs"]', "]")))

    lax, strict = run("check"), run("check", "--strict")

    assert (lax.exit_code, strict.exit_code) == (0, 1)
    assert lax.stdout == "Nothing keeps textback from working.\n"
    assert "warning: webhook acme-inbound does not hear 'AIDE'" in lax.stderr
    assert strict.stderr == lax.stderr


def test_check_tells_of_missing_secrets_credentials_and_public_url(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEXTBACK_PUBLIC_URL")
    run("apply", file_of(tmp_path, '[[webhooks]]\nname = "bare"\nprovider = "twilio"\npacks = ["us", "ca", "rcs"]'))

    result = run("check")

    assert result.exit_code == 1
    levels = [line.split(":")[0] for line in result.stderr.splitlines()]
    assert [level for level in levels if level != "note"] == ["problem", "warning", "warning"]
    for words in ("has no secret", "TEXTBACK_PUBLIC_URL is not set", "has no credential, so nobody is answered"):
        assert words in result.stderr


def test_check_tells_of_registrations_whose_provider_file_is_gone(run: Run, tmp_path: Path, database: Database) -> None:
    run("apply", file_of(tmp_path, HOUSE_CREDENTIAL + HOUSE % "message"))
    with database.writers.begin() as conn:
        for table in (tables.credentials, tables.webhooks):
            gone = sa.func.replace(table.c.settings, '"provider":"custom"', '"provider":"gone"')
            conn.execute(table.update().values(settings=gone))

    result = run("check")

    assert result.exit_code == 1
    assert "problem: credential 'house': there is no provider 'gone'; choose from" in result.stderr
    assert "problem: webhook 'house': there is no provider file 'gone'" in result.stderr


def test_check_tells_of_a_clock_that_was_set_back(run: Run, database: Database) -> None:
    future = datetime.now(UTC) + timedelta(hours=1)
    row = {"id": 1, "webhook": "w", "received_at": future, "body": b"", "reading": "events"}
    texts = dict.fromkeys(("method", "target", "headers", "client", "signature", "problem"), "")
    database.write_now(lambda conn: conn.execute(tables.raw_requests.insert(), row | texts))

    result = run("check")

    assert result.exit_code == 1
    assert "problem: The newest stored request is from the future" in result.stderr


def test_a_webhook_whose_receipts_call_an_action_is_kept(run: Run, tmp_path: Path, database: Database) -> None:
    actions = '[[actions]]\nname = "bounce"\nurl = "https://x.example/"\n'
    webhook = (
        '[[webhooks]]\nname = "all"\nprovider = "twilio"\ntype = "both"\nsecret = "a-secret"\nsender = "+14155550199"\n'
    )
    file = file_of(tmp_path, f'{actions}{webhook}receipt_actions = {{ failed = "bounce" }}')

    assert run("apply", file).exit_code == 0
    again = run("apply", file)

    assert "webhook all: unchanged" in again.stdout
    kept = database.read_now(lambda conn: conn.execute(sa.text("SELECT settings FROM webhooks")).scalar_one())
    assert json.loads(kept)["receipt_actions"] == {"failed": "bounce"}
