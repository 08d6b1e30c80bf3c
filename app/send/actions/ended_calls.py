"""What became of each call, written down in batches with the replies that waited: while one commits, the next gathers.

Nothing that a third party has done is forgotten while the database is away, or it would be called again.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

import structlog

from app import metrics, steps
from app.errors import StoreUnavailable
from app.record import calls
from app.record.calls import DueCall, Ended
from app.record.writer import Writer
from app.send.actions.awaited import SUCCESS
from app.send.complaint import complain
from app.send.gathering import Gathering

log = structlog.get_logger()

_NOT_STORED = "it ended as {}, and the database refused what came of it"


class EndedCalls:
    """Collects ends and writes them. `written` is told after each commit whether replies were queued."""

    def __init__(self, writer: Writer, written: Callable[[bool], None]) -> None:
        self._writer = writer
        self._written = written
        self._ends = Gathering(self._write, "ends of calls")

    def start(self) -> None:
        """Begin to write."""
        self._ends.start()

    def note(self, row: DueCall, end: Ended) -> None:
        """Take an end in: logged unless it is a success, and soon written."""
        self._ends.add((row, end))
        if end.outcome != SUCCESS:
            log.info("a call did not succeed", call=row.id, action=row.action, trigger=row.trigger,
                     outcome=end.outcome, problem=end.problem, policy=end.policy)  # fmt: skip

    async def stop(self, within: float) -> None:
        """Write what is left, for at most `within` seconds."""
        if left := await self._ends.stop(within):
            log.error("ends of calls could not be written; they will be made again", calls=left)

    async def _write(self, batch: list[tuple[DueCall, Ended]]) -> None:
        steps.reached("calls ending")
        try:
            await self._finish(batch)
        except StoreUnavailable:
            await self._ends.put_back(batch)
        except Exception as error:  # noqa: BLE001 - one bad answer must not hold its neighbours
            complain("ends of calls were refused by the database", error, calls=len(batch))
            await self._write_apart(batch)

    async def _finish(self, batch: Sequence[tuple[DueCall, Ended]]) -> None:
        ends = [end for _, end in batch]
        done = await self._writer.run(partial(calls.finish, ended=ends, now=datetime.now(UTC)))
        for row, end in batch:
            if row.id in done:
                metrics.CALLS.labels(row.action, end.outcome).inc()
        self._written(any(end.reply and end.id in done for end in ends))

    async def _write_apart(self, batch: list[tuple[DueCall, Ended]]) -> None:
        """One by one. A culprit that stands alone is written without what came of it, or it would be made for ever."""
        for row, end in batch:
            if len(batch) > 1:
                await self._write([(row, end)])
            elif end.response or end.reply:
                problem = _NOT_STORED.format(end.outcome)
                bare = Ended(end.id, "internalError", "", problem, end.policy, end.tries, end.claimed_until)
                await self._write([(row, bare)])
