"""Our outgoing requests are what the providers' documentation asks for, and their answers are understood.

`vendors/<provider>.json` says in our own words what the documented request looks like; see its README.
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
from pydantic import SecretStr
from sinch.domains.conversation.models.v1.messages.internal.request import SendMessageRequest
from sinch.domains.sms.models.v1.shared.text_request import TextRequest

from app.credential import ApiKeyAuth, BasicAuth, BearerAuth, Credential, MacAuth, OAuthAuth
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

SECRET = SecretStr("c2VjcmV0")
BASIC = BasicAuth(username="alice", password=SECRET)
BEARER = BearerAuth(token=SECRET)
ACCESS_KEY = BearerAuth(token=SECRET, prefix="AccessKey")
PASSWORD = ApiKeyAuth(name="password", token=SECRET, place="query")

#: what an operator registers, besides name, provider and channel
REGISTERED: dict[str, dict[str, Any]] = {
    "azure": {"app_id": "acme", "auth": MacAuth(secret=SECRET)},
    "bandwidth": {"app_id": "9900000", "auth": BASIC, "parameters": {"application_id": "93de2206"}},
    "bird": {"auth": ACCESS_KEY, "parameters": {"workspace": "w1", "channel": "c1"}},
    "clickatell": {"auth": ApiKeyAuth(name="Authorization", token=SECRET)},
    "google-rbm": {
        "auth": OAuthAuth(url="https://oauth2.googleapis.com/token"),
        "parameters": {"region": "europe", "agent": "acme_agent"},
    },
    "gupshup": {"app_id": "Acme", "auth": ApiKeyAuth(name="apikey", token=SECRET)},
    "gupshup-sms": {"app_id": "2000000000", "auth": PASSWORD},
    "infobip": {
        "app_id": "xyz",
        "auth": BearerAuth(token=SECRET, prefix="App"),
        "parameters": {"sms_sender": "Acme"},
    },
    "jasmin": {"app_id": "acme", "auth": PASSWORD, "url": "http://gateway.example:1401/send"},
    "kannel": {"app_id": "acme", "auth": PASSWORD, "url": "http://gateway.example:13013/cgi-bin/sendsms"},
    "messagebird": {"auth": ACCESS_KEY},
    "plivo": {"app_id": "MA123", "auth": BASIC},
    "signalwire": {
        "app_id": "b08dacad-a0ff-4a1c-9d6c-0f2b8d3e4c5f",
        "auth": BASIC,
        "parameters": {"space": "acme"},
    },
    "sinch": {"app_id": "plan", "auth": BEARER},
    "sinch-conversation": {"app_id": "01APP", "auth": BASIC, "parameters": {"region": "eu", "project": "p1"}},
    "telnyx": {"auth": BEARER, "parameters": {"messaging_profile_id": "40017a5f"}},
    "twilio": {"app_id": f"AC{'0' * 32}", "auth": BASIC},
    "vonage": {"auth": BASIC},
    "vonage-messages": {"auth": BASIC},
    "whatsapp": {"auth": BEARER, "parameters": {"version": "v23.0", "phone_number_id": "106540352242922"}},
}

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


def documented(slug: str, channel: str) -> dict[str, Any]:
    description = json.loads((VENDORS / f"{slug}.json").read_text("utf-8"))
    found: dict[str, Any] = description["requests"][channel]
    return found


def sender(slug: str, channel: str, feedback_url: str = "") -> Courier:
    given = Credential(name="acme", provider=slug, channel=channel, **REGISTERED[slug])
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


def test_every_provider_that_sends_is_described() -> None:
    described = {
        (path.stem, channel) for path in VENDORS.glob("*.json") for channel in json.loads(path.read_text())["requests"]
    }

    assert described == set(SENDING)
    assert set(REGISTERED) == {slug for slug, _ in SENDING}


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
