"""How a request is read, told to people."""

import json
from typing import Any

import pytest

from app.decode import Explained, decoder, explain_reading, explained_json
from app.decode.explained import FieldRead, HandshakeRead, Looked, RuleRead
from app.errors import BadInput
from app.provider import Provider
from app.request import Request
from tests.decoding import INBOUND, PROVIDERS, RECEIPT, decode, made, request, webhook_for

MESSAGES = {
    "kind": "inbound", "each": "results[]", "when": {"kind": "mo"}, "id": "id", "address": "from",
    "text": ["button.text", "text"], "time": "at", "sender": "$.to",
}  # fmt: skip


def explained(provider: Provider, body: Any, **webhook: Any) -> Explained:
    came = body if isinstance(body, Request) else request(json.dumps(body))
    return explain_reading(provider, webhook_for(provider, **webhook), came)


def found(name: str, value: str, path: str, *looked: str, problem: str = "") -> FieldRead:
    """A field whose value stood in the last place where it was looked for."""
    nowhere = [Looked(place, "") for place in looked]
    return FieldRead(name, value, path, (*nowhere, Looked(path, value)), problem)


def test_each_rule_says_what_it_makes_of_each_item() -> None:
    provider = made(MESSAGES, {**RECEIPT, "each": "results[]", "when": [{"status": True}, {"seen": True}]})
    body = {
        "to": "12345",
        "results": [
            {"kind": "mo", "id": 7, "from": "+41791234567", "text": "STOP", "at": "soon", "cost": 1},
            {"kind": "new", "from": "+41791234567"},
        ],
    }

    told = explained(provider, body)

    assert told == Explained(
        decoded=decode(provider, body),
        is_handshake=False,
        rules=(
            RuleRead(
                1, "inbound", "results.0", "", True,
                (
                    found("id", "7", "id"),
                    found("address", "+41791234567", "from"),
                    found("sender", "12345", "$.to"),
                    found("time", "soon", "at", problem="this is no time that can be read; the time of receipt counts"),
                    found("text", "STOP", "text", "button.text"),
                ),
            ),
            RuleRead(1, "inbound", "results.1", "kind = mo", False, ()),
            RuleRead(2, "receipt", "results.0", "a value at status or a value at seen", False, ()),
            RuleRead(2, "receipt", "results.1", "a value at status or a value at seen", False, ()),
        ),
        left=("results.0.cost", "results.1.kind", "results.1.from"),
    )  # fmt: skip


def test_a_field_that_is_nowhere_names_the_places_where_it_was_looked_for() -> None:
    rule = {
        **INBOUND,
        "text": ["a.b", {"expr": "c & d"}, {"path": "e", "wrapping": "hex"}, {"const": "x", "when": {"f": True}}],
    }

    told = explained(made(rule), {"from": "+41791234567", "e": "no hex"})

    fields = {field.name: field for field in told.rules[0].fields}
    assert fields["text"] == FieldRead(
        "text", "", "", (Looked("a.b", ""), Looked("c & d", ""), Looked("e", ""), Looked("'x'", "")),
        "the text at e is no hex",
    )  # fmt: skip
    assert [trouble.reason for trouble in told.decoded.troubles] == ["the text at e is no hex"]


def test_an_item_is_read_by_the_first_rule_that_holds() -> None:
    provider = made({**INBOUND, "when": {"from": True}}, {"kind": "ignore"})

    told = explained(provider, {"from": "+41791234567"})

    assert [(rule.kind, rule.lacks, rule.reads) for rule in told.rules] == [
        ("inbound", "", True),
        ("ignore", "", False),
    ]


