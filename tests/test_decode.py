"""Every provider file, by exact requests: `samples/<slug>/<event>__<variant>.http`, and beside it `.json`:

    {"webhook": {…}, "url": "https://…", "expect": {"reading": …, "events": […], "troubles": […], "answer": …}}

`webhook` is what the operator registers (name, provider and account are filled in), `url` the public URL that the
request was signed for. An expected event holds what depends on the provider: every field but the key that has not its
default. No rule without a sample: see `test_every_line_of_a_provider_file_is_shown_by_a_sample`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.decode import check_sample, decoder
from app.decode.body import read_body
from app.decode.paths import Frame, fan_out, value_at
from app.decode.times import read_time
from app.errors import BadInput, Unreadable
from app.events import Category, Change, ConsentState, Decoded, Event, Inbound, Reading, Receipt, Status
from app.provider import EventRule, Provider, load_providers
from app.request import Request
from app.webhook import Webhook

SAMPLES = Path(__file__).parent / "samples"
PROVIDERS = load_providers(Path(__file__).parent.parent / "config")
FORM = "application/x-www-form-urlencoded"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


# --- samples ------------------------------------------------------------------------------------------------------


def sample_names() -> list[str]:
    return sorted(str(path.relative_to(SAMPLES).with_suffix("")) for path in SAMPLES.glob("*/*.http"))


def load_sample(name: str) -> tuple[Request, Webhook, dict[str, Any]]:
    """The request, the webhook that it came to, and what is expected."""
    told = json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))
    head, _, body = (SAMPLES / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
    start, *lines = head.decode("ascii").split("\r\n")
    method, target, _ = start.split(" ")
    headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)}
    request = Request(method, told["url"], headers, body, NOON, query=target.partition("?")[2])
    slug = name.partition("/")[0]
    return request, Webhook.model_validate({"name": slug, "provider": slug, **told["webhook"]}), told["expect"]


def shown(event: Event) -> dict[str, Any]:
    """An event as a sample tells it."""
    found: dict[str, Any] = {"kind": type(event).__name__.lower()}
    for field in fields(event):
        value = getattr(event, field.name)
        if field.name != "key" and value != ("" if field.default is MISSING else field.default):
            found[field.name] = value.isoformat() if isinstance(value, datetime) else value
    return found


def outcome(decoded: Decoded) -> dict[str, Any]:
    """What a sample expects."""
    found: dict[str, Any] = {"reading": decoded.reading, "events": [shown(event) for event in decoded.events]}
    if decoded.troubles:
        found["troubles"] = [{"kind": trouble.kind, "reason": trouble.reason} for trouble in decoded.troubles]
    return {**found, "answer": decoded.answer}


@pytest.mark.parametrize("name", sample_names())
def test_a_sample_is_read_as_expected(name: str) -> None:
    request, webhook, expected = load_sample(name)

    decoded = decoder(PROVIDERS[webhook.provider], webhook)(request)

    assert outcome(decoded) == expected


def test_every_sample_has_both_of_its_files_and_a_provider_and_every_provider_has_samples() -> None:
    requests = sorted(SAMPLES.glob("*/*.http"))
    outcomes = sorted(SAMPLES.glob("*/*.json"))

    assert [path.with_suffix("") for path in requests] == [path.with_suffix("") for path in outcomes]
    assert {path.parent.name for path in requests} == set(PROVIDERS)


def without_each_line(provider: Provider) -> Iterator[tuple[str, Provider]]:
    """The provider file again and again, each time with another line left out or, in the status map, made wrong."""
    whole = provider.model_dump(exclude={"send"}, exclude_unset=True)
    for word, status in provider.statuses.items():
        wrong = Status.READ if status != Status.READ else Status.QUEUED
        yield f"statuses.{word}", provider.model_copy(update={"statuses": {**provider.statuses, word: wrong}})
    for index, code in enumerate(provider.blocked_codes):
        codes = [*provider.blocked_codes[:index], *provider.blocked_codes[index + 1 :]]
        yield f"blocked_codes.{code}", provider.model_copy(update={"blocked_codes": codes})
    for name in ("events", "status_rules"):
        rules = whole.get(name, [])
        for place in lines(rules):
            if can_be_without(name, place):
                line = f"{name}.{'.'.join(map(str, place))}"
                yield line, Provider.model_validate({**whole, name: without(rules, place)})


def can_be_without(name: str, place: tuple[Any, ...]) -> bool:
    """What makes an event or a status rule is left out with all of it only."""
    whole_fields = {"events": ("address", "text", "status", "id"), "status_rules": ("when", "status")}
    return len(place) != 2 or place[1] not in whole_fields[name]


def lines(tree: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value that is set, in lists and objects too."""
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inside:
        if value not in (None, "", [], {}) and key not in ("kind", "state", "path", "const"):
            yield (*place, key)
            yield from lines(value, (*place, key))


