"""From the bytes of a request to a tree: forms, queries, JSON, XML, plain text."""

import re
from typing import Any

import pytest

from app.decode.body import read_body
from app.decode.expected import shown
from app.errors import Unreadable
from app.events import Reading
from tests.decoding import FORM, INBOUND, decode, made, request


@pytest.mark.parametrize(
    ("body", "content_type", "query", "tree"),
    [
        ('{"a": 1}', "application/json", "", {"a": 1}),
        ('{"a": 1}', "text/plain; charset=UTF-8", "", {"a": 1}),  # SNS
        ('{"a": 1}', "", "", {"a": 1}),
        ('{"a": 1}', FORM, "", {"a": 1}),  # curl -d
        (' {"a": "&b=2"}', FORM, "", {' {"a": "': "", "b": '2"}'}),  # no verifier takes it for JSON either
        ('\ufeff {"a": "é"}', "application/json", "", {"a": "é"}),  # a byte order mark
        ('{"a": "é"}'.encode("latin-1"), "application/json; charset=ISO-8859-1", "", {"a": "é"}),
        ('{"a": "é"}'.encode("utf-16"), "application/json; charset=utf-16", "", {"a": "é"}),
        ('{"id": 123456789012345678901234567890}', "", "", {"id": 123456789012345678901234567890}),
        ('{"id": 9007199254740993}', "", "", {"id": 9007199254740993}),  # 2^53 + 1
        (r'{"a": "x\u0000y\ud83dz\ud83d\ude00"}', "", "", {"a": "x\ufffdy\ufffdz😀"}),
        (r'{"a": "x\u0000y", "\u0000": [1, null]}', "", "", {"a": "x\ufffdy", "\ufffd": [1, None]}),
        ("a=1&b=x+y&a=2&c=", FORM, "d=4", {"a": "1", "b": "x y", "c": ""}),  # the first of two values counts
        ("a=x%00y", FORM, "", {"a": "x\ufffdy"}),
        ("a=ARR%CAT&b=&c", FORM + "; charset=windows-1252", "", {"a": "ARRÊT", "b": "", "c": ""}),
        ("a=ARRÊT".encode("latin-1"), FORM + "; charset=ISO-8859-1", "", {"a": "ARRÊT"}),
        ("a=ARR%C3%8AT", FORM + "; charset=utf-8", "", {"a": "ARRÊT"}),
        ("a=x%00y", FORM + "; charset=latin1", "", {"a": "x\ufffdy"}),
        ("", FORM, "a=1&b=%C3%A9", {"a": "1", "b": "é"}),
        ("", "", "a=%00", {"a": "\ufffd"}),
        ("", "", "", {}),
        ("[1, 2]", "", "", [1, 2]),
        ('"text"', "", "", "text"),
    ],
)
def test_form_query_and_json_become_a_tree(body: bytes | str, content_type: str, query: str, tree: Any) -> None:
    assert read_body(request(body, content_type, query)) == tree


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ('{"a": NaN}', ""),
        (b"\xff\xfe\x00", "application/octet-stream"),
        ("[" * 100_000, ""),
        ("1" * 5000, ""),  # more digits than Python reads
        ('{"a": "é"}'.encode("latin-1"), "application/json; charset=hex"),
    ],
)
def test_what_is_neither_form_nor_json_nor_xml_is_unreadable(body: bytes | str, content_type: str) -> None:
    with pytest.raises(Unreadable, match=r"neither a form nor JSON nor XML \(content type: "):
        read_body(request(body, content_type))


@pytest.mark.parametrize(
    ("body", "content_type", "told"),
    [
        (
            "from=%2B41791234567&message=STOP",
            "",
            "(content type: none); it looks like a form, so check the content type.",
        ),
        ("a[0].b=1", "text/plain", "(content type: text/plain); it looks like a form, so check the content type."),
        ("c2VjcmV0YQ==", "text/plain", "(content type: text/plain)."),
        ("STOP 1=2", "text/plain", "(content type: text/plain)."),
    ],
)
def test_a_form_that_is_not_sent_as_one_is_told(body: str, content_type: str, told: str) -> None:
    with pytest.raises(Unreadable, match=re.escape(f"neither a form nor JSON nor XML {told}") + "$"):
        read_body(request(body, content_type))


def test_a_tree_is_64_levels_deep_at_most() -> None:
    assert read_body(request("[" * 64 + "]" * 64))
    assert read_body(request("[[]," + "[]," * 200 + "1]"))
    with pytest.raises(Unreadable, match="more than 64"):
        read_body(request("[" * 65 + "]" * 65))


# --- XML ----------------------------------------------------------------------------------------------------------

XML = "application/xml"


@pytest.mark.parametrize(
    ("body", "content_type", "tree"),
    [
        ("<sms><from>+41</from><text> STOP </text></sms>", "text/xml; charset=utf-8", {"sms": {"from": "+41", "text": " STOP "}}),
        ('<sms id="7"><part n="1">a</part></sms>', "application/soap+xml", {"sms": {"@id": "7", "part": {"@n": "1", "#text": "a"}}}),
        ("<r><a>x</a><b/><a>x</a><a>y</a></r>", XML, {"r": {"a": ["x", "x", "y"], "b": ""}}),
        ("<r>one<b/> two</r>", XML, {"r": {"b": "", "#text": "one two"}}),
        ("<r>\n  <a>x</a>\n</r>", XML, {"r": {"a": "x"}}),
        ('<s:r xmlns:s="urn:x" s:k="v"><s:a>1</s:a></s:r>', XML, {"r": {"@k": "v", "a": "1"}}),
        ("<r><![CDATA[a < b]]>&amp;&#x1F6D1;</r>", XML, {"r": "a < b&🛑"}),
        ("\ufeff<r>x</r>", "", {"r": "x"}),  # nobody says what it is
        ("<r>x</r>", "text/plain", {"r": "x"}),
        ("<r>\u00e9</r>".encode("latin-1"), "text/xml; charset=ISO-8859-1", {"r": "é"}),
        ('<?xml version="1.0" encoding="windows-1252"?><r>\u00e9</r>'.encode("latin-1"), XML, {"r": "é"}),
        ('<?xml version="1.0" encoding="utf-16"?><r>\u00e9</r>'.encode("utf-16"), XML, {"r": "é"}),
        ('{"a": 1}', XML, {"a": 1}),  # whatever it claims to be
    ],
)  # fmt: skip
def test_xml_becomes_the_tree_that_json_would_have_made(body: bytes | str, content_type: str, tree: Any) -> None:
    assert read_body(request(body, content_type)) == tree


