"""What became of each reply, written down in batches: while one batch commits, the next gathers."""

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
from app.send.gathering import Gathering

log = structlog.get_logger()

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
        self._outcomes = Gathering(self._mark, "outbox marks")

    def start(self) -> None:
        """Begin to mark."""
        self._outcomes.start()

    def note(self, outcome: Outcome) -> None:
        """Take an outcome in: counted, logged unless it was sent, and soon written."""
        self._outcomes.add(outcome)
        if outcome.counts:
            _COUNTERS[outcome.state].inc()
        if outcome.state is not State.SENT:
            row = outcome.row
            log.info("reply not sent", reply=row.id, credential=row.credential, category=row.category,
                     to=mask(row.address), state=outcome.state.value, reason=outcome.reason)  # fmt: skip

    async def stop(self, within: float) -> None:
        """Write what is left, for at most `within` seconds."""
        if left := await self._outcomes.stop(within):
            log.error("outcomes could not be written; those replies will be tried again", replies=left)

    async def _mark(self, batch: list[Outcome]) -> None:
        steps.reached("marking")
        try:
            await self._writer.run(partial(outbox.mark, outcomes=batch))
        except StoreUnavailable:
            await self._outcomes.put_back(batch)
        except Exception as error:  # noqa: BLE001 - one bad outcome must not hold its neighbours
            complain("outcomes were refused by the database", error, replies=len(batch))
            if len(batch) > 1:
                for outcome in batch:
                    await self._mark([outcome])
        else:
            steps.reached("marked")
            self._marked()