def without(tree: Any, place: tuple[Any, ...]) -> Any:
    """A copy that lacks the value at a place."""
    key, *rest = place
    if isinstance(tree, list):
        kept = [without(value, tuple(rest)) if n == key and rest else value for n, value in enumerate(tree)]
        return kept if rest else kept[:key] + kept[key + 1 :]
    if rest:
        return {**tree, key: without(tree[key], tuple(rest))}
    return {name: value for name, value in tree.items() if name != key}


@pytest.mark.parametrize("slug", sorted(PROVIDERS))
def test_every_line_of_a_provider_file_is_shown_by_a_sample(slug: str) -> None:
    """A line that can be left out, with no sample noticing, is shown by none."""
    samples = [load_sample(name) for name in sample_names() if name.startswith(f"{slug}/")]

    untouched = [
        line
        for line, poorer in without_each_line(PROVIDERS[slug])
        if all(outcome(decoder(poorer, webhook)(request)) == expected for request, webhook, expected in samples)
    ]

    assert untouched == []


# --- how a request becomes a tree ---------------------------------------------------------------------------------


def request(body: bytes | str, content_type: str = "", query: str = "") -> Request:
    raw = body if isinstance(body, bytes) else body.encode()
    return Request("POST", "https://hooks.example.com/in/x", {"content-type": content_type}, raw, NOON, query=query)


@pytest.mark.parametrize(
    ("body", "content_type", "query", "tree"),
    [
        ('{"a": 1}', "application/json", "", {"a": 1}),
        ('{"a": 1}', "text/plain; charset=UTF-8", "", {"a": 1}),  # SNS
        ('{"a": 1}', "", "", {"a": 1}),
        ('{"a": 1}', FORM, "", {"a": 1}),  # curl -d
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
        ("<xml/>", "application/xml"),
        ('{"a": NaN}', ""),
        (b"\xff\xfe\x00", "application/octet-stream"),
        ("[" * 100_000, ""),
        ("1" * 5000, ""),  # more digits than Python reads
        ('{"a": "é"}'.encode("latin-1"), "application/json; charset=hex"),
    ],
)
def test_what_is_neither_form_nor_json_is_unreadable(body: bytes | str, content_type: str) -> None:
    with pytest.raises(Unreadable, match=r"neither a form nor JSON \(content type: "):
        read_body(request(body, content_type))


def test_a_tree_is_64_levels_deep_at_most() -> None:
    assert read_body(request("[" * 64 + "]" * 64))
    assert read_body(request("[[]," + "[]," * 200 + "1]"))
    with pytest.raises(Unreadable, match="more than 64"):
        read_body(request("[" * 65 + "]" * 65))


# --- paths, times -------------------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("path", ["", "a..b", "a[]", "a[].b", ".", "a\\"])
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
        ("2026-11-22T09", "auto", "2026-11-22T09:00:00"),
        ("", "auto", None),
    ],
)
def test_every_form_of_time_is_read_and_anything_else_is_none(text: str, form: Any, iso: str | None) -> None:
    moment = read_time(text, form)

    assert moment == (iso and datetime.fromisoformat(iso).replace(tzinfo=UTC))
    assert moment is None or moment.tzinfo is UTC


# --- rules --------------------------------------------------------------------------------------------------------

INBOUND = {"kind": "inbound", "id": "id", "address": "from", "sender": "to", "text": "text", "time": "at"}
RECEIPT = {"kind": "receipt", "id": "id", "address": "to", "status": "status", "code": "code", "reference": "ref"}


def made(*rules: dict[str, Any], **fields: Any) -> Provider:
    """A provider file of these rules."""
    return Provider.model_validate({"slug": "made", "name": "Made", "page": "-", "events": rules, **fields})


