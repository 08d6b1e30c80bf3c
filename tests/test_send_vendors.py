"""Our outgoing requests are what the providers' documentation asks for, and their answers are understood.

`vendors/<provider>.json` says in our own words what the documented request looks like, and what an operator registers
to send it; see the README there.
"""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import vonage_messages.models as vonage_messages
from jsonschema import Draft202012Validator
from sinch.domains.conversation.models.v1.messages.internal.request import SendMessageRequest
from sinch.domains.sms.models.v1.shared.text_request import TextRequest

from app.credential import Credential, OAuthAuth
from app.provider import load_providers
from app.send.answer import at, steps_of
from app.send.connection import Answer
from app.send.courier import Courier, courier
from app.send.render import Message, Outgoing
from app.settings import CONFIG_DIR

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
VENDORS = Path(__file__).parent / "vendors"
PROVIDERS = load_providers(CONFIG_DIR)
SENDING = [(slug, channel) for slug, provider in PROVIDERS.items() for channel in provider.send]
FEEDBACK = "https://hooks.example.com/in/acme"

TEXTS = {
    "plain": "You are unsubscribed",
    "unicode": "Grüße, 你好 🎉 “x”",
    "syntax": 'He said "no"\n{{x}} \\ & = % <b>',
}
SUGGESTIONS: tuple[dict[str, str], ...] = (
    {"text": "YES"},
    {"text": "Site", "url": "https://acme.example/a?b=c", "postback": "site"},
    {"text": "Call", "phone": "+14155550123"},
)


def description(slug: str) -> dict[str, Any]:
    path = VENDORS / f"{slug}.json"
    if not path.exists():
        pytest.fail(
            f"{slug} sends; describe its request in tests/vendors/{slug}.json, see the README there", pytrace=False
        )
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def documented(slug: str, channel: str) -> dict[str, Any]:
    requests: dict[str, dict[str, Any]] = description(slug)["requests"]
    if channel not in requests:
        pytest.fail(
            f'{slug} sends {channel}; describe that request in tests/vendors/{slug}.json, under "requests"',
            pytrace=False,
        )
    return requests[channel]


def registered(slug: str) -> dict[str, Any]:
    """What an operator registers, besides name, provider and channel."""
    told = description(slug)
    if "registered" not in told:
        told_where = f'tests/vendors/{slug}.json, under "registered"'
        pytest.fail(
            f"say in {told_where}, what its credential has: auth, app_id, …; see the README there", pytrace=False
        )
    found: dict[str, Any] = told["registered"]
    return found


def sender(slug: str, channel: str, feedback_url: str = "") -> Courier:
    given = Credential.model_validate({"name": "acme", "provider": slug, "channel": channel, **registered(slug)})
    return courier(given, PROVIDERS[slug], feedback_url=feedback_url)


def message(text: str, channel: str, *, rich: bool = False) -> Message:
    plain = Message("+14155550199", "+14155550100", text, "718046219338752001")
    return plain._replace(suggestions=SUGGESTIONS, fallback="Plain") if rich and channel == "rcs" else plain


def body_of(sent: Outgoing) -> Any:
    """JSON as it is, a form as an object; that of a GET stands in its URL."""
    if sent.headers["Content-Type"] == "application/json":
        return json.loads(sent.body)
    text = urlsplit(sent.url).query if sent.method == "GET" else sent.body.decode("ascii")
    fields = parse_qsl(text, keep_blank_values=True, strict_parsing=True)
    assert len(dict(fields)) == len(fields)
    return dict(fields)


def proved(carrier: Courier, sent: Outgoing) -> Outgoing:
    """With its signature; a token would have to be fetched first."""
    signs = carrier.authorizer is not None and not isinstance(carrier.made_of[0].auth, OAuthAuth)
    return asyncio.run(carrier.authorizer.prove(sent)) if signs and carrier.authorizer else sent


# --- every provider -----------------------------------------------------------------------------------------------


def test_nothing_is_described_that_no_provider_file_sends() -> None:
    described = {
        (path.stem, channel) for path in VENDORS.glob("*.json") for channel in description(path.stem)["requests"]
    }

    assert described - set(SENDING) == set()


