"""What was decided about a person's consent, and what each decision rests on, to read."""

from datetime import datetime

from pydantic import BaseModel, Field

from app.record import queries
from app.record.queries import Decision
from app.record.tokens import Scope
from app.serve.consent import PersonParams
from app.serve.fields import Listing, Paging, Program, ShownId, page_of, person
from app.serve.operation import Call, Operation


class Evidence(BaseModel):
    """What a decision rests on."""

    actor: str
    reason: str
    webhook: str
    inbound_id: ShownId | None
    text: str
    normal: str
    keyword: str
    signature: str
    reply_text: str


class LedgerEntry(BaseModel):
    """A decision about a person's consent. Nothing ever changes or removes it."""

    id: ShownId
    address: str
    program: str
    old_state: str
    new_state: str
    cause: str
    rule: str
    list_version: str
    superseded: bool = Field(description="It was older than the state it met, and changed nothing.")
    effective_at: datetime
    received_at: datetime
    commitment: str = Field(description="SHA-256 of the evidence: proves it, and tells nothing once it is erased.")
    evidence: Evidence


class LedgerParams(PersonParams, Paging):
    """Whose history."""

    program: Program | None = None


async def ledger(call: Call[LedgerParams, None]) -> Listing[LedgerEntry]:
    """A person's history with its evidence."""
    wanted = call.params
    address = person(wanted.address)
    found = await call.parts.database.read(
        lambda conn: queries.history(conn, address, program=wanted.program, limit=wanted.limit, before_id=wanted.cursor)
    )
    return page_of([entry(each) for each in found], wanted.limit, found[-1].entry.id if found else None)


def entry(found: Decision) -> LedgerEntry:
    """As it is shown."""
    evidence = Evidence.model_validate(found.evidence._asdict())
    return LedgerEntry(**found.entry._asdict(), address=found.evidence.address, evidence=evidence)


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/ledger/{address:path}",
        summary="A person's consent history with its evidence",
        handler=ledger,
        scope=Scope.CONSENT_READ,
        params=LedgerParams,
        answer=Listing[LedgerEntry],
    ),
)
