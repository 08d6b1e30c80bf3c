"""Values: alternatives and their conditions, values that are joined, worked out, or wrapped in other writing."""

from typing import Any

import pytest

from app.errors import BadInput
from app.events import Decoded, Inbound, Receipt, Status
from tests.decoding import INBOUND, NOON, RECEIPT, decode, made


def test_values_of_every_type_become_text_and_fill_their_fields() -> None:
    rule = {**RECEIPT, "error_text": "text", "part": "part", "parts": "parts", "sender": "from", "time": ["x", "at"]}
    body = {
        "id": 12345678901234567890123, "to": 14155550100.0, "status": True, "code": 1.5, "text": False, "part": 2,
        "parts": 3, "from": {"not": "a text"}, "x": "soon", "at": 1767268800, "ref": None,
    }  # fmt: skip

    decoded = decode(made(rule, international=True), body)

    assert decoded.events == (
        Receipt(
            key="r|made|12345678901234567890123|+14155550100|true|2026-01-01T12:00:00+00:00|2",
            message_id="12345678901234567890123",
            recipient="+14155550100",
            status=Status.UNKNOWN,
            provider_status="true",
            code="1.5",
            error_text="false",
            provider_time=NOON,
            part="2",
            parts=3,
        ),
    )


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (["a", "b"], "2"),  # the first with a value
        ({"path": "b", "prefix": "2"}, ""),
        ({"path": "c", "prefix": "tel:", "suffix": ";x"}, "+41"),
        ({"path": "b", "none": ["2"]}, ""),
        ({"const": "k"}, "k"),
        ({"const": "k", "when": {"b": "2"}}, "k"),
        ({"const": "k", "when": {"a": True}}, ""),
        ({"const": "k", "when": {"a": False, "list": False, "zero": True, "no": True}}, "k"),
        ({"const": "k", "when": {"word": ["other", "WORD"]}}, "k"),  # in any case
        ({"const": "k", "when": [{"a": True}, {"b": True, "word": "Word"}]}, "k"),  # one of the conditions
        ({"const": "k", "when": [{"a": True}, {"b": False}]}, ""),
        ({"const": "k", "when": {"word": "wo*"}}, "k"),  # a beginning
        ({"const": "k", "when": {"word": ["other", "or*"]}}, ""),
        ({"const": "k", "when": {"word": ["word", "x*"]}}, "k"),
        ({"among": "parts", "path": "v"}, "1"),  # the first element with a value
        ({"among": "parts", "path": "v", "when": {"t": "b*"}}, "2"),
        ({"among": "b", "path": "@"}, ""),  # no array
    ],
)
def test_a_value_is_the_first_alternative_whose_condition_holds(value: Any, found: str) -> None:
    body = {
        "id": "1", "from": "+41791234567", "a": "", "b": 2, "c": "tel:+41;x", "list": [], "zero": 0, "no": False,
        "word": "Word", "parts": [5, {"t": "a"}, {"t": "a", "v": "1"}, {"t": "b;c", "v": "2"}],
    }  # fmt: skip

    decoded = decode(made({**INBOUND, "text": value}), body)

    assert [event.text for event in decoded.events if isinstance(event, Inbound)] == [found]


# --- put together, worked out, wrapped ---------------------------------------------------------------------------


def heard(value: Any, body: dict[str, Any]) -> Decoded:
    """A message whose text is this value."""
    return decode(made({**INBOUND, "text": value}), {"id": "1", "from": "+41791234567", **body})


def texts(decoded: Decoded) -> list[str]:
    return [event.text for event in decoded.events if isinstance(event, Inbound)]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"path": "text_{i}", "join": ""}, "ab"),
        ({"path": "text_{i}", "join": ", "}, "a, b"),
        ({"path": "part{i}", "join": "+"}, "1+2"),  # from 1 where there is no 0
        ({"path": "gap_{i}", "join": ""}, "a"),  # none: 2 is behind a gap
        ({"path": "empty_{i}", "join": "-"}, "a-c"),
        ({"path": "list.{i}.t", "join": ""}, "xyz"),
        ({"path": "none_{i}", "join": ""}, ""),
        ({"path": "many.{i}", "join": ""}, "m" * 256),
        ({"path": "text_{i}", "join": "", "when": {"gone": True}}, ""),
        ({"path": "text_{i}", "join": "", "prefix": "a", "none": ["b"]}, ""),
        ({"path": "hex_{i}", "join": "", "wrapping": "hex"}, "STOP"),
        ({"among": "list", "path": "t", "join": " "}, "x y z"),
        ({"among": "list", "path": "t", "join": " ", "when": {"k": "2"}}, "y z"),
        ({"among": "list", "path": "@", "join": " "}, ""),
        ({"among": "many", "path": "@", "join": ""}, "m" * 300),
        ({"among": "text_0", "path": "@", "join": ""}, ""),  # no array
    ],
)
def test_values_are_joined(value: dict[str, Any], found: str) -> None:
    body = {
        "text_0": "a", "text_1": "b", "part1": 1, "part2": 2, "gap_0": "a", "gap_2": "c", "many": ["m"] * 300,
        "empty_0": "a", "empty_1": "", "empty_2": "c", "hex_0": "53544F", "hex_1": "50",
        "list": [{"t": "x", "k": 1}, {"t": "y", "k": 2}, {"t": "z", "k": 2}],
    }  # fmt: skip

    assert texts(heard(value, body)) == [found]


