"""The webhook URL as a plain ASGI endpoint: no Request and Response objects, which alone would halve the rate.

| what happened                                   | answer            | written             |
| ----------------------------------------------- | ----------------- | ------------------- |
| recorded, or seen before                        | the provider's 2xx | the event, once     |
| known and uninteresting, or not understood      | the provider's 2xx | the raw request     |
| no such webhook                                 | 404               | nothing             |
| the provider only tries the URL                 | what it wants     | nothing; proved: the raw request |
| not proved                                      | 401, empty        | a bounded quarantine |
| body or headers over the limit, or too slow     | 413, 431, 408     | a counter           |
| secret missing, store away or slower than the provider waits | 503 + Retry-After | nothing |
| more waits than may, or comes than `rate_limit` | 503 + Retry-After | nothing             |
| our bug                                         | 500               | nothing             |
"""

import asyncio
import time
from datetime import UTC, datetime
from functools import lru_cache

import structlog
from prometheus_client import Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from app import metrics
from app.accept.access_log import AccessLog
from app.accept.answers import rendered
from app.accept.body import Gone, TooLarge, read_body, read_headers
from app.accept.origin import Origin
from app.accept.outside import Outside
from app.accept.patience import Patience
from app.accept.quarantine import Quarantine, RefusedRequest
from app.accept.rate import Rates
from app.errors import KeyWanted, NotReady, Overloaded, Refused, WrongWord
from app.events import Heard, Recorded
from app.flow import Hearing, hear, opts_out
from app.record.intake import Intake
from app.request import Request
from app.settings import Settings
from app.switchboard import Line, Switchboard

log = structlog.get_logger()

PREFIX = "/in/"
METHODS = ("GET", "POST", "PUT", "OPTIONS")
_RETRY_AFTER = b"5"
#: seconds between two complaints of overload
_QUIET = 1.0
#: seconds of the provider's patience that the way back may take
_MARGIN = 1.0
_TOO_SLOW = "the request did not arrive in time"
#: public keys that are fetched for one request
_MOST_KEYS = 3


