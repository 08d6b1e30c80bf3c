"""Consent, for the systems that send: may this person be written to, and a change by a person or system."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.exc import OperationalError

from app.errors import BadAddress, NotReady, StoreUnavailable
from app.events import Cause, ConsentState, Standing
from app.flow import change_by_hand
from app.interpret import effective, may_send
from app.record import draining, facts, queries
from app.record.tokens import Scope
from app.serve.fields import Program, RawAddress, Region, Said, person
from app.serve.operation import Call, Operation, Params
from app.serve.parts import Parts
from app.serve.problems import RETRY_AFTER, Problem
from app.spec import Spec

_UNREACHABLE = "The database cannot be reached at the moment"
_DRAINING = "The database was away, and what was heard meanwhile is still on its way into it"


class PersonParams(Params):
    """Whose consent."""

    address: RawAddress


class ConsentParams(PersonParams):
    """Whose consent, and to what."""

    program: Program = "default"
    region: Region | None = None


class Check(Spec):
    """Up to 1,000 addresses at once."""

    addresses: list[RawAddress] = Field(max_length=1000)
    program: Program = "default"
    region: Region | None = None


class WantedConsent(Spec):
    """A change, who makes it and why."""

    state: Literal["opted_in", "opted_out", "pending"]
    reason: Said
    actor: Said
    program: Program = "default"
    region: Region | None = None


@dataclass(frozen=True, slots=True)
class Consent:
    """Where a person stands with a program: the later of its own state and the state for all programs."""

    address: str
    program: str
    state: ConsentState
    since: Annotated[datetime | None, Field(description="null: nothing was ever heard of this person")]
    cause: str | None
    may_send: bool


@dataclass(frozen=True, slots=True)
class Withheld(Consent):
    """The same where nobody may be written to for now, whatever the state says; the note says why."""

    note: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """An address of a check that is none."""

    address: str
    error: str


@dataclass(frozen=True, slots=True)
class Checked:
    """One result per address, in their order."""

    results: list[Withheld | Consent | Unusable]


async def read(call: Call[ConsentParams, None]) -> Consent:
    """One person's consent."""
    address = person(call.params.address, call.params.region)
    return await standing(call.parts, call.params.program, address)


async def check(call: Call[Params, Check]) -> Checked:
    """Many people's consent; an address that is none spoils no other."""
    wanted = call.body
    addresses = [_person_or_fault(given, wanted.region) for given in wanted.addresses]
    known = list({address for address in addresses if isinstance(address, str)})
    found = await standings(call.parts, wanted.program, known)
    return Checked(results=[found[a] if isinstance(a, str) else a for a in addresses])


async def change(call: Call[PersonParams, WantedConsent]) -> Consent:
    """Record the change as evidence of a person or system, and answer the state that follows from it."""
    wanted = call.body
    address = person(call.params.address, wanted.region)
    heard = change_by_hand(
        address=address,
        program=wanted.program,
        state=ConsentState(wanted.state),
        actor=wanted.actor,
        reason=wanted.reason,
        at=datetime.now(UTC),
    )
    # never into the spool: the caller is told whether it holds
    recorded = await call.parts.writer.record(heard, refuge=False)
    if not recorded.new:
        raise NotReady("The database refused this change; it is on the work list, with the reason.")
    holds = await standing(call.parts, wanted.program, address)
    if holds.state != wanted.state:
        raise Problem(409, f"The state stays {holds.state}, for something later was recorded; the ledger says what.")
    return holds


def as_fields(stands: Consent) -> dict[str, Any]:
    """How a person stands, as the fields `consent.…` of an action or a policy (`app.action`)."""
    return {
        "state": stands.state.value,
        "since": stands.since.astimezone(UTC).isoformat().replace("+00:00", "Z") if stands.since else None,
        "cause": stands.cause,
        "may_send": stands.may_send,
    }


async def standing(parts: Parts, program: str, address: str) -> Consent:
    """Where a person stands. Raises a 503 Problem where the database cannot be asked."""
    return (await standings(parts, program, [address]))[address]


