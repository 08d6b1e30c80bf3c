"""An access token, kept and renewed in time: however many messages wait for it, one call gets it."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import NamedTuple

from app.errors import SendFailed
from app.send.own_token import SETTLING
from app.send.token_call import Granted, TokenCall

#: a token is renewed after this part of its life, or so many seconds before its end, whichever is earlier
_RENEW_AFTER = 0.8
_RENEW_BEFORE = 60.0
#: but not before this part of it: a token of a minute would never be used
_KEEP_FOR = 0.5
#: seconds without another call after one that failed; what waits meanwhile fails with it, and is tried again later
_REST = 2.0
_LONGEST_REST = 300.0


class _Kept(NamedTuple):
    token: str
    fetched_at: float
    renew_at: float
    ends_at: float


_NONE = _Kept("", -math.inf, -math.inf, -math.inf)


class FetchedTokens:
    """Keeps what `call` gets. `clock`: seconds, monotonic. To be used in one event loop."""

    def __init__(self, call: TokenCall, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._call = call
        self._clock = clock
        self._kept = _NONE
        self._asking: asyncio.Task[str] | None = None
        self._failure: SendFailed | None = None
        self._rest_until = -math.inf

    async def get(self) -> str:
        """A token that is good now. Raises SendFailed where none can be had.

        While an old one is still good, nobody waits for the new.
        """
        kept, now = self._kept, self._clock()
        if now < kept.renew_at:
            return kept.token
        resting = now < self._rest_until
        if now < kept.ends_at:
            if not resting:
                self._ask()
            return kept.token
        if resting and self._failure:
            raise _again(self._failure, self._rest_until - now)
        return await asyncio.shield(self._ask())

    def forget(self, token: str) -> bool:
        """This token was refused; whether there is, or will be, another. Where another one is kept by now, it stays."""
        kept = self._kept
        if token != kept.token:
            return True
        settled_at = kept.fetched_at + SETTLING
        if self._clock() < settled_at:
            ends_at = min(kept.ends_at, settled_at)
            self._kept = kept._replace(renew_at=min(kept.renew_at, ends_at), ends_at=ends_at)
            return False
        self._kept = _NONE
        return True

    def _ask(self) -> asyncio.Task[str]:
        """The one call under way; whoever breaks off waiting for it breaks it off for nobody else."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._call_once(), name="access token")
            self._asking.add_done_callback(self._answered)
        return self._asking

    async def _call_once(self) -> str:
        asked_at = self._clock()
        granted = await self._call()
        self._kept = _kept(granted, asked_at)
        return granted.token

    def _answered(self, task: asyncio.Task[str]) -> None:
        self._asking = None
        failure = None if task.cancelled() else task.exception()
        if isinstance(failure, SendFailed):
            self._failure = failure
            self._rest_until = self._clock() + min(failure.retry_after or _REST, _LONGEST_REST)


def _kept(granted: Granted, asked_at: float) -> _Kept:
    life = granted.seconds
    renew_after = max(min(life * _RENEW_AFTER, life - _RENEW_BEFORE), life * _KEEP_FOR)
    return _Kept(granted.token, asked_at, asked_at + renew_after, asked_at + life)


def _again(failure: SendFailed, seconds: float) -> SendFailed:
    asked = seconds if failure.retry_after else None
    return SendFailed(str(failure), permanent=failure.permanent, retry_after=asked)
