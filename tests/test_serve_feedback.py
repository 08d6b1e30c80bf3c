"""Where providers are told to send receipts: with the proof that the webhook's scheme wants, and shown to nobody else."""

from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from structlog.testing import capture_logs

from app.authenticate import verifier
from app.credential import Credential
from app.provider import Provider
from app.record.registry import Registered, RegisteredWebhook
from app.request import Request
from app.serve.feedback import Feedback, feedback
from app.settings import Settings
from app.webhook import Webhook
from tests import fake_provider
from tests.commands import Run, file_of, runner
from tests.fake_provider import FakeProvider, answer
from tests.serving import Served, serving

ALICE = "+14155550100"
ODD = 'pä% s/&"@:~'
PLAIN = "https://us.example.com/in/t0ken"
BASIC = {"type": "basic", "username": "acme"}
QUERY = {"type": "secret", "place": "query", "name": "key"}
HEADER = {"type": "secret", "name": "x-key"}
HMAC = {"type": "hmac", "header": "x-signature"}


def told(webhook: dict[str, Any], *, file: dict[str, Any] | None = None) -> str:
    """What the provider of a credential is told, whose receipts come to this webhook."""
    one = Webhook.model_validate({"name": "receipts", "provider": "gate", "type": "feedback", **webhook})
    credential = Credential(name="acme", provider="gate", feedback="receipts")
    registered = Registered(1, {"acme": credential}, [RegisteredWebhook(1, "t0ken", "", one)], {})
    providers = {"gate": Provider.model_validate({"slug": "gate", "name": "Gate", "page": "", **(file or {})})}
    settings = Settings.model_construct(public_url="https://us.example.com")
    return feedback(settings, registered, providers, credential).url


@pytest.mark.parametrize(
    ("webhook", "url"),
    [
        ({"scheme": BASIC, "secret": "s3cret"}, "https://acme:s3cret@us.example.com/in/t0ken"),
        ({"scheme": BASIC, "secret": ["old", "new"]}, "https://acme:new@us.example.com/in/t0ken"),
        ({"scheme": {**BASIC, "username": "a@b"}, "secret": ODD},
         "https://a%40b:p%C3%A4%25%20s%2F%26%22%40%3A~@us.example.com/in/t0ken"),
        ({"scheme": BASIC}, PLAIN),
        ({"scheme": QUERY, "secret": ["old", "n w"]}, f"{PLAIN}?key=n%20w"),
        ({"scheme": {**QUERY, "name": "a b", "prefix": "v1="}, "secret": "x"}, f"{PLAIN}?a%20b=v1%3Dx"),
        ({"scheme": HEADER, "secret": "x"}, PLAIN),
        ({"scheme": HMAC, "secret": "x"}, PLAIN),
        ({"scheme": {"type": "token"}, "secret": "x"}, PLAIN),
        ({"scheme": {"type": "any", "of": [HMAC, HEADER, QUERY, BASIC]}, "secret": "x"}, f"{PLAIN}?key=x"),
        ({"scheme": {"type": "any", "of": [HEADER, {"type": "token"}, BASIC]}, "secret": "x"}, PLAIN),
        ({"scheme": {"type": "any", "of": [HMAC, {"type": "any", "of": [BASIC]}]}, "secret": "x"},
         "https://acme:x@us.example.com/in/t0ken"),
        ({"provider": "nobody", "secret": "x"}, PLAIN),
    ],
    ids=[
        "basic", "the newest secret", "odd characters", "no secret yet", "query", "prefix", "header", "signed", "token",
        "any: the first that a URL can carry", "any: the token is enough", "any in any", "no provider file",
    ],
)  # fmt: skip
def test_the_url_carries_what_the_webhook_wants_to_see(webhook: dict[str, Any], url: str) -> None:
    assert told(webhook) == url


def test_the_scheme_of_the_provider_file_counts_unless_the_webhook_has_its_own() -> None:
    file = {"signature": BASIC}

    of_the_file, own = (told({"secret": "x", **given}, file=file) for given in ({}, {"scheme": HEADER}))

    assert (of_the_file, own) == ("https://acme:x@us.example.com/in/t0ken", PLAIN)


@pytest.mark.parametrize("scheme", [BASIC, QUERY], ids=["basic", "query"])
def test_who_calls_the_url_that_he_was_told_is_believed(scheme: dict[str, Any]) -> None:
    webhook = Webhook.model_validate({"name": "receipts", "provider": "gate", "scheme": scheme, "secret": ODD})
    parts = urlsplit(told({"scheme": scheme, "secret": ODD}))
    proof = b64encode(unquote(f"{parts.username}:{parts.password}").encode()).decode()
    request = Request("POST", PLAIN, {"authorization": f"Basic {proof}"}, b"", datetime.now(UTC), query=parts.query)
    assert webhook.scheme

    evidence = verifier(webhook.scheme, webhook.secrets)(request)

    assert evidence.endswith("secret 1 of 1")


