"""One clock for all requests: whoever has waited too long is let go.

A timer for each wait would cost more than proving the signature, and thousands of them end unused every second. So the
waits are only noted, and looked over four times a second.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

_EVERY = 0.25


class Patience:
    """Waits with a limit. `give_up` is called with the future or task whose time is over."""

    def __init__(self, give_up: Callable[[Any], object]) -> None:
        self._give_up = give_up
        self._until: dict[Any, float] = {}
        self._looking = False

    async def wait(self, awaited: Awaitable[T], seconds: float, whose: "asyncio.Future[Any] | None") -> T:
        """The awaited thing, or whatever `give_up` makes of `whose` after `seconds` (a quarter more at the most)."""
        loop = asyncio.get_running_loop()
        self._until[whose] = loop.time() + seconds
        if not self._looking:
            self._looking = True
            loop.call_later(_EVERY, self._look, loop)
        try:
            return await awaited
        finally:
            del self._until[whose]

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for whose in [whose for whose, until in self._until.items() if until < now]:
            self._give_up(whose)
        if self._until:
            loop.call_later(_EVERY, self._look, loop)
        else:
            self._looking = False
