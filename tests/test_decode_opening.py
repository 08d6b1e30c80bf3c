"""What is wrapped in a body, and names that are written in many ways."""

import json
from base64 import b64encode, urlsafe_b64encode
from typing import Any
from urllib.parse import urlencode

import pytest

from app.decode import decoder, handshaker
from app.decode.expected import shown
from app.decode.opening import opener
from app.errors import BadInput, Unreadable
from app.events import Inbound, Reading
from app.provider import Provider
from tests.decoding import FORM, INBOUND, decode, made, request, webhook_for


def opened(tree: Any, *unwrap: dict[str, Any], **fields: Any) -> Any:
    """The tree after what is wrapped in it has been opened."""
    return opener(made(INBOUND, unwrap=unwrap, **fields))(request(json.dumps(tree)))


def based(tree: Any) -> str:
    return b64encode(json.dumps(tree).encode()).decode()


INNER = {"text": "ÿ?>STOP", "n": 12345678901234567890123}
BASE64 = ["base64", "json"]


@pytest.mark.parametrize(
    ("tree", "unwrap", "found"),
    [
        ({"m": json.dumps(INNER)}, {"path": "m"}, {"m": INNER}),
        ({"m": "[1, 2]"}, {"path": "m"}, {"m": [1, 2]}),
        ({"a": {"b": [0, json.dumps(INNER)]}}, {"path": "a.b.1"}, {"a": {"b": [0, INNER]}}),
        ({"m": based(INNER)}, {"path": "m", "steps": BASE64}, {"m": INNER}),
        ({"m": urlsafe_b64encode(json.dumps(INNER, ensure_ascii=False).encode()).decode().rstrip("=")}, {"path": "m", "steps": BASE64}, {"m": INNER}),
        ({"m": "U1RPUA=="}, {"path": "m", "steps": ["base64"]}, {"m": "STOP"}),
        ({"m": "AA=="}, {"path": "m", "steps": ["base64"]}, {"m": "\ufffd"}),
        ({"l": ["{}", 7, "[1]"]}, {"path": "l[]"}, {"l": [{}, 7, [1]]}),
        ({"l": [{"d": '{"a": 1}'}, {"e": 1}, {"d": "x"}]}, {"path": "l[].d"}, {"l": [{"d": {"a": 1}}, {"e": 1}, {"d": "x"}]}),
        ({"l": {"d": "[1]"}}, {"path": "l[].d"}, {"l": {"d": [1]}}),  # an object where an array is told
        (["[1]", "[2]"], {"path": "[]"}, [[1], [2]]),
        ('{"a": 1}', {"path": "@"}, {"a": 1}),  # JSON in JSON, with nothing around it
        # what cannot be opened stays as it is
        ({"m": "STOP"}, {"path": "m"}, {"m": "STOP"}),
        ({"m": "123"}, {"path": "m"}, {"m": "123"}),
        ({"m": '"STOP"'}, {"path": "m"}, {"m": '"STOP"'}),
        ({"m": {"a": 1}}, {"path": "m"}, {"m": {"a": 1}}),
        ({"m": 7}, {"path": "m", "steps": BASE64}, {"m": 7}),
        ({"m": "%"}, {"path": "m", "steps": BASE64}, {"m": "%"}),
        ({"m": "/w=="}, {"path": "m", "steps": ["base64"]}, {"m": "/w=="}),  # no UTF-8
        ({"m": "{}"}, {"path": "m", "steps": ["json", "base64"]}, {"m": "{}"}),
        ({"m": "[" * 5000}, {"path": "m"}, {"m": "[" * 5000}),
        ({"x": 1}, {"path": "m.n"}, {"x": 1}),
        (7, {"path": "m"}, 7),
    ],
)  # fmt: skip
def test_what_is_wrapped_in_the_body_is_opened_where_it_stands(tree: Any, unwrap: dict[str, Any], found: Any) -> None:
    assert opened(tree, unwrap) == found


def test_what_comes_out_may_be_opened_too() -> None:
    tree = {"Message": json.dumps({"data": based(INNER)})}

    assert opened(tree, {"path": "Message"}, {"path": "Message.data", "steps": BASE64}) == {"Message": {"data": INNER}}


def test_an_array_in_a_field_of_a_form_is_fanned_out() -> None:
    """As Gupshup does, https://docs.gupshup.io/docs/real-time-delivery-report"""
    provider = made({**INBOUND, "each": "response[]"}, unwrap=[{"path": "response"}])
    items = [{"id": str(n), "from": "+41791234567", "text": f"é{n}"} for n in range(2)]
    body = urlencode({"response": json.dumps(items), "other": "x"})

    decoded = decode(provider, request(body, FORM))

    assert [event.text for event in decoded.events if isinstance(event, Inbound)] == ["é0", "é1"]


