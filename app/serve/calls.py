"""The calls of custom actions, for admins: what was called, what came of it, and once more."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson
from pydantic import BaseModel, Field

from app.record import call_log
from app.record.call_log import NO_SUCH, CallFilter
from app.record.tokens import Scope
from app.serve.fields import NO_SUCH_ID, IdParams, Listing, Paging, RawAddress, ShownId, Text, page_of, person
from app.serve.operation import Call, Operation
from app.serve.problems import Problem, not_found
from app.webhook import ActionName

#: how long a call that a person has made again may wait, and the reply for it
AGAIN_WITHIN = timedelta(hours=1)


class ActionCall(BaseModel):
    """A call of a custom action."""

    id: ShownId
    action: str
    trigger: str = Field(description="A category, a receipt's status, document or test.")
    webhook: str
    program: str
    address: str = Field(description="Empty: it is about nobody.")
    inbound_id: ShownId | None = Field(description="The message that called: GET /v1/inbound lists it.")
    event: dict[str, Any] = Field(description="The fields of the event, as the action sees them.")
    waited_for: bool = Field(description="A reply waits for its answer, or has waited.")
    state: Literal["pending", "calling", "done"]
    attempts: int = Field(description="How often it was begun.")
    tries: int = Field(description="Requests that were made.")
    deadline: datetime
    created_at: datetime
    ended_at: datetime | None
    outcome: str = Field(description="success, http_<status>, timedout, capped, internalError, excluded; empty: none.")
    policy: str = Field(description="The consent policy that left the person out.")
    response: str = Field(description="The third party's answer as it came, at most 64 KiB.")
    problem: str = Field(description="Why it did not succeed, in a sentence.")
    note: str = Field(description="What people did with it after it had ended, newest first.")


class CallParams(Paging):
    """Which calls."""

    action: ActionName | None = None
    outcome: Text | None = Field(None, description="Of an outcome; failed: all but success and excluded.")
    state: Literal["pending", "calling", "done"] | None = None
    address: RawAddress | None = None


async def every(call: Call[CallParams, None]) -> Listing[ActionCall]:
    """Calls, newest first."""
    wanted = call.params
    address = person(wanted.address) if wanted.address is not None else None
    conditions = CallFilter(wanted.action, wanted.outcome, wanted.state, address)
    found = await call.parts.database.read(
        lambda conn: call_log.page(conn, conditions, limit=wanted.limit, before_id=wanted.cursor)
    )
    return page_of([call_of(row) for row in found], wanted.limit, found[-1].id if found else None)


async def read(call: Call[IdParams, None]) -> ActionCall:
    """One."""
    found = await call.parts.database.read(lambda conn: call_log.one(conn, call.params.id))
    if found is None:
        raise not_found("call of this id")
    return call_of(found)


async def again(call: Call[IdParams, None]) -> ActionCall:
    """Have it made once more."""
    parts, its, now = call.parts, call.params.id, datetime.now(UTC)
    (told,) = await parts.writer.run(lambda conn: call_log.call_again(conn, [its], now, AGAIN_WITHIN, "the API"))
    if told.reason == NO_SUCH:
        raise not_found("call of this id")
    if not told.done:
        raise Problem(409, f"The call is left as it is: {told.reason}.")
    if parts.caller:
        parts.caller.nudge()
    return await read(call)


def call_of(row: call_log.Call) -> ActionCall:
    """As it is shown."""
    shown = row._asdict() | {"event": orjson.loads(row.fields), "waited_for": bool(row.reply)}
    return ActionCall.model_validate(shown)


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/calls",
        summary="Calls of custom actions, and what came of each",
        handler=every,
        scope=Scope.ADMIN,
        answer=Listing[ActionCall],
        params=CallParams,
    ),
    Operation(
        method="GET",
        path="/v1/calls/{id}",
        summary="A call of a custom action",
        handler=read,
        scope=Scope.ADMIN,
        answer=ActionCall,
        params=IdParams,
        problems=NO_SUCH_ID,
    ),
    Operation(
        method="POST",
        path="/v1/calls/{id}/retry",
        summary="Have a call that did not succeed made once more",
        handler=again,
        scope=Scope.ADMIN,
        answer=ActionCall,
        params=IdParams,
        problems=NO_SUCH_ID | {409: "It has succeeded, or waits."},
    ),
)