class WebhookDoor:
    """`/in/{token}`, an ASGI application that stands before the framework's router and middleware."""

    def __init__(
        self,
        settings: Settings,
        switchboard: Switchboard,
        intake: Intake,
        *,
        quarantine: Quarantine,
        access_log: AccessLog,
        outside: Outside,
    ) -> None:
        self._settings = settings
        self._switchboard = switchboard
        self._intake = intake
        self._quarantine = quarantine
        self._access_log = access_log
        self._outside = outside
        self._origin = Origin(settings)
        self._rates = Rates()
        self._quiet_until = 0.0
        self._reading = Patience(_hang_up)
        self._committing = Patience(_tell_to_come_again)

    def before(self, others: ASGIApp) -> ASGIApp:
        """The whole application: webhooks come here at once, everything else goes to `others`.

        Measured: the way through router and middleware cost a tenth of the requests per second.
        """

        async def fork(scope: Scope, receive: Receive, send: Send) -> None:
            webhook = scope["type"] == "http" and scope["path"].startswith(PREFIX)
            await (self if webhook else others)(scope, receive, send)

        return fork

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        began, at = time.perf_counter(), datetime.now(UTC)
        webhook = ""
        try:
            line = self._switchboard.find(scope["path"][len(PREFIX) :])
            webhook = line.webhook.name if line else ""
            status, headers, body, what = await self._handle(line, scope, receive, at, began)
        except Gone:
            return
        except asyncio.CancelledError as error:
            if error.args != (_TOO_SLOW,):
                raise
            status, headers, body, what = 408, _CLOSE, b"", "too_slow"
        except TooLarge as error:
            status, headers, body, what = error.status, _CLOSE, b"", "too_large"
        except Overloaded as error:
            self._complain(webhook, error)
            status, headers, body, what = 503, _LATER, b"", "overloaded"
        except NotReady as error:
            log.warning("a webhook is not ready", webhook=webhook, reason=str(error))
            status, headers, body, what = 503, _LATER, b"", "not_ready"
        except Exception:
            log.exception("a bug; the provider was told to come again", webhook=webhook)
            status, headers, body, what = 500, _LATER, b"", "bug"
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        _counter(webhook, what).inc()
        seconds = time.perf_counter() - began
        self._access_log.note(at, scope["method"], webhook, status=status, what=what, seconds=seconds)

    def _complain(self, webhook: str, error: Overloaded) -> None:
        """Once a second: under overload a line for each request would make it worse."""
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET
            log.warning("more comes in than can be taken", webhook=webhook, reason=str(error))

    async def _handle(
        self, line: Line | None, scope: Scope, receive: Receive, at: datetime, began: float
    ) -> "tuple[int, list[tuple[bytes, bytes]], bytes, str]":
        if line is None:
            return 404, _EMPTY, b"", "unknown"
        if scope["method"] == "OPTIONS" and line.shake is None:
            return 204, _ALLOW, b"", "options"
        if scope["method"] not in METHODS:
            return 405, [*_EMPTY, *_ALLOW], b"", "method"
        request = await self._request(line, scope, receive, at)
        until = began + max(1.0, line.provider.patience - _MARGIN)
        try:
            heard, answer = await self._hear(line, request, until)
        except Refused as error:
            self._quarantine.add(RefusedRequest(line, str(error), request, isinstance(error, WrongWord)))
            metrics.REFUSED.labels(line.webhook.name).inc()
            return 401, _EMPTY, b"", "refused"
        if heard is None:
            return *rendered(answer), "handshake"
        if not self._rates.allow(line.webhook) and not opts_out(heard):
            raise Overloaded(f"the webhook brings more than its rate_limit of {line.webhook.rate_limit:g} a second")
        recorded = await self._commit(self._intake.record(heard), until)
        return *rendered(answer), _outcome(heard, recorded)

    async def _hear(self, line: Line, request: Request, until: float) -> Hearing:
        """Heard; where public keys are wanted they are fetched, and where a URL must be called to confirm, it is."""
        asked: list[str] = []
        while True:
            try:
                hearing = hear(line, request)
                break
            except KeyWanted as wanted:
                if wanted.url in asked or len(asked) == _MOST_KEYS:
                    raise
                asked.append(wanted.url)
            await self._outside.fetch_key(asked[-1], until)
        if hearing.visit:
            await self._outside.visit(hearing.visit, until)
        return hearing

    async def _request(self, line: Line, scope: Scope, receive: Receive, at: datetime) -> Request:
        headers = read_headers(scope["headers"])
        limit = line.provider.body_limit or self._settings.body_limit
        body = await self._reading.wait(
            read_body(receive, headers, limit), self._settings.request_timeout, asyncio.current_task()
        )
        query = scope["query_string"].decode("latin-1")
        return Request(
            scope["method"],
            self._origin.url(scope, headers, query),
            headers,
            body,
            at,
            query=query,
            client=self._origin.client(scope, headers),
            via_proxy=self._origin.via_proxy(scope),
        )

    async def _commit(self, future: "asyncio.Future[Recorded]", until: float) -> Recorded:
        """Wait no longer than the provider does: one that hangs up comes again, and then it is seen."""
        patience = min(self._settings.commit_timeout, until - time.perf_counter())
        return await self._committing.wait(future, patience, future)


def _hang_up(task: "asyncio.Task[None]") -> None:
    task.cancel(_TOO_SLOW)


def _tell_to_come_again(future: "asyncio.Future[Recorded]") -> None:
    if not future.done():
        future.set_exception(NotReady("the commit took longer than the provider waits"))


_EMPTY = [(b"content-length", b"0")]
_CLOSE = [(b"content-length", b"0"), (b"connection", b"close")]
_LATER = [(b"content-length", b"0"), (b"retry-after", _RETRY_AFTER)]
_ALLOW = [(b"allow", ", ".join(METHODS).encode())]


def _outcome(heard: Heard, recorded: Recorded) -> str:
    if heard.events or heard.troubles:
        return "recorded" if recorded.new else "seen"
    return heard.raw.reading.value if heard.raw else ""


@lru_cache(maxsize=4096)
def _counter(webhook: str, what: str) -> Counter:
    return metrics.REQUESTS.labels(webhook, what)
