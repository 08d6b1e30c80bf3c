"""The door of look-ups as a plain ASGI endpoint, as the webhooks' is, for every page of a company comes through it.

| what happened                                        | answer                                        |
| ---------------------------------------------------- | --------------------------------------------- |
| a page of an allowed origin asks, or no page at all  | 200; attributes and links never               |
| a server with a token of scope `lookup` asks (v2)    | 200; it may name a person, and links browsers |
| a page of any other origin                           | 403, without CORS headers                     |
| no token, or not its scope (v2)                      | 401, 403                                      |
| no such datastream, no such path                     | 404                                           |
| not the vendor's form                                | 400; 422 for a name that is no address        |
| another method                                       | 405                                           |
| longer than 64 KiB, or too slow                      | 413, 408                                      |
| the database is away, or too many wait               | 503 + Retry-After                             |
| our bug                                              | 500                                           |

Every refusal is a problem document. That a request without Origin is answered costs nothing: whoever is no browser can
send any Origin. What protects a person is that an ECID cannot be guessed.
"""

import time
from functools import lru_cache

from prometheus_client import Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from app import metrics
from app.record.registry import Registered
from app.record.tokens import Scope as TokenScope
from app.serve import problems
from app.serve.edge import answering
from app.serve.edge.answering import Answer
from app.serve.edge.asking import asked_by_page, asked_by_server
from app.serve.edge.coming import Coming, Gone, coming, read
from app.serve.edge.datastreams import ReadyDatastream, ready
from app.serve.edge.lookup import looked_up
from app.serve.edge.person import People
from app.serve.parts import Parts
from app.serve.problems import Problem

PREFIX = "/ee/"
_OUTCOMES = {401: "refused", 403: "refused", 404: "no_datastream", 405: "method", 408: "too_slow", 413: "too_large",
             500: "bug", 503: "not_ready"}  # fmt: skip


class LookupDoor:
    """`/ee/…`, an ASGI application that stands before the framework's router and middleware."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._people = People(parts)
        self._datastreams: dict[str, ReadyDatastream] = {}

    def follow(self, registered: Registered) -> None:
        """Take over what is registered."""
        self._datastreams = ready(registered.others)

    def before(self, others: ASGIApp) -> ASGIApp:
        """The whole application: look-ups come here at once, everything else goes to `others`."""

        async def fork(scope: Scope, receive: Receive, send: Send) -> None:
            lookup = scope["type"] == "http" and scope["path"].startswith(PREFIX)
            await (self if lookup else others)(scope, receive, send)

        return fork

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        began = time.perf_counter()
        request = coming(scope, self._datastreams)
        try:
            (status, headers, body), outcome = await self._answer(request, receive)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - every error has its answer, and bugs are logged there
            problem = problems.of(error)
            status, headers, body = answering.refusal(request.asked_as, problem)
            outcome = _OUTCOMES.get(status, "malformed")
        if request.version == "v1":
            headers += answering.origin_headers(request.origin if request.is_welcome else None)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else body})
        _counter(request.datastream.name if request.datastream else "", outcome).inc()
        if status == 200:
            metrics.LOOKUP_SECONDS.observe(time.perf_counter() - began)

    async def _answer(self, request: Coming, receive: Receive) -> tuple[Answer, str]:
        if not request.version:
            raise Problem(404, "There is nothing at this path; look-ups go to /ee/v1/interact or /ee/v2/interact.")
        if request.version == "v2":
            return await self._answer_server(request, receive)
        datastream = _known(request.datastream)
        if not request.is_welcome:
            raise Problem(403, "The pages of this origin may not ask; add it to the datastream's origins.")
        if request.method == "OPTIONS":
            return answering.preflight(request.asked_as), "preflight"
        _require_post(request, "OPTIONS, POST")
        body = await read(request, receive, self._parts.settings.request_timeout)
        return await looked_up(
            request, datastream, asked_by_page(body, datastream.cookie, request.cookies), self._people
        )

    async def _answer_server(self, request: Coming, receive: Receive) -> tuple[Answer, str]:
        _require_post(request, "POST")
        parts = self._parts
        await parts.require(TokenScope.LOOKUP, request.header(b"authorization"))
        datastream = _known(request.datastream)
        body = await read(request, receive, parts.settings.request_timeout)
        return await looked_up(
            request, datastream, asked_by_server(body, datastream.cookie, request.cookies), self._people
        )


def _known(datastream: ReadyDatastream | None) -> ReadyDatastream:
    if datastream is None:
        raise Problem(404, "There is no such datastream; configId (v1) or datastreamId (v2) names one.")
    return datastream


def _require_post(request: Coming, allowed: str) -> None:
    if request.method != "POST":
        raise Problem(405, f"This path does not take this method; it takes {allowed}.", headers={"allow": allowed})


@lru_cache(maxsize=1024)
def _counter(datastream: str, outcome: str) -> Counter:
    return metrics.LOOKUPS.labels(datastream, outcome)