def decode(provider: Provider, body: Any, **webhook: Any) -> Decoded:
    hook = Webhook.model_validate({"name": "hook", "provider": provider.slug, **webhook})
    return decoder(provider, hook)(request(body if isinstance(body, str) else json.dumps(body)))


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


@pytest.mark.parametrize(
    ("given", "channel", "address", "expected"),
    [
        ("whatsapp:+41791234567", None, "whatsapp:+41791234567", "whatsapp"),
        ("RCS:+41791234567", "mms", "+41791234567", "rcs"),
        ("tel:+41791234567", "mms", "+41791234567", "mms"),
        ("+41791234567", "MMS", "+41791234567", "mms"),
        ("41791234567", "Viber", "viber:+41791234567", "viber"),  # an identity, not the phone's consent
        ("079 123 45 67", None, "+41791234567", "sms"),
    ],
)
def test_the_channel_stands_before_the_address_or_in_a_field(
    given: str, channel: str | None, address: str, expected: str
) -> None:
    decoded = decode(
        made({**INBOUND, "channel": "channel"}), {"id": "1", "from": given, "channel": channel}, region="CH"
    )

    assert [(e.address, e.channel) for e in decoded.events if isinstance(e, Inbound)] == [(address, expected)]


def test_the_sender_is_normalised_softly_and_is_else_the_webhooks() -> None:
    provider = made({**INBOUND, "each": "[]"})
    body = [{"id": "1", "from": "+41791234567", "to": to} for to in ("0445556677", " ?! ", None)]

    decoded = decode(provider, body, region="CH", sender="+41445550000")

    assert [e.sender for e in decoded.events if isinstance(e, Inbound)] == ["+41445556677", "?!", "+41445550000"]


def test_rules_over_several_fields_come_before_the_map_and_the_most_exact_word_is_kept() -> None:
    rule = {**RECEIPT, "each": "[]", "status": ["name", "group"]}
    provider = made(
        rule,
        statuses={"FAILED": "failed", "Done": "delivered"},
        status_rules=[{"when": {"name": "failed", "code": "7"}, "status": "rejected", "blocked": True}],
        blocked_codes=["9"],
    )
    body = [
        {"id": "1", "to": "+41791234567", "name": "FAILED", "code": "7"},
        {"id": "2", "to": "+41791234567", "name": "FAILED", "code": "9"},
        {"id": "3", "name": "exact", "group": "done"},
        {"id": "4", "name": "new"},
        {"id": "5", "name": "mine"},
        {"id": "6", "name": "done"},
    ]

    decoded = decode(provider, body, statuses={"Mine": "expired", "DONE": "sent"})

    assert [(e.status, e.provider_status, e.blocked) for e in decoded.events if isinstance(e, Receipt)] == [
        (Status.REJECTED, "FAILED", True),
        (Status.FAILED, "FAILED", True),
        (Status.SENT, "exact", False),  # the webhook's own word wins over the file's
        (Status.UNKNOWN, "new", False),
        (Status.EXPIRED, "mine", False),
        (Status.SENT, "done", False),
    ]


def test_a_broken_item_is_trouble_and_its_neighbours_are_read() -> None:
    provider = made(
        {**INBOUND, "each": "results[]", "when": {"kind": "mo"}},
        {**RECEIPT, "each": "results[]", "when": {"kind": "dlr"}},
    )
    good = {"kind": "mo", "id": "1", "from": "+41791234567", "text": "STOP"}
    body = {
        "results": [
            {"kind": "dlr", "id": "2", "to": "+41791234567"},
            {"kind": "dlr", "status": "sent"},
            {"kind": "mo", "text": "no author"},
            {"kind": "mo", "from": "12"},
            {"kind": "mo", "id": "3" * 700, "from": "+41791234567"},
            {"kind": "mo", "from": "x" * 50 + ":1"},
            good,
            {"kind": "new"},
            None,
        ]
    }

    decoded = decode(provider, body)

    assert [shown(event) for event in decoded.events] == [
        {"kind": "inbound", "provider_id": "1", "address": "+41791234567", "text": "STOP"}
    ]
    assert [(trouble.kind, trouble.reason) for trouble in decoded.troubles] == [
        ("item", "a receipt has no status at status"),
        ("item", "a receipt has no message id at id or ref"),
        ("item", "an inbound message has no author at from"),
        ("address", "'1•••' is not a number with country code; give the webhook a region for national forms"),
        ("item", "its ids have more than 600 characters"),
        ("address", "a channel's name has at most 40 letters"),
        ("item", "the provider file tells no event of this form"),
        ("item", "the provider file tells no event of this form"),
    ]
    assert decoded.troubles[3].item == '{"kind": "mo", "from": "12"}'
    assert (decoded.reading, decoded.answer) == (Reading.EVENTS, "receipt")


