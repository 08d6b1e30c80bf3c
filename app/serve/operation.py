"""One declaration per operation of the API: the routes and the OpenAPI document are both built from it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

from app.record.tokens import Scope
from app.serve.parts import Parts


class Params(BaseModel):
    """The parameters of a path and its query; a name that is not there is an error, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


P = TypeVar("P")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Call(Generic[P, B]):
    """One call, its input in form."""

    parts: Parts
    params: P
    body: B
    #: `https://hooks.example.com`, where webhooks are called
    base_url: str


class Plain(NamedTuple):
    """An answer that is not JSON, or not a plain success."""

    body: bytes
    media_type: str
    status: int = 200
    headers: Mapping[str, str] = {}


#: answers a pydantic model, a dataclass, a Plain, or nothing
Handler = Callable[[Call[Any, Any]], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Operation:
    """What one method of one path takes and answers."""

    method: str
    #: names in braces are fields of `params`; `{address:path}` may hold slashes
    path: str
    summary: str
    handler: Handler
    #: None: anybody
    scope: Scope | None
    #: None: an empty answer, or one that is not JSON (`media_type`)
    answer: type[object] | UnionType | None = None
    params: type[Params] = Params
    body: type[BaseModel] | None = None
    status: int = 200
    media_type: str = "application/json"
    #: further answers beside the usual ones: status -> when
    problems: Mapping[int, str] = field(default_factory=dict)
    #: the form of its errors where that is not ours to choose: `problems` are all it has then, and it has its own door
    failure: type[BaseModel] | None = None
