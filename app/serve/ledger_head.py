"""The head of the chain of seals: kept elsewhere, it proves later that nothing below it was touched."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app.record import seals
from app.record.seals import Seal
from app.record.tokens import Scope
from app.serve.fields import ShownId
from app.serve.operation import Call, Operation, Params
from app.serve.problems import not_found


class LedgerHead(BaseModel):
    """The last seal."""

    model_config = ConfigDict(frozen=True)

    number: int = Field(ge=1)
    last_id: ShownId = Field(description="Every entry up to this id is under this seal or one before.")
    head: str = Field(pattern="^[0-9a-f]{64}$", description="HMAC-SHA256 over the entries and the head before, in hex.")
    sealed_at: datetime


def head_of(seal: Seal) -> LedgerHead:
    """As it is exported."""
    return LedgerHead(number=seal.number, last_id=seal.last_id, head=seal.head, sealed_at=seal.sealed_at)


async def read(call: Call[Params, None]) -> LedgerHead:
    """The head as it stands."""
    found = await call.parts.database.read(seals.latest)
    if found is None:
        raise not_found("seal yet: one is made where TEXTBACK_EVIDENCE_KEY is set and the ledger has an entry")
    return head_of(found)


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/ledger-head",
        summary="The head of the sealed ledger, to be kept elsewhere",
        handler=read,
        scope=Scope.CONSENT_READ,
        answer=LedgerHead,
        problems={404: "There is no seal yet."},
    ),
)
