"""The inverse template of an operator's own provider."""

import json
from typing import Any

import pytest

from app.decode import check_sample
from app.decode.expected import shown
from app.errors import BadInput
from app.events import Event, Inbound, Receipt
from app.webhook import Webhook
from tests.decoding import PROVIDERS, decode

CUSTOM = PROVIDERS["custom"]


def custom(payload: Any, body: Any, **webhook: Any) -> list[dict[str, Any]]:
    """What a payload reads out of a body."""
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return [shown(event) for event in decode(CUSTOM, body, payload=text, **webhook).events]


@pytest.mark.parametrize(
    ("payload", "body", "addresses"),
    [
        # an object
        ({"v": 2, "m": {"n": "{{profileNumber}}", "t": "{{inboundMessage}}"}}, {"m": {"n": "+4171", "t": "x"}}, ["+4171"]),
        # the body is an array; text around a placeholder is cut off
        ([{"n": "tel:{{profileNumber}};a", "t": "{{ inboundMessage }}"}], [{"n": "tel:+4171;a", "t": "x"}, {"n": "+4172", "t": "y"}], ["+4171", "+4172"]),
        # nested arrays, values of the outer item and of the body
        ({"t": "{{inboundMessage}}", "a": [{"b": [{"n": "{{profileNumber}}"}]}]}, {"t": "x", "a": [{"b": [{"n": "+4171"}]}, {"b": {"n": "+4172"}}]}, ["+4171", "+4172"]),
        ({"a": [{"t": "{{inboundMessage}}", "b": ["{{profileNumber}}"]}]}, {"a": [{"t": "x", "b": ["+4171", "+4172"]}]}, ["+4171", "+4172"]),
        # names with every special character
        ({"a.b": {"$": {"^": {"t[]": "{{inboundMessage}}"}}, "@": "{{profileNumber}}"}}, {"a.b": {"$": {"^": {"t[]": "x"}}, "@": "+4171"}}, ["+4171"]),
    ],
)  # fmt: skip
def test_a_payload_reads_what_stands_where_its_placeholders_stand(
    payload: Any, body: Any, addresses: list[str]
) -> None:
    def longer(tree: Any) -> Any:
        return json.loads(json.dumps(tree).replace("+417", "+4179123456"))

    found = custom(payload, longer(body))

    assert [event["address"] for event in found] == [longer(address) for address in addresses]


def test_of_an_array_beside_the_events_the_first_element_is_read() -> None:
    payload = {
        "data": {
            "id": "{{messageId}}",
            "to": [{"n": "{{recipient}}", "s": "{{feedbackStatus}}"}],
            "errors": [{"code": "{{failureCode}}"}],
        }
    }
    body = {
        "data": {"id": "m", "to": [{"n": "+41791234567", "s": "failed"}], "errors": [{"code": "40008"}, {"code": "1"}]}
    }

    assert custom(payload, body, type="feedback") == [
        {
            "kind": "receipt",
            "message_id": "m",
            "recipient": "+41791234567",
            "status": "failed",
            "provider_status": "failed",
            "code": "40008",
        }
    ]


GOOD_INBOUND = '{"n": "{{profileNumber}}", "t": "{{inboundMessage}}"}'


