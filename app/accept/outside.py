"""What the door must ask of the outside before it can answer: a public key, or a confirmation at the provider's URL.

All of it together takes no longer than the provider waits: each has the time that is left of its patience.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from app.errors import NotReady, SendFailed

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outside:
    """`fill`: has the keyring fetch a key. `fetch`: the guarded GET."""

    fill: Callable[[str], Awaitable[None]]
    fetch: Callable[[str], Awaitable[bytes]]

    async def fetch_key(self, url: str, until: float) -> None:
        """Have a public key at hand, `until` a time of `time.perf_counter`. Raises NotReady."""
        await _within(until, self.fill(url), "a provider's public key was not fetched before the provider hangs up")

    async def visit(self, url: str, until: float) -> None:
        """Confirm a subscription, `until` a time as above. Raises NotReady, so that the provider comes again."""
        try:
            await _within(until, self.fetch(url), "the provider's confirmation URL took longer than the provider waits")
        except SendFailed as failure:
            raise NotReady(f"the provider's confirmation URL could not be called: {failure}") from None
        log.info("a provider's subscription was confirmed")


async def _within(until: float, awaited: Awaitable[object], otherwise: str) -> None:
    try:
        async with asyncio.timeout(until - time.perf_counter()):
            await awaited
    except TimeoutError:
        raise NotReady(otherwise) from None
