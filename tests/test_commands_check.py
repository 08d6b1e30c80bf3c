"""What check says of proofs, of where receipts go, and of what a provider's documentation leaves open."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from app.record import tables
from app.record.database import Database
from tests.commands import Run, file_of, runner

PAYLOAD = '{"id":"{{messageId}}","state":"{{feedbackStatus}}"}'
CREDENTIAL = """
[[credentials]]
name = "acme"
provider = "custom"
url = "https://provider.example/send"
payload = '{"to":"{{toNumber}}","receipts":"{{feedbackUrl}}"}'
"""
RECEIPTS = f"""
[[webhooks]]
name = "receipts"
provider = "custom"
type = "feedback"
payload = '{PAYLOAD}'
"""
MESSAGES = """
[[webhooks]]
name = "receipts"
provider = "custom"
payload = '{"from":"{{profileNumber}}","text":"{{inboundMessage}}"}'
"""
CERTIFICATE = 'scheme = { type = "client_certificate", header = "x-client-cert", values = ["acme"] }\n'
TOLD = CREDENTIAL + 'feedback = "receipts"\n'


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(database_url, monkeypatch, tmp_path)


def problems(run: Run) -> list[str]:
    return found(run, "problem")


def found(run: Run, level: str) -> list[str]:
    return [line for line in run("check").stderr.splitlines() if line.startswith(f"{level}: ")]


def test_a_client_certificate_needs_a_proxy_that_is_trusted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("apply", file_of(tmp_path, RECEIPTS + CERTIFICATE))

    without = problems(run)
    monkeypatch.setenv("TEXTBACK_TRUSTED_PROXIES", "10.0.0.0/8")
    with_one = problems(run)

    assert without == [
        "problem: webhook 'receipts': a client certificate counts where a proxy in TEXTBACK_TRUSTED_PROXIES tells of it,"
        " and none is set; until then every request is refused"
    ]
    assert with_one == []


@pytest.mark.parametrize(
    ("scheme", "wanted"),
    [
        ('{ type = "token" }', False),
        ('{ type = "basic", username = "acme" }', True),
        ('{ type = "bearer", issuer = "https://i.example", audience = "a", keys = "https://i.example/keys",'
         ' claims = { azp = "a" } }', False),
        ('{ type = "any", of = [{ type = "token" }, { type = "basic", username = "acme" }] }', False),
        ('{ type = "any", of = [{ type = "basic", username = "acme" }] }', True),
    ],
    ids=["token", "basic", "bearer", "one without", "all with"],
)  # fmt: skip
def test_a_missing_secret_is_a_problem_where_the_scheme_needs_one(
    run: Run, tmp_path: Path, scheme: str, wanted: bool
) -> None:
    applied = run("apply", file_of(tmp_path, f"{RECEIPTS}scheme = {scheme}\n"))

    assert applied.exit_code == 0
    assert ["has no secret" in problem for problem in problems(run)] == [True] * wanted


def test_what_the_documentation_leaves_open_is_noted_and_fails_nothing(run: Run, tmp_path: Path) -> None:
    file = 'provider = "azure"\nsecret = "x"\npacks = ["us", "ca", "rcs"]\ncredential = "acme"\n'
    webhook = f'[[webhooks]]\nname = "events"\n{file}scheme = {{ type = "secret", name = "x-key" }}\n'
    applied = run("apply", file_of(tmp_path, CREDENTIAL + webhook))

    result = run("check", "--strict")

    assert applied.exit_code == 0
    assert (result.exit_code, result.stdout) == (0, "Everything is in order.\n")
    notes = [line for line in result.stderr.splitlines() if line.startswith("note: webhook 'events': ")]
    assert notes[0].startswith("note: webhook 'events': How Azure refuses a message to a person who has opted out")


# --- where receipts go --------------------------------------------------------------------------------------------


def test_receipts_go_to_a_webhook_of_the_same_file_or_of_an_earlier_one(run: Run, tmp_path: Path) -> None:
    both = run("apply", file_of(tmp_path, TOLD + RECEIPTS))
    later = run("apply", file_of(tmp_path, TOLD.replace('"acme"', '"other"')))

    assert (both.exit_code, later.exit_code) == (0, 0)
    assert problems(run) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (TOLD, "credential 'acme': there is no webhook 'receipts' for its feedback; add it, or apply it first."),
        (TOLD + MESSAGES, "credential 'acme': its feedback goes to webhook 'receipts', which is of type inbound"),
    ],
    ids=["none", "inbound"],
)
def test_receipts_that_would_go_nowhere_are_refused(run: Run, tmp_path: Path, text: str, sentence: str) -> None:
    result = run("apply", file_of(tmp_path, text))

    assert (result.exit_code, result.stdout) == (1, "")
    assert sentence in result.stderr


def test_a_webhook_that_receipts_go_to_does_not_become_one_for_messages(run: Run, tmp_path: Path) -> None:
    run("apply", file_of(tmp_path, TOLD + RECEIPTS))

    result = run("apply", file_of(tmp_path, MESSAGES))

    assert result.exit_code == 1
    assert "credential 'acme': its feedback goes to webhook 'receipts', which is of type inbound" in result.stderr


def test_a_webhook_that_receipts_go_to_and_that_is_gone_is_a_problem(
    run: Run, tmp_path: Path, database: Database
) -> None:
    run("apply", file_of(tmp_path, TOLD + RECEIPTS))
    database.write_now(lambda conn: conn.execute(tables.webhooks.delete()))

    assert problems(run) == [
        "problem: credential 'acme': there is no webhook 'receipts' for its feedback; add it, or apply it first."
    ]


NO_RECEIPTS = (
    "note: credential 'acme' has no feedback, and account 'custom' has no webhook of type feedback or both, so no"
    " receipt will ever come; make one, and name it as the credential's feedback"
)


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        (CREDENTIAL, [NO_RECEIPTS]),
        (CREDENTIAL + MESSAGES, [NO_RECEIPTS]),
        (CREDENTIAL + RECEIPTS + 'account = "another"\n', [NO_RECEIPTS]),
        (CREDENTIAL + RECEIPTS, []),
        (TOLD + RECEIPTS + 'account = "another"\n', []),
        (CREDENTIAL.replace("{{feedbackUrl}}", "-"), []),
    ],
    ids=["no webhook", "messages only", "another account", "told in its console", "told with each", "never told"],
)
def test_a_credential_whose_receipts_never_come_is_noted(run: Run, tmp_path: Path, text: str, notes: list[str]) -> None:
    applied = run("apply", file_of(tmp_path, text))

    assert applied.exit_code == 0
    assert found(run, "note") == notes


def test_without_a_public_url_a_provider_would_be_told_one_of_this_machine(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("apply", file_of(tmp_path, TOLD + RECEIPTS))

    with_one = found(run, "warning")
    monkeypatch.delenv("TEXTBACK_PUBLIC_URL")
    without = found(run, "warning")

    assert with_one == []
    assert without == [
        "warning: credential 'acme' tells its provider where receipts go, and TEXTBACK_PUBLIC_URL is not set, so the"
        " provider would be told http://127.0.0.1:8080/…; set it to what the provider can call"
    ]


# --- what leaves --------------------------------------------------------------------------------------------------


PRIVATE, PLAIN = "is a private address", "would be called over plain http"
OAUTH = 'auth = { type = "oauth", url = "https://10.0.0.2/token" }\n'


@pytest.mark.parametrize(
    ("url", "allowed", "more", "refused"),
    [
        ("https://api.example.com/send", "", "", []),
        ("https://8.8.8.8/send", "", "", []),
        ("https://10.0.0.1/send", "", "", [f"10.0.0.1 {PRIVATE}"]),
        ("https://10.0.0.1/send", "10.0.0.0/8", "", []),
        ("http://10.0.0.1/{{parameters.a}}/{{toNumber}}", "", 'parameters = { a = "x" }\n', [f"10.0.0.1 {PRIVATE}"]),
        ("https://2130706433/send", "", "", [f"2130706433 {PRIVATE}"]),
        ("http://[::1]:80/send", "", "", [f"::1 {PRIVATE}"]),
        ("http://localhost:13013/send", "", "", [f"localhost {PRIVATE}"]),
        ("http://localhost:13013/send", "127.0.0.1", "", []),
        ("http://localhost:13013/send", "localhost", "", []),
        ("http://gate/send", "", "", [f"gate {PLAIN}"]),
        ("http://gate/send", "other", "", [f"gate {PLAIN}"]),
        ("http://gate/send", "gate", "", []),
        ("http://gate/send", "172.16.0.0/12", "", []),
        ("http://8.8.8.8/send", "", "", [f"8.8.8.8 {PLAIN}"]),
        ("https://10.0.0.1/send", "", OAUTH, [f"10.0.0.1 {PRIVATE}", f"10.0.0.2 {PRIVATE}"]),
    ],
)
def test_a_destination_that_is_not_allowed_is_a_warning(  # noqa: PLR0917 - a table's columns
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    allowed: str,
    more: str,
    refused: list[str],
) -> None:
    run("apply", file_of(tmp_path, CREDENTIAL.replace("https://provider.example/send", url) + more))
    monkeypatch.setenv("TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS", allowed)

    assert found(run, "warning") == [
        f"warning: credential 'acme' cannot send: {one}; where that is meant, add it to"
        " TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS"
        for one in refused
    ]


def test_a_credential_that_cannot_send_at_all_is_one_problem(run: Run, tmp_path: Path, database: Database) -> None:
    run("apply", file_of(tmp_path, CREDENTIAL))
    gone = sa.func.replace(tables.credentials.c.settings, '"provider":"custom"', '"provider":"gone"')
    database.write_now(lambda conn: conn.execute(tables.credentials.update().values(settings=gone)))

    assert [line.partition(";")[0] for line in problems(run)] == [
        "problem: credential 'acme': there is no provider 'gone'"
    ]
    assert found(run, "warning") == []


def test_a_stored_reply_with_a_place_that_nothing_fills_is_a_problem(
    run: Run, tmp_path: Path, database: Database
) -> None:
    replies = '[webhooks.keywords.help]\nreply = "Write to us."\n[replies]\nthanks = "Thanks!"\n'
    run("apply", file_of(tmp_path, MESSAGES + replies))
    spoilt = sa.func.replace(tables.webhooks.c.settings, "Write to us.", "Write to {{nobody}}.")
    database.write_now(lambda conn: conn.execute(tables.webhooks.update().values(settings=spoilt)))
    database.write_now(lambda conn: conn.execute(tables.replies.update().values(text="Thanks, {{name}}!")))

    assert [line.partition(" stands for")[0] for line in problems(run)] == [
        "problem: reply 'thanks': {{name}}",
        "problem: webhook 'receipts': {{nobody}}",
    ]
