"""From a provider's answer to an id or a failure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from app.errors import BadInput, SendFailed
from app.send.answer import reader, retry_after
from app.send.connection import Answer
from app.sending import Send

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
RULES = Send(
    url="https://x.example.com",
    id="messages.0.message-id",
    code="error.code",
    blocked_codes=["21610"],
    permanent_codes=["30"],
    accepted={"messages.0.status": ["0", "ok"]},
)
OPEN = RULES.model_copy(update={"accepted": {}})
#: as gateways answer that speak plain text
PLAIN = Send(
    url="https://x.example.com",
    id_pattern=r"^(?:ID: |Success \")([\w-]+)",
    accepted_pattern=r"^(0:|ID:|Success)",
    code_pattern=r"^error \| ([0-9]+)",
    blocked_codes=["7"],
)
UNCLEAR = ", and does not say whether it took the message"


@pytest.mark.parametrize(
    ("rules", "body", "found"),
    [
        pytest.param(RULES, '{"messages":[{"status":"0","message-id":"00A1"}]}', "00A1", id="id"),
        pytest.param(RULES, '{"messages":[{"status":0,"message-id":12345678901234567890}]}',
                     "12345678901234567890", id="id beyond 2^53"),
        pytest.param(RULES, '{"messages":[{"status":"OK"}]}', "", id="no id"),
        pytest.param(OPEN, '{"messages":[]}', "", id="no message"),
        pytest.param(OPEN, '{"messages":{"0":{"message-id":"x"}}}', "x", id="a name that is a number"),
        pytest.param(OPEN, '{"messages":[{"message-id":{"a":1}}]}', "", id="an object is no id"),
        pytest.param(OPEN, '{"messages":[{"message-id":true}]}', "", id="nor is true"),
        pytest.param(OPEN, '{"messages":[{"message-id":"a\\u0000b\\ud800"}]}', "ab?", id="what no database takes"),
        pytest.param(OPEN, "0: Accepted for delivery", "", id="plain text"),
        pytest.param(PLAIN, "0: Accepted for delivery", "", id="plain text without an id"),
        pytest.param(PLAIN, "ID: 4f1c-07", "4f1c-07", id="plain text with an id"),
        pytest.param(PLAIN, 'Success "a9"', "a9", id="plain text, the other way"),
        pytest.param(PLAIN, "ID: " + "x" * 20_000, "x" * 512, id="plain text without end"),
        pytest.param(PLAIN.model_copy(update={"id": "id", "accepted_pattern": ""}), '{"id": 7}', "7", id="path first"),
        pytest.param(OPEN, "", "", id="empty"),
        pytest.param(
            OPEN.model_copy(update={"id": "id", "accepted": {"id": True, "error": False}}),
            '{"id": "m1", "error": null}',
            "m1",
            id="present and absent",
        ),
        pytest.param(
            OPEN.model_copy(update={"id": "id", "accepted": {"taken": "true", "failed": ["false"]}}),
            '{"id": "m1", "taken": true, "failed": false}',
            "m1",
            id="true and false",
        ),
        pytest.param(OPEN, "[" * 100_000, "", id="endlessly deep"),
    ],
)  # fmt: skip
def test_a_taken_message_gives_its_id(rules: Send, body: str, found: str) -> None:
    assert reader(rules)(Answer(200, {}, body.encode()), NOON) == found


def test_behind_a_backslash_a_dot_is_part_of_a_name() -> None:
    rules = OPEN.model_copy(update={"id": "message\\.id.0"})

    assert reader(rules)(Answer(200, {}, b'{"message.id":["x"]}'), NOON) == "x"


def failure(status: int, body: str = "", headers: Mapping[str, str] = {}, rules: Send = RULES) -> dict[str, Any]:
    with pytest.raises(SendFailed) as caught:
        reader(rules)(Answer(status, dict(headers), body.encode()), NOON)
    return {"reason": str(caught.value), **vars(caught.value)}


def told(reason: str, **given: Any) -> dict[str, Any]:
    usual = {"permanent": False, "departed": False, "blocked": False, "retry_after": None}
    return {"reason": f"the provider answered {reason}", **usual, **given}


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (failure(400, '{"error":{"code":21211}}'), told("400 with code 21211", permanent=True)),
        (failure(400, '{"error":{"code":21610}}'), told("400 with code 21610", permanent=True, blocked=True)),
        # it is the credential that is at fault, and may be mended
        (failure(401), told("401")),
        (failure(403), told("403", permanent=True)),
        (failure(404, "<html>+14155550100</html>"), told("404", permanent=True)),
        (failure(408), told("408")),
        (failure(425), told("425")),
        (failure(429, headers={"retry-after": "7"}), told("429", retry_after=7.0)),
        (failure(500, "oops"), told("500")),
        # a gateway that lost sight of the provider
        (failure(502), told("502", departed=True)),
        (failure(504), told("504", departed=True)),
        (failure(503, headers={"retry-after": "Sun, 22 Nov 2026 12:01:00 GMT"}), told("503", retry_after=60.0)),
        (
            failure(307, headers={"location": "https://evil.example"}),
            told("307, a redirect, which is never followed; give the credential the final url", permanent=True),
        ),
        # HTTP says yes and the body says no
        (failure(200, '{"messages":[{"status":"1"}], "error":{"code":7}}'), told("200 with code 7")),
        (failure(200, '{"error":{"code":false}}'), told("200 with code false")),
        (failure(200, '{"error":{"code":"21610"}}'), told("200 with code 21610", permanent=True, blocked=True)),
        (failure(200, '{"error":{"code":"30"}}'), told("200 with code 30", permanent=True)),
        (failure(500, '{"error":{"code":30}}'), told("500 with code 30", permanent=True)),
        (failure(202, "error | 102 | no such number +14155550100", rules=PLAIN), told("202 with code 102")),
        (failure(200, "error | 7 | opted out", rules=PLAIN), told("200 with code 7", permanent=True, blocked=True)),
        # neither yes nor no: it may have been taken
        (failure(200, '{"messages":[{"status":"1"}]}'), told(f"200{UNCLEAR}", departed=True)),
        (failure(202), told(f"202{UNCLEAR}", departed=True)),
        (failure(200, "<html>welcome</html>"), told(f"200{UNCLEAR}", departed=True)),
        (failure(200, "1701: Invalid number +14155550100", rules=PLAIN), told(f"200{UNCLEAR}", departed=True)),
        (failure(202, " ID: not at the beginning", rules=PLAIN), told(f"202{UNCLEAR}", departed=True)),
    ],
)  # fmt: skip
def test_every_refusal_says_whether_to_come_back(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found == wanted


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("1.5", 1.5),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),  # past
        ("Sunday, 22-Nov-26 12:00:30 GMT", 30.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("9" * 400, None),
        ("1e999", None),
        ("Sun, 99 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after(value, NOON) == seconds


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"id_pattern": "("}, "id_pattern is not a regular expression"),
        ({"id_pattern": "ID: .*"}, "id_pattern needs a group"),
        ({"code_pattern": "error"}, "code_pattern needs a group"),
        ({"accepted_pattern": "[a"}, "accepted_pattern is not a regular expression"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused_before_anything_is_sent(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        reader(Send(url="https://x.example.com", **given))
