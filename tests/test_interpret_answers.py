from datetime import datetime, timedelta
from typing import Any

import pytest

from app.events import Category, Cause, ConsentState, Guard, Known, Standing
from app.interpret import Policy, may_leave
from tests.interpreting import (
    CHARLIE,
    COMPANY,
    HOUR,
    MINUTE,
    NOON,
    RULES,
    changed,
    decided,
    heard,
    message,
    rules_of,
    said,
    standing,
)

QUIET = {"default": {"reply": "thanks"}}


def known_guard(default_at: datetime | None = None, recent: tuple[datetime, ...] = ()) -> Known:
    return Known(guards={CHARLIE: Guard(default_at, recent)})


# --- who is answered ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "event", "webhook", "reason"),
    [
        ("hello", {}, {}, "queued"),
        ("hello", {}, {"credential": None}, "no credential"),
        ("hello", {}, {"keywords": {}}, "no reply text"),
        ("HELP", {}, {"keywords": {"help": {"reply": ""}}}, "no reply text"),
        ("DAILY", {}, {"keywords": {"custom": [{"keywords": ["DAILY"]}]}}, "no reply text"),
        ("hello", {"provider_category": Category.CUSTOM}, {}, "no reply text"),
        ("HELP", {"address": "short:12345"}, {}, "guard: a short code or alphanumeric sender"),
        ("HELP", {"address": "alpha:acme"}, {}, "guard: a short code or alphanumeric sender"),
        ("HELP", {"address": "whatsapp:4179"}, {}, "queued"),
        ("STOP", {"address": COMPANY, "sender": "+14155550198"}, {}, "guard: one of our own numbers"),
        ("STOP", {"address": "+14155550198", "sender": "+14155550198"}, {}, "guard: one of our own numbers"),
        ("Thanks!", {}, {}, "guard: our own text came back"),
        ("You are unsubscribed and will receive no more messages. Reply HELP for help.", {}, {}, "guard: our own text came back"),
        ("STOP", {}, {"keywords": {"opt_out": {"reply": "STOP"}}}, "queued"),  # a STOP is always a STOP
        ("HELP", {}, {"keywords": {"help": {"reply": "Help!"}}}, "queued"),
        ("🙏", {}, {"keywords": {"default": {"reply": "👍"}}}, "queued"),  # two texts without a letter are not the same
        ("hello", {"provider_answered": True}, {}, "the provider answered"),
        ("hello", {"provider_answered": True}, {"credential": None}, "the provider answered"),
    ],
)  # fmt: skip
def test_who_is_answered(text: str, event: dict[str, Any], webhook: dict[str, Any], reason: str) -> None:
    rules = rules_of(**{"keywords": QUIET, **webhook})

    changes = decided(heard(message(text, **event), rules=rules))

    assert (changes.inbound[0].reply, len(changes.outbox)) == (reason, int(reason == "queued"))


def test_an_opt_out_from_where_nobody_can_be_answered_is_an_opt_out() -> None:
    changes = decided(said("STOP", "short:12345"))

    row = changes.consent["default", "short:12345"]
    assert (row.state, row.confirmed, changes.outbox) == ("opted_out", False, [])


def test_a_later_stop_is_confirmed_if_the_first_could_not_be() -> None:
    changes = decided(said("STOP", rules=rules_of(credential=None)), said("STOP"))

    assert [row.reply for row in changes.inbound] == ["no credential", "queued"]


# --- the guard ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("default_at", "reason"),
    [
        (None, "queued"),
        (NOON, "guard: default reply already sent within 24 h"),
        (NOON - 24 * HOUR + MINUTE, "guard: default reply already sent within 24 h"),
        (NOON - 24 * HOUR, "queued"),
        (NOON + 400 * 24 * HOUR, "queued"),  # our clock once jumped ahead
    ],
)
def test_the_default_reply_goes_out_once_a_day(default_at: datetime | None, reason: str) -> None:
    changes = decided(said("hello"), known=known_guard(default_at))

    assert changes.inbound[0].reply == reason


