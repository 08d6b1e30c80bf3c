"""Streams, for admins: what is sent, how far they are, replay, and what was refused."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Self

import sqlalchemy as sa
from pydantic import BaseModel, Field, model_validator

from app.errors import BadInput
from app.record import refusals, registry, stream_events, streams
from app.record.ids import first_id_at
from app.record.registry import Registered
from app.record.tokens import Scope
from app.serve.fields import NO_SUCH_NAME, GivenId, Listing, Moment, NameParams, Paging, ShownId, page_of
from app.serve.operation import Call, Operation
from app.serve.registered import refuse_missing
from app.serve.stream_preview import Preview, previews, ready_stream
from app.spec import Spec
from app.stream import Source, Stream

Ids = Annotated[list[GivenId], Field(min_length=1, max_length=1000)]


class Previews(BaseModel):
    """One for each kind of event."""

    items: list[Preview]


class SourceStatus(BaseModel):
    """How far a stream has told of one kind of event."""

    event: Source
    position: ShownId = Field(description="All rows up to this id were told of.")
    lag_rows: int = Field(description="Rows that were not told of yet, up to 10,000.")
    lag_since: datetime | None = Field(description="When the oldest of them was recorded.")
    told: int
    left_out: int = Field(description="Of people whom a policy leaves out, or who were erased.")


class StreamStatus(BaseModel):
    """How a stream stands."""

    stream: str
    problem: str = Field(description="Why it stands still; empty: it does not.")
    telling_until: datetime | None = Field(description="A process tells, and its lease lasts until then.")
    refused: int = Field(description="Events that were refused for good, and wait for a person.")
    sources: list[SourceStatus]


class WantedReplay(Spec):
    """From when on; of which events, all unless said."""

    since: Moment | None = Field(None, description="What was recorded from this time on.")
    from_id: GivenId | None = Field(None, description="What was recorded from the row of this id on.")
    events: list[Source] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.since is None) == (self.from_id is None):
            raise ValueError("say since when (since) or from which row on (from_id)")
        return self

    @property
    def first_id(self) -> int:
        """The first row."""
        return first_id_at(self.since) if self.since else self.from_id or 0


class RefusalParams(NameParams, Paging):
    """Of which stream, which page."""


class Refusal(BaseModel):
    """An event that was refused for good."""

    id: ShownId
    event: Source
    row_id: ShownId
    event_id: str
    reason: str
    refused_at: datetime
    again_at: datetime | None = Field(description="Somebody asked to have it sent again.")


class WantedRetry(Spec):
    """Some refusals, or all."""

    ids: Ids | None = None
    every: bool = Field(False, alias="all", description="All there are.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.ids is not None) == self.every:
            raise ValueError("say which: ids, or all")
        return self


class Retried(BaseModel):
    """How many are sent again."""

    retried: int


# --- for API and command line -------------------------------------------------------------------------------------


def stream_of(registered: Registered, name: str) -> Stream:
    """Raises BadInput where there is none of this name, or it cannot be used."""
    if broken := registered.others.broken.get(("stream", name)):
        raise BadInput(broken)
    found = registered.others.streams.get(name)
    if found is None:
        names = ", ".join(registered.others.streams) or "none"
        raise BadInput(f"There is no stream '{name}'; registered are: {names}.")
    return found


def status(conn: sa.Connection, stream: Stream) -> StreamStatus:
    """How it stands now."""
    found = [each for each in streams.positions(conn, stream.name) if each.source in stream.events]
    return StreamStatus(
        stream=stream.name,
        problem=next((each.problem for each in found if each.problem), ""),
        telling_until=max((each.claimed_until for each in found if each.claimed_until), default=None),
        refused=refusals.count(conn, stream.name),
        sources=[_source(conn, each) for each in found],
    )


def _source(conn: sa.Connection, found: streams.Position) -> SourceStatus:
    lag = stream_events.lag(conn, found.source, found.position, found.ahead)
    return SourceStatus(
        event=found.source, position=found.position, lag_rows=lag.rows, lag_since=lag.oldest, told=found.told,
        left_out=found.left_out,
    )  # fmt: skip


def replay_from(conn: sa.Connection, stream: Stream, events: Sequence[Source] | None, first_id: int) -> StreamStatus:
    """Set the cursors back. Raises BadInput for an event that the stream does not tell of."""
    wanted = list(events or stream.events)
    if strange := [event for event in wanted if event not in stream.events]:
        raise BadInput(f"stream '{stream.name}' does not tell of {', '.join(strange)}; add it to its events first")
    now = datetime.now(UTC)
    streams.begin(conn, stream.name, stream.events, now, from_the_beginning=stream.from_the_beginning)
    streams.rewind(conn, stream.name, wanted, first_id)
    return status(conn, stream)


# --- operations ---------------------------------------------------------------------------------------------------


async def _registered(call: Call[Any, Any]) -> tuple[Registered, Stream]:
    vault = call.parts.vault
    found = await call.parts.database.read(lambda conn: registry.load(conn, vault))
    return found, refuse_missing("stream", found.others.streams.get(call.params.name))


async def preview(call: Call[NameParams, None]) -> Previews:
    """What the receiver is sent."""
    registered, stream = await _registered(call)
    told_to = ready_stream(registered, stream, call.parts.settings.unknown_consent)
    return Previews(items=await call.parts.database.read(partial(previews, registered=registered, told_to=told_to)))


async def look(call: Call[NameParams, None]) -> StreamStatus:
    """How it stands."""
    _, stream = await _registered(call)
    return await call.parts.database.read(partial(status, stream=stream))


async def replay(call: Call[NameParams, WantedReplay]) -> StreamStatus:
    """Tell again."""
    _, stream = await _registered(call)
    body = call.body
    return await call.parts.writer.run(partial(replay_from, stream=stream, events=body.events, first_id=body.first_id))


async def refused(call: Call[RefusalParams, None]) -> Listing[Refusal]:
    """What was refused for good."""
    _, stream = await _registered(call)
    page = partial(refusals.page, stream=stream.name, limit=call.params.limit, before_id=call.params.cursor)
    rows = await call.parts.database.read(page)
    shown = [Refusal.model_validate(row._asdict() | {"event": row.source}) for row in rows]
    return page_of(shown, call.params.limit, rows[-1].id if rows else None)


async def retry(call: Call[NameParams, WantedRetry]) -> Retried:
    """Send refused events again."""
    _, stream = await _registered(call)
    act = partial(refusals.ask_again, stream=stream.name, ids=call.body.ids, now=datetime.now(UTC))
    return Retried(retried=await call.parts.writer.run(act))


OPERATIONS = (
    Operation("GET", "/v1/streams/{name}/preview", "What the receiver of a stream is sent, ready to be copied", preview,
              Scope.ADMIN, Previews, NameParams, problems=NO_SUCH_NAME),
    Operation("GET", "/v1/streams/{name}/status", "How far a stream is, and why it stands still", look,
              Scope.ADMIN, StreamStatus, NameParams, problems=NO_SUCH_NAME),
    Operation("POST", "/v1/streams/{name}/replay", "Have everything told again from a time or a row on", replay,
              Scope.ADMIN, StreamStatus, NameParams, WantedReplay, problems=NO_SUCH_NAME),
    Operation("GET", "/v1/streams/{name}/refusals", "Events that the receiver refused for good", refused,
              Scope.ADMIN, Listing[Refusal], RefusalParams, problems=NO_SUCH_NAME),
    Operation("POST", "/v1/streams/{name}/refusals/retry", "Send refused events again; done twice, it is done once",
              retry, Scope.ADMIN, Retried, NameParams, WantedRetry, problems=NO_SUCH_NAME),
)  # fmt: skip
