"""Where a value stands, and what a time says."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.decode.paths import Frame, escape, fan_out, value_at
from app.decode.times import read_time
from app.errors import BadInput
from tests.decoding import request

BODY = {"id": 1, "a.b": 2, "@": 3, "statuses": [{"code": 7, "to": ["x", "y"]}, {"code": 8, "to": "z"}], "0": 4}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("@", "y"),
        ("^.code", 7),
        ("^.to.0", "x"),
        ("^.^.id", 1),
        ("^.^.^.id", None),  # beyond the body
        ("$.id", 1),
        (r"$.a\.b", 2),
        (r"$.\@", 3),
        ("$.0", 4),  # a name, where an object stands
        ("$.statuses.1.code", 8),
        ("$.statuses.2.code", None),
        ("$.statuses.x", None),
        ("$.id.x", None),
        ("name", None),  # the item is a text
    ],
)
def test_a_path_leads_to_a_value(path: str, value: Any) -> None:
    items = list(fan_out("statuses[].to[]")(Frame(BODY), []))

    assert [item.item for item in items] == ["x", "y", "z"]
    assert value_at(path)(items[1]) == value


@pytest.mark.parametrize(
    ("each", "body", "items", "strays"),
    [
        ("", {"a": 1}, [{"a": 1}], []),
        ("[]", [1, 2], [1, 2], []),
        ("[]", {"a": 1}, [{"a": 1}], []),  # an object where an array is told
        ("a.b[]", {"a": {"b": [1]}}, [1], []),
        ("a[].b[]", {"a": [{"b": [1, 2]}, 5, {}, {"b": None}]}, [1, 2], [5]),
        ("a.b[]", {"a": 5}, [], [{"a": 5}]),
        ("a[]", "text", [], ["text"]),
        (r"to\[\][]", {"to[]": [1]}, [1], []),
    ],
)
def test_a_fan_out_finds_items_and_strays(each: str, body: Any, items: list[Any], strays: list[Any]) -> None:
    found: list[Frame] = []

    assert [frame.item for frame in fan_out(each)(Frame(body), found)] == items
    assert [frame.item for frame in found] == strays


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("header:X-Name", "n"),
        ("header:x-none", None),
        ("query:a b", "é"),
        ("query:none", None),
        ("request:method", "POST"),
        ("request:body", "text"),
        (r"header\:x-name", "a name of the body"),
    ],
)
def test_a_path_may_lead_out_of_the_body(path: str, value: Any) -> None:
    tree = {"header:x-name": "a name of the body"}
    root = Frame(tree, None, request("text", query="a+b=%C3%A9&a+b=2", headers={"x-name": "n"}))

    assert value_at(path)(root) == value
    assert value_at(path)(Frame(tree, root)) == value


def test_without_a_request_there_is_nothing_outside_of_the_body() -> None:
    assert value_at("request:method")(Frame({})) is None


@pytest.mark.parametrize(
    "name", ["a.b", "@", "^", "$", "x[]", "header:x", "request:body", "a:b", "{i}", "\\", "text_{i}"]
)
def test_an_escaped_name_is_a_name_of_the_body(name: str) -> None:
    assert value_at(escape(name))(Frame({name: "found"})) == "found"


@pytest.mark.parametrize("path", ["", "a..b", "a[]", "a[].b", ".", "a\\", "header:", "query:", "request:url"])
def test_a_path_that_cannot_be_is_refused(path: str) -> None:
    with pytest.raises(BadInput, match="path"):
        value_at(path)


def test_a_fan_out_ends_in_an_array() -> None:
    with pytest.raises(BadInput, match=r"each 'results\[\]\.x' must end with \[\]"):
        fan_out("results[].x")


@pytest.mark.parametrize(
    ("text", "form", "iso"),
    [
        ("2024-06-06T07:52:37.386Z", "auto", "2024-06-06T07:52:37.386000"),
        ("2016-10-06T11:28:39.220+0200", "auto", "2016-10-06T09:28:39.220000"),  # no colon
        ("2023-07-27T00:49:29-01:30", "auto", "2023-07-27T02:19:29"),
        ("2020-09-18T00:22:20.2855749Z", "auto", "2020-09-18T00:22:20.285574"),  # 7 digits
        ("2018-12-31T15:01:23.045123456Z", "auto", "2018-12-31T15:01:23.045123"),  # 9 digits
        ("2024-06-06T07:52:37.386123456", "auto", "2024-06-06T07:52:37.386123"),  # no offset: UTC
        (" 2018-10-25 12:10:29 ", "auto", "2018-10-25T12:10:29"),
        ("2021-04-16+18:39:29.089793", "auto", "2021-04-16T18:39:29.089793"),  # a plus that was a blank
        ("1493735509", "auto", "2017-05-02T14:31:49"),  # seconds
        ("1493735509.5", "auto", "2017-05-02T14:31:49.500000"),
        ("1712944268877", "auto", "2024-04-12T17:51:08.877000"),  # milliseconds
        ("1712944268877000", "auto", "2024-04-12T17:51:08.877000"),  # microseconds
        ("2501021245", "yymmddhhmm", "2025-01-02T12:45:00"),
        ("20250102124559", "yyyymmddhhmmss", "2025-01-02T12:45:59"),
        ("250102124", "yymmddhhmm", None),
        ("2599991245", "yymmddhhmm", None),
        ("0", "auto", None),  # a clock that was never set
        ("0001-01-01T00:00:00Z", "auto", None),
        ("0001-01-01T00:00:00+05:00", "auto", None),
        ("9999-12-31T23:59:59-05:00", "auto", None),
        ("9" * 400, "auto", None),
        ("²", "auto", None),
        ("yesterday", "auto", None),
        ("2026-11-22", "auto", None),  # a day is no moment
        ("2024-W23", "auto", None),
        ("2024-W23-1", "auto", None),
        ("2023-07-27T00:49:29 02:00", "auto", "2023-07-26T22:49:29"),  # a blank that was a plus
        ("2023-07-27 00:49:29.5 0000", "auto", "2023-07-27T00:49:29.500000"),
        ("2023-07-27 00:49:29 UTC", "auto", "2023-07-27T00:49:29"),
        ("2023-07-27 00:49:29 CET", "auto", None),
        ("2021-04-16+18:39:29+02:00", "auto", "2021-04-16T16:39:29"),
        ("2016-10-06T11:28:39.123456789+0200", "auto", "2016-10-06T09:28:39.123456"),
        ("2026-11-22T09", "auto", "2026-11-22T09:00:00"),
        ("", "auto", None),
    ],
)
def test_every_form_of_time_is_read_and_anything_else_is_none(text: str, form: Any, iso: str | None) -> None:
    moment = read_time(text, form)

    assert moment == (iso and datetime.fromisoformat(iso).replace(tzinfo=UTC))
    assert moment is None or moment.tzinfo is UTC