def test_the_work_list_keeps_4000_characters_of_an_item() -> None:
    decoded = decode(made(INBOUND), {"text": "x" * 5000})

    assert [len(trouble.item) for trouble in decoded.troubles] == [4000]


def test_a_recipient_that_cannot_be_decided_is_kept_as_it_is_unless_it_would_be_an_opt_out() -> None:
    provider = made({**RECEIPT, "each": "[]"}, blocked_codes=["7"])
    body = [
        {"id": "1", "to": " 12 ", "status": "sent"},
        {"id": "2", "to": "12", "status": "failed", "code": 7},
        {"id": "3", "status": "failed", "code": 7},
    ]

    decoded = decode(provider, body)

    assert [e.recipient for e in decoded.events if isinstance(e, Receipt)] == ["12"]
    assert [(trouble.kind, trouble.reason) for trouble in decoded.troubles] == [
        ("address", "'1•••' is not a number with country code; give the webhook a region for national forms"),
        ("address", "a receipt that means an opt-out has no recipient; look up who was sent this message"),
    ]


def test_an_item_is_read_once_by_the_rule_for_it_or_for_what_is_around_it() -> None:
    """As Telnyx does: a receipt has one status for each recipient, and an inbound message has the same array."""
    provider = made(
        {**INBOUND, "when": {"type": "mo"}},
        {**RECEIPT, "each": "to[]", "id": "$.id", "address": "number", "when": {"status": True}},
        {"kind": "ignore", "when": {"type": "typing"}},
    )
    to = [{"number": "+41445556677", "status": "delivered"}, {"number": "+41445556678"}]

    inbound = decode(provider, {"type": "mo", "id": "1", "from": "+41791234567", "to": to})
    receipt = decode(provider, {"type": "dlr", "id": "1", "to": to})
    ignored = decode(provider, {"type": "typing"})

    assert [type(event) for event in inbound.events] == [Inbound]
    assert [type(event) for event in receipt.events] == [Receipt]
    assert (inbound.troubles, len(receipt.troubles)) == ((), 1)
    assert (inbound.answer, receipt.answer, ignored.answer) == ("inbound", "receipt", "ignore")
    assert ignored.reading == Reading.IGNORED


