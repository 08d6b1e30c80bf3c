"""A third party on loopback that custom actions call, and the little that calls it.

What makes the calls of real actions has tests of its own; here a call is a POST of all fields to the third party, and
a consent policy is asked as it is asked there.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from app.errors import SendFailed
from app.interpret.governance import Governance
from app.policy import Policy
from app.send import Client, Destinations


class Called(NamedTuple):
    """As `app.send.action.Called`."""

    outcome: str
    response: str = ""
    problem: str = ""
    policy: str = ""
    tries: int = 0


class Posting:
    """Every action posts its fields to `url`, with its own name behind."""

    def __init__(self, url: str, *policies: Policy, timeout: float = 5.0) -> None:
        self._url = url
        self._client = Client(Destinations(["127.0.0.1"]))
        self._governance = Governance((), policies)
        self._timeout = timeout
        self.under_way = self.most_under_way = 0

    async def call(self, name: str, fields: Mapping[str, Any]) -> Called:
        if policy := self._governance.excludes((), fields):
            return Called("excluded", policy=policy)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self._post(name, fields)
        finally:
            self.under_way -= 1

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    async def _post(self, name: str, fields: Mapping[str, Any]) -> Called:
        headers = {"Content-Type": "application/json"}
        try:
            answer = await self._client.request(
                "POST", f"{self._url}/{name}", headers, orjson.dumps(fields), timeout=self._timeout
            )
        except SendFailed as failure:
            return Called("timedout" if "within" in str(failure) else "internalError", problem=str(failure), tries=1)
        text = answer.body.decode()
        if answer.status < 300:
            return Called("success", text, tries=1)
        return Called(f"http_{answer.status}", text, f"the third party answered {answer.status}", tries=1)


class Strange:
    """It answers with half of a character, which no database takes."""

    async def call(self, _name: str, _fields: Mapping[str, Any]) -> Called:
        await asyncio.sleep(0)
        return Called("success", '{"order": {"status": "shipped"}} \ud800', tries=1)

    def close(self) -> None:
        """There is nothing to let go of."""


class Broken:
    """What makes calls has a fault of its own."""

    def close(self) -> None:
        """There is nothing to let go of."""

    async def call(self, name: str, _fields: Mapping[str, Any]) -> Called:
        await asyncio.sleep(0)
        raise ZeroDivisionError(name)
