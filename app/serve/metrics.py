"""`/metrics`, in the text format of Prometheus, and the counting of events as they are committed."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from app import metrics
from app.changes import Changes
from app.events import Heard
from app.record import facts, queries
from app.record.queries import Backlog
from app.record.tokens import Scope
from app.serve.operation import Call, Operation, Params, Plain


async def read(call: Call[Params, None]) -> Plain:
    """The counters as they stand, and what waits, looked up now."""
    _set_gauges(await call.parts.database.read(queries.backlog), call.parts.writer.waiting)
    metrics.RESTORED.set(await call.parts.database.read(facts.restored) is not None)
    return Plain(generate_latest(metrics.REGISTRY), CONTENT_TYPE_PLAIN_0_0_4)


def _set_gauges(backlog: Backlog, queued: int) -> None:
    oldest = backlog.oldest_outbox
    metrics.QUEUE_DEPTH.set(queued)
    metrics.OUTBOX_WAITING.set(backlog.outbox)
    metrics.OUTBOX_OLDEST.set((datetime.now(UTC) - oldest).total_seconds() if oldest else 0)
    metrics.UNDECODED.set(backlog.undecoded)
    metrics.WORK_LIST.set(backlog.work)


def count_events(_fresh: Sequence[Heard], changes: Changes) -> None:
    """Count what a commit recorded. For the writer to call after each; by the batch, so that it costs little."""
    for (webhook, kind, category), number in Counter(_labels(changes)).items():
        metrics.EVENTS.labels(webhook, kind, category).inc(number)


def _labels(changes: Changes) -> Iterator[tuple[str, str, str]]:
    yield from ((row.webhook, "inbound", row.category) for row in changes.inbound)
    yield from ((row.webhook, "receipt", row.status) for row in changes.receipts)
    for entry, evidence in zip(changes.ledger, changes.evidence, strict=True):
        if evidence.inbound_id is None:
            yield evidence.webhook, "change", entry.new_state


OPERATIONS = (
    Operation(
        method="GET",
        path="/metrics",
        summary="Counters and gauges for Prometheus",
        handler=read,
        scope=Scope.METRICS,
        media_type="text/plain",
    ),
)
