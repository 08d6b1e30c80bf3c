"""From a message to a provider's request, and from its answer to an id or a failure."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from app.credential import ApiKeyAuth, Auth, BasicAuth, BearerAuth, Credential
from app.errors import BadInput, SendFailed
from app.provider import Provider, Send, load_provider
from app.send.answer import reader, retry_after
from app.send.connection import Answer
from app.send.courier import courier
from app.send.render import Message, Outgoing
from app.settings import CONFIG_DIR

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MESSAGE = Message("+14155550199", "+14155550100", "You & I: 100 % “free”", "4711")
PAYLOAD = '{"from":"{{fromNumber}}","to":["{{toNumber}}"],"text":"{{message}}","ref":"{{messageReference}}","n":1}'


def provider(**send: Any) -> Provider:
    rules = {"url": "https://api.example.com/{{appId}}/messages", "id": "sid", **send}
    return Provider(slug="acme", name="Acme", page="https://example.com", send={"sms": rules})


def credential(**given: Any) -> Credential:
    return Credential(**{"name": "acme", "provider": "acme", "app_id": "A 1", **given})


def custom(**given: Any) -> Credential:
    return credential(**{"provider": "custom", "url": "https://api.example.com/send", "payload": PAYLOAD, **given})


def composed(given: Credential, file: Provider | None = None, message: Message = MESSAGE) -> Outgoing:
    return courier(given, file).compose(message)


# --- what leaves --------------------------------------------------------------------------------------------------


def test_a_form_is_encoded_whole() -> None:
    form = {"To": "{{toNumber}}", "From": "{{fromNumber}}", "Body": "{{message}}", "Kind": "sms&mms"}

    found = composed(credential(), provider(form=form))

    assert found.url == "https://api.example.com/A%201/messages"
    assert (found.method, found.headers) == (
        "POST",
        {"Content-Type": "application/x-www-form-urlencoded", "Charset": "UTF-8"},
    )
    assert parse_qsl(found.body.decode()) == [
        ("To", "+14155550100"),
        ("From", "+14155550199"),
        ("Body", "You & I: 100 % “free”"),
        ("Kind", "sms&mms"),
    ]


def test_json_is_filled_leaf_by_leaf() -> None:
    body = {"to": ["{{ toNumber }}"], "text": "Acme: {{message}} ({{messageReference}})", "flash": False, "n": 2**60}

    found = composed(credential(), provider(json=body, strip_plus=True))

    assert found.headers["Content-Type"] == "application/json"
    assert json.loads(found.body) == {
        "to": ["14155550100"],
        "text": "Acme: You & I: 100 % “free” (4711)",
        "flash": False,
        "n": 2**60,
    }


def test_the_placeholders_of_a_url_are_encoded_so_that_no_value_becomes_a_path_or_a_field() -> None:
    file = provider(url="https://api.example.com/{{toNumber}}?text={{message}}")

    found = composed(credential(), file, MESSAGE._replace(to_number="../admin", text="a&to=+1#x"))

    assert found.url == "https://api.example.com/..%2Fadmin?text=a%26to%3D%2B1%23x"


def test_a_get_carries_its_form_in_the_query_and_no_body() -> None:
    file = provider(url="https://api.example.com/sendsms?charset=UTF-8", method="GET", form={"text": "{{message}}"})

    found = composed(credential(), file)

    assert (found.method, found.body) == ("GET", b"")
    assert parse_qsl(urlsplit(found.url).query) == [("charset", "UTF-8"), ("text", "You & I: 100 % “free”")]


def test_the_operators_own_payload_is_sent_as_json() -> None:
    found = composed(custom())

    assert found.url == "https://api.example.com/send"
    assert found.headers == {"Content-Type": "application/json", "Charset": "UTF-8"}
    assert json.loads(found.body) == {
        "from": "+14155550199",
        "to": ["+14155550100"],
        "text": "You & I: 100 % “free”",
        "ref": "4711",
        "n": 1,
    }


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_message_breaks_out_of_its_value(text: str) -> None:
    found = json.loads(composed(custom(), None, MESSAGE._replace(text=text)).body)

    assert found == {
        "from": "+14155550199", "to": ["+14155550100"], "text": text, "ref": "4711", "n": 1
    }  # fmt: skip


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_no_message_breaks_out_of_a_form(text: str) -> None:
    found = composed(credential(), provider(form={"Body": "{{message}}", "Next": "1"}), MESSAGE._replace(text=text))

    assert parse_qsl(found.body.decode()) == [("Body", text), ("Next", "1")]


def test_a_message_that_looks_like_a_placeholder_is_not_filled_in_again() -> None:
    found = composed(custom(), None, MESSAGE._replace(text="{{appId}} {{toNumber}}"))

    assert json.loads(found.body)["text"] == "{{appId}} {{toNumber}}"


@pytest.mark.parametrize(
    ("number", "strip_plus", "sent"),
    [
        ("+14155550100", False, "+14155550100"),
        ("+14155550100", True, "14155550100"),
        ("short:12345", False, "12345"),  # the kind is ours, the provider knows the bare code
        ("alpha:acme", True, "acme"),
        ("whatsapp:+14155550100", False, "whatsapp:+14155550100"),
    ],
)
def test_numbers_are_written_as_the_provider_wants_them(number: str, strip_plus: bool, sent: str) -> None:
    file = provider(form={"From": "{{fromNumber}}"}, strip_plus=strip_plus)

    found = composed(credential(), file, MESSAGE._replace(from_number=number))

    assert parse_qsl(found.body.decode()) == [("From", sent)]


def test_only_the_value_of_content_type_may_be_changed() -> None:
    found = composed(custom(headers={"content-type": "application/vnd.acme+json", "X-Ref": "{{messageReference}}"}))

    assert found.headers == {"content-type": "application/vnd.acme+json", "Charset": "UTF-8", "X-Ref": "4711"}


def test_a_credential_overrides_url_id_and_repeatability_of_its_provider_file() -> None:
    given = credential(url="https://eu.example.com/m", message_id="messages.0.id", idempotent=True)

    found = courier(given, provider(form={"a": "b", "ref": "{{messageReference}}"}))

    assert found.compose(MESSAGE).url == "https://eu.example.com/m"
    assert found.read(Answer(200, {}, b'{"messages":[{"id":"M1"}]}'), NOON) == "M1"
    assert (found.idempotent, found.account, found.provider) == (True, "acme", "acme")


def test_a_repeat_that_nobody_could_notice_is_not_called_idempotent() -> None:
    with pytest.raises(BadInput, match="idempotent needs"):
        courier(credential(idempotent=True), provider(form={"a": "b"}))


@pytest.mark.parametrize(
    ("auth", "headers", "query"),
    [
        pytest.param(
            BasicAuth(username="AC1", password=SecretStr("pässword:1")),
            {"Authorization": "Basic " + base64.b64encode("AC1:pässword:1".encode()).decode()},
            "",
            id="basic",
        ),
        pytest.param(BearerAuth(token=SecretStr("t0k")), {"Authorization": "Bearer t0k"}, "", id="bearer"),
        pytest.param(
            BearerAuth(token=SecretStr("t0k"), prefix="App"), {"Authorization": "App t0k"}, "", id="another prefix"
        ),
        pytest.param(
            BearerAuth(token=SecretStr("t0k"), prefix=""), {"Authorization": "t0k"}, "", id="without a prefix"
        ),
        pytest.param(ApiKeyAuth(name="X-Key", token=SecretStr("k&1")), {"X-Key": "k&1"}, "", id="key in a header"),
        pytest.param(
            ApiKeyAuth(name="api key", token=SecretStr("k&1"), place="query"),
            {},
            "api+key=k%261",
            id="key in the query",
        ),
    ],
)
def test_every_authentication_adds_what_proves_us(auth: Auth, headers: dict[str, str], query: str) -> None:
    found = composed(custom(auth=auth))

    assert found.headers == {"Content-Type": "application/json", "Charset": "UTF-8", **headers}
    assert urlsplit(found.url).query == query


def test_braces_in_a_secret_are_no_placeholder() -> None:
    found = composed(custom(auth=BearerAuth(token=SecretStr("{{message}}"))))

    assert found.headers["Authorization"] == "Bearer {{message}}"


@pytest.mark.parametrize(
    ("given", "file", "reason"),
    [
        pytest.param(custom(url=None), None, "needs a url", id="no url"),
        pytest.param(custom(payload=None), None, "needs a payload", id="no payload"),
        pytest.param(custom(payload='{"to": {{toNumber}}}'), None, "payload is not JSON", id="placeholder unquoted"),
        pytest.param(custom(payload='{"a": NaN}'), None, "NaN is no JSON number", id="no JSON number"),
        pytest.param(custom(payload='"{{message}}"'), None, "object or array", id="a bare text"),
        pytest.param(custom(payload="[" * 100_000), None, "payload is not JSON", id="too deep"),
        pytest.param(custom(payload=f'{{"a": {2**70}}}'), None, "cannot be sent", id="number too large"),
        pytest.param(custom(payload='{"a": "{{mesage}}"}'), None, "{{mesage}} is no placeholder", id="misspelt"),
        pytest.param(custom(payload='{"a": "{{message}"}'), None, "never closed", id="not closed"),
        pytest.param(custom(payload='{"{{message}}": 1}'), None, "values only", id="in a name"),
        pytest.param(custom(url="https://{{toNumber}}.example.com/"), None, "host depends", id="message in the host"),
        pytest.param(custom(url="https://api.example.com{{message}}"), None, "host depends", id="message at the host"),
        pytest.param(custom(url="https://u:p@api.example.com/"), None, "user name", id="user in the url"),
        pytest.param(custom(url="api.example.com"), None, "must be like", id="url without a scheme"),
        pytest.param(custom(headers={"Charset": "x"}), None, "Charset is always", id="charset changed"),
        pytest.param(custom(headers={"Host": "x"}), None, "HTTP client's", id="host set"),
        pytest.param(
            custom(headers={"authorization": "x"}, auth=BearerAuth(token=SecretStr("t"))),
            None,
            "leave it to auth",
            id="header set twice",
        ),
        pytest.param(custom(auth=BearerAuth(token=SecretStr(""))), None, "token is empty", id="empty token"),
        pytest.param(custom(auth=BearerAuth(token=SecretStr("t\n"))), None, "line break", id="token with line break"),
        pytest.param(
            custom(auth=BasicAuth(username="a:b", password=SecretStr("c"))), None, "colon", id="colon in user name"
        ),
        pytest.param(credential(channel="rcs"), provider(form={"a": "b"}), "no way to send rcs", id="channel unknown"),
        pytest.param(credential(), None, "no way to send sms", id="provider unknown"),
        pytest.param(credential(payload="{}"), provider(), 'for provider "custom"', id="payload not wanted"),
        pytest.param(credential(), provider(auth=["basic", "bearer"]), "basic or bearer, not none", id="wrong auth"),
        pytest.param(credential(), provider(url=""), "no fixed url", id="provider without url"),
        pytest.param(credential(), provider(form={"a": "b"}, json={}), "either a form or", id="form and json"),
        pytest.param(credential(), provider(method="GET", json={}), "GET has no json", id="json in a GET"),
    ],
)
def test_what_could_never_be_sent_is_refused_when_it_is_registered(
    given: Credential, file: Provider | None, reason: str
) -> None:
    with pytest.raises(BadInput) as caught:
        courier(given, file)

    assert str(caught.value).startswith("credential acme: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("file", sorted((CONFIG_DIR / "providers").glob("*.toml")), ids=lambda file: file.stem)
def test_every_provider_file_can_send_what_it_says(file: Path) -> None:
    shipped = load_provider(file)
    auths: dict[str, Auth] = {
        "basic": BasicAuth(username="u", password=SecretStr("p")),
        "bearer": BearerAuth(token=SecretStr("t")),
        "api_key": ApiKeyAuth(name="k", token=SecretStr("t")),
    }

    for channel, send in shipped.send.items():
        for kind in send.auth or ["basic"]:
            auth = auths.get(kind, Credential.model_fields["auth"].default)
            given = credential(
                app_id="A1", provider=file.stem, channel=channel, auth=auth, url=send.url or "https://a.example.com/"
            )
            found = composed(given, shipped)
            values = "".join([found.url, *found.headers.values(), found.body.decode()])
            assert "14155550100" in values
            assert "{{" not in values


# --- what comes back ----------------------------------------------------------------------------------------------


RULES = Send(
    url="https://x.example.com",
    id="messages.0.message-id",
    code="error.code",
    blocked_codes=["21610"],
    accepted={"messages.0.status": ["0", "ok"]},
)
OPEN = RULES.model_copy(update={"accepted": {}})


@pytest.mark.parametrize(
    ("rules", "body", "found"),
    [
        pytest.param(RULES, '{"messages":[{"status":"0","message-id":"00A1"}]}', "00A1", id="id"),
        pytest.param(RULES, '{"messages":[{"status":0,"message-id":12345678901234567890}]}',
                     "12345678901234567890", id="id beyond 2^53"),
        pytest.param(RULES, '{"messages":[{"status":"OK"}]}', "", id="no id"),
        pytest.param(OPEN, '{"messages":[]}', "", id="no message"),
        pytest.param(OPEN, '{"messages":{"0":{"message-id":"x"}}}', "x", id="a name that is a number"),
        pytest.param(OPEN, '{"messages":[{"message-id":{"a":1}}]}', "", id="an object is no id"),
        pytest.param(OPEN, '{"messages":[{"message-id":true}]}', "", id="nor is true"),
        pytest.param(OPEN, '{"messages":[{"message-id":"a\\u0000b\\ud800"}]}', "ab?", id="what no database takes"),
        pytest.param(OPEN, "0: Accepted for delivery", "", id="plain text"),
        pytest.param(OPEN, "", "", id="empty"),
        pytest.param(OPEN, "[" * 100_000, "", id="endlessly deep"),
    ],
)  # fmt: skip
def test_a_taken_message_gives_its_id(rules: Send, body: str, found: str) -> None:
    assert reader(rules)(Answer(200, {}, body.encode()), NOON) == found


def test_behind_a_backslash_a_dot_is_part_of_a_name() -> None:
    rules = OPEN.model_copy(update={"id": "message\\.id.0"})

    assert reader(rules)(Answer(200, {}, b'{"message.id":["x"]}'), NOON) == "x"


def failure(status: int, body: str = "", headers: Mapping[str, str] = {}) -> dict[str, Any]:
    with pytest.raises(SendFailed) as caught:
        reader(RULES)(Answer(status, dict(headers), body.encode()), NOON)
    return {"reason": str(caught.value), **vars(caught.value)}


def told(reason: str, **given: Any) -> dict[str, Any]:
    usual = {"permanent": False, "departed": False, "blocked": False, "retry_after": None}
    return {"reason": f"the provider answered {reason}", **usual, **given}


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (failure(400, '{"error":{"code":21211}}'), told("400 with code 21211", permanent=True)),
        (failure(400, '{"error":{"code":21610}}'), told("400 with code 21610", permanent=True, blocked=True)),
        (failure(401), told("401", permanent=True)),
        (failure(404, "<html>+14155550100</html>"), told("404", permanent=True)),
        (failure(408), told("408")),
        (failure(425), told("425")),
        (failure(429, headers={"retry-after": "7"}), told("429", retry_after=7.0)),
        (failure(500, "oops"), told("500")),
        # a gateway that lost sight of the provider
        (failure(502), told("502", departed=True)),
        (failure(504), told("504", departed=True)),
        (failure(503, headers={"retry-after": "Sun, 22 Nov 2026 12:01:00 GMT"}), told("503", retry_after=60.0)),
        (
            failure(307, headers={"location": "https://evil.example"}),
            told("307, a redirect, which is never followed; give the credential the final url", permanent=True),
        ),
        # HTTP says yes and the body says no
        (failure(200, '{"messages":[{"status":"1"}]}'), told("200")),
        (failure(200, '{"error":{"code":"21610"}}'), told("200 with code 21610", permanent=True, blocked=True)),
    ],
)  # fmt: skip
def test_every_refusal_says_whether_to_come_back(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found == wanted


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("1.5", 1.5),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),  # past
        ("Sunday, 22-Nov-26 12:00:30 GMT", 30.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("9" * 400, None),
        ("1e999", None),
        ("Sun, 99 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after(value, NOON) == seconds
