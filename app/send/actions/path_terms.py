"""What the terms of an action's path make: the operator's own text, values of fields, and what functions make of both.

The functions are the string functions of journeys that make a text
(https://experienceleague.adobe.com/en/docs/journey-optimizer/using/orchestrate-journeys/building-advanced-conditions-journeys/main-functions-journey/string-functions).
Here `replace` and `replaceAll` look for a text, and not for a regular expression.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from app.errors import SendFailed
from app.send.actions.fields import Fields, NoValue, value_at
from app.send.template import as_text


class Piece(NamedTuple):
    """A part of what a term makes."""

    text: str
    own: bool
    """The operator's own, so it stays as it is."""


Term = Callable[[Fields], list[Piece]]


class Function(NamedTuple):
    """A function of texts."""

    written: str
    least: int
    most: int
    """Arguments."""
    make: Callable[..., str]


def own(text: str) -> Term:
    """The operator's own text."""
    pieces = [Piece(text, own=True)]
    return lambda _: pieces


def value(full: str) -> Term:
    """The value of a field. An empty one would leave a step out of the path, and counts as none."""
    get = value_at(full)

    def term(fields: Fields) -> list[Piece]:
        if not (text := as_text(get(fields))):
            raise NoValue(f"{full} is empty", permanent=True)
        return [Piece(text, own=False)]

    return term


def joined(terms: Sequence[Term]) -> Term:
    """One behind the other, each piece as it is."""
    if len(terms) == 1:
        return terms[0]
    return lambda fields: [piece for term in terms for piece in term(fields)]


def made(name: str, given: Sequence[Term]) -> Term:
    """What a function makes. Nobody can tell any more whose it is, so it counts as a value, except with `concat`."""
    if name == "concat":
        return joined(given)
    make = FUNCTIONS[name].make

    def term(fields: Fields) -> list[Piece]:
        texts = ["".join([piece.text for piece in one(fields)]) for one in given]
        if not (text := make(*texts)):
            raise NoValue(f"{name}(…) is empty", permanent=True)
        return [Piece(text, own=False)]

    return term


def _part(text: str, begin: str, end: str = "") -> str:
    return text[_index(begin) : _index(end) if end else None]


def _replaced_once(text: str, old: str, new: str) -> str:
    return text.replace(old, new, 1)


def _index(text: str) -> int:
    if not text.isdecimal():
        raise SendFailed("substr: where it begins and ends should be whole numbers", permanent=True)
    return int(text)


_SUBSTR = "(text, begin) or (text, begin, end), counted from 0"
FUNCTIONS: Mapping[str, Function] = {
    "concat": Function("concat(text, text, …)", 1, 100, "".join),
    "substr": Function(f"substr{_SUBSTR}", 2, 3, _part),
    "substring": Function(f"substring{_SUBSTR}", 2, 3, _part),
    "upper": Function("upper(text)", 1, 1, str.upper),
    "lower": Function("lower(text)", 1, 1, str.lower),
    "trim": Function("trim(text)", 1, 1, str.strip),
    "replace": Function("replace(text, old, new), which replaces the first", 3, 3, _replaced_once),
    "replaceAll": Function("replaceAll(text, old, new)", 3, 3, str.replace),
    "length": Function("length(text)", 1, 1, lambda text: str(len(text))),
    "toString": Function("toString(value)", 1, 1, str),
}
