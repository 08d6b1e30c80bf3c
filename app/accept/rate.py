"""How many requests a second one webhook may bring: beyond its limit the provider is told to come again.

Counted after the proof, so that forged requests use nothing up; and an opt-out is never told to wait.
"""

import time
from collections.abc import Callable

from app.webhook import Webhook


class Rates:
    """A bucket per webhook that fills at its `rate_limit`, and holds what it may bring in a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def allow(self, webhook: Webhook) -> bool:
        """Whether one more request is within the limit; without a limit it always is."""
        limit = webhook.rate_limit
        if limit is None:
            return True
        now, room = self._clock(), max(limit, 1.0)
        left, at = self._buckets.get(webhook.name, (room, now))
        left = min(room, left + (now - at) * limit)
        allowed = left >= 1.0
        self._buckets[webhook.name] = (left - 1.0 if allowed else left), now
        return allowed
