"""Dead letters, for admins: what ended without having done its work, to be looked at, replayed, or settled."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from app.record import dead_letters
from app.record.dead_letters import Kind, Outcome
from app.record.tokens import Scope
from app.serve.fields import GivenId, Listing, Paging, Said, ShownId, page_of
from app.serve.operation import Call, Operation, Params
from app.serve.parts import Parts
from app.serve.revival import Means, replay_all, replay_some, settle_some
from app.spec import Spec
from app.switchboard import policy

Ids = Annotated[list[GivenId], Field(min_length=1, max_length=1000)]


class LetterParams(Paging):
    """Which dead letters; without a kind, all."""

    kind: Kind | None = None


class DeadLetter(BaseModel):
    """Something that waits for a person."""

    id: ShownId
    kind: Kind
    state: str = Field(description="failed, doubtful (it may have left); undecoded; item, address, parked")
    webhook: str
    credential: str
    since: datetime = Field(description="When the reply was queued, the request or item received.")
    reason: str
    tries: int
    address: str
    text: str = Field(description="What the reply says, or the item as it came.")
    raw_id: ShownId | None = Field(description="The stored request: GET /v1/raw/{id}.")


class WantedReplay(Spec):
    """Some dead letters, or all; of one kind, or of every kind."""

    kind: Kind | None = None
    ids: Ids | None = None
    every: bool = Field(False, alias="all", description="All there are.")
    doubtful: bool = Field(False, description="Also replies that may have left: a replay may double them.")

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.ids is None) != self.every:
            raise ValueError("say which: either ids, or all = true")
        return self


class Settlement(Spec):
    """Who dealt with them, and how."""

    kind: Kind | None = None
    ids: Ids
    reason: Said
    actor: Said


class Result(BaseModel):
    """What became of one."""

    id: ShownId
    kind: Kind | None = Field(description="null: there is none of this id")
    outcome: Literal["replayed", "settled", "left"]
    reason: str = Field(description="Why it is left as it was, or a part of it.")
    new: int = Field(description="Events that a request brought.")
    seen: int = Field(description="Events of a request that were there before.")


class Results(BaseModel):
    """One result per id, in their order."""

    results: list[Result]


async def every(call: Call[LetterParams, None]) -> Listing[DeadLetter]:
    """What waits for a person."""
    wanted = call.params
    kinds = Kind if wanted.kind is None else (wanted.kind,)
    found = await call.parts.database.read(
        lambda conn: dead_letters.page(conn, kinds, limit=wanted.limit, before_id=wanted.cursor)
    )
    shown = [DeadLetter.model_validate(letter._asdict()) for letter in found]
    return page_of(shown, wanted.limit, found[-1].id if found else None)


async def replay(call: Call[Params, WantedReplay]) -> Results:
    """Send again, or read again. What is no dead letter any more is left, so that asking twice does it once."""
    wanted, means = call.body, _means(call.parts)
    if wanted.ids is None:
        found = await replay_all(means, wanted.kind, doubtful=wanted.doubtful)
    else:
        found = await replay_some(means, wanted.kind, wanted.ids, doubtful=wanted.doubtful)
    if call.parts.sender:
        call.parts.sender.nudge()
    return _results(found, "replayed")


async def settle(call: Call[Params, Settlement]) -> Results:
    """Dealt with otherwise: it is kept, and no dead letter any more."""
    wanted, parts = call.body, call.parts
    return _results(
        await settle_some(
            parts.database, parts.writer, wanted.kind, wanted.ids, actor=wanted.actor, reason=wanted.reason
        ),
        "settled",
    )


def _means(parts: Parts) -> Means:
    return Means(parts.switchboard, parts.database, parts.writer, policy(parts.settings))


def _results(found: Iterable[Outcome], done: Literal["replayed", "settled"]) -> Results:
    return Results(
        results=[
            Result(
                id=each.id,
                kind=each.kind,
                outcome=done if each.done else "left",
                reason=each.reason,
                new=each.new,
                seen=each.seen,
            )
            for each in found
        ]
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/dead-letters",
        summary="Replies, requests and items that ended without having done their work",
        handler=every,
        scope=Scope.ADMIN,
        params=LetterParams,
        answer=Listing[DeadLetter],
    ),
    Operation(
        method="POST",
        path="/v1/dead-letters/replay",
        summary="Send failed replies again, read requests again; done twice, it is done once",
        handler=replay,
        scope=Scope.ADMIN,
        body=WantedReplay,
        answer=Results,
    ),
    Operation(
        method="POST",
        path="/v1/dead-letters/resolve",
        summary="Settle dead letters that were dealt with otherwise, with who and why",
        handler=settle,
        scope=Scope.ADMIN,
        body=Settlement,
        answer=Results,
    ),
)
