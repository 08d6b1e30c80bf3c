"""What must hold for any course of events, not for chosen ones."""

from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from app.events import Category, Cause, ConsentState, Event, Heard, Known, Receipt, Status
from app.interpret.receipts import RANK, first, merge
from tests.interpreting import (
    BOB,
    CHARLIE,
    HOUR,
    MINUTE,
    NOON,
    RULES,
    TEXTS,
    after,
    changed,
    decided,
    heard,
    knowing,
    message,
    receipt,
    said,
    standing,
)

OUT = ConsentState.OPTED_OUT
minutes = st.integers(0, 90).map(lambda n: NOON + n * MINUTE)
people = st.sampled_from([BOB, CHARLIE])
programs = st.sampled_from(["default", "news", "*"])


@st.composite
def keywords(draw: st.DrawFn) -> Heard:
    event = message(draw(st.sampled_from(list(TEXTS.values()))), draw(people))
    return heard(event, received_at=draw(minutes), program=draw(st.sampled_from(["default", "news"])))


@st.composite
def tellings(draw: st.DrawFn) -> Heard:
    state = draw(st.sampled_from([ConsentState.OPTED_IN, OUT]))
    cause = draw(st.sampled_from([Cause.API, Cause.IMPORT, Cause.PROVIDER_EVENT, Cause.BLOCK_ERROR]))
    return changed(state, cause, draw(people), draw(minutes), program=draw(programs), reason="a call")


def opts_out(request: Heard) -> bool:
    event: Event = request.events[0]
    return getattr(event, "text", "") == "STOP" or getattr(event, "state", None) is OUT


@given(st.lists(st.one_of(keywords(), tellings()), max_size=12))
def test_a_batch_comes_to_what_its_events_come_to_one_by_one(requests: list[Heard]) -> None:
    one_by_one = Known()
    for request in sorted(requests, key=lambda request: (request.received_at, opts_out(request))):
        one_by_one = after(one_by_one, decided(request, known=one_by_one))

    together = after(Known(), decided(*requests))

    assert (together.standings, together.guards) == (one_by_one.standings, one_by_one.guards)


@given(st.data(), st.lists(keywords(), max_size=8, unique_by=lambda request: request.received_at))
def test_the_order_within_a_batch_does_not_matter(data: st.DataObject, requests: list[Heard]) -> None:
    shuffled = data.draw(st.permutations(requests))

    assert after(Known(), decided(*shuffled)) == after(Known(), decided(*requests))


@given(st.lists(keywords(), min_size=1, max_size=8))
def test_however_late_it_comes_the_latest_stop_holds(requests: list[Heard]) -> None:
    stop = heard(message("STOP", BOB, provider_time=NOON + 90 * MINUTE), received_at=NOON + 10 * HOUR)
    known = Known()
    for request in (*requests, stop):
        known = after(known, decided(request, known=known))

    assert known.standings["default", BOB].state is OUT


@given(st.text(), st.sampled_from([None, Category.HELP, Category.DEFAULT, Category.CUSTOM, Category.OPT_OUT]))
def test_no_message_but_an_explicit_opt_in_ends_an_opt_out(text: str, flag: Category | None) -> None:
    changes = decided(heard(message(text, BOB, provider_category=flag)), known=knowing(standing(OUT), BOB))

    ended = [row for row in changes.consent.values() if row.state != "opted_out"]
    assert not ended or changes.inbound[0].category in ("opt_in", "double_opt_in")
    assert not ended or changes.inbound[0].keyword


@given(st.sampled_from(list(ConsentState)), programs, st.text())
def test_no_import_ever_ends_an_opt_out(state: ConsentState, program: str, reason: str) -> None:
    known = knowing(standing(OUT), BOB)

    changed_by = decided(changed(state, Cause.IMPORT, BOB, NOON, program=program, reason=reason), known=known)

    answers = decided(said("hello", BOB, NOON + HOUR), known=after(known, changed_by))
    assert answers.inbound[0].reply == "opted out"


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(list(TEXTS.values())), st.integers(0, 9)), max_size=60), st.integers(1, 12))
def test_never_more_replies_an_hour_than_allowed_but_first_confirmations(
    said_after: list[tuple[str, int]], size: int
) -> None:
    at, requests = NOON, []
    for text, minutes_later in said_after:
        at += minutes_later * MINUTE
        requests.append(said(text, at=at))
    known, sent = Known(), []
    for start in range(0, len(requests), size):
        changes = decided(*requests[start : start + size], known=known)
        known, sent = after(known, changes), sent + changes.outbox

    for index, reply in enumerate(sent):
        lately = [row for row in sent[:index] if reply.created_at - row.created_at < HOUR]
        assert reply.category == "opt_out" or len(lately) < RULES.policy.per_hour
    defaults = [row.created_at for row in sent if row.category == "default"]
    assert all(later - earlier >= timedelta(hours=24) for earlier, later in pairwise(defaults))


receipts = st.builds(
    receipt,
    st.sampled_from(list(Status)),
    code=st.sampled_from(["", "1", "2"]),
    part=st.sampled_from(["", "1", "2", "3"]),
    parts=st.integers(1, 3),
)
whole_receipts = st.builds(receipt, st.sampled_from(list(Status)))


@given(st.lists(receipts, min_size=1, max_size=8))
def test_a_status_never_falls(events: list[Receipt]) -> None:
    delivery = first(events[0], 1, NOON, NOON).delivery
    for event in events[1:]:
        merged = merge(delivery, event, NOON)
        assert (RANK[merged.delivery.status] > RANK[delivery.status]) is merged.raised
        assert merged.raised or merged.delivery.status is delivery.status
        delivery = merged.delivery


@given(st.lists(whole_receipts, min_size=1, max_size=8))
def test_the_highest_receipt_counts_in_whatever_order_they_come(events: list[Receipt]) -> None:
    delivery = first(events[0], 1, NOON, NOON).delivery
    for event in events[1:]:
        delivery = merge(delivery, event, NOON).delivery

    assert RANK[delivery.status] == max(RANK[event.status] for event in events)
