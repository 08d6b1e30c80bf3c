"""What becomes of a reply that its provider did not take."""

from datetime import timedelta

import pytest

from app.errors import SendFailed
from app.events import NOBODY
from app.record.outbox import Due, Outcome, State
from app.send.outcome import Patience, after_failure
from tests.heard import BOB, COMPANY, NOON

PATIENCE = Patience(attempts=6, first_wait=5, longest_wait=60)
BUSY = SendFailed("busy")
GONE = SendFailed("no answer", departed=True)


def due(*, category: str = "help", tries: int = 1) -> Due:
    hour = timedelta(hours=1)
    return Due(1, "w", "acme", "default", category, BOB, COMPANY, "Hi", tries, NOON + hour, NOON, NOON + hour,
               NOBODY, NOBODY)  # fmt: skip


@pytest.mark.parametrize(
    ("row", "failure", "idempotent", "state", "reason"),
    [
        (due(), SendFailed("21610", permanent=True, blocked=True), False, State.BLOCKED, "21610"),
        (due(category="opt_out"), SendFailed("21610", permanent=True, blocked=True), False, State.BLOCKED, "21610"),
        (due(), SendFailed("400", permanent=True), False, State.FAILED, "400"),
        (due(category="opt_out"), GONE, False, State.DOUBTFUL, "it may have left, so it is not repeated: no answer"),
        (due(category="opt_out"), GONE, True, State.PENDING, "no answer"),
        (due(category="opt_out"), BUSY, False, State.PENDING, "busy"),
        (due(), GONE, False, State.PENDING, "no answer"),
        (due(tries=5), BUSY, False, State.PENDING, "busy"),
        (due(tries=6), BUSY, False, State.FAILED, "given up after 6 tries: busy"),
        (
            due(),
            SendFailed("busy", retry_after=3601),
            False,
            State.CANCELLED,
            "the next try would come after the deadline: busy",
        ),
        (due(), SendFailed("busy", retry_after=1e300), False, State.CANCELLED,
         "the next try would come after the deadline: busy"),
    ],
)  # fmt: skip
def test_a_failure_ends_a_reply_or_lets_it_come_again(
    row: Due, failure: SendFailed, idempotent: bool, state: State, reason: str
) -> None:
    found = after_failure(row, failure, NOON, idempotent=idempotent, patience=PATIENCE, draw=lambda: 0.5)

    assert (found.state, found.reason, found.counts) == (state, reason, True)
    assert (found.next_at is not None) == (state is State.PENDING)


@pytest.mark.parametrize(
    ("tries", "asked", "drawn", "seconds"),
    [
        (1, None, 1.0, 5),
        (2, None, 1.0, 10),
        (3, None, 1.0, 20),
        (5, None, 1.0, 60),  # the longest
        (3, None, 0.25, 5),  # full jitter: anything from nothing
        (3, None, 0.0, 0),
        (1, 0.0, 1.0, 5),  # "at once" to all is no advice
        (1, 30.0, 0.0, 30),
        (1, 30.0, 1.0, 30.5),  # a little later than asked, so that not all return together
    ],
)
def test_waits_double_and_are_spread_and_never_shorter_than_asked(
    tries: int, asked: float | None, drawn: float, seconds: float
) -> None:
    row, failure = due(tries=tries), SendFailed("busy", retry_after=asked)

    found = after_failure(row, failure, NOON, idempotent=False, patience=PATIENCE, draw=lambda: drawn)

    assert found == Outcome(row, State.PENDING, "busy", next_at=NOON + timedelta(seconds=seconds))
