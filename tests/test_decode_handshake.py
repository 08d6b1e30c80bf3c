"""Requests by which a provider tries the URL."""

from typing import Any

import pytest

from app.decode import Shaken, decoder, handshaker
from app.errors import BadInput
from app.events import Reading
from app.provider import Provider
from app.request import Request
from tests.decoding import INBOUND, decode, made, request, webhook_for


def shaken(came: Request, *handshakes: dict[str, Any], **fields: Any) -> Shaken | None:
    """What a provider with these handshakes is answered."""
    provider = made({**INBOUND, "when": {"from": True}}, handshakes=handshakes, **fields)
    shake = handshaker(provider, webhook_for(provider))
    assert shake is not None
    return shake(came)


#: https://developers.facebook.com/docs/graph-api/webhooks/getting-started
META = {
    "method": "GET", "when": {r"hub\.mode": "subscribe"}, "unproved": True, "token": r"hub\.verify_token",
    "body": r"{{hub\.challenge}}",
}  # fmt: skip
#: https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema
EVENT_GRID = {
    "when": {"0.eventType": "Microsoft.EventGrid.SubscriptionValidationEvent"}, "content_type": "application/json",
    "body": '{"validationResponse": "{{0.data.validationCode}}"}',
}  # fmt: skip
#: https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md
CLOUD_EVENTS = {
    "method": "OPTIONS", "when": {"header:WebHook-Request-Origin": True}, "unproved": True,
    "headers": {"WebHook-Allowed-Origin": "{{header:webhook-request-origin}}", "WebHook-Allowed-Rate": "*"},
}  # fmt: skip
#: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
SNS = {
    "when": {"Type": "SubscriptionConfirmation"}, "visit": "SubscribeURL",
    "visit_hosts": [r"sns\.[a-z0-9-]{3,}\.amazonaws\.com(\.cn)?"],
}  # fmt: skip
#: Vonage calls a URL without parameters when it is entered
PING = {"method": "GET", "when": {"messageId": False, "msisdn": False}, "unproved": True}


def test_a_challenge_is_repeated_and_the_word_handed_over() -> None:
    came = request(method="GET", query="hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=word")

    assert shaken(came, META) == Shaken(200, (("content-type", "text/plain"),), b"1158201444", True, "word", "")


def test_a_handshake_without_the_word_is_one_with_an_empty_word() -> None:
    came = request(method="GET", query="hub.mode=subscribe&hub.challenge=1158201444")

    found = shaken(came, META)

    assert found is not None
    assert found.token == ""


def test_a_value_in_a_json_answer_is_no_more_than_a_text() -> None:
    came = request(
        '[{"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "a\\"}"}}]'
    )

    assert shaken(came, EVENT_GRID) == Shaken(
        200, (("content-type", "application/json"),), b'{"validationResponse": "a\\"}"}', False, None, ""
    )


def test_a_header_of_the_request_is_repeated_in_a_header_of_the_answer() -> None:
    came = request(method="OPTIONS", headers={"webhook-request-origin": "eventgrid.azure.net"})

    assert shaken(came, CLOUD_EVENTS) == Shaken(
        200,
        (("WebHook-Allowed-Origin", "eventgrid.azure.net"), ("WebHook-Allowed-Rate", "*")),
        b"",
        True,
        None,
        "",
    )


def test_no_value_begins_a_header_of_its_own() -> None:
    came = request('{"v": "a\\r\\nSet-Cookie: x=1\\u0085\\u2028é"}')

    found = shaken(came, {"headers": {"X-Echo": "{{v}}"}})

    assert found is not None
    assert found.headers == (("X-Echo", "aSet-Cookie: x=1"),)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", b"<b>&\"'"),
        ("text/html; charset=utf-8", b"&lt;b&gt;&amp;&quot;&#x27;"),
        ("application/xml", b"&lt;b&gt;&amp;&quot;&#x27;"),
        ("application/problem+json", b"<b>&\\\"'"),
    ],
)
def test_a_value_cannot_break_out_of_the_answer(content_type: str, body: bytes) -> None:
    found = shaken(request('{"v": "<b>&\\"\'"}'), {"content_type": content_type, "body": "{{ v }}"})

    assert found is not None
    assert found.body == body


@pytest.mark.parametrize("came", [request(method="GET"), request(method="GET", query="other=1")])
def test_an_empty_request_is_a_handshake_where_the_file_says_so(came: Request) -> None:
    assert shaken(came, PING) == Shaken(200, (), b"", True, None, "")