def test_what_conditions_joined_values_and_expressions_look_at_is_not_left() -> None:
    provider = made(
        {
            **INBOUND,
            "each": "items[]",
            "id": ["^.id", "^.^.id"],
            "text": [{"path": "t_{i}", "join": ""}, {"among": "parts", "path": "v", "when": {"k": "x"}}],
            "sender": {"expr": "one & two.three"},
            "category": "header:x-category",
            "answered": "@",
        },
        {**RECEIPT, "when": {"status": True}},
        status_rules=[{"when": {"code": "7", "detail": "x"}, "status": "failed"}],
    )
    item = {
        "from": "+41791234567", "t_1": "a", "t_2": "b", "t_4": "left", "one": "1", "two": {"three": "3", "four": "left"},
        "parts": [{"k": "x", "v": "1", "w": "left"}], "empty": "", "none": None, "list": [],
    }  # fmt: skip

    messages = explained(provider, {"id": "1", "items": [item], "x.y": "left", "zero": 0})
    receipts = explained(provider, {"id": "1", "status": "sent", "code": "7", "detail": "x", "more": True})

    assert messages.left == (
        "items.0.t_4", "items.0.two.four", "items.0.parts.0.w", r"x\.y", "zero",
    )  # fmt: skip
    assert receipts.left == ("more",)


def test_a_handshake_is_recognised_or_says_what_it_lacks() -> None:
    provider = made(
        {**INBOUND, "when": {"from": True}},
        handshakes=[
            {"method": "GET", "when": {"mode": "subscribe"}},
            {"when": {"type": "hello"}},
            {"body": "{{challenge}}"},
            {"body": "{{type}}"},
        ],
    )

    told = explained(provider, {"type": "other"})

    assert told.is_handshake
    assert told.handshakes == (
        HandshakeRead(1, "method GET"),
        HandshakeRead(2, "type = hello"),
        HandshakeRead(3, "The provider tries the URL, and there is no value at challenge."),
        HandshakeRead(4, ""),
    )


def test_a_payload_is_explained_like_a_provider_file() -> None:
    payload = '{"n": "tel:{{profileNumber}}", "t": "{{inboundMessage}}", "a.b": "{{requestId}}"}'

    told = explained(PROVIDERS["custom"], {"n": "tel:+41791234567", "text": "STOP"}, payload=payload)

    assert [(rule.kind, rule.lacks) for rule in told.rules] == [("inbound", "a value at t")]
    assert told.left == ("n", "text")
    with pytest.raises(BadInput, match="payload is missing"):
        explained(PROVIDERS["custom"], {})


def test_a_body_that_cannot_be_read_has_no_rules() -> None:
    provider = made(INBOUND)

    assert explained(provider, request("{")) == Explained(decode(provider, "{"), is_handshake=False)


def test_a_long_request_is_explained_in_part() -> None:
    provider = made({**INBOUND, "each": "[]"})
    body = [{"id": str(n), "from": "+41791234567", "text": "x" * 2000, "more": 1} for n in range(300)]

    told = explained(provider, body)

    assert (len(told.rules), len(told.left)) == (50, 200)
    assert {len(field.value) for rule in told.rules for field in rule.fields if field.name == "text"} == {1000}


def test_an_explanation_is_told_in_json_as_it_is() -> None:
    provider = made({**INBOUND, "whole": "ref", "part": "n", "parts": "of"})
    body = {"id": "1", "from": "+41791234567", "text": "x", "at": 1767268800, "ref": "7", "n": 1, "of": 2}

    told = explained_json(explained(provider, body))

    event = told["decoded"]["events"][0]
    assert json.loads(json.dumps(told)) == told
    assert (event["provider_time"], event["piece"]) == (
        "2026-01-01T12:00:00+00:00",
        {"whole": "p|made|7|+41791234567|", "number": 1, "total": 2},
    )
    assert told["rules"][0]["fields"][0] == {
        "name": "id", "value": "1", "path": "id", "looked": [{"path": "id", "value": "1"}], "problem": "",
    }  # fmt: skip


def test_explaining_leaves_the_request_to_be_read_by_others() -> None:
    first = made(INBOUND, handshakes=[{"when": {"hello": True}}], unwrap=[{"path": "from"}])
    second = made(INBOUND)
    came = request('{"from": "[1]", "id": "1"}')

    explain_reading(first, webhook_for(first), came)

    assert decoder(second, webhook_for(second))(came) == decode(second, '{"from": "[1]", "id": "1"}')
