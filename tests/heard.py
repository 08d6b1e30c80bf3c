"""Requests as flow hands them to the writer, made short for tests."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from app.events import Event, Heard, Inbound, RawRequest, Reading, Receipt, Status, Trouble
from app.interpret import Policy, Rules, rules
from app.record.ids import new_id
from app.webhook import Webhook

ALICE, BOB, CHARLIE = "+14155550100", "+14155550101", "+14155550102"
COMPANY = "+14155550199"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
POLICY = Policy(timedelta(hours=24), 5, timedelta(minutes=5), timedelta(minutes=60))


def make_rules(*, credential: str | None = "acme", keywords: Mapping[str, Any] | None = None) -> Rules:
    webhook = Webhook(
        name="acme-inbound", provider="twilio", credential=credential, sender=COMPANY, keywords=keywords or {}
    )
    return rules(webhook, {}, {}, frozenset({COMPANY}), POLICY)


RULES = make_rules(keywords={"default": {"reply": "Thanks!"}})


def inbound(text: str, *, address: str = BOB, provider_id: str | None = None, **more: Any) -> Inbound:
    found = provider_id or f"SM{new_id()}"
    return Inbound(key=f"i|twilio|{found}", provider_id=found, address=address, sender=COMPANY, text=text, **more)


def receipt(status: Status, *, message_id: str = "SM1", recipient: str = BOB, word: str = "", **more: Any) -> Receipt:
    said = word or status.value
    return Receipt(
        key=f"r|twilio|{message_id}|{recipient}|{said}|", message_id=message_id, recipient=recipient, status=status,
        provider_status=said, **more,
    )  # fmt: skip


def heard(*events: Event, at: datetime = NOON, rules: Rules = RULES, troubles: tuple[Trouble, ...] = ()) -> Heard:
    raw = RawRequest(
        new_id(), "POST", "/in/…", "{}", b"Body=STOP", "127.0.0.1", "twilio, secret 1 of 1", Reading.EVENTS
    )
    return Heard("acme-inbound", "twilio", "twilio", "default", at, events, rules, troubles, raw)