@pytest.mark.parametrize(
    "came",
    [
        request(method="GET", query="hub.mode=unsubscribe&hub.challenge=1"),
        request(method="GET", query="hub.mode=subscribe&hub.verify_token=word"),  # no challenge to repeat
        request(method="GET", query="hub.mode=subscribe&hub.challenge="),
        request('{"hub.mode": "subscribe", "hub.challenge": "1"}'),  # another method
        request("<not XML", method="GET"),
        request("", method="PUT"),
    ],
)
def test_anything_else_is_no_handshake(came: Request) -> None:
    assert shaken(came, META, EVENT_GRID, SNS) is None


def test_the_first_handshake_that_can_be_answered_is() -> None:
    came = request('{"a": "1"}')

    found = shaken(came, {"when": {"b": True}}, {"body": "{{b}}"}, {"body": "second {{a}}"}, {"body": "third"})

    assert found is not None
    assert found.body == b"second 1"


@pytest.mark.parametrize(
    "url",
    [
        "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:x&Token=ab@c",
        "https://sns.cn-north-1.amazonaws.com.cn:443/",
        "https://SNS.us-east-1.amazonaws.com",
    ],
)
def test_a_url_of_an_allowed_host_may_be_called(url: str) -> None:
    found = shaken(request(f'{{"Type": "SubscriptionConfirmation", "SubscribeURL": "{url}"}}'), SNS)

    assert found == Shaken(200, (), b"", False, None, url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://sns.us-east-1.amazonaws.com/",
        "https://sns.us-east-1.amazonaws.com.example.com/",
        "https://example.com/sns.us-east-1.amazonaws.com/",
        "https://sns.us-east-1.amazonaws.com@example.com/",
        "https://example.com#@sns.us-east-1.amazonaws.com/",
        "https://example.com\\\\@sns.us-east-1.amazonaws.com/",
        "https://sns.us-east-1.amazonaws.com\\u3002example.com/",
        "https://sns.us-east-1.amazonaws.com/ x",
        " https://sns.us-east-1.amazonaws.com/",
        "https://sns.us-east-1.amazonaws.com/\\r\\nHost: example.com",
        "https://snsXus-east-1.amazonaws.com/",
        "https://127.0.0.1/",
    ],
)
def test_any_other_url_is_not_called_and_the_request_waits_for_a_person(url: str) -> None:
    body = f'{{"Type": "SubscriptionConfirmation", "SubscribeURL": "{url}"}}'
    provider = made({"kind": "ignore", "when": {"Type": True}}, handshakes=[SNS])

    decoded = decode(provider, body)

    assert shaken(request(body), SNS) is None
    assert (decoded.reading, decoded.problem) == (
        Reading.UNDECODED,
        "The provider tries the URL, and the URL at SubscribeURL is no https URL of a host that the provider file allows.",
    )


def test_a_handshake_that_lacks_a_value_says_so_unless_it_is_an_event() -> None:
    provider = made({**INBOUND, "when": {"from": True}}, handshakes=[{"body": "{{challenge}}"}])

    nothing = decode(provider, {"x": 1})
    event = decode(provider, {"id": "1", "from": "+41791234567"})

    assert nothing.problem == "The provider tries the URL, and there is no value at challenge."
    assert event.reading is Reading.EVENTS


def test_names_of_a_handshake_are_folded_with_the_others() -> None:
    handshake = {
        "when": {"Kind": "Hello"},
        "token": "Word",
        "body": "{{ Inner.Value }}",
        "headers": {"X": "{{query:Q}}"},
    }

    found = shaken(
        request('{"KIND": "hello", "WORD": "w", "inner": {"VALUE": "v"}}', query="Q=q"), handshake, fold_names=True
    )

    assert found == Shaken(200, (("content-type", "text/plain"), ("X", "q")), b"v", False, "w", "")


def test_a_provider_without_handshakes_has_nothing_to_answer() -> None:
    provider = made(INBOUND)

    assert handshaker(provider, webhook_for(provider)) is None


@pytest.mark.parametrize(
    ("handshake", "problem"),
    [
        ({"when": {"a..b": True}}, "path 'a..b' has an empty name"),
        ({"body": "{{request:url}}"}, "path 'request:url': there are header:<name>"),
        ({"visit": "url", "visit_hosts": ["("]}, "visit_hosts: missing"),
    ],
)
def test_a_handshake_that_cannot_be_is_refused(handshake: dict[str, Any], problem: str) -> None:
    provider: Provider = made(INBOUND, handshakes=[handshake])

    with pytest.raises(BadInput, match=f"webhook hook: provider file made: {problem}"):
        handshaker(provider, webhook_for(provider))
    with pytest.raises(BadInput, match=f"provider file made: {problem}"):
        decoder(provider, webhook_for(provider))
