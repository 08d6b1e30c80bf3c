"""What becomes of a reply that its provider did not take: again later, or one of the ends. Pure."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from app.errors import SendFailed
from app.events import Category
from app.record.outbox import Due, Outcome, State

_A_YEAR = 3.2e7


class Patience(NamedTuple):
    """How often and how long to try."""

    attempts: int
    """Tries of one reply."""
    first_wait: float = 5.0
    """Seconds that the first wait is at most; each further one may be twice as long."""
    longest_wait: float = 600.0


def after_failure(
    row: Due, failure: SendFailed, now: datetime, *, idempotent: bool, patience: Patience, draw: Callable[[], float]
) -> Outcome:
    """The outcome of a try that failed. `draw` gives a number from 0 to 1, for the jitter.

    1. On the provider's block list: blocked. 2. An opt-out confirmation that may have left is not repeated, unless the
    provider would notice: a second one is a message to somebody who wants none. 3. What cannot help is not tried.
    4. Otherwise again, as long as tries and deadline allow.
    """
    reason = str(failure)
    if failure.blocked:
        return Outcome(row, State.BLOCKED, reason)
    if failure.departed and row.category == Category.OPT_OUT and not idempotent:
        return Outcome(row, State.DOUBTFUL, f"it may have left, so it is not repeated: {reason}")
    if failure.permanent:
        return Outcome(row, State.FAILED, reason)
    if row.attempts >= patience.attempts:
        return Outcome(row, State.FAILED, f"given up after {row.attempts} tries: {reason}")
    again = now + timedelta(seconds=_wait(row.attempts, failure.retry_after or 0.0, patience, draw))
    if again > row.deadline:
        return Outcome(row, State.CANCELLED, f"the next try would come after the deadline: {reason}")
    return Outcome(row, State.PENDING, reason, next_at=again)


def _wait(tries: int, asked: float, patience: Patience, draw: Callable[[], float]) -> float:
    """Seconds: exponential with full jitter, at least what the provider asked for, plus a little so that not all return
    at once (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)."""
    longest = min(patience.first_wait * 2.0 ** (tries - 1), patience.longest_wait)
    jitter = longest * draw()
    return min(asked, _A_YEAR) + jitter * 0.1 if asked else jitter
