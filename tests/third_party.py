"""A third party on loopback, and the real custom actions that call it."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from app.action import Action
from app.policy import Policy
from app.record.registry import Registered
from app.registration import Registrations
from app.send import Actions, Called, Client, Destinations
from tests.serving import Served

NAMES = ("shop", "desk", "bot", "crm", "mail", "slow", "fast", "other", "mark")
#: of everything that an action may know
WHOLE = {"event": "{{event}}", "profile": "{{profile}}", "consent": "{{consent}}"}


def posting(url: str, timeout: float = 5.0) -> Iterator[dict[str, Any]]:
    """Actions that post all their fields to `url`, each with its own name behind, and try once."""
    for name in NAMES:
        yield {"name": name, "url": f"{url}/{name}", "payload": WHOLE, "retries": 0, "timeout": timeout}


def register(house: Served, url: str, *policies: dict[str, Any]) -> None:
    """Those actions, and policies, as an operator registers them."""
    for kind, wanted in (("actions", posting(url)), ("policies", policies)):
        for one in wanted:
            answer = house.ask("POST", f"/v1/{kind}", one)
            assert answer.status == 201, answer.body


class Posting(Actions):
    """Those actions without a registry around them; it counts how many are called at once."""

    def __init__(self, url: str, *policies: Policy, timeout: float = 5.0) -> None:
        self._own = Client(Destinations(["127.0.0.1"]))
        super().__init__(self._own)
        actions = {one["name"]: Action.model_validate(one) for one in posting(url, timeout)}
        others = Registrations(actions=actions, policies={policy.name: policy for policy in policies})
        self.follow(Registered(1, {}, [], {}, others=others))
        self.under_way = self.most_under_way = 0

    async def call(self, name: str, fields: Mapping[str, Any]) -> Called:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await super().call(name, fields)
        finally:
            self.under_way -= 1

    def close(self) -> None:
        """Let go of the connections."""
        self._own.close()


class Strange:
    """It answers with half of a character, which no database takes."""

    def knows(self, _name: str) -> bool:
        """All of them."""
        return True

    async def call(self, _name: str, _fields: Mapping[str, Any]) -> Called:
        await asyncio.sleep(0)
        return Called("success", '{"order": {"status": "shipped"}} \ud800', tries=1)

    def close(self) -> None:
        """There is nothing to let go of."""


class Broken:
    """What makes calls has a fault of its own."""

    def knows(self, _name: str) -> bool:
        """All of them."""
        return True

    def close(self) -> None:
        """There is nothing to let go of."""

    async def call(self, name: str, _fields: Mapping[str, Any]) -> Called:
        await asyncio.sleep(0)
        raise ZeroDivisionError(name)
