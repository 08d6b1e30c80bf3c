"""The last few refused requests of each webhook, for the doctor. Bounded: a flood of forgeries costs nothing.

They are kept in memory and handed over now and then; refused requests never wait for the database.
"""

import re
from collections import deque
from dataclasses import dataclass

from app.request import Request
from app.switchboard import Line

PER_WEBHOOK = 5
_BODY = 4096
#: names of headers that hold a secret with some provider, who may well be this one: its webhook is set otherwise
_SECRET = re.compile(r"authorization|token|secret|password|api-?key|(?:^|-)code$")


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """A request that did not prove who it is, and why. It is evidence of a wrong setting, never an event."""

    line: Line
    reason: str
    request: Request
    secretive: bool = False
    """Its body may hold the provider's real secret."""

    @property
    def webhook(self) -> str:
        """Whose it is."""
        return self.line.webhook.name

    @property
    def body(self) -> bytes:
        """The beginning of the body; empty where it may hold a secret."""
        return b"" if self.secretive else self.request.body[:_BODY]

    @property
    def headers(self) -> dict[str, str]:
        """The headers without credentials."""
        return {name: value for name, value in self.request.headers.items() if self._is_harmless(name, value)}

    def _is_harmless(self, name: str, value: str) -> bool:
        return name not in self.line.hidden and not _SECRET.search(name) and self.line.token not in value


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
