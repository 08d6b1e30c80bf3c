"""What the door must ask of the outside before it can answer: a public key, or a confirmation at the provider's URL."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from app.errors import NotReady, SendFailed

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outside:
    """`fetch_key`: has the keyring fetch a key. `fetch`: the guarded GET."""

    fetch_key: Callable[[str], Awaitable[None]]
    fetch: Callable[[str], Awaitable[bytes]]

    async def visit(self, url: str) -> None:
        """Confirm a subscription. Raises NotReady, so that the provider comes again."""
        try:
            await self.fetch(url)
        except SendFailed as failure:
            raise NotReady(f"the provider's confirmation URL could not be called: {failure}") from None
        log.info("a provider's subscription was confirmed")