@pytest.mark.parametrize(
    ("webhook", "problem"),
    [
        ({}, r"webhook hook: payload is missing: paste a request of the provider, with \{\{inboundMessage\}\}"),
        ({"type": "both", "payload": GOOD_INBOUND}, "webhook hook: feedback_payload is missing"),
        ({"payload": GOOD_INBOUND, "feedback_payload": "{}"}, "feedback_payload is for a webhook of type both; this one is of type inbound"),
        ({"payload": '{"a": {{profileNumber}}}'}, r"payload is not JSON: .* A placeholder stands in quotes: \"\{\{name\}\}\""),
        ({"payload": "[" * 100_000}, "payload has too many objects and arrays"),
        ({"payload": '{"a": "{{inboundMesage}}"}'}, r"\{\{inboundMesage\}\} is no placeholder here; there are \{\{inboundMessage\}\}"),
        ({"payload": '{"a": "{{feedbackStatus}}"}'}, r"\{\{feedbackStatus\}\} is no placeholder here"),
        ({"payload": '{"a": "{{inboundMessage}}{{profileNumber}}"}'}, "one placeholder at most"),
        ({"payload": '"{{inboundMessage}}"'}, "must be one value in an object or array"),
        ({"payload": '{"{{inboundMessage}}": 1}'}, "is a name; a placeholder stands for a value"),
        ({"payload": '{"": 1}'}, "'' is a name"),
        ({"payload": '{"a": "{{inboundMessage}}", "b": "{{inboundMessage}}"}'}, "stands in it twice"),
        ({"payload": '{"a": "{{inboundMessage}}"}'}, r"payload: \{\{profileNumber\}\} is missing; put it where"),
        ({"payload": '{"a": "{{messageId}}"}', "type": "feedback"}, r"\{\{feedbackStatus\}\} is missing"),
        ({"payload": '{"a": "{{feedbackStatus}}"}', "type": "feedback"}, r"\{\{messageId\}\} or \{\{client_reference\}\} is missing"),
        ({"payload": '{"a": ["{{inboundMessage}}"], "b": ["{{profileNumber}}"]}'}, "stand in different arrays"),
        ({"payload": '["{{profileNumber}}", "{{inboundMessage}}"]'}, "two placeholders stand at the same place of an array; its elements are read alike"),
        ({"payload": '[{"n": "from", "v": "{{profileNumber}}"}, {"n": "text", "v": "{{inboundMessage}}"}]'}, "two placeholders stand at the same place"),
        ({"payload": '{"t": "{{inboundMessage}}", "a": [{"n": "x"}, {"n": "tel:{{profileNumber}}"}]}'}, r"'tel:\{\{profileNumber\}\}' stands behind the first element of an array; put it into the first"),
        ({"payload": '{"a": [1, {"b": [{"n": "{{profileNumber}}", "t": "{{inboundMessage}}"}]}]}'}, "stands behind the first element"),
        ({"payload": '[[{"n": "{{profileNumber}}", "t": "{{inboundMessage}}"}]]'}, "stands in an array inside an array; such arrays cannot be read"),
    ],
)  # fmt: skip
def test_a_payload_that_cannot_be_used_is_refused_with_the_mend(webhook: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        decode(CUSTOM, {}, **webhook)


@pytest.mark.parametrize(
    ("payload", "feedback", "body", "kind"),
    [
        # what tells a receipt has all of what tells a message, and a status besides
        (GOOD_INBOUND, '{"n": "+41…", "t": "Hi", "id": "{{messageId}}", "s": "{{feedbackStatus}}"}', {"n": "+41791234567", "t": "Hi", "id": "1", "s": "sent"}, Receipt),
        (GOOD_INBOUND, '{"n": "+41…", "t": "Hi", "id": "{{messageId}}", "s": "{{feedbackStatus}}"}', {"n": "+41791234567", "t": "STOP"}, Inbound),
        # the other way round
        ('{"id": "7", "s": 0, "n": "{{profileNumber}}", "t": "{{inboundMessage}}"}', '{"id": "{{messageId}}", "s": "{{feedbackStatus}}"}', {"id": "1", "s": 0, "n": "+41791234567", "t": "STOP"}, Inbound),
        # each could be the other: no STOP is taken for a receipt
        ('{"id": "7", "s": 0, "n": "{{profileNumber}}", "t": "{{inboundMessage}}"}', '{"n": "+41…", "t": "Hi", "id": "{{messageId}}", "s": "{{feedbackStatus}}"}', {"id": "1", "s": 0, "n": "+41791234567", "t": "STOP"}, Inbound),
    ],
)  # fmt: skip
def test_of_two_payloads_the_one_that_says_more_is_read_first(
    payload: str, feedback: str, body: dict[str, Any], kind: type[Event]
) -> None:
    decoded = decode(CUSTOM, body, type="both", payload=payload, feedback_payload=feedback)

    assert [type(event) for event in decoded.events] == [kind]


def test_an_array_of_sample_data_may_have_any_form() -> None:
    payload = {"n": "{{profileNumber}}", "t": "{{inboundMessage}}", "box": [[1, 2], [3, 4]], "tags": ["a", "b"]}

    assert [event["text"] for event in custom(payload, {"n": "+41791234567", "t": "x"})] == ["x"]


def test_a_payload_for_a_provider_with_a_file_is_refused() -> None:
    with pytest.raises(BadInput, match="webhook hook: Twilio Programmable Messaging needs no payload"):
        decode(PROVIDERS["twilio"], {}, payload=GOOD_INBOUND)


@pytest.mark.parametrize(
    ("sample", "problem"),
    [
        ('{"n": "+41791234567"}', "the sample gives no event. This is none of the events that the payload tells: inbound needs a value at t."),
        ('{"n": "12", "t": "x"}', "the sample gives no event. '1•••' is not a number"),
        ("<xml/>", "inbound needs a value at t"),
    ],
)  # fmt: skip
def test_a_sample_that_gives_no_event_is_refused_with_the_path_that_is_missing(sample: str, problem: str) -> None:
    webhook = Webhook.model_validate({"name": "hook", "provider": "custom", "payload": GOOD_INBOUND, "sample": sample})

    with pytest.raises(BadInput) as caught:
        check_sample(CUSTOM, webhook)

    assert problem in str(caught.value)


def test_a_sample_of_an_event_that_is_ignored_is_refused() -> None:
    sample = '{"event": {"composing_event": {}}}'
    webhook = Webhook.model_validate({"name": "hook", "provider": "sinch-conversation", "sample": sample})

    with pytest.raises(BadInput, match="the sample is an event that is ignored"):
        check_sample(PROVIDERS["sinch-conversation"], webhook)


@pytest.mark.parametrize(
    ("payload", "sample"),
    [
        (GOOD_INBOUND, '{"n": "+41791234567", "t": "x"}'),
        (GOOD_INBOUND, "n=%2B41791234567&t=x"),
        (f'{{"sms": {GOOD_INBOUND}}}', "<sms><n>+41791234567</n><t>x</t></sms>"),
    ],
)
def test_a_good_sample_shows_what_is_read_from_it(payload: str, sample: str) -> None:
    webhook = Webhook.model_validate({"name": "hook", "provider": "custom", "payload": payload, "sample": sample})

    decoded = check_sample(CUSTOM, webhook)

    assert decoded is not None
    assert [shown(event) for event in decoded.events] == [
        {"kind": "inbound", "address": "+41791234567", "text": "x", "repeats_within": 30.0}
    ]


def test_a_webhook_without_a_sample_is_checked_without_it() -> None:
    webhook = Webhook.model_validate({"name": "hook", "provider": "custom", "payload": GOOD_INBOUND})

    assert check_sample(CUSTOM, webhook) is None
