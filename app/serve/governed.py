"""What is registered against the policies: which field may not go where it would go, and how to mend it.

An audience's condition counts for each destination that it is mapped to, since membership tells what it looks at.
"""

from collections.abc import Iterator, Mapping, Sequence

from app.action import Action
from app.audience import Audience, Destination
from app.errors import BadInput
from app.expression import expression
from app.interpret.governance import Denial, Governance, governed_by
from app.interpret.mentions import mentioned, named
from app.policy import Policy
from app.registration import Registrations
from app.send.actions.ready import texts_of
from app.stream import Stream

#: what an audience's condition calls otherwise than an action does
_OF_AUDIENCES: Mapping[str, str] = {"messages.last_status": "event.status"}
_ADDRESS = "event.address"
#: what no entity of format xdm does without, and where it stands there
_OF_ENTITIES: Mapping[str, str] = {
    _ADDRESS: "in identityMap, without which an entity of format xdm is nobody's",
    "event.received_at": "as timestamp, without which there is no entity of format xdm",
}


def violations(others: Registrations) -> Iterator[str]:
    """One sentence for each field that may not leave and would: whose registration, field, label, policy, the mend."""
    governance = governed_by(others)
    for policy in others.policies.values():
        yield from _unusable(policy)
    for action in others.actions.values():
        yield from _of_action(governance, action)
    for stream in others.streams.values():
        yield from _of_stream(governance, stream)
    for destination in others.destinations.values():
        yield from _of_destination(governance, destination, others.audiences)


def _unusable(policy: Policy) -> Iterator[str]:
    try:
        expression(policy.require or "true")
    except BadInput as error:
        yield f"policy '{policy.name}': what it requires is no JSONata: {error}"


def _of_action(governance: Governance, action: Action) -> Iterator[str]:
    texts = texts_of(action)
    for denial in _mentioned(governance, action.marketing_actions, texts):
        yield _sentence(f"action '{action.name}'", denial, _without(denial, texts))


def _of_stream(governance: Governance, stream: Stream) -> Iterator[str]:
    """Fields that a stream sends by itself are left out of it; an entity has parts that it needs."""
    for denial in governance.denials(stream.marketing_actions):
        if stream.format == "xdm" and (why := _OF_ENTITIES.get(denial.field)):
            yield _sentence(f"stream '{stream.name}'", denial, "take format cloudevents, which can leave it out", why)


def _of_destination(
    governance: Governance, destination: Destination, audiences: Mapping[str, Audience]
) -> Iterator[str]:
    whose, use = f"destination '{destination.name}'", destination.marketing_actions
    told = {f"profile.{name}" for name in destination.attributes}
    for denial in governance.denials(use):
        if denial.field in told:
            yield _sentence(whose, denial, "take the attribute from the destination", "among its attributes")
    for audience in (audiences[name] for name in destination.audiences if name in audiences):
        for denial in _decides(governance, use, audience):
            mend = f"take audience '{audience.name}' from the destination, or {_without(denial, [audience.condition])}"
            why = f"in the condition of audience '{audience.name}', whose members it tells"
            yield _sentence(whose, denial, mend, why)


def _decides(governance: Governance, use: Sequence[str], audience: Audience) -> Iterator[Denial]:
    """What may not leave, and decides on who is in the audience."""
    others = {field: name for name, field in _OF_AUDIENCES.items()}
    for denial in governance.denials(use):
        seen = others.get(denial.field, denial.field)
        is_seen = seen in _OF_AUDIENCES or denial.field == _ADDRESS or not seen.startswith("event.")
        if is_seen and mentioned([audience.condition], known=[seen]):
            yield denial


def _mentioned(governance: Governance, use: Sequence[str], texts: Sequence[str]) -> Iterator[Denial]:
    denials = list(governance.denials(use))
    found = mentioned(texts, known={denial.field for denial in denials})
    yield from (denial for denial in denials if denial.field in found)


def _without(denial: Denial, texts: Sequence[str]) -> str:
    """How the texts can do without the field."""
    if named(texts, known=[denial.field]):
        return "remove the field"
    root = denial.field.partition(".")[0]
    return f"name the single fields that it needs ({root}.…), for with the whole of {root} it has this one too"


def _sentence(whose: str, denial: Denial, mend: str, where: str = "") -> str:
    if not denial.label:
        return f"{whose} has a field that may not leave{_apart(where)}: {denial}; apply its labels again."
    use = denial.marketing_actions
    taken = f"take {' and '.join(use)} from its marketing_actions, " if use else ""
    return (
        f"{whose} has a field that may not leave{_apart(where)}: {denial}; {mend}, {taken}"
        f"or take label {denial.label} from {denial.labelled}."
    )


def _apart(where: str) -> str:
    return f", {where}" if where else ""
