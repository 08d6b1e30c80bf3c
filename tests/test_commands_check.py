"""What check says of proofs, of where receipts go, and of what a provider's documentation leaves open."""

from pathlib import Path

import pytest

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
    return [line for line in run("check").stderr.splitlines() if line.startswith("problem: ")]


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
    assert result.stderr.startswith("note: webhook 'events': How Azure refuses a message to a person who has opted out")


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
