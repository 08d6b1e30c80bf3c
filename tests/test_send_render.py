"""From a message to a provider's request."""

import base64
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from app.credential import ApiKeyAuth, Auth, BasicAuth, BearerAuth, Credential, JwtAuth, MacAuth, OAuthAuth
from app.errors import BadInput, SendFailed
from app.provider import Provider, load_provider
from app.send.connection import Answer
from app.send.courier import courier
from app.send.destinations import place
from app.send.render import Message, Outgoing, composer, send_rules
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

    found = composed(credential(), file, MESSAGE._replace(to_number="a/b", text="../a&to=+1#x"))

    assert found.url == "https://api.example.com/a%2Fb?text=..%2Fa%26to%3D%2B1%23x"


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


@pytest.mark.parametrize(
    ("payload_format", "payload", "content_type", "body"),
    [
        pytest.param(
            "form",
            "a=1&to={{toNumber}}&text=Acme%3A+{{message}}&up={{$uppercase(toNumber & '=') }}&none=",
            "application/x-www-form-urlencoded",
            "a=1&to=%2B14155550100&text=Acme%3A+a%26b%3C&up=%2B14155550100%3D&none=",
            id="form",
        ),
        pytest.param(
            "xml",
            '<?xml version="1.0" encoding="UTF-8"?>\n<sms to="{{toNumber}}"><!-- place placex --><text>{{message}}</text></sms>',
            "application/xml",
            '<?xml version="1.0" encoding="UTF-8"?>\n<sms to="+14155550100"><!-- place placex --><text>a&#38;b&#60;</text></sms>',
            id="xml",
        ),
        pytest.param("text", "{{toNumber}}\n{{message}}", "text/plain", "+14155550100\na&b<", id="text"),
    ],
)
def test_a_payload_may_have_any_of_the_formats(payload_format: Any, payload: str, content_type: str, body: str) -> None:
    given = custom(payload_format=payload_format, payload=payload, method="PUT")

    found = composed(given, None, MESSAGE._replace(text="a&b<"))

    assert found == Outgoing(
        "PUT",
        "https://api.example.com/send",
        {"Content-Type": content_type, "Charset": "UTF-8"},
        body.encode(),
    )


def test_the_form_of_an_own_payload_is_the_query_of_a_get() -> None:
    found = composed(custom(payload_format="form", payload="to={{toNumber}}&text={{message}}", method="GET"))

    assert (found.method, found.body) == ("GET", b"")
    assert parse_qsl(urlsplit(found.url).query) == [("to", "+14155550100"), ("text", "You & I: 100 % “free”")]


@pytest.mark.parametrize(
    ("send", "where"),
    [
        pytest.param({"json": {"to": "{{toNumber}}", "hook": "{{feedbackUrl}}"}}, "body", id="json"),
        pytest.param({"form": {"to": "{{toNumber}}", "hook": "{{feedbackUrl}}"}}, "body", id="form"),
        pytest.param({"form": {"hook": "{{feedbackUrl}}", "to": "{{toNumber}}"}, "method": "GET"}, "url", id="query"),
    ],
)
def test_a_provider_is_told_where_to_report_only_when_somebody_listens(send: dict[str, Any], where: str) -> None:
    given, file = credential(), provider(**send)

    told = composer(given, send_rules(given, file), "https://us.example.com/in/1")(MESSAGE)
    untold = composer(given, send_rules(given, file))(MESSAGE)

    assert "us.example.com" in str(getattr(told, where))
    assert "hook" not in str(getattr(untold, where))


RICH = MESSAGE._replace(
    text="Coming?", suggestions=({"text": "YES"}, {"text": "Site", "url": "https://a.example"}), fallback="Say YES."
)
RCS = {
    "text": "{{message}}",
    "sms": {"text": "{{fallback}}"},
    "replies": "{{suggestions}}",
    "chips": "{{$map(suggestions[$not($exists(url))], function($one) { {'label': $one.text} })[]}}",
}


def rcs(**given: Any) -> Credential:
    return custom(**{"channel": "rcs", "payload": json.dumps(RCS), **given})


def test_rcs_has_suggestions_and_a_fallback() -> None:
    found = composed(rcs(), None, RICH)

    assert json.loads(found.body) == {
        "text": "Coming?",
        "sms": {"text": "Say YES."},
        "replies": [{"text": "YES"}, {"text": "Site", "url": "https://a.example"}],
        "chips": [{"label": "YES"}],
    }


def test_what_a_plain_message_has_not_is_left_out() -> None:
    found = composed(rcs(), None, RICH._replace(suggestions=(), fallback=""))

    assert json.loads(found.body) == {"text": "Coming?"}


@pytest.mark.parametrize(("channel", "text"), [("sms", "Say YES."), ("mms", "Say YES."), ("rcs", "Coming?")])
def test_without_rcs_the_fallback_is_the_message(channel: str, text: str) -> None:
    found = composed(custom(channel=channel), None, RICH)

    assert json.loads(found.body)["text"] == text


