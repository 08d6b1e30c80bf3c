"""Our own access log, because the server's would write tokens and query strings: one line per webhook request.

    2026-11-22T17:18:00Z POST acme-inbound 200 recorded new=1 seen=0 3.1ms

Written in bunches: a line for each of thousands of requests a second would cost more than reading them.
"""

import asyncio
import sys
from datetime import datetime
from typing import TextIO

_EVERY = 0.2


class AccessLog:
    """Gathers lines and writes them at most five times a second."""

    def __init__(self, *, enabled: bool, stream: TextIO | None = None) -> None:
        self._enabled = enabled
        self._stream = stream
        self._lines: list[str] = []

    def note(self, at: datetime, method: str, webhook: str, *, status: int, what: str, seconds: float) -> None:
        """One request. `what` names the outcome; it never holds anything of the request."""
        if not self._enabled:
            return
        if not self._lines:
            asyncio.get_running_loop().call_later(_EVERY, self.flush)
        self._lines.append(
            f"{at.strftime('%Y-%m-%dT%H:%M:%SZ')} {method} {webhook or '-'} {status} {what} {seconds * 1e3:.1f}ms\n"
        )

    def flush(self) -> None:
        """Write what was gathered."""
        lines, self._lines = self._lines, []
        stream = self._stream or sys.stderr
        stream.write("".join(lines))
        stream.flush()
