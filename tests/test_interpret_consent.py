from dataclasses import replace

import pytest

from app.events import Category, Cause, Change, ConsentState, Delivery, Known, Standing, Status
from app.interpret import effective, may_send
from tests.interpreting import (
    ALICE,
    BOB,
    CHARLIE,
    HOUR,
    MINUTE,
    NOON,
    TEXTS,
    changed,
    decided,
    heard,
    knowing,
    message,
    rules_of,
    said,
    standing,
)

U, P, I, O = ConsentState.UNKNOWN, ConsentState.PENDING, ConsentState.OPTED_IN, ConsentState.OPTED_OUT  # noqa: E741
OUT, IN, DOUBLE, HELP = Category.OPT_OUT, Category.OPT_IN, Category.DOUBLE_OPT_IN, Category.HELP
CUSTOM, ELSE = Category.CUSTOM, Category.DEFAULT
EVERY = "*"


# --- the table, cell by cell --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "category", "state", "reply"),
    [
        (U, OUT, O, "goodbye"),
        (U, IN, I, "welcome"),
        (U, DOUBLE, P, "sure?"),
        (U, HELP, U, "this helps"),
        (U, CUSTOM, U, "every day then"),
        (U, ELSE, U, "thanks"),
        (P, OUT, O, "goodbye"),
        (P, IN, I, "welcome"),
        (P, DOUBLE, P, "sure?"),  # asks again
        (P, HELP, P, "this helps"),
        (P, CUSTOM, P, "every day then"),
        (P, ELSE, P, "thanks"),
        (I, OUT, O, "goodbye"),
        (I, IN, I, "welcome"),  # stays
        (I, DOUBLE, I, "welcome"),  # stays: nothing to confirm
        (I, HELP, I, "this helps"),
        (I, CUSTOM, I, "every day then"),
        (I, ELSE, I, "thanks"),
        (O, OUT, O, "goodbye"),  # none was ever sent for this opt-out
        (O, IN, I, "welcome"),
        (O, DOUBLE, P, "sure?"),
        (O, HELP, O, "this helps"),
        (O, CUSTOM, O, None),
        (O, ELSE, O, None),
    ],
)
def test_the_consent_table(before: ConsentState, category: Category, state: ConsentState, reply: str | None) -> None:
    changes = decided(said(TEXTS[category]), known=knowing(standing(before)))

    row = changes.consent.get(("default", CHARLIE))
    assert (row.state if row else before, [sent.text for sent in changes.outbox]) == (state, [reply] if reply else [])
    assert (changes.inbound[0].category, changes.inbound[0].reply) == (category, "queued" if reply else "opted out")


@pytest.mark.parametrize("category", [OUT, IN, DOUBLE])
@pytest.mark.parametrize("before", list(ConsentState))
def test_a_consent_event_is_always_entered_and_nothing_else_is(before: ConsentState, category: Category) -> None:
    changes = decided(said(TEXTS[category]), known=knowing(standing(before)))
    quiet = decided(*(said(TEXTS[other]) for other in (HELP, CUSTOM, ELSE)), known=knowing(standing(before)))

    assert [(row.old_state, row.cause, row.superseded) for row in changes.ledger] == [(before, "keyword", False)]
    assert len(changes.evidence) == len(changes.consent) == 1
    assert (quiet.ledger, quiet.evidence, quiet.consent) == ([], [], {})


def test_stop_after_stop_sends_no_second_reply() -> None:
    gone = standing(O, confirmed=True)

    changes = decided(said("STOP", BOB), known=knowing(gone, BOB))

    assert (changes.outbox, changes.inbound[0].reply) == ([], "this opt-out was confirmed before")
    assert [(row.old_state, row.new_state) for row in changes.ledger] == [("opted_out", "opted_out")]


def test_since_moves_with_the_state_and_as_of_with_every_event() -> None:
    long_ago = NOON - 100 * HOUR

    again = decided(said("STOP", BOB), known=knowing(standing(O, long_ago, confirmed=True), BOB))
    back = decided(said("START", BOB), known=knowing(standing(O, long_ago, confirmed=True), BOB))

    assert again.consent["default", BOB][2:] == ("opted_out", long_ago, NOON, "keyword", again.ledger[0].id, True)
    assert back.consent["default", BOB][2:] == ("opted_in", NOON, NOON, "keyword", back.ledger[0].id, False)


