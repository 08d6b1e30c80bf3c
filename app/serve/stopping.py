"""Told to stop: from when on, and how long the end may take."""

import asyncio
import time

#: seconds that the end may take where nobody set a deadline
_USUAL = 10.0


class Stopping(asyncio.Event):
    """Set when the process is told to stop: it is not ready any more, while it still answers."""

    def __init__(self) -> None:
        super().__init__()
        self._end: float | None = None

    def begin(self, within: float) -> None:
        """From now on it is stopping, and everything shall have ended `within` seconds."""
        self._end = time.monotonic() + within
        self.set()

    def left(self, *, spared: float = 0.0) -> float:
        """Seconds until the end, without those that are `spared` for what comes after; never less than one."""
        end = _USUAL if self._end is None else self._end - time.monotonic()
        return max(1.0, end - spared)