def test_an_undecoded_request_says_what_was_looked_for() -> None:
    provider = made(
        {**INBOUND, "when": {"type": "mo", "from": True}},
        {**RECEIPT, "each": "results[]", "when": [{"status": True}, {"seen": True, "to": False}]},
        {"kind": "ignore", "when": {"type": "typing"}},
    )

    nothing = decode(provider, {"type": "mo"})
    something = decode(provider, {"results": [{"to": "x"}]}, type="feedback")
    unreadable = decode(provider, "<xml/>")

    assert nothing == Decoded(
        Reading.UNDECODED,
        problem="This is none of the events that the provider file tells: "
        "inbound needs a value at from; receipt needs something at results[].",
        answer="inbound",
    )
    assert something.problem == (
        "This is none of the events that the provider file tells: "
        "inbound needs type = mo; receipt needs a value at status or a value at seen in results[]."
    )
    assert something.answer == "receipt"
    assert unreadable.problem == "The body is neither a form nor JSON (content type: none)."


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({**INBOUND, "text": "a..b"}, "provider file made: path 'a..b' has an empty name"),
        ({**INBOUND, "each": "a[].b"}, r"provider file made: each 'a\[\].b' must end with \[\]"),
    ],
)
def test_a_provider_file_with_an_impossible_path_is_refused(rule: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        decode(made(rule), {})


@pytest.mark.parametrize("kind", ["inbound", "receipt", "change"])
def test_an_event_rule_names_what_it_lacks(kind: str) -> None:
    with pytest.raises(ValueError, match=f"an event of kind {kind} needs"):
        EventRule.model_validate({"kind": kind})


# --- keys ---------------------------------------------------------------------------------------------------------


def keys(provider: Provider, body: Any, **webhook: Any) -> list[tuple[str, float | None]]:
    return [(event.key, event.repeats_within) for event in decode(provider, body, **webhook).events]


def test_ids_make_the_key_and_the_account_keeps_them_apart() -> None:
    provider = made(INBOUND)
    body = {"id": "SM1", "from": "+41791234567", "text": "STOP"}

    assert keys(provider, body) == [("i|made|SM1", None)]
    assert keys(provider, body, account="a") == [("i|a|SM1", None)]


def test_custom_providers_with_counters_for_ids_keep_apart_what_they_hear() -> None:
    payload = '{"id": "{{requestId}}", "n": "{{profileNumber}}", "t": "{{inboundMessage}}"}'
    body = {"id": 7, "n": "+41791234567", "t": "STOP"}

    assert keys(CUSTOM, body, payload=payload, name="shop") == [("i|custom/shop|7", None)]
    assert keys(CUSTOM, body, payload=payload, name="club") == [("i|custom/club|7", None)]
    assert keys(CUSTOM, body, payload=payload, account="a") == [("i|a|7", None)]


def test_receipts_of_custom_webhooks_meet_the_messages_of_their_credentials() -> None:
    payload = '{"id": "{{messageId}}", "s": "{{feedbackStatus}}"}'
    body = {"id": 7, "s": "sent"}

    assert keys(CUSTOM, body, payload=payload, type="feedback", name="shop") == [("r|custom|7||sent||", None)]


def test_no_id_can_be_made_to_look_like_another_event() -> None:
    provider = made({**RECEIPT, "each": "[]", "part": "part"})
    body = [
        {"id": "a|b", "status": "sent"},
        {"id": "a", "to": "b|", "status": "sent"},
        {"id": "a%7Cb", "status": "sent"},
        {"ref": "a", "status": "SENT"},
    ]

    assert [key for key, _ in keys(provider, body)] == [
        "r|made|a%7Cb||sent||",
        "r|made|a|b%7C|sent||",
        "r|made|a%257Cb||sent||",
        "r|made|ref:a||sent||",
    ]


def test_an_event_without_id_is_known_by_what_it_says_and_its_time() -> None:
    provider = made({**INBOUND, "each": "[]"})
    base = {"from": "+41791234567", "to": "+41445556677", "text": "STOP", "at": "2026-01-01T12:00:00Z"}
    changed = [
        {},
        {"text": "START"},
        {"to": "12345"},
        {"from": "+41791234568"},
        {"at": "2026-01-01T12:00:01Z"},
        {"at": ""},
    ]

    found = keys(provider, [{**base, **change} for change in changed])

    assert len({key for key, _ in found}) == len(changed)
    assert [repeats for _, repeats in found] == [None, None, None, None, None, 30.0]
    assert keys(provider, [base]) == found[:1]


def test_a_change_is_known_by_its_id_or_by_what_it_says() -> None:
    provider = made({"kind": "change", "each": "[]", "address": "who", "id": "id", "time": "at", "state": "opted_out"})
    body = [
        {"who": "+41791234567", "id": "7"},
        {"who": "+41791234567"},
        {"who": "+41791234567", "at": "1767268800"},
        {},
    ]

    decoded = decode(provider, body)

    assert [(event.key[:10], event.repeats_within) for event in decoded.events] == [
        ("c|made|7", None),
        ("c|made|#" + decoded.events[1].key[8:10], 30.0),
        ("c|made|#" + decoded.events[2].key[8:10], None),
    ]
    assert {event.state for event in decoded.events if isinstance(event, Change)} == {ConsentState.OPTED_OUT}
    assert [trouble.reason for trouble in decoded.troubles] == ["a change of consent has no person at who"]


def test_the_providers_own_category_is_told_in_any_case() -> None:
    rule = {**INBOUND, "category": "kind", "categories": {"Stop": "opt_out"}, "answered": "answered"}
    body = {"id": "1", "from": "+41791234567", "kind": "STOP", "answered": False}

    decoded = decode(made(rule), body)

    assert [(e.provider_category, e.provider_answered) for e in decoded.events if isinstance(e, Inbound)] == [
        (Category.OPT_OUT, True)
    ]


# --- the inverse template -----------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("sample", ['{"n": "+41791234567", "t": "x"}', "n=%2B41791234567&t=x"])
def test_a_good_sample_shows_what_is_read_from_it(sample: str) -> None:
    webhook = Webhook.model_validate({"name": "hook", "provider": "custom", "payload": GOOD_INBOUND, "sample": sample})

    decoded = check_sample(CUSTOM, webhook)

    assert decoded is not None
    assert [shown(event) for event in decoded.events] == [
        {"kind": "inbound", "address": "+41791234567", "text": "x", "repeats_within": 30.0}
    ]


def test_a_webhook_without_a_sample_is_checked_without_it() -> None:
    webhook = Webhook.model_validate({"name": "hook", "provider": "custom", "payload": GOOD_INBOUND})

    assert check_sample(CUSTOM, webhook) is None


# --- whatever comes -----------------------------------------------------------------------------------------------

DECODERS = {
    slug: decoder(
        provider,
        Webhook.model_validate(
            {"name": slug, "provider": slug, "region": "CH"}
            | ({"type": "both", "payload": GOOD_INBOUND, "feedback_payload": '[{"messageId": "{{messageId}}", "status": "{{feedbackStatus}}"}]'}
               if slug == "custom" else {})
        ),
    )
    for slug, provider in PROVIDERS.items()
}  # fmt: skip
#: names and words of the provider files, so that chance gets past their conditions
WORDS = sorted(
    set(
        re.findall(
            r"[A-Za-z_0-9]+",
            " ".join(json.dumps(p.model_dump(mode="json", exclude={"send"})) for p in PROVIDERS.values()),
        )
    )
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20), st.sampled_from(WORDS),
    st.sampled_from(["+41791234567", "41791234567", "whatsapp:+41791234567", "|", "%", "2024-06-06T07:52:37.386Z", "1e999"]),
)  # fmt: skip
NAMES = st.one_of(st.sampled_from(WORDS), st.text(max_size=5))
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=30
)