def test_only_the_present_opt_out_counts_as_confirmed() -> None:
    odd = Standing(I, NOON - HOUR, NOON - HOUR, "keyword", confirmed=True)

    assert decided(said("STOP", BOB), known=knowing(odd, BOB)).outbox[0].text == "goodbye"


def test_after_start_a_stop_is_confirmed_anew() -> None:
    changes = decided(
        said("STOP", at=NOON), said("STOP", at=NOON + MINUTE), said("START", at=NOON + 2 * MINUTE),
        said("STOP", at=NOON + 3 * MINUTE), said("STOP", at=NOON + 4 * MINUTE),
    )  # fmt: skip

    assert [row.text for row in changes.outbox] == ["goodbye", "welcome", "goodbye"]


# --- may_send and the effective state -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "setting", "allowed"),
    [
        (I, "allow", True),
        (I, "deny", True),
        (U, "allow", True),
        (U, "deny", False),
        (P, "allow", False),
        (P, "deny", False),
        (O, "allow", False),
        (O, "deny", False),
    ],
)
def test_who_may_be_sent_to(state: ConsentState, setting: str, *, allowed: bool) -> None:
    assert may_send(state, setting) is allowed


@pytest.mark.parametrize(
    ("own", "every", "holds"),
    [
        (Standing(), Standing(), "own"),
        (standing(I), Standing(), "own"),
        (Standing(), standing(O), "every"),
        (standing(I, NOON), standing(O, NOON - HOUR), "own"),  # the later
        (standing(O, NOON - HOUR), standing(I, NOON), "every"),
        (standing(I, NOON), standing(O, NOON), "every"),  # a tie: the opt-out
        (standing(O, NOON), standing(I, NOON), "own"),
        (standing(P, NOON), standing(I, NOON), "own"),
    ],
)
def test_the_later_of_program_and_all_programs_holds(own: Standing, every: Standing, holds: str) -> None:
    assert effective(own, every) == (own if holds == "own" else every)


def test_an_opt_out_from_all_programs_silences_each() -> None:
    known = knowing(standing(O, NOON - HOUR, confirmed=True), BOB, EVERY)

    changes = decided(said("hello", BOB), said("STOP", BOB), known=known)

    assert [row.reply for row in changes.inbound] == ["opted out", "this opt-out was confirmed before"]
    assert changes.consent["default", BOB].since == NOON - HOUR


def test_a_later_opt_in_to_one_program_leaves_the_others_out() -> None:
    known = knowing(standing(O, NOON - HOUR), BOB, EVERY)

    changes = decided(said("START", BOB), known=known)

    assert list(changes.consent) == [("default", BOB)]
    assert [(row.program, row.old_state, row.new_state) for row in changes.ledger] == [
        ("default", "opted_out", "opted_in")
    ]


# --- time ---------------------------------------------------------------------------------------------------------


def test_stop_and_start_in_one_request_in_reverse_order() -> None:
    stop = message("STOP", provider_time=NOON - MINUTE)
    start = message("START", provider_time=NOON - 2 * MINUTE)

    changes = decided(heard(stop, start))

    assert [(row.old_state, row.new_state) for row in changes.ledger] == [
        ("unknown", "opted_in"),
        ("opted_in", "opted_out"),
    ]
    assert changes.consent["default", CHARLIE].state == "opted_out"


@pytest.mark.parametrize("texts", [("STOP", "START"), ("START", "STOP"), ("JOIN", "STOP"), ("STOP", "JOIN")])
def test_at_the_same_moment_the_opt_out_holds(texts: tuple[str, str]) -> None:
    together = decided(*map(said, texts))
    first = decided(said(texts[0])).consent["default", CHARLIE]
    known = knowing(Standing(ConsentState(first.state), first.since, first.as_of, first.cause, first.confirmed))
    one_by_one = decided(said(texts[1]), known=known)

    assert together.consent["default", CHARLIE].state == "opted_out"
    assert (one_by_one.consent.get(("default", CHARLIE)) or first).state == "opted_out"