def test_a_provider_file_is_completed_by_the_credentials_parameters() -> None:
    file = provider(
        url="https://{{parameters.space}}.example.com/{{parameters.team}}/{{toNumber}}",
        form={"from": "{{parameters.team}} {{fromNumber}}"},
        headers={"X-Team": "{{parameters.team}}"},
    )

    found = composed(credential(parameters={"space": "acme", "team": "a/b"}), file)

    assert found.url == "https://acme.example.com/a%2Fb/%2B14155550100"
    assert found.headers["X-Team"] == "a/b"
    assert found.body == b"from=a%2Fb+%2B14155550199"


def test_a_profile_and_expressions_reach_every_leaf_and_keep_their_types() -> None:
    payload = {
        "hello": "Hi {{profile.firstName}}{{profile.lastName}}, {{$uppercase(profile.firstName) & '!'}}",
        "n": "{{$length(message)}}",
        "who": "{{ {'id': toNumber, 'ref': messageReference} }}",
        "none": "{{profile.lastName ? 1}}",
        "in text": "{{profile.missing.deeper}}|{{1 = 1}}|{{[1, 2]}}",
        "parameters": "{{parameters}}",
        "profile": "{{profile}}",
    }
    given = custom(payload=json.dumps(payload), parameters={"a": "b"})

    found = composed(given, None, MESSAGE._replace(profile={"firstName": "Zoë"}))

    assert json.loads(found.body) == {
        "hello": "Hi Zoë, ZOË!",
        "n": 21,
        "who": {"id": "+14155550100", "ref": "4711"},
        "in text": "|true|[1,2]",
        "parameters": {"a": "b"},
        "profile": {"firstName": "Zoë"},
    }


def test_an_expression_that_fails_ends_this_message_and_shows_nothing_of_it() -> None:
    given = custom(payload='{"n": "{{$number(message)}}"}')

    with pytest.raises(SendFailed) as caught:
        composed(given)

    assert caught.value.permanent
    assert str(caught.value) == (
        "the request could not be made: {{$number(message)}}: the expression fails at character 9: a text is not a number"
    )


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


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_message_changes_the_structure_of_xml(text: str) -> None:
    given = custom(payload_format="xml", payload="<a b='{{message}}' c=\"{{message}}\">{{message}}<d>1</d></a>")

    found = fromstring(composed(given, None, MESSAGE._replace(text=text)).body)

    kept = "".join(sign for sign in text if sign in "\t\n\r" or (sign >= " " and sign not in "\ufffe\uffff"))
    assert (found.attrib, found.text, [each.tag for each in found]) == ({"b": kept, "c": kept}, kept or None, ["d"])


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_message_changes_the_structure_of_a_url(text: str) -> None:
    given = custom(url="https://api.example.com/v1/{{message}}/to?text={{message}}&to={{toNumber}}")

    try:
        url = composed(given, None, MESSAGE._replace(text=text)).url
    except SendFailed:
        assert {step.partition(";")[0] for step in re.split(r"[/\\]", text)} & {".", ".."}
        return

    parts = urlsplit(url)
    assert (parts.netloc, parts.fragment, place(url).target) == ("api.example.com", "", f"{parts.path}?{parts.query}")
    assert [unquote(step) for step in parts.path.split("/")] == ["", "v1", text, "to"]
    assert parse_qsl(parts.query, keep_blank_values=True) == [("text", text), ("to", "+14155550100")]


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("/v1/{{message}}/to", "."),
        ("/v1/{{message}}/to", ".."),
        ("/v1/{{message}}?to=1", ".."),
        ("/v1/{{message}}", "../admin"),
        ("/v1/{{message}}", "a/../../admin"),
        ("/v1/{{message}}", "..\\admin"),
        ("/v1/{{message}}", "a\\.."),
        ("/v1/{{message}}", "..;a=b"),
        ("/v1/{{message}};v=2/to", ".."),
        ("/v1/a{{message}}", "/.."),
        ("/v1%2f{{message}}", ".."),
        ("/v1/%2E{{message}}", "."),
        ("/v1/{{$string(message)}}{{message}}/to", "."),
    ],
)
def test_no_message_leads_to_another_path(url: str, text: str) -> None:
    given = custom(url=f"https://api.example.com{url}")

    with pytest.raises(SendFailed, match="change the path"):
        composed(given, None, MESSAGE._replace(text=text))


@pytest.mark.parametrize("text", ["...", "a..b", "..a", "%2e%2e", "a/b", ". .", "1.2;v=..3"])
def test_points_that_are_no_step_up_stay(text: str) -> None:
    given = custom(url="https://api.example.com/v1/{{message}}/to")

    found = composed(given, None, MESSAGE._replace(text=text))

    assert unquote(found.url) == f"https://api.example.com/v1/{text}/to"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_message_changes_the_structure_of_a_header(text: str) -> None:
    given = custom(headers={"X-Text": "a {{message}} b", "X-Up": "{{$uppercase(message)}}"})

    found = composed(given, None, MESSAGE._replace(text=text))

    # a line break in a value is refused by the client, which sees the whole head
    assert list(found.headers) == ["Content-Type", "Charset", "X-Text", "X-Up"]
    assert found.headers["X-Text"] == f"a {text} b"


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


