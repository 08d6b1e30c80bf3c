"""What was heard, to read: inbound messages, raw requests, and what waits for a person."""

import base64
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.changes import InboundRow, WorkRow
from app.events import Category
from app.record import queries
from app.record.queries import InboundFilter, StoredRequest
from app.record.tokens import Scope
from app.serve.fields import NO_SUCH_ID, IdParams, Listing, Moment, Paging, RawAddress, ShownId, Text, page_of, person
from app.serve.operation import Call, Operation
from app.serve.problems import not_found


class InboundMessage(BaseModel):
    """A message that a person sent, what it was taken for and why."""

    id: ShownId
    raw_id: ShownId | None
    webhook: str
    provider: str
    account: str
    program: str
    provider_id: str
    address: str
    sender: str
    channel: str
    text: str
    normal: str
    category: Category
    rule: str
    keyword: str
    list_version: str
    provider_time: datetime | None
    received_at: datetime
    effective_at: datetime
    reply: str = Field(description="queued, or the reason why there is none")
    outbox_id: ShownId | None


class InboundParams(Paging):
    """Which inbound messages; times are receive times."""

    address: RawAddress | None = None
    webhook: Text | None = None
    category: Category | None = None
    after: Moment | None = None
    before: Moment | None = None


async def inbound(call: Call[InboundParams, None]) -> Listing[InboundMessage]:
    """Inbound messages."""
    wanted = call.params
    address = person(wanted.address) if wanted.address is not None else None
    conditions = InboundFilter(address, wanted.webhook, wanted.category, wanted.after, wanted.before)
    found = await call.parts.database.read(
        lambda conn: queries.inbound(conn, conditions, limit=wanted.limit, before_id=wanted.cursor)
    )
    return page_of([_inbound(row) for row in found], wanted.limit, found[-1].id if found else None)


def _inbound(row: InboundRow) -> InboundMessage:
    return InboundMessage.model_validate(row._asdict())


class RawRequest(BaseModel):
    """A request as it came, stripped of credentials."""

    id: ShownId
    webhook: str
    received_at: datetime
    method: str
    target: str
    headers: str
    body: str
    encoding: Literal["utf-8", "base64"] = Field(description="How to read `body`.")
    client: str
    signature: str
    reading: str
    problem: str


async def raw(call: Call[IdParams, None]) -> RawRequest:
    """One stored request."""
    found = await call.parts.database.read(lambda conn: queries.stored_request(conn, call.params.id))
    if found is None:
        raise not_found("stored request of this id; they are kept for TEXTBACK_RAW_RETENTION_DAYS")
    return raw_request(found)


def raw_request(found: StoredRequest) -> RawRequest:
    """As it is shown."""
    return RawRequest(**(found._asdict() | _readable(bytes(found.body))))


def _readable(body: bytes) -> dict[str, Any]:
    try:
        return {"body": body.decode("utf-8"), "encoding": "utf-8"}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode("ascii"), "encoding": "base64"}


class WorkItem(BaseModel):
    """Something that a person must look at."""

    id: ShownId
    raw_id: ShownId | None
    webhook: str
    kind: str
    reason: str
    item: str
    received_at: datetime


async def work_list(call: Call[Paging, None]) -> Listing[WorkItem]:
    """What waits for a person."""
    wanted = call.params
    found = await call.parts.database.read(
        lambda conn: queries.work_list(conn, limit=wanted.limit, before_id=wanted.cursor)
    )
    return page_of([_work_item(row) for row in found], wanted.limit, found[-1].id if found else None)


def _work_item(row: WorkRow) -> WorkItem:
    return WorkItem.model_validate(row._asdict())


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/inbound",
        summary="Inbound messages, what each was taken for and why",
        handler=inbound,
        scope=Scope.ADMIN,
        params=InboundParams,
        answer=Listing[InboundMessage],
    ),
    Operation(
        method="GET",
        path="/v1/work-list",
        summary="What waits for a person",
        handler=work_list,
        scope=Scope.ADMIN,
        answer=Listing[WorkItem],
        params=Paging,
    ),
    Operation(
        method="GET",
        path="/v1/raw/{id}",
        summary="A stored request as it came, stripped of credentials",
        handler=raw,
        scope=Scope.ADMIN,
        params=IdParams,
        answer=RawRequest,
        problems=NO_SUCH_ID,
    ),
)
