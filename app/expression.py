"""The one expression language: JSONata (https://docs.jsonata.org), for whatever a dotted path or a plain placeholder
cannot say. An expression is an operator's; what it reads is anybody's. So it is bounded in time, steps, depth and size,
its regular expressions included, and it has no `$eval`.

The engine is jlens, since it can be stopped inside of a regular expression and before a text grows. It looks at the
clock between its steps: one that is stopped ends after 0.05 s, or up to 0.15 s where a single step over the largest
input is long. The functions with which a step could last for seconds, or take much memory, are bounded here.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jlens
import orjson

from app.errors import BadInput, TookTooLong, Unreadable

Expression = Callable[..., Any]
"""`(data, bindings=None)`: data and result are plain JSON values; see `expression`."""

#: characters of an expression
LONGEST = 4_000
#: bytes of JSON that an expression reads
LARGEST_INPUT = 1_048_576
_LIMITS: dict[str, Any] = {
    "timeout": 0.05,  # seconds; a usual expression takes a few microseconds
    "max_steps": 100_000,
    "max_depth": 100,
    "max_string_length": 262_144,
    "max_array_length": 10_000,
    "max_result_size": 262_144,
}
#: beyond it, and on its other side, an integer loses digits in JSONata, whose numbers are those of JavaScript
_EXACT = 2**53
_EVAL = re.compile(r"\$eval(?![A-Za-z0-9_])")
#: What the engine measures too late, bounded before: $replace and a range by what they make, $distinct and $keys, which
#: compare everything with everything, by how much there is to compare. A provider's text may be as long as a request.
_BOUNDED: Mapping[str, str] = {
    "$replace": """function($text, $old, $new, $limit)<s-(sf)(sf)n?:s> {
        $type($new) = 'string' and $length($text) * $length($new) > 1000000
            ? $error('too long') : $unbounded_replace($text, $old, $new, $limit)
    }""",
    "$distinct": """function($list)<x:x> {
        $count($list) * $length($string($list)) > 100000000 ? $error('too long') : $unbounded_distinct($list)
    }""",
    "$keys": """function($object)<x-:x> {
        $count($spread($object)) * $length($string($object)) > 100000000
            ? $error('too long') : $unbounded_keys($object)
    }""",
}
_RANGE = "$bounded_range := function($from, $to) { $to - $from >= 10000 ? $error('too long') : [$from..$to] }; "
#: what decides where the ends of a range begin and end
_TOKEN = re.compile(
    r"""(?P<blank>\s+|/\*.*?\*/)
    |(?P<operand>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`|\$?\w+|\$)
    |(?P<regex>/(?:[^/\\]|\\.)+/\w*)
    |(?P<range>\.\.)|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<comma>,)|(?P<sign>.)""",
    re.DOTALL | re.VERBOSE,
)
#: behind these a slash divides; behind others it begins a regular expression
_OPERANDS = frozenset({"operand", "close"})
#: operators that look like names
_OPERATORS = frozenset({"and", "or", "in"})
#: the module of what the engine raises where it meets a bug of its own; it is no Exception
_PANICS = "pyo3_runtime"
_NO_FUNCTION = "what is called is no function"
_TOO_LONG = "D1012"
_CAUSES = {
    **dict.fromkeys(("T1005", "T1006", "T1007", "T1008", "T2006"), _NO_FUNCTION),
    "D1011": "it calls itself too often",
    _TOO_LONG: "it takes too long",
    "U1006": "it takes too many steps",
    "U1001": "it makes too much",
    "D3137": "it would make too much, or calls $error",
    "D3030": "a text is not a number",
}


@lru_cache(maxsize=2_048)
def expression(text: str) -> Expression:
    """The compiled expression: `(data, bindings=None) -> value`, for any thread.

    Raises BadInput that tells the position. The function raises Unreadable, which never quotes the data; TookTooLong
    where it was the clock. Where nothing is found the value is None. Integers beyond 2^53 are texts in it, and so keep
    all of their digits.
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
    compiled = _parsed(text, text)
    bounded = [name for name in _BOUNDED if name in text]
    before = "".join(f"$unbounded_{name[1:]} := {name}; {name} := {_BOUNDED[name]}; " for name in bounded)
    if ".." in text and (ranged := _ranges_bounded(text)) != text:
        whole = f"({_RANGE}{before}{ranged})"
        return _parsed(whole, text), len(whole)  # positions in it are not those of the text, so none is told
    return (_parsed(f"({before}{text})", text), len(before) + 1) if bounded else (compiled, 0)


def _parsed(text: str, shown: str) -> jlens.Expression:
    try:
        return jlens.Expression(text)
    except jlens.JlensError as error:
        raise BadInput(f"{shown}: {error} (character {(error.position or 0) + 1})") from None
    except UnicodeEncodeError:
        raise BadInput("the expression has half of a surrogate pair in it, which is no character") from None


def _ranges_bounded(text: str) -> str:
    """The text with `$bounded_range(from,to)` for `from..to`, which stands between brackets and commas alone."""
    parts: list[str] = []
    ends = [_End(0)]
    for kind, token in tokens(text):
        if kind == "range":
            parts.insert(ends[-1].start, "$bounded_range(")
            ends[-1] = _End(ends[-1].start, ranged=True)
        if kind in {"close", "comma"} and ends.pop().ranged:
            parts.append(")")
        parts.append("," if kind == "range" else token)
        if kind in {"open", "comma"} or not ends:
            ends.append(_End(len(parts)))
    return "".join(parts)


class _End(NamedTuple):
    """What may be an end of a range: where it starts, and whether it has turned out to be one."""

    start: int
    ranged: bool = False


def tokens(text: str) -> Iterator[tuple[str, str]]:
    """(kind, token) of an expression, blanks and comments included; the kinds are those of `_TOKEN`."""
    at, before = 0, ""
    while found := _TOKEN.match(text, at):
        kind, token = found.lastgroup or "", found.group()
        if kind == "regex" and before in _OPERANDS:
            kind, token = "sign", "/"
        at += len(token)
        before = before if kind == "blank" else "sign" if token in _OPERATORS else kind
        yield kind, token


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
        raise _unreadable(error, start) from None
    except ValueError:
        raise Unreadable("what the expression reads is nested too deeply, or no JSON") from None
    except BaseException as error:
        if type(error).__module__ != _PANICS:
            raise
        raise Unreadable("the expression fails: its engine gives up on it") from None
    return None if found is None else orjson.loads(found)


def _unreadable(error: jlens.JlensError, start: int) -> Unreadable:
    cause = _CAUSES.get(error.code, f"JSONata error {error.code}")
    place = (error.position or 0) - start + 1
    position = f" at character {place}" if place > 1 else ""
    kind = TookTooLong if error.code == _TOO_LONG else Unreadable
    return kind(f"the expression fails{position}: {cause}")


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
