"""From operations to routes: token, parameters and body in; JSON or a problem out."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import orjson
from pydantic import BaseModel, SecretStr, ValidationError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from app.request import parse_pairs
from app.serve import problems
from app.serve.operation import Call, Operation, Plain
from app.serve.parts import Parts
from app.serve.problems import Problem

BODY_LIMIT = 1_048_576
#: how a secret is shown; sent back, it keeps the one that is stored
STARS = "***"


def routes_of(operations: Iterable[Operation]) -> list[BaseRoute]:
    """One route per path, so that a wrong method is told every right one."""
    by_path: dict[str, dict[str, Operation]] = defaultdict(dict)
    for operation in operations:
        by_path[operation.path][operation.method] = operation
    return [Route(path, _Door(methods), methods=list(methods), name=path) for path, methods in by_path.items()]


class _Door:
    """A path, as an ASGI application."""

    def __init__(self, methods: dict[str, Operation]) -> None:
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = self._methods["GET" if scope["method"] == "HEAD" else scope["method"]]
        try:
            response = await _answer(operation, scope, receive)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - every error has its answer, and bugs are logged there
            response = problems.of(error).response()
        await response(scope, receive, send)


async def _answer(operation: Operation, scope: Scope, receive: Receive) -> Response:
    parts: Parts = scope["app"].state.parts
    headers = Headers(scope=scope)
    if operation.scope is not None:
        await parts.require(operation.scope, headers.get("authorization", ""))
    params = _params(operation, scope)
    body = await _body(operation, receive, parts.settings.request_timeout)
    call = Call(parts, params, body, parts.settings.public_url or _own_base(scope, headers))
    return _response(operation, await operation.handler(call))


def _params(operation: Operation, scope: Scope) -> Any:
    given: dict[str, Any] = {}
    for name, value in parse_pairs(scope["query_string"].decode("latin-1")):
        if name in given or name in scope["path_params"]:
            raise Problem(422, "A parameter is given twice; give each once.")
        given[name] = value
    return operation.params.model_validate(given | scope["path_params"])


async def _body(operation: Operation, receive: Receive, patience: float) -> Any:
    """The body in form. It is read as JSON whatever its content type says: curl -d and urllib say form by default."""
    if operation.body is None:
        return None
    try:
        async with asyncio.timeout(patience):
            raw = await _read(receive)
    except TimeoutError:
        raise Problem(408, f"The body did not arrive within {patience:g} seconds.", headers=_CLOSE) from None
    try:
        return operation.body.model_validate_json(raw)
    except ValidationError as error:
        raise problems.invalid(error, within="body") from None


_CLOSE = {"connection": "close"}


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT:
            raise Problem(413, f"The body is longer than {BODY_LIMIT:,} bytes; send less at a time.", headers=_CLOSE)
        more = message.get("more_body", False)
    return bytes(body)


def _own_base(scope: Scope, headers: Headers) -> str:
    return f"{scope['scheme']}://{headers.get('host', 'localhost')}{scope.get('root_path', '')}"


def _response(operation: Operation, answer: object) -> Response:
    if isinstance(answer, Plain):
        return Response(answer.body, answer.status, answer.headers, answer.media_type)
    if answer is None:
        return Response(status_code=operation.status)
    return Response(as_json(answer), operation.status, media_type="application/json")


def as_json(answer: object) -> bytes:
    """A model or dataclass: times in UTC with Z, secrets as three stars."""
    tree = answer.model_dump() if isinstance(answer, BaseModel) else answer
    return orjson.dumps(tree, default=_starred, option=orjson.OPT_UTC_Z)


def _starred(value: Any) -> str:
    if isinstance(value, SecretStr):
        return STARS
    raise TypeError(f"{type(value).__name__} has no JSON form")
