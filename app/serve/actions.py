"""Test requests of actions: what would leave, and unless it is a dry run, what the third party answered."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field, StrictBool, model_validator

from app.record import profiles
from app.record.ids import new_id
from app.record.tokens import Scope
from app.send.actions.trial import ActionTrial, try_action
from app.serve.consent import Consent, as_fields, standing
from app.serve.fields import NO_SUCH_NAME, NameParams, Program, RawAddress, Region, person
from app.serve.operation import Call, Operation
from app.serve.problems import not_found
from app.serve.profiles import AttributeName, AttributeValue
from app.spec import Spec


class WantedTest(Spec):
    """The fields that the action is given; with an address, the profile and the consent are that person's."""

    event: Annotated[dict[str, Any], Field(max_length=100)] = {}
    profile: Annotated[
        dict[AttributeName, AttributeValue],
        Field(max_length=profiles.MOST, description="With an address: in the place of that person's."),
    ] = {}
    consent: Annotated[dict[str, Any], Field(max_length=10, description="Without an address alone.")] = {}
    address: RawAddress | None = None
    program: Program = "default"
    region: Region | None = None
    dry_run: Annotated[StrictBool, Field(description="Show the request, and send nothing.")] = False

    @model_validator(mode="after")
    def _consent_is_the_persons(self) -> "WantedTest":
        if self.address is not None and self.consent:
            raise ValueError("consent is read where an address is given; leave one of them out")
        return self


async def test(call: Call[NameParams, WantedTest]) -> ActionTrial:
    """Try it."""
    parts, name, wanted = call.parts, call.params.name, call.body
    if not parts.actions.knows(name):
        raise not_found("action of this name")
    address, attributes, consent = None, {}, None
    if wanted.address is not None:
        address = person(wanted.address, wanted.region)
        attributes = await parts.database.read(lambda conn: profiles.read(conn, [address])[address])
        consent = await standing(parts, wanted.program, address)
    fields = fields_of(wanted, address, attributes, consent)
    return await try_action(parts.actions, name, fields, dry_run=wanted.dry_run)


def fields_of(
    wanted: WantedTest, address: str | None, attributes: dict[str, str], consent: Consent | None
) -> dict[str, Any]:
    """All fields of the test; what an event always has is there, unless it is given."""
    always = {
        "_id": str(new_id()),
        "type": "inbound",
        "program": wanted.program,
        "received_at": _moment(datetime.now(UTC)),
        **({"address": address} if address else {}),
    }
    return {
        "event": always | wanted.event,
        "profile": attributes | wanted.profile,
        "consent": as_fields(consent) if consent else dict(wanted.consent),
    }


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/actions/{name}/test",
        summary="Call an action once with these fields, or only show the request; policies and caps hold as ever",
        handler=test,
        scope=Scope.ADMIN,
        params=NameParams,
        body=WantedTest,
        answer=ActionTrial,
        problems=NO_SUCH_NAME,
    ),
)
