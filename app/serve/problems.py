"""Errors as answers: application/problem+json (RFC 9457) with a sentence that names the cause and the mend.

No answer ever repeats a value that was sent: it may be a secret or somebody's number.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.errors import BadAddress, BadInput, NotReady
from app.spec import form

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "5"

_log = structlog.get_logger("serve")


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class ProblemDetails(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = "about:blank"
    title: str
    status: int
    #: the cause and the mend
    detail: str
    #: field by field, where the input is at fault
    errors: list[FieldError] = []


class Problem(Exception):
    """An answer other than success."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: list[FieldError] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """`more`: further members of the answer (RFC 9457, 3.2)."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = errors or []
        self.more = dict(more or {})

    def response(self) -> Response:
        """As it goes out."""
        details = ProblemDetails(
            title=HTTPStatus(self.status).phrase, status=self.status, detail=self.detail, errors=self.errors
        )
        shown = details.model_dump(exclude={"errors"} if not self.errors else None) | self.more
        return Response(orjson.dumps(shown), self.status, self.headers, MEDIA_TYPE)


def not_found(what: str) -> Problem:
    """404 for a named thing of ours."""
    return Problem(404, f"There is no {what}.")


def invalid(error: ValidationError, *, within: str = "") -> Problem:
    """422 with one sentence per field."""
    errors = [
        FieldError(field=".".join(map(str, each["loc"])) or within, message=_sentence(each))
        for each in error.errors(include_input=False, include_url=False)
    ]
    return Problem(422, "; ".join(f"{e.field}: {e.message}" if e.field else e.message for e in errors), errors=errors)


def _sentence(error: Any) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "is not known here; look for a misspelling"
        case "missing":
            return "is missing"
        case "json_invalid":
            return "is not JSON"
        case "string_pattern_mismatch":
            return form(error["ctx"]["pattern"])
        case _:
            return str(error["msg"]).removeprefix("Value error, ")


def of(error: Exception) -> Problem:  # noqa: PLR0911 - a table
    """The one table from what went wrong to what is answered."""
    match error:
        case Problem():
            return error
        case ValidationError():
            return invalid(error)
        case BadInput() | BadAddress():
            return Problem(422, str(error))
        case NotReady():
            return Problem(503, str(error), headers={"retry-after": RETRY_AFTER})
        case OperationalError() | InterfaceError() | PoolTimeout():
            detail = "The database cannot be reached at the moment; try again."
            return Problem(503, detail, headers={"retry-after": RETRY_AFTER})
        case HTTPException():
            return Problem(error.status_code, _http_detail(error), headers=error.headers)
        case _:
            return _bug(error)


def _http_detail(error: HTTPException) -> str:
    match error.status_code:
        case 404:
            return "There is nothing at this path; /openapi.json lists what there is."
        case 405:
            allowed = (error.headers or {}).get("Allow", "")
            return f"This path does not take this method; it takes {allowed}."
        case _:
            return error.detail


def _bug(error: Exception) -> Problem:
    # The error's own text may hold a number or a secret, so the log gets its kind and its place only.
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "unknown"
    _log.error("a bug of ours", kind=type(error).__qualname__, place=place)
    return Problem(500, "This is a fault of textback, not of the request; the server's log names its place.")


async def _handled(_request: Request, error: Exception) -> Response:
    return of(error).response()


#: for the Starlette application, so that errors outside our operations look alike
HANDLERS: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    HTTPException: _handled,
    Exception: _handled,
}
