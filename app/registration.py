"""The kinds of what is registered beside credentials, webhooks and replies: one table, one way to read and write."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from app.action import Action, Cap
from app.audience import Audience, Datastream, Destination
from app.policy import Labels, Policy
from app.spec import Spec
from app.stream import Stream


class Kind(NamedTuple):
    """One kind."""

    name: str
    plural: str
    """In the apply file, in the API's path, and of its mapping in `Registrations`."""
    model: type[Spec]
    sealed: tuple[str, ...] = ()
    """Tables of texts that may hold keys: stored encrypted, and shown as stars."""
    encrypted: tuple[str, ...] = ()
    """Other fields in which third parties without a standard authentication want their keys: stored encrypted."""


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("labels", "labels", Labels),
        Kind("policy", "policies", Policy),
        Kind("cap", "caps", Cap),
        Kind("action", "actions", Action, ("headers", "query"), ("url", "payload")),
        Kind("stream", "streams", Stream, ("headers",)),
        Kind("audience", "audiences", Audience),
        Kind("datastream", "datastreams", Datastream),
        Kind("destination", "destinations", Destination),
    )
}


@dataclass(frozen=True, slots=True)
class Registrations:
    """All of these kinds, by name."""

    labels: Mapping[str, Labels] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    caps: Mapping[str, Cap] = field(default_factory=dict)
    actions: Mapping[str, Action] = field(default_factory=dict)
    streams: Mapping[str, Stream] = field(default_factory=dict)
    audiences: Mapping[str, Audience] = field(default_factory=dict)
    datastreams: Mapping[str, Datastream] = field(default_factory=dict)
    destinations: Mapping[str, Destination] = field(default_factory=dict)
    broken: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Those that cannot be used: (kind, name) -> why."""

    def of(self, kind: Kind) -> Mapping[str, Any]:
        """Those of a kind."""
        found: Mapping[str, Any] = getattr(self, kind.plural)
        return found

    def with_(self, given: "Registrations") -> "Registrations":
        """These, with the given ones beside them or in their places."""
        merged = {kind.plural: {**self.of(kind), **given.of(kind)} for kind in KINDS.values()}
        mended = {(kind.name, name) for kind in KINDS.values() for name in given.of(kind)}
        return Registrations(**merged, broken={key: why for key, why in self.broken.items() if key not in mended})

    def without(self, kind: Kind, name: str) -> "Registrations":
        """These, but for one."""
        kept = {each.plural: dict(self.of(each)) for each in KINDS.values()}
        kept[kind.plural].pop(name, None)
        return Registrations(**kept, broken={key: why for key, why in self.broken.items() if key != (kind.name, name)})

    def all(self) -> Iterator[tuple[Kind, str, Any]]:
        """(kind, name, model), kind by kind."""
        for kind in KINDS.values():
            for name, model in self.of(kind).items():
                yield kind, name, model
