"""The check afterwards: is every acknowledged event in the database exactly once?"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.bench.load import Load, event_number


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was sent and what was found. Events are counted without their repetitions."""

    sent: int
    found: int
    #: sent and not found, of which at most so many may be missing: their requests were never acknowledged
    missing: int
    may_miss: int
    #: rows too many
    doubled: int
    #: rows of events that were never sent
    strange: int

    @property
    def problem(self) -> str:
        """A sentence when an acknowledged event is not there exactly once, else empty."""
        lost = self.missing - self.may_miss
        parts = [
            f"{lost} acknowledged events are not stored" if lost > 0 else "",
            f"{self.doubled} events are stored more than once" if self.doubled else "",
            f"{self.strange} stored events were never sent" if self.strange else "",
        ]
        return ", ".join(part for part in parts if part)


def verdict(loads: Sequence[Load], stored: Iterable[tuple[str, str]]) -> Verdict:
    """Compare what `loads` sent with the stored ids (and statuses).

    wrk does not say which requests were under way when it stopped (one per connection at most), only how many were
    acknowledged. So every event that was sent must be found, but for as many as there were unacknowledged requests.
    """
    rows = Counter(event_number(loads[0].kind, *key) for key in stored)
    sent = {(load.run, number) for load in loads for number in load.events()}
    return Verdict(
        sent=len(sent),
        found=len(rows),
        missing=len(sent - rows.keys()),
        may_miss=sum(load.unacknowledged for load in loads),
        doubled=rows.total() - len(rows),
        strange=len(rows.keys() - sent),
    )
