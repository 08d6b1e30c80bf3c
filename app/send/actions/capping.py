"""How often hosts may be called by this process: a bucket of calls for each, which fills itself again."""

import time
from collections.abc import Callable, Mapping

from app.action import Cap
from app.send.destinations import Origin


class _Bucket:
    def __init__(self, cap: Cap, now: float) -> None:
        self.cap = cap
        self._left, self._at = float(cap.calls), now

    def take(self, now: float) -> bool:
        filled = self._left + (now - self._at) * self.cap.calls / self.cap.per
        self._left, self._at = min(filled, float(self.cap.calls)), now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Capping:
    """The caps of hosts; a host without one may be called at any time. `clock`: seconds, monotonic."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def follow(self, caps: Mapping[str, Cap]) -> None:
        """Hold these. The bucket of a cap that is as it was stays as full as it is."""
        now, old = self._clock(), self._buckets
        self._buckets = {
            name: old[name] if name in old and old[name].cap == cap else _Bucket(cap, now) for name, cap in caps.items()
        }

    def take(self, origin: Origin) -> bool:
        """Whether the host may be called now; that counts as a call. A cap with the port goes before one without."""
        host = origin.host.rstrip(".")
        bucket = self._buckets.get(f"{host}:{origin.port}") or self._buckets.get(host)
        return bucket is None or bucket.take(self._clock())