@pytest.mark.parametrize(
    ("body", "content_type", "problem"),
    [
        ("<r>", XML, "not well-formed XML: no element found: line 1"),
        ("<r></s>", XML, "not well-formed XML: mismatched tag"),
        ("STOP", XML, "not well-formed XML: syntax error"),
        ("<r>&x;</r>", XML, "not well-formed XML: undefined entity"),
        ("<r>\0</r>", XML, "not well-formed XML: not well-formed"),
        ('<!DOCTYPE r [<!ENTITY x "y">]><r>&x;</r>', XML, "a document type or an encoding that is not taken"),
        ('<!DOCTYPE r SYSTEM "http://127.0.0.1/x.dtd"><r/>', "", "a document type or an encoding that is not taken"),
        ('<?xml version="1.0" encoding="hex"?><r/>', XML, "a document type or an encoding that is not taken"),
        ("<a>" * 65 + "</a>" * 65, XML, "more than 64 elements inside each other"),
        ("<a>" * 300_000, XML, "more than 64 elements inside each other"),
        ("<r>" + "<a/>" * 20_000 + "</r>", XML, "more than 20000 elements and attributes"),
        ("<r " + " ".join(f'a{n}=""' for n in range(20_000)) + "/>", XML, "more than 20000 elements and attributes"),
        ("<r/>", "application/json", "neither a form nor JSON nor XML"),
    ],
)  # fmt: skip
def test_xml_that_is_broken_or_would_grow_is_unreadable(body: str, content_type: str, problem: str) -> None:
    with pytest.raises(Unreadable, match=problem):
        read_body(request(body, content_type))


def test_64_elements_inside_each_other_are_read() -> None:
    assert read_body(request("<a>" * 64 + "</a>" * 64, XML))


# --- plain text ---------------------------------------------------------------------------------------------------

#: as Kannel's post-url does
POSTED = {
    "kind": "inbound",
    "address": "header:X-From",
    "sender": "header:x-to",
    "text": "request:body",
    "id": "query:id",
}


def heard(body: bytes | str, content_type: str, **rule: Any) -> list[dict[str, Any]]:
    came = request(body, content_type, "x=1&id=7&id=8", headers={"x-from": "+41791234567", "x-to": "12345"})
    return [shown(event) for event in decode(made({**POSTED, **rule}), came).events]


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        ("STOP", "text/plain", "STOP"),
        ("", "text/plain", ""),
        ("ARRÊT", "text/plain; charset=UTF-8", "ARRÊT"),
        ("ARRÊT".encode("latin-1"), 'text/plain; charset="ISO-8859-1"', "ARRÊT"),
        ("ARRÊT".encode("utf-16-be"), "text/plain; charset=UTF-16BE", "ARRÊT"),
        (b"x\xff\0y", "", "x\ufffd\ufffdy"),
        ("{not JSON", "text/plain", "{not JSON"),
        ('{"is": "JSON"}', "text/plain", '{"is": "JSON"}'),
        ("<b>", "text/plain", "<b>"),
        ("7", "application/octet-stream", "7"),
    ],
)
def test_a_message_may_be_the_whole_body(body: bytes | str, content_type: str, text: str) -> None:
    assert heard(body, content_type) == [
        {"kind": "inbound", "provider_id": "7", "address": "+41791234567", "sender": "short:12345"}
        | ({"text": text} if text else {})
    ]


def test_what_a_person_texts_fills_no_other_field() -> None:
    rule = {"address": ["from", "header:x-from"]}

    assert [event["address"] for event in heard('{"from": "+41790000000"}', "text/plain", **rule)] == ["+41791234567"]
    assert [event["address"] for event in heard('{"from": "+41790000000"}', "text/json", **rule)] == ["+41790000000"]


def test_a_provider_that_reads_headers_may_send_a_body_that_is_no_tree() -> None:
    """But not one that breaks its word."""
    provider = made({**INBOUND, "id": "header:x-id", "address": "header:x-from", "when": {"request:method": "put"}})
    headers = {"x-id": "7", "x-from": "+41791234567"}

    plain = decode(provider, request("hello", "text/plain", method="PUT", headers=headers))
    sniffed = decode(provider, request('{"text": "STOP"}', "text/plain", method="PUT", headers=headers))
    broken = decode(provider, request("{", "application/json", method="PUT", headers=headers))
    broken_xml = decode(provider, request("<a", XML, method="PUT", headers=headers))

    assert [shown(event)["provider_id"] for event in plain.events] == ["7"]
    assert [shown(event)["text"] for event in sniffed.events] == ["STOP"]
    assert broken.problem == "The body is neither a form nor JSON nor XML (content type: application/json)."
    assert broken_xml.problem == "The body is not well-formed XML: unclosed token: line 1, column 0."
    assert {broken.reading, broken_xml.reading} == {Reading.UNDECODED}