def test_what_is_not_described_says_what_to_write() -> None:
    with pytest.raises(
        pytest.fail.Exception, match=r"nobody sends; describe its request in tests/vendors/nobody\.json"
    ):
        registered("nobody")
    with pytest.raises(pytest.fail.Exception, match=r"twilio sends fax; describe that request in tests/vendors/twilio"):
        documented("twilio", "fax")


@pytest.mark.parametrize("rich", [False, True], ids=["bare", "rich"])
@pytest.mark.parametrize("feedback_url", ["", FEEDBACK], ids=["untold", "told"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize(("slug", "channel"), SENDING)
def test_a_request_is_as_documented(slug: str, channel: str, text: str, feedback_url: str, rich: bool) -> None:
    wanted = documented(slug, channel)
    carrier = sender(slug, channel, feedback_url)

    sent = carrier.compose(message(text, channel, rich=rich))

    body, headers = body_of(sent), proved(carrier, sent).headers
    address = {"type": "string", "pattern": f"^{wanted['url']}$"}
    header_rules = {name: {"pattern": pattern} for name, pattern in wanted.get("headers", {}).items()}
    found = [
        *Draft202012Validator(address).iter_errors(sent.url),
        *Draft202012Validator({"required": [*header_rules], "properties": header_rules}).iter_errors(headers),
        *Draft202012Validator(wanted["body"]).iter_errors(body),
    ]
    assert (sent.method, headers["Content-Type"]) == (wanted["method"], wanted["content_type"])
    assert [f"{error.json_path}: {error.message}" for error in found] == []
    if "text" in wanted:
        assert at(body, steps_of(wanted["text"])) == text


@pytest.mark.parametrize(("slug", "channel"), SENDING)
def test_the_feedback_url_is_told_where_the_provider_takes_one(slug: str, channel: str) -> None:
    takes = "feedbackUrl" in PROVIDERS[slug].send[channel].model_dump_json()

    told, untold = (
        json.dumps(body_of(sender(slug, channel, url).compose(message("Hi", channel)))) for url in (FEEDBACK, "")
    )

    assert (FEEDBACK in told, "hooks.example.com" in untold) == (takes, False)


@pytest.mark.parametrize(("slug", "channel"), SENDING)
def test_the_id_of_a_documented_success_is_found(slug: str, channel: str) -> None:
    wanted = documented(slug, channel)
    answer = wanted["answer"]
    data = answer["text"] if "text" in answer else json.dumps(answer["json"])

    found = sender(slug, channel).read(Answer(answer["status"], {}, data.encode()), NOON)

    assert found == wanted["id"]


# --- and by the vendors' own libraries ------------------------------------------------------------------------------


def by_vonage(body: dict[str, Any]) -> Any:
    """Its models take a field under Python's name and write it under its own."""

    def named(node: Any) -> Any:
        if isinstance(node, dict):
            return {{"from": "from_", "type": "type_"}.get(name, name): named(value) for name, value in node.items()}
        return [named(item) for item in node] if isinstance(node, list) else node

    model = vonage_messages.RcsText if body["channel"] == "rcs" else vonage_messages.Sms
    return model(**named(body))


def by_sinch(body: dict[str, Any]) -> Any:
    return TextRequest.model_validate(body)


def by_sinch_conversation(body: dict[str, Any]) -> Any:
    return SendMessageRequest.model_validate(body)


READERS = {"vonage-messages": by_vonage, "sinch": by_sinch, "sinch-conversation": by_sinch_conversation}


@pytest.mark.parametrize("rich", [False, True], ids=["bare", "rich"])
@pytest.mark.parametrize("feedback_url", ["", FEEDBACK], ids=["untold", "told"])
@pytest.mark.parametrize(("slug", "channel"), [pair for pair in SENDING if pair[0] in READERS])
def test_the_vendors_own_library_would_write_the_same(slug: str, channel: str, feedback_url: str, rich: bool) -> None:
    body = body_of(sender(slug, channel, feedback_url).compose(message(TEXTS["syntax"], channel, rich=rich)))

    written = READERS[slug](body).model_dump(mode="json", by_alias=True, exclude_none=True)

    assert written == body
