"""The one expression language: JSONata (https://docs.jsonata.org), for whatever a dotted path or a plain placeholder
cannot say. An expression is an operator's; what it reads is anybody's. So it is bounded in time, steps, depth and size,
its regular expressions included, and it has no `$eval`.

The engine is jlens, since it can be stopped inside of a regular expression and before a text grows.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import jlens
import orjson

from app.errors import BadInput, Unreadable

Expression = Callable[..., Any]
"""`(data, bindings=None)`: data and result are plain JSON values; see `expression`."""

#: characters of an expression
LONGEST = 4_000
#: bytes of JSON that an expression reads
LARGEST_INPUT = 1_048_576
#: seconds. A usual expression takes a few microseconds; this is how long the event loop may be held up
_TIME = 0.05
_LIMITS: dict[str, Any] = {
    "timeout": _TIME,
    "max_steps": 100_000,
    "max_depth": 100,
    "max_string_length": 262_144,
    "max_array_length": 10_000,
    "max_result_size": 262_144,
}
#: beyond it, and on its other side, an integer loses digits in JSONata, whose numbers are those of JavaScript
_EXACT = 2**53
_EVAL = re.compile(r"\$eval(?![A-Za-z0-9_])")
#: The engine makes the result of $replace before it measures it, and a provider's text may be as long as a request.
_REPLACE_BOUNDED = """(
    $unbounded := $replace;
    $replace := function($text, $old, $new, $limit)<s-(sf)(sf)n?:s> {
        $type($new) = 'string' and $length($text) * $length($new) > 1000000
            ? $error('too long') : $unbounded($text, $old, $new, $limit)
    };
    """
_NO_FUNCTION = "what is called is no function"
_CAUSES = {
    **dict.fromkeys(("T1005", "T1006", "T1007", "T1008", "T2006"), _NO_FUNCTION),
    "D1011": "it calls itself too often",
    "D1012": "it takes too long",
    "U1006": "it takes too many steps",
    "U1001": "it makes too much",
    "D3030": "a text is not a number",
}


@lru_cache(maxsize=2_048)
def expression(text: str) -> Expression:
    """The compiled expression: `(data, bindings=None) -> value`, for any thread.

    Raises BadInput that tells the position. The function raises Unreadable, which never quotes the data. Where nothing
    is found the value is None. Integers beyond 2^53 are texts in it, and so keep all of their digits.
    """
    if len(text) > LONGEST:
        raise BadInput(f"the expression has {len(text)} characters; more than {LONGEST} are not taken")
    if _EVAL.search(text):
        raise BadInput(f"{text}: there is no $eval; write what it shall evaluate into the expression")
    compiled, start = _compiled(text)
    evaluate = partial(_evaluate, compiled, start)
    _try_out(text, evaluate)
    return evaluate


def _compiled(text: str) -> tuple[jlens.Expression, int]:
    """The engine's form, and how many characters of ours stand before the text in it."""
    try:
        compiled = jlens.Expression(text)
    except jlens.JlensError as error:
        raise BadInput(f"{text}: {error} (character {(error.position or 0) + 1})") from None
    except UnicodeEncodeError:
        raise BadInput("the expression has half of a surrogate pair in it, which is no character") from None
    if "$replace" not in text:
        return compiled, 0
    return jlens.Expression(f"{_REPLACE_BOUNDED}{text})"), len(_REPLACE_BOUNDED)


def _try_out(text: str, evaluate: Expression) -> None:
    """A misspelt function shows only when it is called; without any data, most calls are made."""
    try:
        evaluate({})
    except Unreadable as error:
        if _NO_FUNCTION in str(error):
            raise BadInput(f"{text}: {error}; is the function's name spelt right, with $ before it?") from None


def _evaluate(compiled: jlens.Expression, start: int, data: Any, bindings: Mapping[str, Any] | None = None) -> Any:
    document = _json(data)
    names = orjson.loads(_json(bindings)) if bindings else None
    try:
        found = compiled.evaluate_json(document, names, **_LIMITS)
    except jlens.JlensError as error:
        cause = _CAUSES.get(error.code, f"JSONata error {error.code}")
        place = (error.position or 0) - start + 1
        position = f" at character {place}" if place > 1 else ""
        raise Unreadable(f"the expression fails{position}: {cause}") from None
    except ValueError:
        raise Unreadable("what the expression reads is nested too deeply, or no JSON") from None
    return None if found is None else orjson.loads(found)


def _json(data: Any) -> str:
    """The data as JSON text: through it the engine reads only what the expression needs, and frees other threads."""
    try:
        text = orjson.dumps(data, option=orjson.OPT_STRICT_INTEGER)
    except orjson.JSONEncodeError:
        text = _exact_json(data)
    if len(text) > LARGEST_INPUT:
        raise Unreadable(f"what the expression reads has more than {LARGEST_INPUT} bytes")
    return text.decode()


def _exact_json(data: Any) -> bytes:
    try:
        return orjson.dumps(_exact(data))
    except (orjson.JSONEncodeError, RecursionError):
        raise Unreadable("what the expression reads is nested too deeply, or no JSON") from None


def _exact(node: Any) -> Any:
    """The same with integers beyond 2^53 as texts, and without the halves of surrogate pairs that no UTF-8 can hold."""
    match node:
        case bool() | None:
            return node
        case int():
            return node if -_EXACT < node < _EXACT else str(node)
        case str():
            return node.encode("utf-8", "replace").decode()
        case Mapping():
            return {_exact(name): _exact(value) for name, value in node.items()}
        case list() | tuple():
            return [_exact(item) for item in node]
    return node
