"""What is heard calls a custom action: when it does, with which fields, and which reply waits for the answer."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.changes import CallRow, Changes, GuardRow
from app.events import Category, ConsentState, Guard, Known, Standing, Status
from app.interpret import Policy, Rules, explain
from app.interpret.waiting import Waiting, dumped, loaded, mentions_action
from tests.interpreting import (
    ALICE,
    BOB,
    CHARLIE,
    COMPANY,
    HOUR,
    MINUTE,
    NOON,
    decided,
    heard,
    knowing,
    receipt,
    rules_of,
    said,
    standing,
)

#: every list calls an action; two replies wait
CALLING = rules_of(
    keywords={
        "opt_in": {"action": "crm", "reply": "Welcome {{action.name}}", "otherwise": {"error": "Welcome"}},
        "opt_out": {"action": "crm", "reply": "goodbye"},
        "double_opt_in": {"keywords": ["JOIN"], "action": "ask", "reply": "sure?"},
        "help": {"action": "desk", "reply": "this helps"},
        "default": {"action": "bot", "reply": "{{action.text}}", "otherwise": {"http_404": "", "error": "Sorry"}},
        "custom": [
            {"keywords": ["ORDER"], "action": "shop", "reply": {"text": "Rich", "fallback": "{{action.order.status}}"}},
            {"keywords": ["PLAIN"], "reply": "nothing is called"},
        ],
    },
    receipt_actions={"delivered": "mark", "failed": "alarm"},
)


def called(changes: Changes) -> list[tuple[str, str]]:
    return [(row.action, row.trigger) for row in changes.calls]


def replies(changes: Changes) -> list[str]:
    return [row.reply for row in changes.inbound]


def calls_of(*texts: str, rules: Rules = CALLING, known: Known | None = None, **given: Any) -> Changes:
    return decided(*(said(text, rules=rules, **given) for text in texts), known=known)


# --- a call -------------------------------------------------------------------------------------------------------


def test_all_that_a_call_is_written_with() -> None:
    changes = calls_of("Help!", channel="rcs")

    assert changes.calls == [
        CallRow(
            id=2, action="desk", trigger="help", webhook="acme", program="default", address=CHARLIE, inbound_id=1,
            fields=changes.calls[0].fields, reply="", state="pending", attempts=0, next_at=NOON,
            deadline=NOON + HOUR, created_at=NOON,
        )
    ]  # fmt: skip
    assert json.loads(changes.calls[0].fields) == {
        "_id": "1", "type": "inbound", "program": "default", "webhook": "acme", "provider": "twilio",
        "address": CHARLIE, "received_at": "2026-11-22T12:00:00+00:00", "text": "Help!", "normal": "help",
        "category": "help", "keyword": "HELP", "sender": COMPANY, "channel": "rcs", "provider_id": "SM1",
    }  # fmt: skip
    assert [(row.text, row.inbound_id) for row in changes.outbox] == [("this helps", 1)]
    assert changes.guards == {CHARLIE: GuardRow(CHARLIE, None, NOON.isoformat(), NOON.isoformat())}


@pytest.mark.parametrize(
    ("text", "action", "trigger"),
    [
        ("START", "crm", "opt_in"),
        ("STOP", "crm", "opt_out"),
        ("JOIN", "ask", "double_opt_in"),
        ("HELP", "desk", "help"),
        ("order", "shop", "custom"),
        ("When?", "bot", "default"),
    ],
)
def test_each_list_calls_its_action(text: str, action: str, trigger: str) -> None:
    assert called(calls_of(text)) == [(action, trigger)]


def test_a_list_without_an_action_calls_nothing() -> None:
    assert called(calls_of("PLAIN")) == []
    assert called(calls_of("STOP", rules=rules_of(keywords={"help": {"action": "desk"}}))) == []


def test_the_answer_of_another_category_calls_the_action_of_that_one() -> None:
    """Who is in already and asks to join is answered as by an opt-in."""
    inside = knowing(standing(ConsentState.OPTED_IN))

    assert called(calls_of("JOIN", known=inside)) == [("crm", "opt_in")]


def test_a_flag_of_the_provider_that_no_list_stands_behind_calls_nothing() -> None:
    assert called(calls_of("Hm", provider_category=Category.CUSTOM)) == []


def test_whoever_has_opted_out_calls_all_the_same_and_no_reply_waits() -> None:
    out = knowing(standing(ConsentState.OPTED_OUT, confirmed=True))

    changes = calls_of("ORDER", "When?", known=out)

    assert called(changes) == [("shop", "custom"), ("bot", "default")]
    assert [row.reply for row in changes.calls] == ["", ""]
    assert replies(changes) == ["opted out", "opted out"]


def test_every_stop_is_told_also_one_that_is_not_confirmed_again() -> None:
    out = knowing(standing(ConsentState.OPTED_OUT, confirmed=True))

    assert called(calls_of("STOP", known=out)) == [("crm", "opt_out")]


# --- late, superseded, answered, in parts -------------------------------------------------------------------------


def test_what_a_later_event_supersedes_is_not_told() -> None:
    later = knowing(standing(ConsentState.OPTED_OUT, as_of=NOON))

    changes = decided(said("START", at=NOON - MINUTE, rules=CALLING), known=later)

    assert (called(changes), replies(changes)) == ([], ["superseded by a later event"])


def test_what_comes_from_the_spool_calls_as_if_just_heard_and_its_reply_waits_for_its_own_time() -> None:
    from_spool = replace(said("When?", at=NOON, rules=CALLING), late=True, again_at=NOON + 20 * MINUTE)

    (row,) = decided(from_spool).calls

    assert (row.next_at, row.created_at, row.deadline) == (NOON + 20 * MINUTE, NOON + 20 * MINUTE, NOON + HOUR)
    assert loaded(row.reply).text == "{{action.text}}"


def test_what_is_replayed_when_its_reply_is_too_late_calls_without_one() -> None:
    replayed = replace(said("When?", at=NOON, rules=CALLING), late=True, again_at=NOON + 3 * HOUR)

    changes = decided(replayed)

    assert [(row.reply, row.deadline) for row in changes.calls] == [("", NOON + 4 * HOUR)]
    assert replies(changes) == ["deadline passed"]


def test_what_the_provider_has_answered_calls_and_nothing_waits() -> None:
    changes = calls_of("START", provider_answered=True)

    assert called(changes) == [("crm", "opt_in")]
    assert (changes.calls[0].reply, replies(changes)) == ("", ["the provider answered"])


def test_an_incomplete_message_calls_with_what_there_is_and_a_late_part_not_again() -> None:
    assert called(calls_of("When do", fragment="incomplete")) == [("bot", "default")]
    assert called(calls_of("you open?", fragment="late part")) == []
    assert called(calls_of("STOP", fragment="late part")) == [("crm", "opt_out")]


# --- the guard ----------------------------------------------------------------------------------------------------


def test_calls_of_one_address_are_limited_and_the_rest_is_written_down_as_capped() -> None:
    changes = decided(*(said("When?", at=NOON + i * MINUTE, rules=CALLING) for i in range(7)))

    assert [(row.state, row.outcome, row.problem) for row in changes.calls] == [
        *[("pending", "", "")] * 5,
        *[("done", "capped", "guard: already 5 calls within 1 h")] * 2,
    ]
    assert changes.calls[-1].ended_at == NOON + 6 * MINUTE


def test_the_limit_of_calls_passes_with_the_hour_and_is_a_setting() -> None:
    full = Known(guards={CHARLIE: Guard(called=(NOON - HOUR, NOON - MINUTE))})
    two = rules_of(policy=Policy(calls_per_hour=2), keywords={"help": {"action": "desk"}})

    changes = calls_of("HELP", "HELP", rules=two, known=full)

    assert [row.state for row in changes.calls] == ["pending", "done"]


def test_opt_ins_and_opt_outs_are_never_limited() -> None:
    texts = [("START", "STOP")[i % 2] for i in range(12)]

    changes = decided(*(said(text, at=NOON + i * MINUTE, rules=CALLING) for i, text in enumerate(texts)))

    assert {row.state for row in changes.calls} == {"pending"}
    assert len(changes.calls) == 12
    assert changes.guards[CHARLIE].called == ""


def test_whoever_calls_often_is_still_told_help_and_the_other_way_round() -> None:
    chatty = Known(guards={CHARLIE: Guard(called=(NOON,) * 5)})
    answered = Known(guards={CHARLIE: Guard(recent=(NOON,) * 5)})

    assert replies(calls_of("HELP", known=chatty)) == ["queued"]
    assert [row.state for row in calls_of("HELP", known=answered).calls] == ["pending"]


def test_a_reply_whose_call_is_refused_does_not_wait() -> None:
    chatty = Known(guards={CHARLIE: Guard(called=(NOON,) * 5)})

    changes = calls_of("When?", known=chatty)

    assert replies(changes) == ["guard: already 5 calls within 1 h"]
    assert [row.reply for row in changes.calls] == [""]


def test_a_default_reply_that_came_lately_leaves_the_call_without_one() -> None:
    lately = Known(guards={CHARLIE: Guard(default_at=NOON - HOUR)})

    changes = calls_of("When?", known=lately)

    assert [(row.state, row.reply) for row in changes.calls] == [("pending", "")]
    assert replies(changes) == ["guard: default reply already sent within 24 h"]


@pytest.mark.parametrize("address", [COMPANY, "short:12345", "alpha:ACME"])
def test_machines_call_nothing_but_what_consent_is_about(address: str) -> None:
    assert [row.outcome for row in calls_of("When?", "ORDER", address=address).calls] == ["capped", "capped"]
    assert [row.state for row in calls_of("STOP", address=address).calls] == ["pending"]


@pytest.mark.parametrize("text", ["goodbye", "Sorry"])
def test_our_own_text_that_comes_back_calls_nothing(text: str) -> None:
    assert [row.problem for row in calls_of(text).calls] == ["guard: our own text came back"]


# --- replies that wait --------------------------------------------------------------------------------------------


def test_a_reply_with_the_answer_in_it_waits_and_counts_already() -> None:
    changes = calls_of("When?")

    assert (changes.outbox, replies(changes)) == ([], ["waits for action bot"])
    assert changes.inbound[0].outbox_id is None
    (row,) = changes.calls
    assert loaded(row.reply) == Waiting(
        "default", "acme", COMPANY, "{{action.text}}", "", {"http_404": ("", ""), "error": ("Sorry", "")}
    )
    assert row.deadline == NOON + HOUR
    assert changes.guards == {CHARLIE: GuardRow(CHARLIE, NOON, NOON.isoformat(), NOON.isoformat())}


def test_a_reply_that_waits_leaves_from_the_number_that_was_written_to() -> None:
    shared = rules_of(sender=None, keywords={"help": {"action": "desk", "reply": "{{action.text}}"}})

    assert loaded(calls_of("HELP", rules=shared).calls[0].reply).sender == COMPANY


def test_a_fallback_with_the_answer_in_it_waits_too() -> None:
    (row,) = calls_of("ORDER").calls

    assert json.loads(loaded(row.reply).content) == {"fallback": "{{action.order.status}}"}


def test_an_opt_in_that_waits_is_evidence_with_the_text_that_is_to_be_filled_in() -> None:
    changes = calls_of("START")

    assert [row.reply_text for row in changes.evidence] == ["Welcome {{action.name}}"]
    assert changes.consent["default", CHARLIE].state == "opted_in"


def test_what_is_kept_of_a_reply_comes_back() -> None:
    waiting = Waiting("help", "acme", COMPANY, "Hi {{action.a}}", "{}", {"http_404": ("No", ""), "error": ("Oh", "{}")})

    assert loaded(dumped(waiting)) == waiting
    assert [waiting.instead(outcome)[0] for outcome in ("http_404", "timedout")] == ["No", "Oh"]
    assert waiting._replace(otherwise={}).instead("capped") == ("", "")


def test_a_text_of_its_own_for_an_outcome_wins_also_where_it_is_silence() -> None:
    waiting = loaded(calls_of("When?").calls[0].reply)

    assert [waiting.instead(outcome)[0] for outcome in ("http_404", "http_500")] == ["", "Sorry"]


@pytest.mark.parametrize(
    ("text", "waits"),
    [
        ("{{action.order.status}}", True),
        ("{{ $uppercase(action.name) }}", True),
        ("{{$$.action.name}}", True),
        ("{{profile.name & ' ' & action.name}}", True),
        ('{{ {"a": {"b": action.x}}.a.b }}', True),
        ("{{action}}", True),
        ("take action now", False),
        ("{{profile.action}}", False),
        ("{{profile.first}}, take action", False),
        ("{{reaction.x}}", False),
        ("{{action.never closed", False),
    ],
)
def test_which_texts_take_something_from_the_answer(text: str, waits: bool) -> None:
    assert mentions_action(text) is waits


# --- receipts -----------------------------------------------------------------------------------------------------


def test_a_receipt_that_raises_the_message_to_a_status_calls_its_action_once() -> None:
    told = [receipt(status, sender=COMPANY, code="0") for status in (Status.SENT, Status.DELIVERED, Status.DELIVERED)]

    changes = decided(heard(*told, rules=CALLING))

    assert called(changes) == [("mark", "delivered")]
    (row,) = changes.calls
    assert (row.address, row.inbound_id, row.reply, row.deadline) == (ALICE, None, "", NOON + HOUR)
    assert json.loads(row.fields) == {
        "_id": str(changes.receipts[1].id), "type": "receipt", "program": "default", "webhook": "acme",
        "provider": "twilio", "address": ALICE, "received_at": "2026-11-22T12:00:00+00:00", "status": "delivered",
        "provider_status": "delivered", "code": "0", "error_text": "", "message_id": "SM1", "sender": COMPANY,
    }  # fmt: skip


def test_a_receipt_that_raises_nothing_calls_nothing() -> None:
    changes = decided(heard(receipt(Status.DELIVERED), receipt(Status.FAILED), rules=CALLING))

    assert called(changes) == [("mark", "delivered")]


def test_the_status_of_a_message_in_parts_calls_when_all_of_it_is_there() -> None:
    parts = [receipt(Status.DELIVERED, part=part, parts=2, provider_status=part) for part in ("1", "2")]

    changes = decided(heard(*parts, rules=CALLING))

    assert called(changes) == [("mark", "delivered")]
    assert json.loads(changes.calls[0].fields)["provider_status"] == "2"


def test_a_receipt_of_no_webhook_calls_nothing() -> None:
    assert called(decided(heard(receipt(Status.DELIVERED), rules=None))) == []


# --- beforehand ---------------------------------------------------------------------------------------------------


def test_an_explanation_names_the_action_and_that_the_reply_waits() -> None:
    waits, calls, nothing = (explain(text, CALLING, Standing(), NOON) for text in ("When?", "HELP", "PLAIN"))

    assert (waits.action, waits.reply, waits.reason) == ("bot", "{{action.text}}", "waits for action bot")
    assert (calls.action, calls.reason) == ("desk", "queued")
    assert (nothing.action, nothing.reason) == ("", "queued")


def test_an_explanation_calls_nothing_for_a_text_of_ours() -> None:
    assert explain("goodbye", CALLING, Standing(), NOON).action == ""


def test_the_lists_name_the_action_and_what_is_said_otherwise() -> None:
    lists = json.loads(CALLING.lists)

    assert lists["help"]["action"] == "desk"
    assert "otherwise" not in lists["help"]
    assert (lists["default"]["action"], lists["default"]["otherwise"]) == ("bot", {"http_404": "", "error": "Sorry"})
    assert (lists["custom 1"]["action"], "action" in lists["custom 2"]) == ("shop", False)


def test_without_actions_the_version_of_the_lists_is_what_it_was() -> None:
    plain, also = rules_of(), rules_of(receipt_actions={"read": "mark"})

    assert plain.list_version == also.list_version
    assert (plain.calls, CALLING.calls) == (False, True)


def test_bob_is_limited_apart_from_charlie() -> None:
    known = Known(guards={CHARLIE: Guard(called=(NOON - timedelta(minutes=1),) * 5)})

    changes = decided(said("HELP", rules=CALLING), said("HELP", BOB, rules=CALLING), known=known)

    assert [(row.address, row.state) for row in changes.calls] == [(CHARLIE, "done"), (BOB, "pending")]
