"""What was delivered, to read: messages with their receipts."""

from datetime import datetime

import orjson
from pydantic import BaseModel, Field

from app.events import Status
from app.record import queries
from app.record.queries import Delivered
from app.record.tokens import Scope
from app.serve.fields import NO_SUCH_ID, IdParams, Listing, Paging, ShownId, Text, page_of
from app.serve.operation import Call, Operation
from app.serve.problems import not_found


class Receipt(BaseModel):
    """News of a message."""

    id: ShownId
    raw_id: ShownId | None
    webhook: str
    status: Status
    provider_status: str
    code: str
    error_text: str
    part: str
    provider_time: datetime | None
    received_at: datetime
    raised: bool = Field(description="It raised the message's status.")


class Message(BaseModel):
    """A message that was sent, by us or by another system."""

    id: ShownId
    account: str
    provider_id: str
    recipient: str
    sender: str
    outbox_id: ShownId | None
    status: Status
    provider_status: str
    code: str
    error_text: str
    parts: dict[str, str] = Field(description="Status of each part, for a message of several.")
    first_at: datetime
    status_at: datetime
    receipts: list[Receipt]


class MessagesParams(Paging):
    """Messages by the provider's id."""

    provider_id: Text
    account: Text | None = None


async def message(call: Call[IdParams, None]) -> Message:
    """One message with its receipts."""
    found = await call.parts.database.read(lambda conn: queries.message(conn, call.params.id))
    if found is None:
        raise not_found("message of this id")
    return message_of(found)


async def messages(call: Call[MessagesParams, None]) -> Listing[Message]:
    """The messages that a provider knows by one id."""
    wanted = call.params
    found = await call.parts.database.read(
        lambda conn: queries.messages(
            conn, wanted.provider_id, wanted.account, limit=wanted.limit, before_id=wanted.cursor
        )
    )
    return page_of([message_of(each) for each in found], wanted.limit, found[-1].message.id if found else None)


def message_of(found: Delivered) -> Message:
    """As it is shown."""
    fields = found.message._asdict()
    parts = orjson.loads(fields.pop("parts") or "{}")
    receipts = [Receipt.model_validate(receipt._asdict()) for receipt in found.receipts]
    return Message(**fields, parts=parts, receipts=receipts)


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/messages",
        summary="Messages that a provider knows by one id",
        handler=messages,
        scope=Scope.ADMIN,
        params=MessagesParams,
        answer=Listing[Message],
    ),
    Operation(
        method="GET",
        path="/v1/messages/{id}",
        summary="A message with its receipts",
        handler=message,
        scope=Scope.ADMIN,
        params=IdParams,
        answer=Message,
        problems=NO_SUCH_ID,
    ),
)
