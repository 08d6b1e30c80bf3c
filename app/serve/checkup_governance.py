"""What `textback check` says of labels and policies: which of them do nothing, and what is left out on the quiet."""

from collections.abc import Iterator
from itertools import chain

from app.interpret.governance import governed_by
from app.policy import CONSENT_FIELDS, EVENT_FIELDS
from app.record import profiles
from app.record.database import Database
from app.registration import Registrations
from app.serve.finding import Finding, note, warning


def check_governance(others: Registrations, database: Database) -> Iterator[Finding]:
    """Labels and policies that nothing comes of, and fields that streams go without."""
    yield from map(warning, _idle(others))
    yield from map(note, _uncovered(others))
    yield from map(note, _left_out(others))
    if others.labels:
        yield from map(warning, _of_no_field(others, frozenset(database.read_now(profiles.names))))


def _idle(others: Registrations) -> Iterator[str]:
    """Policies that can never do anything, most likely because of a slip."""
    labels = set(chain.from_iterable(each.labels for each in others.labels.values()))
    uses = _uses(others)
    for policy in others.policies.values():
        if policy.deny and labels.isdisjoint(policy.deny):
            denied = ", ".join(policy.deny)
            yield f"policy '{policy.name}' denies {denied}, which no field has, so it keeps nothing back; label some"
        if policy.marketing_actions and uses.isdisjoint(policy.marketing_actions):
            named = ", ".join(policy.marketing_actions)
            yield (
                f"policy '{policy.name}' is about {named}, which no action, stream or destination names, so it is never"
                " asked; compare how it is spelt there"
            )


def _uses(others: Registrations) -> set[str]:
    """The marketing actions that anything is used for."""
    of_actions = [each.marketing_actions for each in others.actions.values()]
    of_streams = [each.marketing_actions for each in others.streams.values()]
    of_destinations = [each.marketing_actions for each in others.destinations.values()]
    return set(chain.from_iterable((*of_actions, *of_streams, *of_destinations)))


def _uncovered(others: Registrations) -> Iterator[str]:
    """Labels and marketing actions that no policy is about."""
    policies = others.policies.values()
    denied = set(chain.from_iterable(policy.deny for policy in policies))
    for labels in others.labels.values():
        idle = [label for label in labels.labels if label not in denied]
        if idle:
            yield f"field {labels.name} has {', '.join(idle)}, which no policy denies, so it may leave for all of that"
    covered = set(chain.from_iterable(policy.marketing_actions for policy in policies))
    for name in sorted(_uses(others) - covered):
        yield f"no policy is about marketing action {name}, so only those about every use hold for it"


def _left_out(others: Registrations) -> Iterator[str]:
    """What a stream would send by itself, and does not."""
    governance = governed_by(others)
    for stream in others.streams.values():
        for field, denial in sorted(governance.denied(stream.marketing_actions).items()):
            if not field.startswith("profile."):
                yield f"stream '{stream.name}' goes without a field: {denial}"


def _of_no_field(others: Registrations, attributes: frozenset[str]) -> Iterator[str]:
    known = {"event": EVENT_FIELDS, "consent": CONSENT_FIELDS, "profile": attributes}
    for field in others.labels:
        root, _, name = field.partition(".")
        if name not in known[root]:
            whose = "nobody has such an attribute" if root == "profile" else f"there is no such field of {root}"
            yield f"{field} is labelled, and {whose}; compare how it is spelt"
