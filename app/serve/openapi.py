"""`/openapi.json` (OpenAPI 3.1), built from the very operations that the routes are built from."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Any, NamedTuple

import orjson
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from app import __version__
from app.serve.operation import Call, Operation, Params, Plain
from app.serve.problems import MEDIA_TYPE, ProblemDetails

Tree = dict[str, Any]

_COMPONENTS = "#/components/schemas/{model}"
_INTRODUCTION = (
    "Consent, what was heard and what was delivered. Times are UTC, ids are whole numbers written as text (63 bits),"
    " errors are RFC 9457 problems. Secrets are taken and never shown."
)


def operation_for(documented: Sequence[Operation]) -> Operation:
    """The operation that answers the document of the others, and of itself."""

    async def read(_call: Call[Params, None]) -> Plain:
        return Plain(orjson.dumps(document([*documented, itself])), "application/json")

    itself = Operation("GET", "/openapi.json", "This document", read, None)
    return itself


def document(operations: Iterable[Operation]) -> Tree:
    """The whole document."""
    listed = list(operations)
    references, definitions = _schemas(listed)
    paths: dict[str, Tree] = defaultdict(dict)
    for operation in listed:
        paths[_template(operation.path)][operation.method.lower()] = _described(operation, references)
    return {
        "openapi": "3.1.0",
        "info": {"title": "textback", "version": __version__, "description": _INTRODUCTION},
        "paths": dict(paths),
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "apiKey"},
            },
        },
    }


class _References(NamedTuple):
    by_type: Mapping[Any, Tree]

    def request(self, kind: type[object]) -> Tree:
        return self.by_type[kind, "validation"]

    def answer(self, kind: type[object] | UnionType) -> Tree:
        return self.by_type[kind, "serialization"]


def _schemas(operations: Sequence[Operation]) -> tuple[_References, Tree]:
    requests: Iterable[Any] = dict.fromkeys(each.body for each in operations if each.body)
    told = (form for each in operations for form in (each.answer, each.failure) if form)
    answers: Iterable[Any] = dict.fromkeys([ProblemDetails, *told])
    wanted: list[tuple[Any, JsonSchemaMode, TypeAdapter[Any]]] = [
        *((kind, "validation", TypeAdapter(kind)) for kind in requests),
        *((kind, "serialization", TypeAdapter(kind)) for kind in answers),
    ]
    references, schema = TypeAdapter.json_schemas(wanted, ref_template=_COMPONENTS)
    # A secret is shown as three stars, so it is not write-only in OpenAPI's sense: never there in an answer.
    return _References(references), _without(schema.get("$defs", {}), "writeOnly")


def _without(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return {name: _without(part, key) for name, part in value.items() if name != key}
    return [_without(part, key) for part in value] if isinstance(value, list) else value


def _described(operation: Operation, references: _References) -> Tree:
    described: Tree = {
        "operationId": _operation_id(operation),
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": _responses(operation, references),
    }
    if operation.scope is not None:
        described["security"] = [{"token": []}, {"apiKey": []}] if operation.failure else [{"token": []}]
        described["description"] = f"Wants a token with the scope `{operation.scope}`."
    if operation.body is not None:
        content = {"application/json": {"schema": references.request(operation.body)}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _parameters(operation: Operation) -> list[Tree]:
    schema = operation.params.model_json_schema(ref_template=_COMPONENTS)
    shapes = schema.get("$defs", {})
    in_path = set(re.findall(r"{(\w+)", operation.path))
    return [
        {
            "name": name,
            "in": "path" if name in in_path else shape.pop("in", "query"),
            "required": name in schema.get("required", []),
            "schema": _inlined(shape, shapes),
        }
        for name, shape in schema.get("properties", {}).items()
    ]


def _inlined(shape: Any, shapes: Tree) -> Any:
    """A parameter's schema on its own, and without null: an absent parameter is left out."""
    if "$ref" in shape:
        return shapes[shape["$ref"].rpartition("/")[2]]
    if "anyOf" not in shape:
        return shape
    choice = next(each for each in shape["anyOf"] if each.get("type") != "null")
    rest = {name: part for name, part in shape.items() if name not in ("anyOf", "default")}
    return {**rest, **_inlined(choice, shapes)}


def _responses(operation: Operation, references: _References) -> Tree:
    form, media_type = (operation.failure, "application/json") if operation.failure else (ProblemDetails, MEDIA_TYPE)
    content = {media_type: {"schema": references.answer(form)}}
    responses = {str(status): {"description": when, "content": content} for status, when in _usual(operation).items()}
    success: Tree = {"description": operation.summary}
    if operation.answer is not None:
        success["content"] = {operation.media_type: {"schema": references.answer(operation.answer)}}
    elif operation.status != 204:
        success["content"] = {operation.media_type: {}}
    return {str(operation.status): success, **responses}


def _usual(operation: Operation) -> dict[int, str]:
    found = dict(operation.problems)
    if operation.failure is not None:
        return found
    if operation.scope is not None:
        found |= {401: "No token, or an unknown one.", 403: "The token lacks the scope."}
        found.setdefault(503, "The database is away, or a setting is missing.")
    if "{" in operation.path:
        found.setdefault(404, "There is nothing at this path.")
    if operation.body is not None:
        found |= {408: "The body came too slowly.", 413: "The body is longer than 1 MiB."}
    return dict(
        sorted((found | {422: "The input cannot be used; the sentences say why.", 500: "A fault of ours."}).items())
    )


def _template(path: str) -> str:
    return re.sub(r"{(\w+):\w+}", r"{\1}", path)


def _operation_id(operation: Operation) -> str:
    words = re.findall(r"\w+", _template(operation.path).replace("/v1/", "/"))
    return "_".join([operation.method.lower(), *words])
