"""What the tests of interpret/ share: rules, messages, a decision with ids 1, 2, 3 and a fixed salt, and the next state.

Alice consents, Bob said STOP, Charlie is unknown.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from app.changes import Changes
from app.events import (
    Category,
    Cause,
    Change,
    ConsentState,
    Delivery,
    Event,
    Guard,
    Heard,
    Inbound,
    Known,
    RawRequest,
    Reading,
    Receipt,
    Standing,
    Status,
)
from app.interpret import Policy, Rules, decide, rules
from app.settings import CONFIG_DIR
from app.webhook import Webhook, load_packs

ALICE, BOB, CHARLIE, COMPANY = "+14155550101", "+14155550102", "+14155550103", "+14155550199"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
PACKS = load_packs(CONFIG_DIR)
POLICY = Policy()
RAW = RawRequest(7, "POST", "/in/…", "{}", b"Body=STOP", "192.0.2.1", "twilio, secret 1 of 1", Reading.EVENTS)


def webhook_of(**given: Any) -> Webhook:
    return Webhook(**{"name": "acme", "provider": "twilio", "credential": "acme", "sender": COMPANY, **given})


def rules_of(named: Mapping[str, str] | None = None, policy: Policy = POLICY, **given: Any) -> Rules:
    return rules(webhook_of(**given), PACKS, named or {}, frozenset({COMPANY}), policy)


#: every category has a reply, and every category has a keyword
RULES = rules_of(
    packs=["us"],
    keywords={
        "opt_in": {"reply": "welcome"},
        "opt_out": {"reply": "goodbye"},
        "double_opt_in": {"keywords": ["JOIN"], "reply": "sure?"},
        "help": {"reply": "this helps"},
        "default": {"reply": "thanks"},
        "custom": [{"keywords": ["DAILY"], "reply": "every day then", "preference": {"frequency": "daily"}}],
    },
)

#: a text for each category of RULES
TEXTS = {
    Category.OPT_OUT: "STOP",
    Category.OPT_IN: "START",
    Category.DOUBLE_OPT_IN: "JOIN",
    Category.HELP: "HELP",
    Category.CUSTOM: "DAILY",
    Category.DEFAULT: "When do you open?",
}


def heard(*events: Event, received_at: datetime = NOON, rules: Rules | None = RULES, **given: Any) -> Heard:
    fields = {"webhook": "acme", "provider": "twilio", "account": "twilio", "program": "default", **given}
    return Heard(received_at=received_at, events=events, rules=rules, **fields)


def message(text: str, address: str = CHARLIE, **given: Any) -> Inbound:
    return Inbound(**{"key": "", "provider_id": "SM1", "address": address, "sender": COMPANY, "text": text, **given})


def said(text: str, address: str = CHARLIE, at: datetime = NOON, rules: Rules = RULES, **given: Any) -> Heard:
    return heard(message(text, address, **given), received_at=at, rules=rules)


def changed(state: ConsentState, cause: Cause, address: str = CHARLIE, at: datetime = NOON, **given: Any) -> Heard:
    return heard(Change("", address, state, cause, **given), received_at=at, rules=None)


def receipt(status: Status, message_id: str = "SM1", **given: Any) -> Receipt:
    return Receipt(
        **{"key": "", "recipient": ALICE, "provider_status": status.value, **given},
        message_id=message_id,
        status=status,
    )


def decided(*heards: Heard, known: Known | None = None) -> Changes:
    return decide(heards, known or Known(), count(1).__next__, lambda: "salt")


def standing(state: ConsentState, as_of: datetime = NOON - HOUR, *, confirmed: bool = False) -> Standing:
    if state is ConsentState.UNKNOWN:
        return Standing()
    return Standing(state, as_of, as_of, "keyword", confirmed)


def knowing(person: Standing, address: str = CHARLIE, program: str = "default", **more: Any) -> Known:
    return Known(standings={(program, address): person}, **more)


def after(known: Known, changes: Changes) -> Known:
    """What the database would hold next."""
    return Known(
        standings=known.standings
        | {
            key: Standing(ConsentState(row.state), row.since, row.as_of, row.cause, row.confirmed)
            for key, row in changes.consent.items()
        },
        guards=known.guards
        | {
            row.address: Guard(row.default_at, tuple(map(datetime.fromisoformat, row.recent.split())))
            for row in changes.guards.values()
        },
        deliveries=known.deliveries
        | {
            key: Delivery(row.id, Status(row.status), row.provider_status, row.code, row.error_text)
            for key, row in changes.messages.items()
        },
    )
