"""Whether destinations of look-ups fit what else is registered; asked through `app.serve.soundness`."""

from collections import Counter
from collections.abc import Iterator

from app.audience import Destination
from app.registration import Registrations


def faults(others: Registrations) -> Iterator[str]:
    """One sentence per fault. What policies forbid is told elsewhere."""
    for destination in others.destinations.values():
        yield from _missing(destination, others)
    yield from _same_ids("destination", {one.name: one.destination_id for one in others.destinations.values()})
    yield from _same_ids("audience", {one.name: one.segment_id for one in others.audiences.values()})


def _missing(destination: Destination, others: Registrations) -> Iterator[str]:
    if destination.datastream not in others.datastreams:
        yield (
            f"destination '{destination.name}': there is no datastream '{destination.datastream}';"
            " add it to the file, or apply it first."
        )
    for name in destination.audiences:
        if name not in others.audiences:
            yield (
                f"destination '{destination.name}': there is no audience '{name}';"
                " add it to the file, or apply it first."
            )


def _same_ids(kind: str, ids: dict[str, str]) -> Iterator[str]:
    """A page tells them apart by their ids alone."""
    for same, count in Counter(ids.values()).items():
        if count > 1:
            names = " and ".join(f"'{name}'" for name, id_ in ids.items() if id_ == same)
            yield f"{kind}s {names} have the same id; give each its own."
