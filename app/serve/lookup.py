"""The look-up of one subscriber, explained: which audiences and why, and what each destination would be told."""

from functools import partial
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, Field

from app.audience import Audience, Destination
from app.interpret.audiences import Membership, explain, sees
from app.record import generations, memberships, portraits, registrations
from app.record.tokens import Scope
from app.record.vault import Vault
from app.registration import Registrations
from app.serve.consent import PersonParams
from app.serve.fields import Region, person
from app.serve.operation import Call, Operation
from app.serve.upkeep import work_out
from app.settings import Settings


class LookupParams(PersonParams):
    """Who is looked up."""

    region: Region | None = None


class AudienceAnswer(BaseModel):
    """Whether they are in an audience."""

    name: str
    id: str
    condition: str
    is_member: bool
    problem: str = Field(description="Why the condition could not be worked out, which means no; empty: it could.")


class Segment(BaseModel):
    """An audience, as a page is told of it."""

    id: str
    name: str


class DestinationAnswer(BaseModel):
    """What a page of a destination's datastream would be told, before policies about destinations are looked at."""

    name: str
    id: str
    alias: str
    datastream: str
    segments: list[Segment]
    attributes: dict[str, str] = Field(description="Told to authenticated callers alone.")


class Looked(BaseModel):
    """One subscriber, looked up."""

    address: str
    is_known: bool = Field(description="Something is recorded of them; else they are in no audience.")
    is_ready: bool = Field(description="Worked out before; else a look-up works it out, as this one did.")
    gathered: bool = Field(description="false: nobody is in any audience yet, see the status of an audience.")
    audiences: list[AudienceAnswer]
    destinations: list[DestinationAnswer]
    browsers: list[str] = Field(description="ECIDs of the browsers that are linked to them.")
    sees: dict[str, Any] = Field(description="What the conditions see of them.")


async def read(call: Call[LookupParams, None]) -> Looked:
    """What a page would be told of this person now."""
    parts, wanted = call.parts, call.params
    whose = person(wanted.address, wanted.region)
    return await parts.database.read(partial(looked, vault=parts.vault, settings=parts.settings, address=whose))


def looked(conn: sa.Connection, vault: Vault, settings: Settings, address: str) -> Looked:
    """The look-up, as a page's would be, and why it turns out so."""
    others, (portrait,) = registrations.read(conn, vault), portraits.read(conn, [address])
    held = set(memberships.of_people(conn, [address], work_out(settings))[address])
    conditions = {name: audience.condition for name, audience in others.audiences.items()}
    told = explain(conditions, portrait, unknown_consent=settings.unknown_consent)
    generation = generations.read(conn)
    return Looked(
        address=address,
        is_known=portrait.is_known,
        is_ready=memberships.is_ready(conn, address),
        gathered=generation is not None and generation.gathered,
        audiences=[_answer(others.audiences[each.audience], each, held) for each in told],
        destinations=[_destination(each, others, held, portrait.attributes) for each in others.destinations.values()],
        browsers=list(memberships.browsers(conn, address)),
        sees=sees(portrait, settings.unknown_consent) if portrait.is_known else {},
    )


def _answer(audience: Audience, told: Membership, held: set[str]) -> AudienceAnswer:
    return AudienceAnswer(
        name=audience.name,
        id=audience.segment_id,
        condition=audience.condition,
        is_member=audience.name in held,
        problem=told.problem,
    )


def _destination(destination: Destination, others: Registrations, held: set[str], attributes: Any) -> DestinationAnswer:
    mapped = [others.audiences[name] for name in destination.audiences if name in held and name in others.audiences]
    return DestinationAnswer(
        name=destination.name,
        id=destination.destination_id,
        alias=destination.alias,
        datastream=destination.datastream,
        segments=[Segment(id=each.segment_id, name=each.name) for each in mapped],
        attributes={name: attributes[name] for name in destination.attributes if name in attributes},
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/lookups/{address:path}",
        summary="What look-ups answer about a person, and why",
        handler=read,
        scope=Scope.ADMIN,
        answer=Looked,
        params=LookupParams,
    ),
)