async def standings(parts: Parts, program: str, addresses: Sequence[str]) -> dict[str, Consent]:
    """Where each of them stands. Who waits in the spool and said STOP is out, whatever the database says by now.

    Raises a 503 Problem where the database cannot be asked: of whom it knows nothing is told, and never a yes.
    """
    said = {address: parts.intake.opted_out(program, address) for address in addresses}
    out = {address: _spooled(address, program, at) for address, at in said.items() if at}
    unsaid = [address for address in addresses if address not in out]
    if not unsaid:
        return out
    if parts.intake.away_since:
        raise _away(_UNREACHABLE)
    if parts.intake.just_back:
        raise _away(_DRAINING)
    unknown = parts.settings.unknown_consent
    try:
        found = await parts.database.read(
            lambda conn: _look_alone(conn, parts.intake.node, program, unsaid, unknown),
            within=parts.settings.outage_after,
        )
    except StoreUnavailable as error:
        raise _away(str(error)) from None
    except OperationalError:
        raise _away(_UNREACHABLE) from None
    return out | found


def _look_alone(
    conn: sa.Connection, node: str, program: str, addresses: Sequence[str], unknown: Literal["allow", "deny"]
) -> dict[str, Consent]:
    """As `look`. Raises StoreUnavailable while another node drains its spool: a STOP may be in there."""
    if draining.elsewhere(conn, node):
        raise StoreUnavailable(_DRAINING)
    return look(conn, program, addresses, unknown)


def _spooled(address: str, program: str, at: datetime) -> Consent:
    return Consent(address, program, ConsentState.OPTED_OUT, at, Cause.KEYWORD.value, may_send=False)


def _away(why: str) -> Problem:
    return Problem(
        503,
        f"{why}. Nobody may be written to; try again.",
        headers={"retry-after": RETRY_AFTER},
        more={"may_send": False},
    )


def look(
    conn: sa.Connection, program: str, addresses: Sequence[str], unknown_consent: Literal["allow", "deny"]
) -> dict[str, Consent]:
    """Where each of them stands; all withheld while the database is restored and not yet compared."""
    fact = facts.restored(conn)  # before the standings: see there
    rows = queries.standings(conn, program, addresses)
    found = {address: _consent(address, program, effective(*rows[address]), unknown_consent) for address in addresses}
    return {address: _withheld(each, facts.withheld(fact)) for address, each in found.items()} if fact else found


def _consent(address: str, program: str, standing: Standing, unknown_consent: Literal["allow", "deny"]) -> Consent:
    return Consent(
        address=address,
        program=program,
        state=standing.state,
        since=standing.since,
        cause=standing.cause or None,
        may_send=may_send(standing.state, unknown_consent),
    )


def _withheld(found: Consent, note: str) -> Consent:
    return Withheld(found.address, found.program, found.state, found.since, found.cause, may_send=False, note=note)


def _person_or_fault(given: str, region: str | None) -> str | Unusable:
    try:
        return person(given, region)
    except BadAddress as error:
        return Unusable(address=given, error=str(error))


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/consent/{address:path}",
        summary="Where a person stands with a program, and whether they may be written to",
        handler=read,
        scope=Scope.CONSENT_READ,
        params=ConsentParams,
        answer=Withheld | Consent,
    ),
    Operation(
        method="POST",
        path="/v1/consent/check",
        summary="The same for up to 1,000 addresses at once",
        handler=check,
        scope=Scope.CONSENT_READ,
        body=Check,
        answer=Checked,
    ),
    Operation(
        method="PUT",
        path="/v1/consent/{address:path}",
        summary="A change by a person or system; the ledger keeps who and why",
        handler=change,
        scope=Scope.CONSENT_WRITE,
        params=PersonParams,
        body=WantedConsent,
        answer=Withheld | Consent,
        problems={409: "Something later holds; the state stays."},
    ),
)
