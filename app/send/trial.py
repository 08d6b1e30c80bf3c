"""Trying a credential with one real message: what was sent, what came back, what that means, and what to mend.

It goes the way of every reply, through a courier of its own, so that no kept token and no open connection hides a
fault. Nothing is recorded, and nothing is logged: whoever asked gets it all, without the secrets.
"""

import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from app.credential import ApiKeyAuth, Auth, BasicAuth, BearerAuth, Credential, JwtAuth, MacAuth, MacRecipe, OAuthAuth
from app.errors import SendFailed
from app.provider import Provider
from app.send.advice import Tried, advice
from app.send.connection import Answer
from app.send.courier import Courier, courier, deliver
from app.send.destinations import Destinations, Origin
from app.send.http import Client
from app.send.masking import Mask, mask, secrets_of, token_answer, token_request
from app.send.render import Message, Outgoing, send_rules

Purpose = Literal["access token", "message"]


@dataclass(frozen=True, slots=True)
class ShownRequest:
    """A request as it was sent, or would have been, secrets as ***."""

    method: str
    url: str
    headers: dict[str, str]
    body: str
    """At most 4,000 characters."""


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """What came back, secrets as ***."""

    status: int
    headers: dict[str, str]
    body: str
    """At most 4,000 characters."""


@dataclass(frozen=True, slots=True)
class TriedCall:
    """A request and its answer."""

    purpose: Purpose
    request: ShownRequest
    answer: ShownAnswer | None
    """None: none came."""
    seconds: float
    left: bool
    """Whether anything of the request has left."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of the message."""

    taken: bool
    message_id: str
    """The provider's id; empty: none was found."""
    looked_for: str
    """The path, or the regular expression, where the id is looked for; empty: none is expected."""
    seconds: float
    problem: str
    """Why it was not taken; empty: it was."""
    mend: str
    """What to do about it; empty: nothing."""
    calls: tuple[TriedCall, ...]
    """In their order: with OAuth the call for the access token first. None where no request could be made."""


@dataclass(slots=True)
class _Exchange:
    purpose: Purpose
    request: Outgoing
    began: float
    answer: Answer | None = None
    ended: float | None = None
    left: bool = False


@dataclass(slots=True)
class _Course:
    """How a trial went, as it goes."""

    exchanges: list[_Exchange] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)


class _Witness(Client):
    """A client that keeps what was said."""

    def __init__(self, purpose: Purpose, course: _Course, destinations: Destinations) -> None:
        super().__init__(destinations)
        self._purpose: Purpose = purpose
        self._course = course

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", **options: Any
    ) -> Answer:
        """As of any client."""
        exchange = _Exchange(self._purpose, Outgoing(method, url, dict(headers), body), time.perf_counter())
        self._course.exchanges.append(exchange)
        try:
            exchange.answer = await super().request(method, url, headers, body, **options)
        except SendFailed as failed:
            exchange.left = failed.departed
            raise
        finally:
            exchange.ended = time.perf_counter()
        return exchange.answer

    async def _open_connection(self, origin: Origin, tls: ssl.SSLContext | None) -> Any:
        """As of any client. It is written to at once; a call that is broken off later tells nobody how far it got."""
        opened = await super()._open_connection(origin, tls)
        self._course.exchanges[-1].left = True
        return opened


async def try_out(
    credential: Credential,
    provider: Provider | None,
    message: Message,
    destinations: Destinations,
    *,
    feedback_url: str = "",
    timeout: float,  # noqa: ASYNC109 - the client keeps it
) -> Trial:
    """Send one message through the credential. `timeout`: seconds for one request.

    Raises BadInput where no message could ever be sent through it.
    """
    course = _Course()
    tokens, messages = (_Witness(purpose, course, destinations) for purpose in ("access token", "message"))
    carrier, failure = courier(credential, provider, tokens, feedback_url), None
    try:
        await deliver(carrier, messages, message, timeout=timeout)
    except SendFailed as failed:
        failure = failed
    finally:
        tokens.close()
        messages.close()
    return _told(Tried(credential, provider, send_rules(credential, provider)), carrier, course, failure)


def _told(tried: Tried, carrier: Courier, course: _Course, failure: SendFailed | None) -> Trial:
    seconds = time.perf_counter() - course.began
    last = course.exchanges[-1] if course.exchanges else None
    if last is not None:
        tried = tried._replace(purpose=last.purpose, request=last.request, answer=last.answer)
    found = carrier.read(last.answer, datetime.now(UTC)) if failure is None and last and last.answer else ""
    hidden = _mask(tried, course.exchanges, carrier.made_of[1])
    return Trial(
        taken=failure is None,
        message_id=hidden.sentence(found),
        looked_for=tried.rules.id or tried.rules.id_pattern,
        seconds=round(seconds, 3),
        problem=hidden.sentence(str(failure)) if failure else "",
        mend=hidden.sentence(advice(tried, failure, found)),
        calls=tuple(_shown(exchange, hidden) for exchange in course.exchanges),
    )


def _mask(tried: Tried, exchanges: Sequence[_Exchange], feedback_url: str) -> Mask:
    proof = proof_of(tried.credential.auth, tried.rules.mac)
    known = mask(tried.credential, proof)
    sent = [e.request.headers for e in exchanges if e.purpose == "message"]
    tokens = {
        value.removeprefix(f"{known.proof[name.lower()]} ")
        for headers in sent
        for name, value in headers.items()
        if name.lower() in known.proof
    }
    return mask(tried.credential, proof, (*tokens, *secrets_of(feedback_url)))


def proof_of(auth: Auth, usual: MacRecipe | None = None) -> dict[str, str]:
    """The headers that prove a request, and what stands before the secret in each. `usual`: the provider's recipe."""
    match auth:
        case BasicAuth():
            return {"Authorization": "Basic"}
        case BearerAuth(prefix=prefix):
            return {"Authorization": prefix}
        case ApiKeyAuth(place="header", name=name):
            return {name: ""}
        case MacAuth(recipe=recipe):
            return dict.fromkeys((recipe or usual or MacRecipe()).headers, "")
        case JwtAuth(header=header, prefix=prefix) | OAuthAuth(header=header, prefix=prefix):
            return {header: prefix}
    return {}


def _shown(exchange: _Exchange, hidden: Mask) -> TriedCall:
    request, answer = exchange.request, exchange.answer
    for_token = exchange.purpose == "access token"
    body = token_request(request.body, hidden) if for_token else hidden.body(request.body)
    ended = exchange.ended or time.perf_counter()
    return TriedCall(
        exchange.purpose,
        ShownRequest(request.method, hidden.text(request.url), hidden.headers(request.headers), body),
        answer and _shown_answer(answer, hidden, for_token=for_token),
        round(ended - exchange.began, 3),
        exchange.left,
    )


def _shown_answer(answer: Answer, hidden: Mask, *, for_token: bool) -> ShownAnswer:
    body = token_answer(answer.body, hidden) if for_token else hidden.body(answer.body)
    return ShownAnswer(answer.status, hidden.headers(answer.headers), body)