@pytest.mark.parametrize("value", [{"path": "text_{i}"}, {"path": "text", "join": ""}, {"expr": "x", "join": ""}])
def test_join_and_what_is_joined_go_together(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="join goes with among"):
        heard(value, {})


@pytest.mark.parametrize(
    ("wrapping", "charset", "given", "found"),
    [
        ("percent", "utf-8", "STOP%20%F0%9F%9B%91+now", "STOP 🛑 now"),
        ("percent", "iso-8859-1", "ARR%CAT", "ARRÊT"),
        ("percent", "utf-16-be", "%00S%00T%00O%00P", "STOP"),
        ("percent", "utf-16-be", "%00S%00+%D8%3D%DE%D1%00", "S 🛑\ufffd"),  # half a character is left over
        ("percent", "utf-8", "100%", "100%"),
        ("percent", "utf-8", "%FF%00", "\ufffd\ufffd"),
        ("base64", "utf-8", "U1RPUA==", "STOP"),
        ("base64", "utf-8", "U1RPUA", "STOP"),
        ("base64", "utf-8", "8J-\nbkQ==", "🛑"),
        ("base64", "iso-8859-1", "8J+bkQ==", "ð\x9f\x9b\x91"),
        ("base64", "utf-8", "", ""),
        ("hex", "utf-8", "53 54 4f 50", "STOP"),
        ("hex", "utf-16-be", "0041D83DDED1", "A🛑"),
        ("hex", "utf-16-be", "D83D", "\ufffd"),
        ("hex", "gsm", "00410210115E1A1B0A7F", "@A$Δ_ÜΞ\fà"),
        ("hex", "gsm", "1B651B281B291B2F1B3C1B3D1B3E1B401B14", "€{}\\[~]|^"),
        ("hex", "gsm", "1B41801B", "A\ufffd\ufffd"),  # no such escape, no seven bits, nothing escaped
        ("hex", "gsm", "1B1B41", "\ufffdA"),
    ],
)
def test_text_that_is_written_as_bytes_is_read(wrapping: str, charset: str, given: str, found: str) -> None:
    assert texts(heard({"path": "t", "wrapping": wrapping, "charset": charset}, {"t": given})) == [found]


def test_affixes_and_words_for_none_stand_around_what_is_wrapped() -> None:
    value = {"path": "t", "prefix": "0x", "none": ["FF"], "wrapping": "hex"}

    assert texts(heard(value, {"t": "0x5354"})) == ["ST"]
    assert texts(heard(value, {"t": "0xFF"})) == [""]


@pytest.mark.parametrize(("wrapping", "given"), [("hex", "STOP"), ("hex", "123"), ("base64", "STOP!"), ("base64", "A")])
def test_what_cannot_be_unwrapped_waits_for_a_person(wrapping: str, given: str) -> None:
    decoded = heard([{"path": "t", "wrapping": wrapping}, "other"], {"t": given, "other": "x"})

    assert decoded.events == ()
    assert [(trouble.kind, trouble.reason) for trouble in decoded.troubles] == [
        ("item", f"the text at t is no {wrapping}")
    ]


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ("$uppercase(a.b)", "STOP"),
        ("a.b & ' ' & n", "stop 7"),
        ("n + 1", "8"),
        ("n > 1", "true"),
        ("nowhere", ""),
        ("a", ""),  # no text
        ("$number(a.b)", None),
    ],
)
def test_a_value_may_be_worked_out_from_the_item(expr: str, found: str | None) -> None:
    decoded = heard({"expr": expr}, {"a": {"b": "stop"}, "n": 7})

    assert texts(decoded) == ([] if found is None else [found])
    assert [trouble.kind for trouble in decoded.troubles] == ([] if found is not None else ["item"])


def test_an_expression_has_conditions_and_affixes_like_any_other_value() -> None:
    value = [{"expr": "'1-' & a", "when": {"b": True}, "prefix": "1-"}, {"expr": "a"}]

    assert texts(heard(value, {"a": "x", "b": "y"})) == ["x"]
    assert texts(heard(value, {"a": "1-x"})) == ["1-x"]


def test_an_item_whose_expression_fails_loses_none_of_its_neighbours() -> None:
    provider = made({**RECEIPT, "each": "[]", "code": {"expr": "$number(code)"}})
    body = [{"id": "1", "status": "sent", "code": "x"}, {"id": "2", "status": "sent", "code": "7"}]

    decoded = decode(provider, body)

    assert [event.key for event in decoded.events] == ["r|made|2||sent||"]
    assert [trouble.item for trouble in decoded.troubles] == ['{"id": "1", "status": "sent", "code": "x"}']


def test_an_expression_that_cannot_be_is_refused_with_the_name_of_the_file() -> None:
    with pytest.raises(BadInput, match="provider file made: "):
        heard({"expr": "a["}, {})
