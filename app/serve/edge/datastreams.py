"""The registered datastreams with their destinations, made ready once, so that a look-up only picks its pieces."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from app.audience import Audience, Datastream, Destination
from app.interpret.governance import Governance, governed_by
from app.registration import Registrations
from app.serve.edge.identity import cookie_name

#: sets of audiences whose answer is kept ready, of one datastream; each is about a kilobyte
_KEPT_READY = 4_096
Fields = Mapping[str, Any]


class ReadyDestination(NamedTuple):
    """A destination, with the answer's pieces."""

    name: str
    head: bytes
    """`{"type":"profileLookup","destinationId":"…","alias":"…"`"""
    segments: Sequence[tuple[str, bytes]]
    """(name, `{"id":"…"}`) of each audience, in the destination's order."""
    attributes: Sequence[str]
    """Those that may leave."""
    marketing_actions: Sequence[str]

    def told(self, audiences: Collection[str], attributes: Mapping[str, str]) -> bytes:
        """The destination as it is told of somebody in these audiences."""
        own = {name: {"value": attributes[name]} for name in self.attributes if name in attributes}
        shown = b',"attributes":' + orjson.dumps(own) if own else b""
        inside = b",".join(piece for name, piece in self.segments if name in audiences)
        return b'%b%b,"segments":[%b]}' % (self.head, shown, inside)


class ReadyDatastream:
    """A datastream. `governs`: a consent policy may leave people out of one of its destinations."""

    def __init__(
        self, datastream: Datastream, destinations: Sequence[ReadyDestination], governance: Governance, *, governs: bool
    ) -> None:
        self.name = datastream.name
        self.program = datastream.program
        self.cookie = cookie_name(datastream.organisation)
        self.origins = frozenset(origin.encode() for origin in datastream.origins)
        self.has_attributes = any(each.attributes for each in destinations)
        self.governs = governs
        self._destinations, self._governance = destinations, governance
        self.pull = lru_cache(_KEPT_READY)(self._pull)

    def allowed(self, fields: Fields) -> frozenset[str]:
        """The destinations that no consent policy leaves this person out of."""
        excludes = self._governance.excludes
        return frozenset(each.name for each in self._destinations if excludes(each.marketing_actions, fields) is None)

    def told(self, audiences: Collection[str], allowed: frozenset[str] | None, attributes: Mapping[str, str]) -> bytes:
        """The payload of `activation:pull`, a JSON list. `allowed`: None is all of them."""
        chosen = (each for each in self._destinations if allowed is None or each.name in allowed)
        return b"[%b]" % b",".join(each.told(audiences, attributes) for each in chosen)

    def _pull(self, audiences: tuple[str, ...], allowed: frozenset[str] | None) -> bytes:
        return self.told(audiences, allowed, {})


def ready(others: Registrations) -> dict[str, ReadyDatastream]:
    """All of them by name."""
    governance = governed_by(others)
    return {name: _datastream(each, others, governance) for name, each in others.datastreams.items()}


def _datastream(datastream: Datastream, others: Registrations, governance: Governance) -> ReadyDatastream:
    its = [each for each in others.destinations.values() if each.datastream == datastream.name]
    destinations = [_destination(each, others.audiences, governance) for each in its]
    # whatever it says: a policy that says anything is about this destination
    governs = any(True for each in its for _ in governance.verdicts(each.marketing_actions, {}))
    return ReadyDatastream(datastream, destinations, governance, governs=governs)


def _destination(each: Destination, audiences: Mapping[str, Audience], governance: Governance) -> ReadyDestination:
    head = orjson.dumps({"type": "profileLookup", "destinationId": each.destination_id, "alias": each.alias})[:-1]
    known = (audiences[name] for name in each.audiences if name in audiences)
    denied = governance.denied(each.marketing_actions)
    return ReadyDestination(
        each.name,
        head,
        tuple((audience.name, orjson.dumps({"id": audience.segment_id})) for audience in known),
        tuple(name for name in each.attributes if f"profile.{name}" not in denied),
        each.marketing_actions,
    )
