"""What became of each reply, written down in batches: while one batch commits, the next gathers."""

import asyncio
from collections.abc import Callable
from functools import partial

import structlog
from prometheus_client import Counter

from app import metrics, steps
from app.address import mask
from app.errors import StoreUnavailable
from app.record import outbox
from app.record.outbox import Outcome, State
from app.record.writer import Writer
from app.send.complaint import complain

log = structlog.get_logger()

#: seconds to wait when the database was away
AFTER_FAILURE = 0.5

_ENDS = (State.SENT, State.CANCELLED, State.BLOCKED, State.DOUBTFUL, State.FAILED)
_COUNTERS: dict[State, Counter] = {
    State.PENDING: metrics.REPLIES.labels(outcome="retried"),
    **{state: metrics.REPLIES.labels(outcome=state.value) for state in _ENDS},
}


class Marker:
    """Collects outcomes and marks them; `marked` is called after each commit."""

    def __init__(self, writer: Writer, marked: Callable[[], None]) -> None:
        self._writer = writer
        self._marked = marked
        self._outcomes: list[Outcome] = []
        self._some = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to mark."""
        self._task = asyncio.create_task(self._run(), name="outbox marks")

    def note(self, outcome: Outcome) -> None:
        """Take an outcome in: counted, logged unless it was sent, and soon written."""
        self._outcomes.append(outcome)
        self._some.set()
        if outcome.counts:
            _COUNTERS[outcome.state].inc()
        if outcome.state is not State.SENT:
            row = outcome.row
            log.info("reply not sent", reply=row.id, credential=row.credential, category=row.category,
                     to=mask(row.address), state=outcome.state.value, reason=outcome.reason)  # fmt: skip

    async def stop(self, within: float) -> None:
        """Write what is left, for at most `within` seconds."""
        self._closing = True
        self._some.set()
        if self._task is None:
            return
        _, late = await asyncio.wait([self._task], timeout=within)
        if late:
            self._task.cancel()
            log.error("outcomes could not be written; those replies will be tried again", replies=len(self._outcomes))

    async def _run(self) -> None:
        while self._outcomes or not self._closing:
            await self._some.wait()
            self._some.clear()
            batch, self._outcomes = self._outcomes, []
            if batch:
                await self._mark(batch)

    async def _mark(self, batch: list[Outcome]) -> None:
        steps.reached("marking")
        try:
            await self._writer.run(partial(outbox.mark, outcomes=batch))
        except StoreUnavailable:
            # What was sent must not be forgotten, or it is sent again.
            self._outcomes = batch + self._outcomes
            self._some.set()
            await asyncio.sleep(AFTER_FAILURE)
        except Exception as error:  # noqa: BLE001 - one bad outcome must not hold its neighbours
            complain("outcomes were refused by the database", error, replies=len(batch))
            if len(batch) > 1:
                for outcome in batch:
                    await self._mark([outcome])
        else:
            steps.reached("marked")
            self._marked()
