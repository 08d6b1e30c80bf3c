"""Where a stream stands in a source: told early, and never past what may still come.

Ids rise with time, but they are made inside transactions and by nodes whose clocks differ, so a row may come in below
one that is there already. `app.record.settled` tells below which id none can come any more; for fear of a clock that
lags, that is half a minute ago. Waiting for it would make every event half a minute late. So a row is told as soon as
it is seen, its id is remembered as `ahead`, and the ids above the position are looked through again and again until
they are settled: what came in late is found among them and told then. The position itself only passes what is settled.

What is remembered is what was told in the last half minute. Where that grows beyond `MOST_AHEAD` (a transaction of
hours holds the mark back, a clock is an hour ahead), nothing more is told early: late, and not lost.
"""

from collections.abc import Iterable, Sequence

MOST_AHEAD = 50_000


class Cursor:
    """A position, and what was told above it."""

    def __init__(self, position: int, ahead: Iterable[int] = ()) -> None:
        self.position = position
        self.ahead = set(ahead)

    @property
    def highest(self) -> int:
        """The highest id that was told."""
        return max(self.ahead, default=self.position)

    def untold(self, ids: Iterable[int], mark: int, most: int) -> list[int]:
        """Which of these are to be told now, at most so many; `mark`: none of this id or below is still to come."""
        early = len(self.ahead) < MOST_AHEAD
        return [row_id for row_id in ids if row_id not in self.ahead and (early or row_id <= mark)][:most]

    def tell(self, ids: Iterable[int]) -> None:
        """These were told."""
        self.ahead.update(ids)

    def settle(self, mark: int, seen: Sequence[int]) -> None:
        """Pass what is told and settled. `seen`: the lowest ids above the position, without a gap, looked up after
        the mark was."""
        for row_id in seen:
            if row_id > mark or row_id not in self.ahead:
                break
            self.position = row_id
        self.ahead = {row_id for row_id in self.ahead if row_id > self.position}
