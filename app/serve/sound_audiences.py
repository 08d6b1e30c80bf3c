"""Whether audiences and destinations can work: conditions are expressions, and what is named is there."""

from collections.abc import Iterator

from app.errors import BadInput
from app.expression import expression
from app.registration import Registrations


def audience_faults(others: Registrations) -> Iterator[str]:
    """Of audiences: their conditions."""
    for name, audience in others.audiences.items():
        try:
            expression(audience.condition)
        except BadInput as error:
            yield f"audience '{name}': its condition is no JSONata: {error}"
    for audience_id, names in _by_id(others).items():
        if len(names) > 1:
            told = " and ".join(f"'{name}'" for name in names)
            yield f"audiences {told} have one id, {audience_id}; a page could not tell them apart: give one another id"


def _by_id(others: Registrations) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, audience in sorted(others.audiences.items()):
        found.setdefault(audience.segment_id, []).append(name)
    return found


def destination_faults(others: Registrations) -> Iterator[str]:
    """Of destinations: their datastream and audiences."""
    for name, destination in others.destinations.items():
        if destination.datastream not in others.datastreams:
            yield f"destination '{name}': there is no datastream '{destination.datastream}'; add it, or apply it first"
        for audience in destination.audiences:
            if audience not in others.audiences:
                yield f"destination '{name}': there is no audience '{audience}'; add it, or take it out"
