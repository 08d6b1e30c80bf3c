"""The verdict finds what is lost, doubled and made up, and forgives what a crash explains."""

from typing import Any

import pytest

from tests.torture.verdict import CONFIRMATION, Arrival, Blow, Entry, Reply, Sent, Stored, Verdict, judge

ALICE, BOB, CHARLIE = "+12022000001", "+12022000002", "+12022000003"
STOP = Sent("SM1", "stop", BOB, 10.0, acknowledged=True)
START = Sent("SM2", "start", ALICE, 11.0, acknowledged=True)
RECEIPT = Sent("SM3 delivered", "receipt", CHARLIE, 12.0, acknowledged=True)
SENT = (STOP, START, RECEIPT)
CONFIRMED = Arrival("100", BOB, CONFIRMATION, 10.1, 10.2)
WELCOMED = Arrival("101", ALICE, "Welcome!", 11.1, 11.2)
LEFT = (CONFIRMED, WELCOMED)
REPLIES = (Reply(100, "SM1", "opt_out", BOB, "sent", ""), Reply(101, "SM2", "opt_in", ALICE, "sent", ""))
LEDGER = (
    Entry(1, BOB, "unknown", "opted_out", "10", superseded=False),
    Entry(2, ALICE, "unknown", "opted_in", "11", superseded=False),
)
STORED = Stored(("SM1", "SM2"), ("SM3 delivered",), REPLIES, {BOB: "opted_out", ALICE: "opted_in"}, LEDGER, (), ())


def judged(sent: tuple[Sent, ...] = SENT, stored: Stored = STORED, arrivals: tuple[Arrival, ...] = LEFT,
           blows: tuple[Blow, ...] = (), **given: Any) -> Verdict:  # fmt: skip
    return judge(sent, stored, arrivals, blows, **given)


def with_stored(**changed: Any) -> Verdict:
    return judged(stored=STORED._replace(**changed))


def test_all_is_well() -> None:
    found = judged()

    assert found.problems == ()
    assert (found.acknowledged, found.recorded, found.replies_expected, found.replies_left) == (3, 3, 2, 2)


def test_an_acknowledged_event_that_is_not_recorded_is_found() -> None:
    found = with_stored(receipts=())

    assert found.missing == 1
    assert found.problems == ("1 acknowledged events are not recorded: SM3 delivered",)


def test_what_was_not_acknowledged_may_be_recorded_or_not() -> None:
    sent = (STOP, START, RECEIPT._replace(acknowledged=False))

    assert judged(sent).problems == ()
    assert judged(sent, STORED._replace(receipts=())).problems == ()


def test_an_event_that_is_recorded_twice_is_found() -> None:
    found = with_stored(receipts=("SM3 delivered", "SM3 delivered"))

    assert found.doubled == 1
    assert found.problems == ("1 events are recorded more than once: SM3 delivered",)


def test_an_event_that_was_never_sent_is_found() -> None:
    found = with_stored(receipts=("SM3 delivered", "SM9 delivered"))

    assert found.invented == 1
    assert found.problems == ("1 recorded events were never sent: SM9 delivered",)


def test_a_receipt_that_never_met_its_reply_is_found() -> None:
    assert with_stored(unmet=("SM7",)).problems == ("1 receipts never met their reply: SM7",)


def test_a_request_that_was_set_aside_is_found() -> None:
    assert with_stored(work=("parked: the database refused it",)).problems == (
        "1 requests were set aside: parked: the database refused it",
    )


@pytest.mark.parametrize("state", ["failed", "cancelled", "doubtful", "pending"])
def test_a_confirmation_that_never_left_is_found_whatever_its_state(state: str) -> None:
    replies = (REPLIES[0]._replace(state=state, reason="too late"), REPLIES[1])
    found = judged(stored=STORED._replace(replies=replies), arrivals=(WELCOMED,))

    assert found.replies_lost == 1
    assert f"1 replies are lost: 100 (opt_out, {state}, too late)" in found.problems
    assert "1 people who said STOP have not exactly one confirmation: SM1" in found.problems


def test_a_reply_that_was_cancelled_for_a_forgiven_reason_is_not_lost() -> None:
    replies = (REPLIES[0]._replace(state="cancelled", reason="deadline passed"), REPLIES[1])
    stored = STORED._replace(replies=replies)

    assert judged(stored=stored, arrivals=(WELCOMED,), forgiven="deadline passed").problems == ()
    assert len(judged(stored=stored, arrivals=(WELCOMED,), forgiven="").problems) == 2


def test_a_doubtful_reply_that_the_provider_has_is_not_lost() -> None:
    assert with_stored(replies=(REPLIES[0]._replace(state="doubtful"), REPLIES[1])).problems == ()


