"""`/metrics`, in the text format of Prometheus, and the counting of events as they are committed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from app import metrics
from app.changes import Changes
from app.errors import StoreUnavailable
from app.events import Heard
from app.record import call_log, dead_letters, facts, queries, seals, stream_events
from app.record.dead_letters import Kind, Tally
from app.record.ids import moment_of
from app.record.intake import Intake
from app.record.queries import Backlog
from app.record.stream_events import Telling
from app.record.tokens import Scope
from app.serve.operation import Call, Operation, Params, Plain
from app.serve.parts import Parts

_OF_STREAMS = (
    metrics.STREAM_LAG_ROWS, metrics.STREAM_LAG_SECONDS, metrics.STREAM_STANDING, metrics.STREAM_REFUSALS,
)  # fmt: skip


async def read(call: Call[Params, None]) -> Plain:
    """The counters as they stand, and what waits, looked up now."""
    parts = call.parts
    metrics.QUEUE_DEPTH.set(parts.writer.waiting)
    await _set_spool_gauges(parts.intake)
    if not parts.intake.away_since:
        with suppress(StoreUnavailable):  # what can be told without the database is told all the same
            await _look_up(parts)
    return Plain(generate_latest(metrics.REGISTRY), CONTENT_TYPE_PLAIN_0_0_4)


async def _look_up(parts: Parts) -> None:
    _set_gauges(await parts.database.read(queries.backlog))
    _set_calls(await parts.database.read(call_log.waiting))
    _set_dead_letters(await parts.database.read(dead_letters.tallies))
    metrics.RESTORED.set(await parts.database.read(facts.restored) is not None)
    _set_streams(await parts.database.read(stream_events.telling))
    if parts.settings.evidence_key:
        _set_unsealed(await parts.database.read(seals.oldest_unsealed))


async def _set_spool_gauges(intake: Intake) -> None:
    metrics.SPOOL_ITEMS.set(intake.waiting)
    metrics.SPOOL_ASIDE.set(intake.aside)
    metrics.SPOOL_BYTES.set(await intake.bytes())


def _set_gauges(backlog: Backlog) -> None:
    metrics.OUTBOX_WAITING.set(backlog.outbox)
    metrics.OUTBOX_OLDEST.set(_age(backlog.oldest_outbox))
    metrics.UNDECODED.set(backlog.undecoded)
    metrics.WORK_LIST.set(backlog.work)


def _set_calls(waiting: call_log.Waiting) -> None:
    metrics.CALLS_WAITING.set(waiting.calls)
    metrics.CALLS_OLDEST.set(_age(waiting.oldest))


def _set_dead_letters(tallies: Mapping[Kind, Tally]) -> None:
    for kind, tally in tallies.items():
        metrics.DEAD_LETTERS.labels(kind.value).set(tally.letters)
        metrics.DEAD_LETTERS_OLDEST.labels(kind.value).set(_age(tally.oldest))


def _set_unsealed(oldest: int | None) -> None:
    metrics.UNSEALED.set(max(_age(moment_of(oldest)), 0.0) if oldest else 0.0)


def _set_streams(found: Mapping[str, Telling]) -> None:
    """Of those that are registered now; what was deleted is not told of any more."""
    for gauge in (
        metrics.STREAM_LAG_ROWS,
        metrics.STREAM_LAG_SECONDS,
        metrics.STREAM_STANDING,
        metrics.STREAM_REFUSALS,
    ):
        gauge.clear()
    for name, telling in found.items():
        metrics.STREAM_STANDING.labels(name).set(bool(telling.problem))
        metrics.STREAM_REFUSALS.labels(name).set(telling.refused)
        for source, lag in telling.lags.items():
            metrics.STREAM_LAG_ROWS.labels(name, source).set(lag.rows)
            metrics.STREAM_LAG_SECONDS.labels(name, source).set(max(_age(lag.oldest), 0.0))


def _age(oldest: datetime | None) -> float:
    return (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0


def count_events(_fresh: Sequence[Heard], changes: Changes) -> None:
    """Count what a commit recorded. For the writer to call after each; by the batch, so that it costs little."""
    for (webhook, kind, category), number in Counter(_labels(changes)).items():
        metrics.EVENTS.labels(webhook, kind, category).inc(number)
    for call in changes.calls:
        if call.outcome:  # the guard has ended it
            metrics.CALLS.labels(call.action, call.outcome).inc()


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
