"""The door of the document system: its own credentials, its own form of errors, and never a page.

| what happened                                       | answer                       |
| --------------------------------------------------- | ---------------------------- |
| done                                                | 200 `{"status":"success"}`   |
| understood, and failed; or a parameter is no good   | 200 `{"status":"failure","error":…}` |
| no key, an unknown one, one without the scope       | 403, the same body           |
| another path beneath these                          | 404, the same body           |
| HEAD, OPTIONS, POST …: running an action has effects | 405, the same body          |
| the database is away, or a bug                      | 500, the same body           |

The vendor knows no other (https://experienceleague.adobe.com/docs/workfront/using/adobe-workfront-api/document-webhooks-api/docu-webhooks-errors).
A page of another site cannot run an action: its browser sends no key, and is not allowed to ask for that (no CORS).
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app import metrics
from app.errors import NotReady
from app.send import complain
from app.serve.documents import words
from app.serve.documents.request import Forbidden, Unusable, asked, prove
from app.serve.door import as_json
from app.serve.operation import Call, Operation, Params
from app.serve.parts import Parts

_NEVER_KEPT = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class Success(BaseModel):
    """It was done."""

    status: Literal["success"] = "success"


class Failure(BaseModel):
    """It was not done, or nobody knows."""

    status: Literal["failure"] = "failure"
    #: a sentence that its user is shown
    error: str


class Door:
    """A path, as an ASGI application. `operation`: None where there is nothing."""

    def __init__(self, operation: Operation | None, methods: Sequence[str]) -> None:
        self._operation = operation
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; its body is nobody's business."""
        response = await self._response(scope)
        await response(scope, receive, send)

    async def _response(self, scope: Scope) -> Response:
        if self._operation is None:
            return _failed(404, words.NOTHING_HERE)
        if scope["method"] not in self._methods:
            return _failed(405, words.WRONG_METHOD, {"allow": ", ".join(self._methods)})
        try:
            return _answered(200, await _ask(self._operation, scope))
        except Exception as error:  # noqa: BLE001 - every error has its answer, and bugs are logged there
            status, sentence, what = _error(error)
            metrics.DOCUMENT_ACTIONS.labels(what).inc()
            return _failed(status, sentence)


async def _ask(operation: Operation, scope: Scope) -> object:
    parts: Parts = scope["app"].state.parts
    params: Params = Params()
    if operation.scope is not None:
        headers = Headers(scope=scope)
        await prove(parts, operation.scope, headers)
        params = asked(scope["query_string"], headers)
    return await operation.handler(Call(parts, params, None, ""))


class _Error(NamedTuple):
    status: int
    sentence: str
    what: str
    """For the metric."""


def _error(error: Exception) -> _Error:
    match error:
        case Forbidden():
            return _Error(403, str(error), "refused")
        case Unusable():
            return _Error(200, str(error), "unusable")
        case NotReady() | OperationalError() | InterfaceError() | PoolTimeout() | TimeoutError():
            return _Error(500, words.AWAY, "away")
        case _:
            complain("a bug at the document system's door", error)
            return _Error(500, words.BUG, "bug")


def _failed(status: int, sentence: str, headers: Mapping[str, str] = {}) -> Response:
    return _answered(status, Failure(error=sentence), headers)


def _answered(status: int, form: object, headers: Mapping[str, str] = {}) -> Response:
    return Response(as_json(form), status, {**_NEVER_KEPT, **headers}, "application/json")