def test_a_reference_in_a_header_makes_a_repeat_noticed_too() -> None:
    given = credential(idempotent=True, headers={"Idempotency-Key": "{{messageReference}}"})

    assert courier(given, provider(form={"a": "b"})).idempotent


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
        pytest.param(
            custom(url="https://{{$lowercase(message)}}.example.com/"),
            None,
            "must be like|host depends",
            id="message in a worked-out host",
        ),
        pytest.param(custom(url="https://api.example.com/../x"), None, "step up", id="step up in the url"),
        pytest.param(custom(url="https://api.example.com/a%2f%2e."), None, "step up", id="step up, encoded"),
        pytest.param(custom(url="https://api.example.com/..;a/x"), None, "step up", id="step up with a parameter"),
        pytest.param(custom(url="https://api.example.com/#x"), None, "fragment", id="fragment in the url"),
        pytest.param(custom(url="https://{{parameters.host}}/"), None, 'no parameter "host"', id="parameter missing"),
        pytest.param(custom(payload='{"a": "{{$upcase(message)}}"}'), None, "no function", id="function misspelt"),
        pytest.param(custom(payload='{"a": "{{message &}}"}'), None, "character 10", id="expression broken off"),
        pytest.param(custom(payload='{"a": "{{message.x}}"}'), None, "no placeholder", id="part of a text"),
        pytest.param(custom(payload='{"a": "{{}}"}'), None, "no placeholder", id="nothing in a place"),
        pytest.param(custom(payload="{{message", payload_format="text"), None, "never closed", id="open at the end"),
        pytest.param(custom(payload="to", payload_format="form"), None, "not a form", id="no form"),
        pytest.param(custom(payload="a=%ff", payload_format="form"), None, "not a form", id="form in another charset"),
        pytest.param(custom(payload="a=1&a=2", payload_format="form"), None, "twice", id="field twice"),
        pytest.param(custom(payload="{{message}}=1", payload_format="form"), None, "values only", id="in a field name"),
        pytest.param(custom(payload="<a>", payload_format="xml"), None, "not well-formed", id="xml broken off"),
        pytest.param(
            custom(payload="<{{message}}/>", payload_format="xml"),
            None,
            "quoted attributes only",
            id="in an element name",
        ),
        pytest.param(
            custom(payload="<a><!--{{message}}--></a>", payload_format="xml"),
            None,
            "quoted attributes only",
            id="in a comment",
        ),
        pytest.param(
            custom(payload="<a {{message}}='1'/>", payload_format="xml"),
            None,
            "quoted attributes only",
            id="in an attribute name",
        ),
        pytest.param(
            custom(payload="<a b={{message}} />", payload_format="xml"),
            None,
            "not well-formed",
            id="attribute without quotes",
        ),
        pytest.param(
            custom(payload="<a>&{{message}};</a>", payload_format="xml"), None, "not well-formed", id="in an entity"
        ),
        pytest.param(custom(payload="<a><![CDATA[{{message}}]]></a>", payload_format="xml"), None, "CDATA", id="cdata"),
        pytest.param(
            custom(payload="<?xml version='1.0' encoding='latin1'?><a/>", payload_format="xml"),
            None,
            "UTF-8",
            id="xml in another charset",
        ),
        pytest.param(
            custom(payload="<!DOCTYPE a><a/>", payload_format="xml"), None, "not well-formed", id="document type"
        ),
        pytest.param(
            custom(payload="<a/>", payload_format="xml", method="GET"), None, "GET has no xml", id="xml in a GET"
        ),
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
    assert any(each in str(caught.value) for each in reason.split("|"))


@pytest.mark.parametrize("file", sorted((CONFIG_DIR / "providers").glob("*.toml")), ids=lambda file: file.stem)
def test_every_provider_file_can_send_what_it_says(file: Path) -> None:
    shipped = load_provider(file)
    auths: dict[str, Auth] = {
        "basic": BasicAuth(username="u", password=SecretStr("p")),
        "bearer": BearerAuth(token=SecretStr("t")),
        "api_key": ApiKeyAuth(name="k", token=SecretStr("t")),
        "jwt": JwtAuth(key=SecretStr("k" * 64), algorithm="HS512"),
        "oauth": OAuthAuth(url="https://auth.example.com/token"),
        "mac": MacAuth(token="t", secret=SecretStr("c2VjcmV0")),
    }
    parameters = dict.fromkeys(re.findall(r"parameters\.(\w+)", file.read_text("utf-8")), "p1")

    for channel, send in shipped.send.items():
        for kind in send.auth or ["basic"]:
            auth = auths.get(kind, Credential.model_fields["auth"].default)
            given = credential(
                app_id="A1",
                provider=file.stem,
                channel=channel,
                auth=auth,
                url=send.url or "https://a.example.com/",
                parameters=parameters,
            )
            found = composed(given, shipped)
            values = "".join([found.url, *found.headers.values(), found.body.decode()])
            assert "14155550100" in values
            assert "{{" not in values
