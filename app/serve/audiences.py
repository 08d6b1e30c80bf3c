"""Audiences beside their registration: who is in one, how far the upkeep is, and trying a condition before it holds."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import BaseModel, Field

from app.audience import Audience, Portrait
from app.expression import expression
from app.interpret.audiences import explain, sees
from app.record import membership_counts, portraits, registrations
from app.record.tokens import Scope
from app.record.vault import Vault
from app.serve.fields import NO_SUCH_NAME, Listing, Name, RawAddress, Region, person
from app.serve.operation import Call, Operation, Params
from app.serve.parts import Parts
from app.serve.registered import refuse_missing
from app.spec import Spec

#: people that a condition is tried on, unless said
SAMPLE = 1_000


class NameParams(Params):
    """Which audience."""

    name: Name


class MembersParams(NameParams):
    """Which page of its members."""

    limit: int = Field(50, ge=1, le=1_000, description="People per page.")
    cursor: RawAddress | None = Field(None, description="`next` of the page before.")


class Member(BaseModel):
    """Somebody who is in an audience."""

    address: str


class AudienceStatus(BaseModel):
    """How far an audience is."""

    name: str
    id: str = Field(description="What pages are told of it.")
    condition: str
    state: str = Field(
        description="gathering: which messages people were sent is being noted, and nobody is in any audience yet; "
        "rebuilding: who is not reached yet is worked out when asked for; ready"
    )
    source: str = Field(description="Where a rebuild is looking for people; empty: it found everybody.")
    began: datetime | None = Field(description="When the last rebuild began; there is one a day.")
    reached: int = Field(description="People who are worked out by the conditions as they are.")
    waiting: int = Field(description="People who are to be worked out anew.")
    members: int = Field(description="Of those who are worked out.")


class Wanted(Spec):
    """A condition, and whom it is tried on: one person, or some."""

    condition: Annotated[str, Field(min_length=1, max_length=4_000)]
    address: Annotated[RawAddress | None, Field(description="null: the first people by address")] = None
    region: Region | None = None
    people: Annotated[int, Field(ge=1, le=5_000, description="How many, where no address is given.")] = SAMPLE


class Tried(BaseModel):
    """How a condition turns out."""

    people: int = Field(description="On how many it was tried.")
    members: int = Field(description="Of how many it is true.")
    failed: int = Field(description="For how many it could not be worked out; they would not be members.")
    problem: str = Field(description="Why, of the first of them.")
    sees: dict[str, Any] | None = Field(description="What it sees of the person, where an address is given.")
    note: str = Field(description="What makes this uncertain; empty: nothing does.")


_UNGATHERED = (
    "Which messages people were sent is not noted while there is no audience, or not yet: here everybody counts as sent"
    " nothing."
)


async def status(call: Call[NameParams, None]) -> AudienceStatus:
    """How far it is."""
    parts, name = call.parts, call.params.name
    audience = await _audience(parts, name)
    found = await parts.database.read(membership_counts.progress)
    while found.after is not None:  # in pieces, so that no reader is held for seconds
        found = await parts.database.read(partial(membership_counts.counted, so_far=found))
    return status_of(audience, found)


def status_of(audience: Audience, found: membership_counts.Progress) -> AudienceStatus:
    """The progress of them all, as it is of one."""
    return AudienceStatus(
        name=audience.name,
        id=audience.segment_id,
        condition=audience.condition,
        state=found.state,
        source=found.source,
        began=datetime.fromisoformat(found.began) if found.began else None,
        reached=found.reached,
        waiting=found.waiting,
        members=found.members.get(audience.name, 0),
    )


async def members(call: Call[MembersParams, None]) -> Listing[Member]:
    """A page of them, of those who are worked out. It may be empty, or not full, and not the last."""
    parts, wanted = call.parts, call.params
    await _audience(parts, wanted.name)
    after = person(wanted.cursor) if wanted.cursor is not None else ""
    page = partial(membership_counts.members, audience=wanted.name, after=after, limit=wanted.limit)
    found, following = await parts.database.read(page)
    return Listing(items=[Member(address=address) for address in found], next=following)


def progress_now(conn: sa.Connection) -> membership_counts.Progress:
    """How far the upkeep is, and everybody counted."""
    found = membership_counts.progress(conn)
    while found.after is not None:
        found = membership_counts.counted(conn, found)
    return found


async def _audience(parts: Parts, name: str) -> Audience:
    found = await parts.database.read(partial(registered, vault=parts.vault))
    audience: Audience = refuse_missing("audience", found.get(name))
    return audience


def registered(conn: sa.Connection, vault: Vault) -> dict[str, Audience]:
    """The registered audiences."""
    return dict(registrations.read(conn, vault).audiences)


async def try_out(call: Call[Params, Wanted]) -> Tried:
    """Try a condition; nothing is stored. Raises BadInput for one that is no JSONata."""
    wanted, setting = call.body, call.parts.settings.unknown_consent
    address = person(wanted.address, wanted.region) if wanted.address is not None else None
    return await call.parts.database.read(
        partial(tried, condition=wanted.condition, address=address, people=wanted.people, unknown_consent=setting)
    )


def tried(conn: sa.Connection, condition: str, address: str | None, people: int, unknown_consent: str) -> Tried:
    """How a condition turns out for a person, or for the first people by address."""
    expression(condition)
    whose = [address] if address is not None else portraits.some_people(conn, people)
    drawn = portraits.read(conn, whose)
    told = [explain({"": condition}, portrait, unknown_consent=unknown_consent)[0] for portrait in drawn]
    problems = [each.problem for each in told if each.problem]
    return Tried(
        people=len(told),
        members=sum(each.is_member for each in told),
        failed=len(problems),
        problem=problems[0] if problems else "",
        sees=_seen(drawn[0], unknown_consent) if address is not None else None,
        note="" if membership_counts.is_gathered(conn) else _UNGATHERED,
    )


def _seen(portrait: Portrait, unknown_consent: str) -> dict[str, Any]:
    return sees(portrait, unknown_consent) if portrait.is_known else {}


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/audiences/{name}/status",
        summary="How far an audience is: its members, and how a rebuild goes on",
        handler=status,
        scope=Scope.ADMIN,
        answer=AudienceStatus,
        params=NameParams,
        problems=NO_SUCH_NAME,
    ),
    Operation(
        method="GET",
        path="/v1/audiences/{name}/members",
        summary="Who is in an audience, by address; a page may be empty and not the last",
        handler=members,
        scope=Scope.ADMIN,
        answer=Listing[Member],
        params=MembersParams,
        problems=NO_SUCH_NAME,
    ),
    Operation(
        method="POST",
        path="/v1/audiences/try",
        summary="Try a condition on one person, or on some; nothing is stored",
        handler=try_out,
        scope=Scope.ADMIN,
        answer=Tried,
        body=Wanted,
    ),
)