@pytest.mark.parametrize(
    ("text", "recent", "reason"),
    [
        ("HELP", (NOON - MINUTE,) * 4, "queued"),
        ("HELP", (NOON - MINUTE,) * 5, "guard: already 5 replies within 1 h"),
        ("hello", (NOON - MINUTE,) * 5, "guard: already 5 replies within 1 h"),
        ("START", (NOON - MINUTE,) * 5, "guard: already 5 replies within 1 h"),
        ("HELP", (NOON - HOUR,) * 5, "queued"),
        ("HELP", (NOON + 2 * HOUR,) * 5, "queued"),  # our clock once jumped ahead
        ("STOP", (NOON - MINUTE,) * 9, "queued"),  # a first confirmation is exempt
    ],
)
def test_five_replies_an_hour_are_enough(text: str, recent: tuple[datetime, ...], reason: str) -> None:
    changes = decided(said(text), known=known_guard(recent=recent))

    assert changes.inbound[0].reply == reason


def test_a_confirmation_is_exempt_from_the_limit_and_counted() -> None:
    minutes = [NOON + i * MINUTE for i in range(6)]
    texts = ["STOP", "HELP", "HELP", "HELP", "HELP", "HELP"]

    changes = decided(*(said(text, at=at) for text, at in zip(texts, minutes, strict=True)))

    assert [row.reply for row in changes.inbound] == ["queued"] * 5 + ["guard: already 5 replies within 1 h"]


def test_the_guard_is_kept_pruned_and_in_order() -> None:
    recent = (NOON - 2 * HOUR, NOON - MINUTE, NOON + MINUTE)

    changes = decided(said("hello"), said("HELP"), known=known_guard(recent=recent))

    lately = [NOON - MINUTE, NOON, NOON, NOON + MINUTE]
    assert changes.guards == {CHARLIE: (CHARLIE, NOON, " ".join(at.isoformat() for at in lately), "")}


def test_who_is_not_answered_is_not_counted() -> None:
    assert decided(said("hello", rules=rules_of(credential=None))).guards == {}


def test_a_loop_of_two_machines_ends() -> None:
    changes = decided(*(said("I am away until Monday", at=NOON + i * MINUTE) for i in range(50)))

    assert len(changes.outbox) == 1


@pytest.mark.parametrize(
    ("policy", "queued"), [(Policy(per_hour=0), 0), (Policy(default_every=timedelta(0)), 5), (Policy(per_hour=2), 1)]
)
def test_the_guard_is_a_matter_of_settings(policy: Policy, queued: int) -> None:
    rules = rules_of(policy=policy, keywords=QUIET)

    changes = decided(*(said("hello", rules=rules) for _ in range(9)))

    assert len(changes.outbox) == queued


def test_hours_are_named_as_set() -> None:
    rules = rules_of(policy=Policy(default_every=timedelta(minutes=90)), keywords=QUIET)

    changes = decided(said("hello", rules=rules), said("hello", rules=rules))

    assert changes.inbound[1].reply == "guard: default reply already sent within 1.5 h"


# --- when the reply is claimed ------------------------------------------------------------------------------------

UNTIL = NOON + 5 * MINUTE


@pytest.mark.parametrize(
    ("category", "allowed"),
    [
        ("opt_out", ["opted_out"]),
        ("opt_in", ["opted_in"]),
        ("double_opt_in", ["pending"]),
        ("help", ["unknown", "pending", "opted_in", "opted_out"]),
        ("default", ["unknown", "pending", "opted_in"]),
        ("custom", ["unknown", "pending", "opted_in"]),
    ],
)
def test_consent_is_looked_at_again_when_a_reply_is_claimed(category: str, allowed: list[str]) -> None:
    free = [state for state in ConsentState if may_leave(category, Standing(state), NOON, UNTIL) is None]

    assert free == allowed


@pytest.mark.parametrize(
    ("category", "state", "now", "reason"),
    [
        ("opt_out", ConsentState.OPTED_OUT, UNTIL, None),
        ("opt_out", ConsentState.OPTED_OUT, UNTIL + timedelta(microseconds=1), "deadline passed"),
        ("help", ConsentState.UNKNOWN, UNTIL + HOUR, "deadline passed"),
        ("opt_out", ConsentState.OPTED_IN, NOON, "no longer opted_out"),
        ("opt_in", ConsentState.OPTED_OUT, NOON, "no longer opted_in"),
        ("double_opt_in", ConsentState.OPTED_IN, NOON, "no longer pending"),
        ("default", ConsentState.OPTED_OUT, NOON, "opted out since"),
    ],
)
def test_a_reply_that_may_not_leave_says_why(
    category: str, state: ConsentState, now: datetime, reason: str | None
) -> None:
    assert may_leave(category, standing(state), now, UNTIL) == reason


