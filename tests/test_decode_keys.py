"""What makes an event one and the same, however often it comes."""

from typing import Any

from app.events import Change, ConsentState
from app.provider import Provider
from tests.decoding import INBOUND, PROVIDERS, RECEIPT, decode, made

CUSTOM = PROVIDERS["custom"]


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


def test_parts_of_a_long_message_are_events_of_their_own_even_with_one_id_or_one_text() -> None:
    provider = made({**INBOUND, "each": "[]", "whole": "ref", "part": "n", "parts": "of"})
    base = {"from": "+41791234567", "to": "12345", "text": "ha", "ref": "7", "of": 2}

    found = keys(provider, [{**base, "id": "1", "n": 1}, {**base, "id": "1", "n": 2}, {**base, "id": "1"}])
    without_id = keys(provider, [{**base, "n": 1}, {**base, "n": 2}, {**base, "n": 1}, {**base, "n": 1, "ref": "8"}])

    assert found == [("i|made|1|1", None), ("i|made|1|2", None), ("i|made|1", None)]
    assert [repeats for _, repeats in without_id] == [30.0] * 4
    assert len({key for key, _ in without_id}) == 3
