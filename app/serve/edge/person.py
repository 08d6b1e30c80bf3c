"""What is looked up of whom, each in one question for all who ask at once: audiences, standing, attributes."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import Any

from app.errors import StoreUnavailable
from app.record import identities, lookups, profiles
from app.record.lookups import NOBODY, Found, Whose
from app.serve import consent
from app.serve.consent import Consent
from app.serve.edge.asking import Asked
from app.serve.edge.datastreams import Fields, ReadyDatastream
from app.serve.edge.gathering import Gathering
from app.serve.parts import Parts

Place = tuple[str, str]
"""(program, address)."""


class People:
    """The questions. They raise StoreUnavailable, or a 503 Problem, where the database cannot be asked."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        limit = parts.settings.queue_limit
        self._found = Gathering(self._look, limit)
        self._consents = Gathering(self._look_consents, limit)
        self._attributes = Gathering(self._look_attributes, limit)

    async def found(self, asked: Asked) -> Found:
        """Who it is, and in which audiences."""
        return await self._found.of(Whose(asked.ecid, asked.address)) or NOBODY

    async def attributes(self, address: str) -> Mapping[str, str]:
        """The person's attributes."""
        return await self._attributes.of(address) or {}

    async def allowed(self, datastream: ReadyDatastream, address: str) -> frozenset[str]:
        """The destinations that no consent policy leaves the person out of. Of nobody's browser nothing is known, and
        policies decide about that."""
        standing = (await self._consents.of((datastream.program, address))) if address else None
        return datastream.allowed(fields(standing, await self.attributes(address) if address else {}))

    async def link(self, asked: Asked) -> bool:
        """Have the browser be the person's. False for a person who was erased."""
        act = partial(identities.link, ecid=asked.ecid, address=asked.address, now=datetime.now(UTC))
        return await self._parts.writer.run(act)

    async def _look(self, asked: list[Whose]) -> Mapping[Whose, Found]:
        if self._parts.intake.away_since:
            raise StoreUnavailable("The database cannot be reached at the moment; try again.")
        return await self._parts.database.read(partial(lookups.look, asked=asked))

    async def _look_attributes(self, asked: list[str]) -> Mapping[str, Mapping[str, str]]:
        return await self._parts.database.read(partial(profiles.read, addresses=asked))

    async def _look_consents(self, asked: list[Place]) -> Mapping[Place, Consent]:
        found: dict[Place, Consent] = {}
        for program, places in groupby(sorted(set(asked)), key=lambda place: place[0]):
            standings = await consent.standings(self._parts, program, [address for _, address in places])
            found |= {(program, address): each for address, each in standings.items()}
        return found


def fields(standing: Consent | None, attributes: Mapping[str, str]) -> Fields:
    """What consent policies see of a person, or (None) of nobody."""
    told: dict[str, Any] = {"state": "unknown", "since": None, "cause": None, "may_send": False}
    if standing:
        since = standing.since.astimezone(UTC).isoformat().replace("+00:00", "Z") if standing.since else None
        told = {"state": standing.state.value, "since": since, "cause": standing.cause, "may_send": standing.may_send}
    return {"event": {"type": "lookup"}, "profile": dict(attributes), "consent": told}