def check_decoded(decoded: Decoded) -> None:
    """What the other rooms rely on."""
    assert decoded.reading in Reading
    assert bool(decoded.problem) == (decoded.reading is Reading.UNDECODED)
    for event in decoded.events:
        texts = [value for field in fields(event) if isinstance(value := getattr(event, field.name), str)]
        assert not any("\0" in text for text in texts)
        "".join(texts).encode()
        assert event.key


@pytest.mark.parametrize("slug", sorted(PROVIDERS))
@settings(max_examples=150, deadline=None)
@given(body=st.binary(max_size=200), content_type=st.sampled_from(["", FORM, "application/json; charset=utf-16"]))
def test_no_bytes_make_a_decoder_raise(slug: str, body: bytes, content_type: str) -> None:
    check_decoded(DECODERS[slug](request(body, content_type)))


@pytest.mark.parametrize("slug", sorted(PROVIDERS))
@settings(max_examples=300, deadline=None)
@given(tree=TREES)
def test_no_json_makes_a_decoder_raise(slug: str, tree: Any) -> None:
    check_decoded(DECODERS[slug](request(json.dumps(tree).encode("utf-8", "surrogatepass"), "application/json")))


@pytest.mark.parametrize("slug", sorted(PROVIDERS))
@settings(max_examples=150, deadline=None)
@given(pairs=st.dictionaries(NAMES, LEAVES.map(str), max_size=12))
def test_no_form_makes_a_decoder_raise(slug: str, pairs: dict[str, str]) -> None:
    encoded = urlencode(pairs, errors="replace")

    check_decoded(DECODERS[slug](request(encoded, FORM)))
    check_decoded(DECODERS[slug](request(b"", query=encoded)))


def test_samples_with_values_of_other_types_do_not_make_a_decoder_raise() -> None:
    """Each value of each JSON sample is replaced by one of another type, one at a time."""
    for name in sample_names():
        sample, webhook, _ = load_sample(name)
        if sample.body[:1] in (b"{", b"["):
            decode_one, tree = decoder(PROVIDERS[webhook.provider], webhook), json.loads(sample.body)
            for place in lines(tree):
                for other in (None, 7, "x", [], {}, [[None]], True):
                    check_decoded(decode_one(request(json.dumps(replaced(tree, place, other)))))


def replaced(tree: Any, place: tuple[Any, ...], other: Any) -> Any:
    """A copy with another value at a place."""
    if not place:
        return other
    copy = tree.copy()
    copy[place[0]] = replaced(tree[place[0]], place[1:], other)
    return copy