@pytest.mark.parametrize("texts", [("JOIN", "START"), ("START", "JOIN")])
def test_at_the_same_moment_opt_ins_do_not_supersede_each_other(texts: tuple[str, str]) -> None:
    changes = decided(*map(said, texts))

    assert changes.consent["default", CHARLIE].state == "opted_in"
    assert [row.superseded for row in changes.ledger] == [False, False]


def test_a_message_of_before_the_latest_event_changes_nothing() -> None:
    known = knowing(standing(I, NOON - MINUTE))

    changes = decided(heard(message("STOP", provider_time=NOON - HOUR)), known=known)

    assert (changes.consent, changes.outbox) == ({}, [])
    assert changes.inbound[0].reply == changes.evidence[0].reason == "superseded by a later event"
    assert [(*row[2:4], row.superseded, row.effective_at) for row in changes.ledger] == [
        ("opted_in", "opted_in", True, NOON - HOUR)
    ]


@pytest.mark.parametrize("state", [I, P])
def test_an_import_supersedes_no_opt_out_that_is_heard_of_late(state: ConsentState) -> None:
    known = knowing(standing(state, NOON - MINUTE)._replace(cause=Cause.IMPORT))

    late = decided(heard(message("STOP", provider_time=NOON - HOUR)), known=known)
    told = decided(changed(O, Cause.PROVIDER_EVENT, provider_time=NOON - HOUR), known=known)
    start = decided(heard(message("START", provider_time=NOON - HOUR)), known=known)

    for changes in (late, told):
        row = changes.consent["default", CHARLIE]
        assert (row.state, row.since, changes.ledger[0].superseded) == ("opted_out", NOON - HOUR, False)
    assert [sent.text for sent in late.outbox] == ["goodbye"]
    assert (start.consent, start.ledger[0].superseded) == ({}, True)


def test_an_opt_out_that_was_imported_supersedes_an_older_stop() -> None:
    known = knowing(standing(O, NOON - MINUTE)._replace(cause=Cause.IMPORT))

    changes = decided(heard(message("STOP", provider_time=NOON - HOUR)), known=known)

    assert (changes.consent, changes.ledger[0].superseded) == ({}, True)


def test_an_old_help_is_answered_all_the_same() -> None:
    old = heard(message("HELP", provider_time=NOON - HOUR))

    assert decided(old, known=knowing(standing(I, NOON - MINUTE))).outbox[0].text == "this helps"


def test_a_clock_in_the_future_never_makes_a_later_stop_lose() -> None:
    start = heard(message("START", provider_time=NOON + 24 * HOUR), received_at=NOON)
    stop = heard(message("STOP"), received_at=NOON + MINUTE)

    changes = decided(start, stop)

    assert [row.effective_at for row in changes.inbound] == [NOON, NOON + MINUTE]
    assert changes.consent["default", CHARLIE].state == "opted_out"


def test_a_stop_that_comes_in_now_wins_though_our_clock_was_set_back_or_another_nodes_is_ahead() -> None:
    """Its receive time is before what is known; it counts as told at the same moment, and on a tie the opt-out holds."""
    known = knowing(standing(I, NOON + HOUR))

    stop = decided(heard(message("STOP"), received_at=NOON), known=known)
    told = decided(changed(O, Cause.PROVIDER_EVENT, at=NOON), known=known)
    start = decided(heard(message("START"), received_at=NOON), known=knowing(standing(O, NOON + HOUR)))

    for changes in (stop, told):
        row = changes.consent["default", CHARLIE]
        assert (row.state, row.as_of, changes.ledger[0].superseded) == ("opted_out", NOON + HOUR, False)
    assert [sent.text for sent in stop.outbox] == ["goodbye"]
    assert (start.consent, start.ledger[0].superseded) == ({}, True)


def test_a_stop_from_the_spool_or_a_replay_may_rightly_be_the_older_word() -> None:
    stop = replace(heard(message("STOP"), received_at=NOON), late=True)

    changes = decided(stop, known=knowing(standing(I, NOON + HOUR)))

    assert (changes.consent, changes.ledger[0].superseded) == ({}, True)