def test_a_confirmation_is_not_stopped_by_the_opt_out_that_it_announces() -> None:
    changes = decided(said("STOP"))

    row, holds = changes.outbox[0], changes.consent["default", CHARLIE]
    assert may_leave(row.category, Standing(ConsentState(holds.state)), NOON, row.deadline) is None


def test_confirmations_wait_five_minutes_and_other_replies_an_hour() -> None:
    changes = decided(said("HELP"), said("STOP"))

    assert [(row.category, row.deadline - row.created_at) for row in changes.outbox] == [
        ("help", HOUR),
        ("opt_out", 5 * MINUTE),
    ]


def test_changes_are_never_answered() -> None:
    changes = decided(*(changed(state, Cause.API, reason="a call") for state in ConsentState))

    assert (changes.outbox, changes.guards) == ([], {})


def test_a_webhook_without_sender_answers_from_the_number_that_was_written_to() -> None:
    changes = decided(heard(message("HELP", sender="+14155550177"), rules=rules_of(sender=None)), said("HELP"))

    assert [row.sender for row in changes.outbox] == ["+14155550177", COMPANY]
    assert RULES.sender == COMPANY


# --- rich replies -------------------------------------------------------------------------------------------------


def test_a_rich_reply_is_queued_with_its_suggestions_and_leaves_its_text_as_evidence() -> None:
    bye = {"text": "Bye.", "suggestions": [{"text": "START"}], "fallback": "Bye. Reply START to come back."}

    changes = decided(said("STOP", rules=rules_of(keywords={"opt_out": {"reply": bye}})))

    content = '{"suggestions":[{"text":"START"}],"fallback":"Bye. Reply START to come back."}'
    assert [(row.text, row.content) for row in changes.outbox] == [("Bye.", content)]
    assert [row.reply_text for row in changes.evidence] == ["Bye."]


# --- messages of which a part is missing --------------------------------------------------------------------------


@pytest.mark.parametrize("fragment", ["incomplete", "late part"])
@pytest.mark.parametrize(
    ("text", "category", "keyword"),
    [
        ("STOP", "opt_out", "STOP"),
        ("START", "default", ""),  # the rest may say: "… not"
        ("JOIN", "default", ""),
        ("HELP", "default", ""),
        ("DAILY", "default", ""),
        ("hello", "default", ""),
    ],
)
def test_a_fragment_may_take_a_person_out_and_nothing_else(
    text: str, category: str, keyword: str, fragment: str
) -> None:
    changes = decided(said(text, fragment=fragment))

    rule = "default keyword" if keyword else fragment
    assert [(row.category, row.rule, row.keyword) for row in changes.inbound] == [(category, rule, keyword)]
    assert {row.new_state for row in changes.ledger} == ({"opted_out"} if keyword else set())
    assert changes.attributes == {}


def test_a_fragment_that_the_provider_flags_as_an_opt_out_is_one() -> None:
    changes = decided(said("and no more", fragment="late part", provider_category=Category.OPT_OUT))

    assert [(row.category, row.rule, row.reply) for row in changes.inbound] == [("opt_out", "provider flag", "queued")]


@pytest.mark.parametrize(
    ("text", "fragment", "reply"),
    [
        ("hello", "incomplete", "queued"),
        ("hello", "late part", "its message was answered without it"),
        ("STOP", "late part", "queued"),
    ],
)
def test_a_late_part_is_not_answered_again_but_for_an_opt_out(text: str, fragment: str, reply: str) -> None:
    rules = rules_of(policy=Policy(default_every=timedelta(0)), keywords=QUIET)

    changes = decided(said(text, rules=rules, fragment=fragment))

    assert [row.reply for row in changes.inbound] == [reply]


def test_a_message_of_parts_counts_from_its_first_and_its_reply_may_wait_from_its_last() -> None:
    changes = decided(said("STOP", begun_at=NOON - MINUTE))

    assert [(row.effective_at, row.received_at) for row in changes.inbound] == [(NOON - MINUTE, NOON)]
    assert changes.consent["default", CHARLIE].since == NOON - MINUTE
    assert [row.deadline for row in changes.outbox] == [NOON + 5 * MINUTE]
