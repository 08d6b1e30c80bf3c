"""The last few refused requests of each webhook, for the doctor. Bounded: a flood of forgeries costs nothing.

They are kept in memory and handed over now and then; refused requests never wait for the database.
"""

from collections import deque
from dataclasses import dataclass

from app.request import Request

PER_WEBHOOK = 5
_BODY = 4096


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """A request that did not prove who it is, and why. It is evidence of a wrong setting, never an event."""

    webhook: str
    reason: str
    request: Request
    hidden: frozenset[str]
    """Lower-case names of headers that may hold a secret, the provider's real one too."""

    @property
    def body(self) -> bytes:
        """The beginning of the body."""
        return self.request.body[:_BODY]

    @property
    def headers(self) -> dict[str, str]:
        """The headers without credentials."""
        return {name: value for name, value in self.request.headers.items() if name not in self.hidden}


class Quarantine:
    """The newest refusals per webhook."""

    def __init__(self) -> None:
        self._fresh: dict[str, deque[RefusedRequest]] = {}

    def add(self, refused: RefusedRequest) -> None:
        """Keep one, and let the oldest of its webhook go."""
        self._fresh.setdefault(refused.webhook, deque(maxlen=PER_WEBHOOK)).append(refused)

    def take(self) -> list[RefusedRequest]:
        """Hand over what came since the last time."""
        fresh, self._fresh = self._fresh, {}
        return [refused for kept in fresh.values() for refused in kept]
