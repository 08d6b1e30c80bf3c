"""One call of a third party: tried again where that may help, within the time and the tries that its action allows."""

import asyncio
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from app.action import Action
from app.errors import SendFailed
from app.send.answer import retry_after
from app.send.authorizer import Authorizer
from app.send.connection import Answer, AnswerTooLong
from app.send.http import Client
from app.send.proved import answer_to
from app.send.render import Outgoing

#: bytes of an answer that are kept; what is beyond is read, and dropped
ANSWER_KEPT = 65_536
#: what may pass: request time-out, too early, too many requests, and whatever is the third party's own fault
_PASSING = frozenset({408, 425, 429})
#: seconds before the second try; twice as many before each further one, and some of it at random
_FIRST_WAIT = 0.2

#: seconds: with no more than these left, it was all the time that ended, and not one step's
_OVER = 0.01

Draw = Callable[[], float]


class Called(NamedTuple):
    """What became of a call."""

    outcome: str
    """`success`, `http_<status>`, `timedout`, `capped`, `internalError`, `excluded`."""
    response: str = ""
    """The answer as it came, success or not; at most ANSWER_KEPT bytes of it."""
    problem: str = ""
    """A sentence, without any value; empty with a success."""
    policy: str = ""
    """The consent policy that left the person out."""
    tries: int = 0
    """Requests that were made."""


class Tried(NamedTuple):
    """A call, and the status of its last answer; 0: there was none."""

    called: Called
    status: int = 0


@dataclass(frozen=True, slots=True)
class Way:
    """How the requests of an action leave."""

    action: Action
    client: Client
    authorizer: Authorizer | None
    tls: ssl.SSLContext | None
    may_leave: Callable[[str], bool]
    """Asked with the URL before each try: whether the cap of its host lets it leave."""
    draw: Draw = random.random


async def call(way: Way, request: Outgoing) -> Tried:
    """Call, and once more where that may help. The request is the same in each try; a signature or token is not."""
    ends_at = asyncio.get_running_loop().time() + way.action.timeout
    tried, wait = Tried(_CAPPED), 0.0
    for number in range(1, way.action.retries + 2):
        if wait > _left(ends_at):
            break  # with what is known by now, which says more than a time-out
        await asyncio.sleep(wait)
        if not way.may_leave(request.url):
            break
        (called, status), again = await _try(way, request, ends_at)
        tried = Tried(called._replace(tries=number), status)
        if again is None:
            break
        wait = max(again, _FIRST_WAIT * 2 ** (number - 1) * (0.5 + way.draw() / 2))
    return tried


_CAPPED = Called(
    "capped", problem="Its host may be called no more often than its cap allows, so nothing was sent; try it later."
)


async def _try(way: Way, request: Outgoing, ends_at: float) -> tuple[Tried, float | None]:
    """What became of it, and the least seconds until another try; None: another would not help."""
    try:
        answer = await _answer(way, request, _left(ends_at))
    except SendFailed as failure:
        if failure.__cause__ is not None:  # an error of ours
            raise
        if isinstance(failure.__context__, TimeoutError) and _left(ends_at) < _OVER:
            return Tried(Called("timedout", problem=_too_slow(way.action, failure))), None
        hopeless = failure.permanent or isinstance(failure.__context__, AnswerTooLong)
        return Tried(Called("internalError", problem=f"{failure}.")), None if hopeless else failure.retry_after or 0.0
    return _judged(answer), _again(answer)


async def _answer(way: Way, request: Outgoing, seconds: float) -> Answer:
    return await answer_to(request, way.client, way.authorizer, timeout=seconds, tls=way.tls)


def _too_slow(action: Action, failure: SendFailed) -> str:
    left = "it may have acted on the request" if failure.departed else "nothing has left"
    return f"No answer within {action.timeout:.3g} s, the time for all tries; {left}."


def _judged(answer: Answer) -> Tried:
    text = answer.body[:ANSWER_KEPT].decode("utf-8", "ignore").replace("\0", "")
    if 200 <= answer.status < 300:
        return Tried(Called("success", text), answer.status)
    what = ", a redirect, which is never followed; give the action the final url" if answer.status < 400 else ""
    return Tried(Called(f"http_{answer.status}", text, f"It answered {answer.status}{what}."), answer.status)


def _again(answer: Answer) -> float | None:
    if answer.status in _PASSING or answer.status >= 500:
        return retry_after(answer.headers.get("retry-after", ""), datetime.now(UTC)) or 0.0
    return None


def _left(ends_at: float) -> float:
    return ends_at - asyncio.get_running_loop().time()
