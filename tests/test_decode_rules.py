"""From an item to an event: values, conditions, statuses, troubles, answers."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.decode.expected import shown
from app.errors import BadInput
from app.events import Category, Decoded, Inbound, Piece, Reading, Receipt, Status
from app.provider import EventRule
from tests.decoding import INBOUND, RECEIPT, decode, made


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


@pytest.mark.parametrize("rule", [INBOUND, RECEIPT, {**INBOUND, "kind": "change", "state": "opted_out"}])
@pytest.mark.parametrize("given", ["m1", "M1x", "xM1", "M1\n", "", None])
def test_an_item_whose_id_has_not_the_told_form_waits_for_a_person(rule: dict[str, Any], given: str | None) -> None:
    """Cut in other places, a captured request of names and values signed one behind the other has another id."""
    provider = made({**rule, "each": "[]", "id_pattern": "M[0-9]"})
    good = {"from": "+41791234567", "to": "+41791234567", "status": "delivered", "text": "STOP", "ref": "r"}

    decoded = decode(provider, [{**good, "id": given}, {**good, "id": "M1"}])

    assert len(decoded.events) == 1
    assert [(trouble.kind, trouble.reason) for trouble in decoded.troubles] == [
        ("item", "the id at id is missing, or not of the form that the provider file tells")
    ]


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"id_pattern": "("}, "id_pattern '[(]': missing"),
        ({"id_pattern": "M", "id": None}, "id_pattern goes with an id"),
    ],
)
def test_a_form_of_ids_that_cannot_be_is_refused(told: dict[str, Any], problem: str) -> None:
    with pytest.raises((BadInput, ValidationError), match=problem):
        decode(made({**INBOUND, **told}), {})


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
    unreadable = decode(provider, "STOP")

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
    assert unreadable.problem == "The body is neither a form nor JSON nor XML (content type: none)."


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


def test_the_providers_own_category_is_told_in_any_case() -> None:
    rule = {**INBOUND, "category": "kind", "categories": {"Stop": "opt_out"}, "answered": "answered"}
    body = {"id": "1", "from": "+41791234567", "kind": "STOP", "answered": False}

    decoded = decode(made(rule), body)

    assert [(e.provider_category, e.provider_answered) for e in decoded.events if isinstance(e, Inbound)] == [
        (Category.OPT_OUT, True)
    ]


@pytest.mark.parametrize(
    ("part", "parts", "piece"),
    [
        (1, 3, (1, 3)),
        ("3", "3", (3, 3)),
        (1, 255, (1, 255)),
        (1, 1, None),  # all of it
        (0, 2, None),
        (3, 2, None),
        (1, 256, None),
        (None, 2, None),
        (2, None, None),
        ("x", "y", None),
    ],
)
def test_a_part_of_a_long_message_says_which_it_is(part: Any, parts: Any, piece: tuple[int, int] | None) -> None:
    provider = made({**INBOUND, "whole": "ref", "part": "part", "parts": "parts"})
    body = {"id": "1", "from": "+41791234567", "to": "12345", "text": "x", "ref": "a|b", "part": part, "parts": parts}

    decoded = decode(provider, body, account="mine")

    assert [event.piece for event in decoded.events if isinstance(event, Inbound)] == [
        piece and Piece("p|mine|a%7Cb|+41791234567|short:12345", *piece)
    ]


def test_a_message_without_the_reference_of_a_whole_is_no_part() -> None:
    provider = made({**INBOUND, "whole": "ref", "part": "part", "parts": "parts"})

    decoded = decode(provider, {"id": "1", "from": "+41791234567", "text": "x", "part": 1, "parts": 2})

    assert [(event.key, event.piece) for event in decoded.events if isinstance(event, Inbound)] == [("i|made|1", None)]


def test_codes_of_the_webhook_mean_an_opt_out_too() -> None:
    provider = made({**RECEIPT, "each": "[]"}, blocked_codes=["7"])
    body = [{"id": str(code), "to": "+41791234567", "status": "failed", "code": code} for code in (7, 8, 9)]

    decoded = decode(provider, body, blocked_codes=["8"])

    assert [event.blocked for event in decoded.events if isinstance(event, Receipt)] == [True, True, False]


@pytest.mark.parametrize(
    ("body", "reading", "answer"),
    [
        ([{"kind": "mo", "id": "1", "from": "+41791234567"}], "events", "thanks"),
        ([{"kind": "dlr", "id": "1", "status": "sent"}], "events", "receipt"),
        ([{"kind": "dlr", "id": "1", "status": "sent"}, {"kind": "mo", "id": "1", "from": "+41791234567"}], "events", "receipt"),
        ([{"kind": "mo"}], "events", "thanks"),  # a trouble
        ([{"kind": "ping"}], "ignored", "pong"),
        ([{"kind": "typing"}], "ignored", "ignore"),
        ([{"kind": "ping"}, {"kind": "typing"}], "ignored", "pong"),
        ([{"kind": "ping"}, {"kind": "dlr", "id": "1", "status": "sent"}], "events", "receipt"),
        ([{"kind": "ping"}, {"kind": "new"}], "events", "pong"),
        ([{"kind": "new"}], "undecoded", "inbound"),
    ],
)  # fmt: skip
def test_a_rule_may_name_the_answer_to_its_request(body: list[dict[str, Any]], reading: str, answer: str) -> None:
    provider = made(
        {**INBOUND, "each": "[]", "when": {"kind": "mo"}, "answer": "thanks"},
        {**RECEIPT, "each": "[]", "when": {"kind": "dlr"}},
        {"kind": "ignore", "each": "[]", "when": {"kind": "ping"}, "answer": "pong"},
        {"kind": "ignore", "each": "[]", "when": {"kind": "typing"}},
        answers={"thanks": {"body": "OK"}, "pong": {"body": "pong"}},
    )

    decoded = decode(provider, body)

    assert (decoded.reading, decoded.answer) == (reading, answer)


def test_an_answer_that_is_not_told_cannot_be_named() -> None:
    with pytest.raises(ValueError, match="there is no \\[answers\\] entry 'thanks'"):
        made({**INBOUND, "answer": "thanks"})