# --- changes that are no keywords, and rule 1 ---------------------------------------------------------------------


@pytest.mark.parametrize("cause", [Cause.PROVIDER_EVENT, Cause.BLOCK_ERROR, Cause.API, Cause.IMPORT, Cause.KEYWORD])
@pytest.mark.parametrize("before", list(ConsentState))
def test_anybody_may_tell_of_an_opt_out(before: ConsentState, cause: Cause) -> None:
    changes = decided(changed(O, cause), known=knowing(standing(before)))

    row = changes.consent["default", CHARLIE]
    by_provider = cause in (Cause.PROVIDER_EVENT, Cause.BLOCK_ERROR)
    assert (row.state, row.cause, row.confirmed) == ("opted_out", cause.value, by_provider)
    assert (changes.outbox, changes.inbound) == ([], [])


@pytest.mark.parametrize(
    ("cause", "state", "reason", "kept"),
    [
        (Cause.API, I, "she called us", ""),
        (Cause.API, P, "she called us", ""),
        (Cause.API, U, "erased on request", ""),
        (Cause.API, I, " ", "an opt-out is not ended without a reason"),
        (Cause.PROVIDER_EVENT, I, "", ""),
        (Cause.PROVIDER_EVENT, P, "", "only an explicit opt-in ends an opt-out"),
        (Cause.PROVIDER_EVENT, U, "", "only an explicit opt-in ends an opt-out"),
        (Cause.KEYWORD, I, "", ""),
        (Cause.IMPORT, I, "list of May", "an event of cause import never ends an opt-out"),
        (Cause.IMPORT, P, "list of May", "an event of cause import never ends an opt-out"),
        (Cause.IMPORT, U, "list of May", "an event of cause import never ends an opt-out"),
        (Cause.BLOCK_ERROR, I, "", "an event of cause block_error never ends an opt-out"),
    ],
)
def test_only_an_explicit_opt_in_or_a_person_with_a_reason_ends_an_opt_out(
    cause: Cause, state: ConsentState, reason: str, kept: str
) -> None:
    changes = decided(changed(state, cause, BOB, reason=reason), known=knowing(standing(O), BOB))

    assert [(row.old_state, row.new_state, row.superseded) for row in changes.ledger] == [
        ("opted_out", "opted_out" if kept else state, False)
    ]
    assert list(changes.consent) == ([] if kept else [("default", BOB)])
    told = [reason] if reason else []
    assert changes.evidence[0].reason == "; ".join([*told, f"not changed to {state}: {kept}"] if kept else told)


@pytest.mark.parametrize("text", ["hello", "HELP", "DAILY", "don't stop", "👍", ""])
def test_no_other_message_ends_an_opt_out(text: str) -> None:
    assert decided(said(text, BOB), known=knowing(standing(O), BOB)).consent == {}


@pytest.mark.parametrize("before", [U, P, I])
def test_an_import_may_opt_in_whoever_is_not_out(before: ConsentState) -> None:
    changes = decided(changed(I, Cause.IMPORT, ALICE), known=knowing(standing(before), ALICE))

    assert changes.consent["default", ALICE].state == "opted_in"


def test_an_import_to_all_programs_cannot_end_the_opt_out_from_one() -> None:
    known = knowing(standing(O), BOB, "news")

    changes = decided(
        changed(I, Cause.IMPORT, BOB, program=EVERY), changed(O, Cause.IMPORT, ALICE, program=EVERY), known=known
    )

    assert [row.reason for row in changes.evidence] == [
        "not changed to opted_in: an import to all programs may only opt out",
        "",
    ]
    assert [key for key, row in changes.consent.items() if row.state == "opted_out"] == [(EVERY, ALICE)]


def test_a_change_names_its_program_or_takes_the_webhooks() -> None:
    changes = decided(
        changed(O, Cause.PROVIDER_EVENT),
        changed(O, Cause.BLOCK_ERROR, program=EVERY),
        changed(I, Cause.API, program="news"),
    )

    assert list(changes.consent) == [("news", CHARLIE), ("default", CHARLIE), (EVERY, CHARLIE)]


