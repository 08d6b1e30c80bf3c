"""A dry run of the policies: which fields a use would leave out, which people, and why. Nothing is written or sent."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import sqlalchemy as sa
from pydantic import BaseModel, Field, JsonValue

from app.action import MarketingAction
from app.errors import BadInput
from app.events import ConsentState
from app.interpret import may_send
from app.interpret.governance import Fields, Governance, governed_by
from app.record import everybody, profiles, registry
from app.record.vault import Vault
from app.registration import KINDS, Registrations
from app.serve.consent import Consent, look
from app.serve.fields import Name, Program, RawAddress, Region, person
from app.spec import Spec

#: people of one request
MOST = 1_000
#: the kinds of registrations that data leaves through
_USES = ("action", "stream", "destination")


class Use(Spec):
    """What the data would be used for: one of action, stream, destination and marketing_actions."""

    action: Name | None = None
    stream: Name | None = None
    destination: Name | None = None
    marketing_actions: Annotated[list[MarketingAction] | None, Field(description="Without a registration.")] = None


class WantedTrial(Use):
    """A use and a person: a stored one (`address`), or one that is described. Without either, somebody unknown."""

    address: Annotated[RawAddress | None, Field(description="A stored person.")] = None
    region: Region | None = None
    program: Program = "default"
    profile: Annotated[dict[str, JsonValue], Field(description="Attributes, instead of or over the stored ones.")] = {}
    state: Annotated[ConsentState | None, Field(description="The consent, instead of the stored one.")] = None
    event: Annotated[dict[str, JsonValue], Field(description="Fields of the event, where a policy asks for any.")] = {}
    people: Annotated[int, Field(ge=0, le=MOST, description="How many stored people to count as well.")] = 0
    after: Annotated[RawAddress | None, Field(description="`next` of the count before.")] = None


class LeftOut(BaseModel):
    """A field that would not leave."""

    field: str
    label: str
    policy: str
    reason: str


class Judged(BaseModel):
    """What a consent policy says of the person."""

    policy: str
    is_met: bool
    problem: str = Field(description="Why it could not be worked out; such a one is not met.")


class Counted(BaseModel):
    """How many of the stored people would be left out."""

    looked_at: int
    excluded: int
    by_policy: dict[str, int] = Field(description="The first policy that leaves each of them out.")
    next: str | None = Field(description="The last one looked at; null: there are no more.")


class Trial(BaseModel):
    """What the policies would do."""

    use: str
    marketing_actions: list[str]
    left_out: list[LeftOut] = Field(description="Fields that would not leave, each with its first reason.")
    policies: list[Judged] = Field(description="Every consent policy that is about this use.")
    excluded_by: str | None = Field(description="The policy that leaves the person out; null: none does.")
    people: Counted | None = Field(description="null: nobody was to be counted.")


class Known(NamedTuple):
    """What a trial asks: what is registered, and what holds of those who never said anything."""

    others: Registrations
    unknown_consent: Literal["allow", "deny"]


def tried(conn: sa.Connection, vault: Vault, unknown: Literal["allow", "deny"], wanted: WantedTrial) -> Trial:
    """Try it. Raises BadInput for a use that is none, BadAddress for a person that is none."""
    known = Known(registry.load(conn, vault).others, unknown)
    use, actions = use_of(known.others, wanted)
    governance = governed_by(known.others)
    verdicts = list(governance.verdicts(actions, _fields(conn, known, wanted)))
    return Trial(
        use=use,
        marketing_actions=actions,
        left_out=[
            LeftOut(field=each.field, label=each.label, policy=each.policy, reason=str(each))
            for _, each in sorted(governance.denied(actions).items())
        ],
        policies=[Judged(**each._asdict()) for each in verdicts],
        excluded_by=next((each.policy for each in verdicts if not each.is_met), None),
        people=_counted(conn, known, governance, actions, wanted) if wanted.people else None,
    )


def use_of(others: Registrations, wanted: Use) -> tuple[str, list[str]]:
    """Whose use it is, and its marketing actions. Raises BadInput where that is not one use."""
    named = {kind: name for kind in _USES if (name := getattr(wanted, kind)) is not None}
    if len(named) + (wanted.marketing_actions is not None) != 1:
        raise BadInput("Say what the data would be used for: one of action, stream, destination and marketing action.")
    if not named:
        actions = list(wanted.marketing_actions or ())
        return f"marketing action {', '.join(actions)}" if actions else "no marketing action", actions
    [(kind, name)] = named.items()
    registered: Mapping[str, Any] = others.of(KINDS[kind])
    if name not in registered:
        raise BadInput(f"There is no {kind} '{name}'; there are: {', '.join(registered) or 'none'}.")
    return f"{kind} '{name}'", registered[name].marketing_actions


# --- people -------------------------------------------------------------------------------------------------------


def _fields(conn: sa.Connection, known: Known, wanted: WantedTrial) -> Fields:
    """All that is known of the person, as the call of an action would have it."""
    if wanted.address is None:
        stood = _unknown(known)
        fields = _of_person(stood, wanted.profile, wanted.event)
    else:
        address = person(wanted.address, wanted.region)
        stood = look(conn, wanted.program, [address], known.unknown_consent)[address]
        attributes = {**profiles.read(conn, [address])[address], **wanted.profile}
        fields = _of_person(stood, attributes, {"address": address, **wanted.event})
    if wanted.state is not None:
        allowed = may_send(wanted.state, known.unknown_consent)
        fields = {**fields, "consent": {**fields["consent"], "state": wanted.state.value, "may_send": allowed}}
    return fields


def _unknown(known: Known) -> Consent:
    allowed = may_send(ConsentState.UNKNOWN, known.unknown_consent)
    return Consent("", "", ConsentState.UNKNOWN, None, None, may_send=allowed)


def _of_person(stood: Consent, profile: Mapping[str, Any], event: Mapping[str, Any]) -> Fields:
    consent = {
        "state": stood.state.value,
        "since": stood.since and stood.since.isoformat(),
        "cause": stood.cause,
        "may_send": stood.may_send,
    }
    return {"event": dict(event), "profile": dict(profile), "consent": consent}


def _counted(
    conn: sa.Connection, known: Known, governance: Governance, actions: list[str], wanted: WantedTrial
) -> Counted:
    after = person(wanted.after) if wanted.after is not None else ""
    page = everybody.addresses(conn, wanted.program, limit=wanted.people, after=after)
    stood = look(conn, wanted.program, page, known.unknown_consent)
    attributes = profiles.read(conn, page)
    each = (_of_person(stood[a], attributes[a], {"address": a, **wanted.event}) for a in page)
    by_policy = Counter(policy for fields in each if (policy := governance.excludes(actions, fields)))
    return Counted(
        looked_at=len(page),
        excluded=by_policy.total(),
        by_policy=dict(by_policy.most_common()),
        next=page[-1] if len(page) == wanted.people else None,
    )


def summed(counts: Iterable[Counted]) -> Counted:
    """Several pages as one."""
    pages = list(counts)
    by_policy: Counter[str] = Counter()
    for page in pages:
        by_policy.update(page.by_policy)
    return Counted(
        looked_at=sum(page.looked_at for page in pages),
        excluded=by_policy.total(),
        by_policy=dict(by_policy.most_common()),
        next=pages[-1].next,
    )