def test_a_welcome_is_rightly_cancelled_when_its_person_has_opted_out_meanwhile() -> None:
    stop = Sent("SM4", "stop", ALICE, 13.0, acknowledged=True)
    confirmed = Arrival("102", ALICE, CONFIRMATION, 13.1, 13.2)
    stored = STORED._replace(
        inbound=("SM1", "SM2", "SM4"),
        replies=(REPLIES[0], REPLIES[1]._replace(state="cancelled"), Reply(102, "SM4", "opt_out", ALICE, "sent", "")),
        consent={BOB: "opted_out", ALICE: "opted_out"},
        ledger=(*LEDGER, Entry(3, ALICE, "opted_in", "opted_out", "13", superseded=False)),
    )

    assert judged((*SENT, stop), stored, (CONFIRMED, confirmed)).problems == ()


def test_a_cancelled_welcome_of_somebody_who_is_opted_in_is_lost() -> None:
    stored = STORED._replace(replies=(REPLIES[0], REPLIES[1]._replace(state="cancelled")))

    assert judged(stored=stored, arrivals=(CONFIRMED,)).replies_lost == 1


def test_a_message_that_answers_nothing_is_found() -> None:
    found = judged(arrivals=(*LEFT, Arrival("999", CHARLIE, "Welcome!", 12.0, 12.1)))

    assert found.problems == ("1 messages answer nothing that is in the outbox: 999",)


def test_a_message_without_a_reply_in_the_outbox_is_found() -> None:
    found = judged(stored=STORED._replace(replies=(REPLIES[0],)), arrivals=(CONFIRMED,))

    assert found.problems == ("1 messages have not exactly one reply in the outbox: SM2",)


def test_two_replies_to_one_message_are_found() -> None:
    second = REPLIES[0]._replace(id=103)
    found = judged(stored=STORED._replace(replies=(*REPLIES, second)),
                   arrivals=(*LEFT, CONFIRMED._replace(reference="103")))  # fmt: skip

    assert found.problems == (
        "1 messages have not exactly one reply in the outbox: SM1",
        "1 people who said STOP have not exactly one confirmation: SM1",
    )


AGAIN = CONFIRMED._replace(arrived=30.0, answered=30.1)


def test_a_reply_that_left_twice_without_a_crash_is_found() -> None:
    found = judged(arrivals=(*LEFT, AGAIN))

    assert (found.replies_doubled, found.doubled_by_crash) == (1, 0)
    assert found.problems == ("1 replies left twice without a crash that explains it: 100",)


@pytest.mark.parametrize("blow", [
    Blow("killed while the provider answered", 10.15, 10.15),
    Blow("killed before the mark", 10.4, 10.4),
    Blow("the database was away", 5.0, 10.3),
])  # fmt: skip
def test_a_crash_between_the_provider_and_the_mark_explains_a_second_message(blow: Blow) -> None:
    found = judged(arrivals=(*LEFT, AGAIN), blows=(blow,))

    assert found.problems == ()
    assert (found.replies_doubled, found.doubled_by_crash) == (1, 1)


@pytest.mark.parametrize("blow", [Blow("before it left", 9.0, 10.0), Blow("long after the mark", 15.0, 15.0)])
def test_another_crash_explains_nothing(blow: Blow) -> None:
    assert judged(arrivals=(*LEFT, AGAIN), blows=(blow,)).doubled_by_crash == 0


def test_one_crash_explains_no_third_message() -> None:
    third = AGAIN._replace(arrived=50.0, answered=50.1)
    found = judged(arrivals=(*LEFT, AGAIN, third), blows=(Blow("killed before the mark", 10.4, 10.4),))

    assert (found.replies_doubled, found.doubled_by_crash) == (2, 1)


def test_somebody_who_said_stop_and_is_not_opted_out_is_found() -> None:
    assert with_stored(consent={BOB: "opted_in", ALICE: "opted_in"}).problems == (
        "1 people stand otherwise than they said: SM1 (stop, opted_in)",
    )


def entries(*received: str) -> tuple[Entry, ...]:
    """Bob's, of a START and a STOP, in the order of their ids."""
    states = ("unknown", "opted_in", "opted_out")
    return tuple(Entry(n, BOB, states[n], states[n + 1], received[n], superseded=False) for n in range(len(received)))


def test_a_ledger_out_of_order_is_found_where_order_is_promised() -> None:
    ledger = (LEDGER[1], *entries("12", "10"))

    assert with_stored(ledger=ledger).problems == ("1 people's ledgers are no chain: 1",)
    assert judged(stored=STORED._replace(ledger=ledger), in_order=False).problems == ()


def test_a_ledger_that_is_no_chain_is_found() -> None:
    torn = (LEDGER[1], entries("10", "12")[0], Entry(5, BOB, "pending", "opted_out", "12", superseded=False))

    assert judged(stored=STORED._replace(ledger=torn), in_order=False).problems == (
        "1 people's ledgers are no chain: 5",
    )
