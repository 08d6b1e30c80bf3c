"""Subscriber attributes, for the systems that know them: read, replaced, changed one by one, deleted, listed.

Of two values the later one holds; an attribute that a person has set by keyword is one like the others.
"""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import sqlalchemy as sa
from pydantic import BaseModel, Field

from app.record import profiles
from app.record.tokens import Scope
from app.reply import NO_NUL
from app.serve.consent import PersonParams
from app.serve.fields import Listing, RawAddress, Region, Said, person
from app.serve.operation import Call, Operation, Params
from app.serve.parts import Parts
from app.spec import Spec
from app.webhook import ATTRIBUTE_LENGTH, ATTRIBUTE_NAME

AttributeName = Annotated[str, Field(pattern=f"^{ATTRIBUTE_NAME.pattern}$")]
AttributeValue = Annotated[str, Field(max_length=ATTRIBUTE_LENGTH), NO_NUL]


class ProfileParams(PersonParams):
    """Whose attributes."""

    region: Region | None = None


class ProfilesParams(Params):
    """Which page of all people."""

    limit: int = Field(50, ge=1, le=200, description="People per page.")
    cursor: RawAddress | None = Field(None, description="`next` of the page before.")


class WantedProfile(Spec):
    """All attributes of a person."""

    attributes: Annotated[dict[AttributeName, AttributeValue], Field(max_length=profiles.MOST)]
    source: Annotated[Said, Field(description="Which system tells them.")] = "api"


class ChangedProfile(Spec):
    """Some attributes of a person."""

    attributes: Annotated[
        dict[AttributeName, AttributeValue | None],
        Field(max_length=profiles.MOST, description="null deletes; what is not named stays"),
    ]
    source: Annotated[Said, Field(description="Which system tells them.")] = "api"


class Profile(BaseModel):
    """A person's attributes."""

    address: str
    attributes: dict[str, str]
    updated_at: datetime | None = Field(description="Of the latest of them; null: there are none.")


class Attribute(BaseModel):
    """An attribute, with who told it and when."""

    name: str
    value: str
    source: str
    updated_at: datetime


class DetailedProfile(Profile):
    """A person's attributes, each with who told it and when."""

    details: list[Attribute]


async def every(call: Call[ProfilesParams, None]) -> Listing[Profile]:
    """All people who have any, by address."""
    wanted = call.params
    after = person(wanted.cursor) if wanted.cursor is not None else ""
    found = await call.parts.database.read(partial(profiles.listed, limit=wanted.limit, after=after))
    shown = [Profile.model_validate(each._asdict()) for each in found]
    return Listing(items=shown, next=found[-1].address if len(found) == wanted.limit else None)


async def read(call: Call[ProfileParams, None]) -> DetailedProfile:
    """One person's; nobody is unknown, some have no attributes."""
    return await _shown(call.parts, person(call.params.address, call.params.region))


async def replace(call: Call[ProfileParams, WantedProfile]) -> DetailedProfile:
    """These and no others; what was told later, such as by a text just now, stays."""
    address, wanted = person(call.params.address, call.params.region), call.body
    put = partial(profiles.put, address=address, attributes=wanted.attributes, source=wanted.source, replace=True)
    await call.parts.writer.run(partial(put, at=datetime.now(UTC)))
    return await _shown(call.parts, address)


async def change(call: Call[ProfileParams, ChangedProfile]) -> DetailedProfile:
    """These; the others stay."""
    address, wanted, now = person(call.params.address, call.params.region), call.body, datetime.now(UTC)
    gone = [name for name, value in wanted.attributes.items() if value is None]
    told = {name: value for name, value in wanted.attributes.items() if value is not None}

    def act(conn: sa.Connection) -> None:
        profiles.forget(conn, address, gone)
        profiles.put(conn, address, told, wanted.source, now)

    await call.parts.writer.run(act)
    return await _shown(call.parts, address)


async def delete(call: Call[ProfileParams, None]) -> None:
    """All of a person's; it is no error that there are none."""
    address = person(call.params.address, call.params.region)
    await call.parts.writer.run(partial(profiles.forget, address=address))


async def _shown(parts: Parts, address: str) -> DetailedProfile:
    rows = await parts.database.read(partial(profiles.details, address=address))
    return DetailedProfile(
        address=address,
        attributes={row.name: row.value for row in rows},
        updated_at=max((row.updated_at for row in rows), default=None),
        details=[Attribute.model_validate(row._asdict()) for row in rows],
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/profiles",
        summary="Everybody's attributes, by address",
        handler=every,
        scope=Scope.CONSENT_READ,
        answer=Listing[Profile],
        params=ProfilesParams,
    ),
    Operation(
        method="GET",
        path="/v1/profiles/{address:path}",
        summary="A person's attributes, with who told each and when",
        handler=read,
        scope=Scope.CONSENT_READ,
        answer=DetailedProfile,
        params=ProfileParams,
    ),
    Operation(
        method="PUT",
        path="/v1/profiles/{address:path}",
        summary="Replace a person's attributes",
        handler=replace,
        scope=Scope.CONSENT_WRITE,
        answer=DetailedProfile,
        params=ProfileParams,
        body=WantedProfile,
    ),
    Operation(
        method="PATCH",
        path="/v1/profiles/{address:path}",
        summary="Change some of a person's attributes; null deletes one, the others stay",
        handler=change,
        scope=Scope.CONSENT_WRITE,
        answer=DetailedProfile,
        params=ProfileParams,
        body=ChangedProfile,
    ),
    Operation(
        method="DELETE",
        path="/v1/profiles/{address:path}",
        summary="Delete a person's attributes",
        handler=delete,
        scope=Scope.CONSENT_WRITE,
        params=ProfileParams,
        status=204,
    ),
)
