"""What a request says beside the tree of its body: `header:x-name`, `query:name`, `request:method`, `request:body`."""

from collections.abc import Callable

from app.decode.body import body_text, clean_text
from app.errors import BadInput
from app.request import Request, parse_pairs

PREFIXES = ("header:", "query:", "request:")

Look = Callable[[Request], str | None]
"""The value; None where the request has none."""


def look_at(path: str) -> Look | None:
    """Compiles a path that leads out of the body; None where it does not. Raises BadInput."""
    if not path.startswith(PREFIXES):
        return None
    place, _, name = path.partition(":")
    match place, name:
        case "header", str() if name:
            return _header(name.lower())
        case "query", str() if name:
            return _query(name)
        case "request", "method":
            return lambda request: request.method
        case "request", "body":
            return body_text
    raise BadInput(f"path '{path}': there are header:<name>, query:<name>, request:method and request:body")


def _header(name: str) -> Look:
    def look(request: Request) -> str | None:
        value = request.headers.get(name)
        return value and clean_text(value)

    return look


def _query(name: str) -> Look:
    """Of a repeated name the first value counts, as in a form."""

    def look(request: Request) -> str | None:
        return next((clean_text(value) for key, value in parse_pairs(request.query) if key == name), None)

    return look
