"""What is looked up of whom, each in one question for all who ask at once: audiences, standing, attributes."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

from app.errors import StoreUnavailable
from app.record import identities, memberships, profiles
from app.serve import consent
from app.serve.consent import Consent
from app.serve.edge.datastreams import Fields, ReadyDatastream
from app.serve.edge.gathering import Gathering
from app.serve.parts import Parts
from app.serve.upkeep import work_out

Place = tuple[str, str]
"""(program, address)."""


class Found(NamedTuple):
    """Who it is."""

    address: str
    """The subscriber; empty: a browser that is nobody's."""
    audiences: tuple[str, ...]


NOBODY = Found("", ())
_NOBODY_S: Mapping[str, Any] = {"state": "unknown", "since": None, "cause": None, "may_send": False}


class People:
    """The questions. They raise StoreUnavailable, or a 503 Problem, where the database cannot be asked."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._work_out = work_out(parts.settings)
        limit = parts.settings.queue_limit
        self._browsers = Gathering(self._look_browsers, limit)
        self._people = Gathering(self._look_people, limit)
        self._consents = Gathering(self._look_consents, limit)
        self._attributes = Gathering(self._look_attributes, limit)

    async def of_browser(self, ecid: str) -> Found:
        """The subscriber that it is linked to, and their audiences."""
        return await self._browsers.of(ecid) or NOBODY

    async def of_person(self, address: str) -> Found:
        """The subscriber of this address."""
        return Found(address, await self._people.of(address) or ())

    async def attributes(self, address: str) -> Mapping[str, str]:
        """The person's attributes."""
        return await self._attributes.of(address) or {}

    async def allowed(self, datastream: ReadyDatastream, address: str) -> frozenset[str]:
        """The destinations that no consent policy leaves the person out of. Of nobody's browser nothing is known, and
        policies decide about that."""
        standing = (await self._consents.of((datastream.program, address))) if address else None
        return datastream.allowed(fields(standing, await self.attributes(address) if address else {}))

    async def link(self, ecid: str, address: str) -> bool:
        """Have the browser be the person's. False for a person who was erased."""
        if (await self.of_browser(ecid)).address == address:
            return True
        act = partial(identities.link, ecid=ecid, address=address, now=datetime.now(UTC))
        return await self._parts.writer.run(act)

    async def _look_browsers(self, asked: list[str]) -> Mapping[str, Found]:
        self._require_database()
        look = partial(memberships.of_browsers, ecids=set(asked), work_out=self._work_out)
        found = await self._parts.database.read(look)
        return {ecid: Found(*each) for ecid, each in found.items()}

    async def _look_people(self, asked: list[str]) -> Mapping[str, tuple[str, ...]]:
        self._require_database()
        look = partial(memberships.of_people, addresses=set(asked), work_out=self._work_out)
        return await self._parts.database.read(look)

    def _require_database(self) -> None:
        if self._parts.intake.away_since:
            raise StoreUnavailable("The database cannot be reached at the moment; try again.")

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
    told = consent.as_fields(standing) if standing else _NOBODY_S
    return {"event": {"type": "lookup"}, "profile": dict(attributes), "consent": told}