def test_such_a_url_has_no_repr() -> None:
    found = Feedback(told({"scheme": BASIC, "secret": "s3cret"}))

    assert repr(found) == "Feedback(problem='')"


# --- nobody else sees it ------------------------------------------------------------------------------------------


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        # one that says what it was sent
        running.judge = lambda got: answer(400, f"{got.target} {got.body.decode()}".encode())
        yield running


@pytest.fixture
def served(database_url: str) -> Iterator[Served]:
    with serving(database_url, send=True, allowed_private_destinations=["127.0.0.1"]) as running:
        yield running


WAYS = {
    "json": {"payload": '{"to":"{{toNumber}}","url":"{{feedbackUrl}}"}'},
    "json in json": {"payload": '{"to":"{{toNumber}}","url":"{{$string({\\"url\\": feedbackUrl})}}"}'},
    "form": {"payload": "to={{toNumber}}&url={{feedbackUrl}}", "payload_format": "form"},
    "twice encoded": {
        "payload": "to={{toNumber}}&url={{$encodeUrlComponent(feedbackUrl)}}", "payload_format": "form",
    },
    "query": {"payload": "to={{toNumber}}&url={{feedbackUrl}}", "payload_format": "form", "method": "GET"},
    "doubled": {"payload": "url={{$replace(feedbackUrl, '%', '%%')}}", "payload_format": "form", "method": "GET"},
    "xml": {"payload": '<m to="{{toNumber}}"><url>{{feedbackUrl}}</url></m>', "payload_format": "xml"},
    "text": {"payload": "{{toNumber}} {{feedbackUrl}}", "payload_format": "text"},
    "path": {"payload": "{{toNumber}}", "payload_format": "text", "path": "/{{feedbackUrl}}"},
}  # fmt: skip


@pytest.mark.parametrize("scheme", [BASIC, QUERY, HEADER], ids=["basic", "query", "header"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_verify_shows_neither_the_token_nor_the_secret_of_the_webhook(
    served: Served, provider: FakeProvider, way: dict[str, Any], scheme: dict[str, Any]
) -> None:
    url = provider.url + way.get("path", "/send")
    receipts = {"name": "receipts", "provider": "custom", "type": "feedback", "scheme": scheme, "secret": ODD}
    payload = '{"id":"{{messageId}}","state":"{{feedbackStatus}}"}'
    credential = {"name": "acme", "provider": "custom", "url": url, "feedback": "receipts", **way}
    credential.pop("path", None)

    with capture_logs() as logs:
        made = served.ask("POST", "/v1/webhooks", {**receipts, "payload": payload})
        assert served.ask("POST", "/v1/credentials", credential).status == 201
        found = served.ask("POST", "/v1/credentials/acme/verify", {"number": ALICE, "message": "Hi", "sender": "ACME"})

    token = made.json["url"].rpartition("/")[2]
    (sent,) = provider.requests
    shown, left = found.body.decode(), f"{sent.target} {sent.body.decode()}"
    (call,) = found.json["calls"]
    assert token in left
    assert token not in f"{shown} {logs}"
    assert [part for part in ODD_PARTS if part in shown] == []
    assert "***" in call["request"]["url"] + call["request"]["body"]
    assert "***" in call["answer"]["body"]


#: what a secret is known by, in whatever spelling; nothing else in a trial has these
ODD_PARTS = ["p\u00e4", "p\\u00e4", "p%C3", "%25C3", "%2525", "%%C3", quote(ODD, safe="")]


RECEIPTS = """
[[credentials]]
name = "acme"
provider = "custom"
url = "{url}"
feedback = "receipts"
payload = '{{"url":"{{{{feedbackUrl}}}}"}}'

[[webhooks]]
name = "receipts"
provider = "custom"
type = "feedback"
scheme = {{ type = "basic", username = "gate" }}
secret = "a s3cret"
payload = '{{"id":"{{{{messageId}}}}","state":"{{{{feedbackStatus}}}}"}}'
"""


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_the_command_shows_neither(
    database_url: str, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: tuple[str, ...]
) -> None:
    run: Run = runner(database_url, monkeypatch, tmp_path)
    monkeypatch.setenv("TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS", "127.0.0.1")
    run("apply", file_of(tmp_path, RECEIPTS.format(url=provider.url)))

    result = run("verify", "acme", "--number", ALICE, "--from", "ACME", *options)

    told_url = provider.requests[0].json["url"]
    assert told_url.startswith("https://gate:a%20s3cret@hooks.example.com/in/")
    assert "https://***@hooks.example.com/in/***" in result.stdout
    assert told_url.rpartition("/")[2] not in result.output
    assert "s3cret" not in result.output
