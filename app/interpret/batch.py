"""A batch while it is decided: what was known, with the results of its own earlier events laid over it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.changes import Changes, GuardRow
from app.events import EVERY_PROGRAM, NOBODY, Delivery, Guard, Known, MessageKey, Standing
from app.interpret import consent


@dataclass(slots=True)
class Batch:
    """One batch; lives as long as one call of `decide`."""

    standings: dict[tuple[str, str], Standing]
    guards: dict[str, Guard]
    deliveries: dict[MessageKey, Delivery]
    by_reference: Mapping[str, MessageKey]
    by_id: Mapping[tuple[str, str], MessageKey]
    new_id: Callable[[], int]
    new_salt: Callable[[], str]
    changes: Changes = field(default_factory=Changes)

    def standing(self, program: str, address: str) -> Standing:
        """What holds for the address in the program now."""
        own = self.standings.get((program, address), NOBODY)
        if program == EVERY_PROGRAM:
            return own
        return consent.effective(own, self.standings.get((EVERY_PROGRAM, address), NOBODY))

    def count(self, address: str, counted: Guard) -> None:
        """Keep what was lately answered to the address, and called for it."""
        self.guards[address] = counted
        recent = " ".join([at.isoformat() for at in counted.recent])
        called = " ".join([at.isoformat() for at in counted.called]) if counted.called else ""
        self.changes.guards[address] = GuardRow(address, counted.default_at, recent, called)


def begin(known: Known, new_id: Callable[[], int], new_salt: Callable[[], str]) -> Batch:
    """A fresh batch. `known` is copied, not changed: a batch that fails is decided again in smaller pieces."""
    return Batch(
        standings=dict(known.standings),
        guards=dict(known.guards),
        deliveries=dict([*known.deliveries_by_reference.values(), *known.deliveries_by_id.values()]) | known.deliveries,
        by_reference={reference: key for reference, (key, _) in known.deliveries_by_reference.items()},
        by_id={found: key for found, (key, _) in known.deliveries_by_id.items()},
        new_id=new_id,
        new_salt=new_salt,
    )