def test_no_text_that_comes_out_holds_what_databases_refuse() -> None:
    assert opened({"m": r'{"a": "x\u0000\ud83d"}'}, {"path": "m"}) == {"m": {"a": "x\ufffd\ufffd"}}


@pytest.mark.parametrize(
    ("tree", "steps"),
    [
        ({"m": "[" * 64 + "]" * 64}, ["json"]),  # 64 of its own, and the one around it
        ({"m": "[" * 65 + "]" * 65}, ["json"]),
    ],
)
def test_what_comes_out_is_64_levels_deep_at_most(tree: Any, steps: list[str]) -> None:
    assert opened({"m": "[" * 63 + "]" * 63}, {"path": "m"})
    with pytest.raises(Unreadable, match="more than 64"):
        opened(tree, {"path": "m", "steps": steps})


@pytest.mark.parametrize("path", ["", "a..b"])
def test_a_path_to_nothing_is_refused_with_the_name_of_the_file(path: str) -> None:
    with pytest.raises(BadInput, match="provider file made: unwrap: path"):
        decode(made(INBOUND, unwrap=[{"path": path}]), {})


# --- names --------------------------------------------------------------------------------------------------------


def folding(**rule: Any) -> Provider:
    return made({**INBOUND, **rule}, fold_names=True)


@pytest.mark.parametrize(
    "body",
    [
        {"id": "1", "from": "+41791234567", "to": "12345", "text": "STOP"},
        {"ID": "1", "From": "+41791234567", "tO": "12345", " Text ": "STOP"},
        {"Id": "1", "FROM": "", "from": "+41791234567", "to": "12345", "TEXT": None, "text": "STOP"},  # the first value
        {"Id": "1", "from": "+41791234567", "FROM": "+41790000000", "to": "12345", "text": "STOP"},
    ],
)
def test_names_are_read_in_any_case(body: dict[str, Any]) -> None:
    decoded = decode(folding(), body)

    assert [shown(event) for event in decoded.events] == [
        {"kind": "inbound", "provider_id": "1", "address": "+41791234567", "sender": "short:12345", "text": "STOP"}
    ]


def test_a_file_whose_names_are_folded_may_write_them_as_it_likes() -> None:
    provider = made(
        {
            **RULE,
            "each": "Items[]",
            "when": [{"Kind": "MO", "header:X-Kind": "mo", "Gone": False}, {"Other": True}],
            "id": {"path": "Message.ID", "when": {"Message.ID": True}},
            "text": [{"among": "Parts", "path": "Text", "when": {"Type": "t"}}, "$.Text"],
            "reference": None,
        },
        {"kind": "receipt", "id": "ID", "status": "Status"},
        status_rules=[{"when": {"Code": "7"}, "status": "rejected"}],
        statuses={"Sent": "sent"},
        unwrap=[{"path": "Items[].Message"}],
        fold_names=True,
    )
    item = {"KIND": "mo", "message": '{"Id": "1"}', "PARTS": [{"TYPE": "t", "TEXT": "STOP"}], "From": "+41791234567"}

    message = decode(provider, request(json.dumps({"ITEMS": [item]}), headers={"x-kind": "MO"}))
    receipt = decode(provider, {"id": "2", "STATUS": "SENT", "CODE": 7})

    assert [shown(event) for event in message.events] == [
        {"kind": "inbound", "provider_id": "1", "address": "+41791234567", "text": "STOP"}
    ]
    assert [shown(event)["status"] for event in receipt.events] == ["rejected"]


RULE = {"kind": "inbound", "address": "FROM", "text": "Text"}


def test_other_files_read_names_as_they_are() -> None:
    assert decode(made(INBOUND), {"ID": "1", "FROM": "+41791234567", "text": "x"}).events == ()


def test_a_path_that_cannot_be_is_refused_in_a_folded_file_too() -> None:
    with pytest.raises(BadInput, match=r"provider file made: path 'A\.\.b'"):
        decode(folding(text="A..b"), {})


# --- once ---------------------------------------------------------------------------------------------------------


def test_handshake_and_events_read_the_body_once() -> None:
    provider = made(INBOUND, handshakes=[{"when": {"hello": True}}], unwrap=[{"path": "m"}])
    came = request('{"m": "[1]", "from": "x"}')
    shake = handshaker(provider, webhook_for(provider))
    assert shake is not None

    assert shake(came) is None
    tree = came.tree
    assert decoder(provider, webhook_for(provider))(came).reading is Reading.EVENTS
    assert came.tree is tree
    assert opener(made(INBOUND, handshakes=[{"when": {"hello": True}}]))(came) == {"m": "[1]", "from": "x"}