def test_a_block_error_counts_at_the_time_its_message_was_sent() -> None:
    sent_at = NOON - HOUR
    known = knowing(standing(I, NOON - MINUTE), ALICE)

    changes = decided(changed(O, Cause.BLOCK_ERROR, ALICE, provider_time=sent_at), known=known)

    assert changes.consent == {}
    assert [(row.superseded, row.effective_at) for row in changes.ledger] == [(True, sent_at)]
    assert changes.evidence[0].reason == "not changed to opted_out: superseded by a later event"


def test_on_a_tie_the_opt_out_wins_against_a_change_too() -> None:
    out, back = changed(O, Cause.API, reason="a call"), changed(I, Cause.API, reason="a call")

    assert decided(back, out).consent["default", CHARLIE].state == "opted_out"
    assert decided(back, known=knowing(standing(O, NOON))).consent == {}
    assert decided(out, known=knowing(standing(I, NOON))).consent["default", CHARLIE].state == "opted_out"


def test_who_was_opted_out_by_hand_still_gets_a_confirmation_for_a_stop() -> None:
    changes = decided(changed(O, Cause.API, BOB, reason="a call"), said("STOP", BOB), said("STOP", BOB))

    assert [row.text for row in changes.outbox] == ["goodbye"]
    assert changes.consent["default", BOB].confirmed


@pytest.mark.parametrize("cause", [Cause.API, Cause.IMPORT])
def test_a_confirmed_opt_out_stays_confirmed(cause: Cause) -> None:
    changes = decided(changed(O, cause, BOB), known=knowing(standing(O, confirmed=True), BOB))

    assert changes.consent["default", BOB].confirmed


def test_an_unconfirmed_opt_out_is_settled_when_the_provider_tells_of_it_too() -> None:
    changes = decided(changed(O, Cause.PROVIDER_EVENT, BOB), known=knowing(standing(O), BOB))

    assert changes.consent["default", BOB].confirmed


def test_the_actor_of_a_change_is_named() -> None:
    changes = decided(
        changed(O, Cause.API, actor="jo"), changed(O, Cause.PROVIDER_EVENT), changed(O, Cause.IMPORT), said("STOP")
    )

    assert [row.actor for row in changes.evidence] == ["jo", "twilio", "", "subscriber"]


# --- rule 4: the provider has answered ----------------------------------------------------------------------------


def test_where_the_provider_answered_we_stay_silent_and_the_opt_out_is_confirmed() -> None:
    flagged = heard(message("STOP", provider_answered=True))
    configured = said("STOP", rules=rules_of(provider_answers=["opt_out"]))

    for request in (flagged, configured):
        changes = decided(request, known=Known())

        assert (changes.outbox, changes.inbound[0].reply) == ([], "the provider answered")
        assert changes.consent["default", CHARLIE].confirmed


def test_a_provider_that_answers_opt_outs_leaves_the_rest_to_us() -> None:
    rules = rules_of(provider_answers=["opt_out"])

    changes = decided(heard(message("HELP"), message("STOP"), rules=rules))

    assert [row.reply for row in changes.inbound] == ["queued", "the provider answered"]


def test_a_block_error_is_dated_by_the_message_it_is_about() -> None:
    key = ("twilio", "SM1", ALICE)
    refused = Delivery(1, Status.SENT, first_at=NOON - HOUR)
    known = knowing(
        standing(I, NOON - MINUTE),
        ALICE,
        deliveries={key: refused, ("twilio", "SM2", ALICE): refused._replace(first_at=None)},
    )
    changes = decided(
        heard(Change("", ALICE, O, Cause.BLOCK_ERROR, about=key), rules=None),
        heard(Change("", ALICE, O, Cause.BLOCK_ERROR, about=("twilio", "SM3", ALICE), provider_time=NOON - 2 * HOUR), rules=None),
        heard(Change("", ALICE, O, Cause.BLOCK_ERROR, about=("twilio", "SM2", ALICE), provider_time=NOON - 3 * HOUR), rules=None),
        known=known,
    )  # fmt: skip

    assert [(row.effective_at, row.superseded) for row in changes.ledger] == [
        (NOON - 3 * HOUR, True),
        (NOON - 2 * HOUR, True),
        (NOON - HOUR, True),
    ]
