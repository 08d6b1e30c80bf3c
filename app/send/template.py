"""Texts and JSON with places for values: compiled once, filled leaf by leaf.

A value never meets the syntax around it: in JSON it is a leaf before anything is serialised, in a URL, a form and XML
it is encoded. So no quote, brace or line break of a message can become a field of its own.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, TypeVar

import orjson

from app.errors import BadInput, SendFailed, TookTooLong, Unreadable
from app.expression import expression

Values = Mapping[str, Any]
"""The values of one message: the places of `app.provider.Send` that are not `Known` before."""
T = TypeVar("T")
Fill = Callable[[Values], T]
Part = str | Fill[str]

#: places whose values are texts of the message
TEXTS = frozenset({"fromNumber", "toNumber", "message", "messageReference", "fallback"})
#: what an expression may walk into
_OBJECTS = frozenset({"profile", "parameters", "suggestions"})
#: a leaf with nothing but one of these is left out where there is no value
_OPTIONAL = frozenset({"feedbackUrl", "suggestions", "fallback"})
_LISTED = (
    "fromNumber toNumber message messageReference appId profile.name parameters.name feedbackUrl suggestions fallback"
)

#: what a byte becomes in a form (https://url.spec.whatwg.org/#application/x-www-form-urlencoded)
_FORM = [chr(b) if (chr(b).isalnum() and b < 128) or b in b"*-._" else f"%{b:02X}" for b in range(256)]
_FORM[ord(" ")] = "+"
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
#: what decides where a place ends: a closing brace, unless a string, a quoted name or an inner brace holds it
_SYNTAX = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`|[{}]""", re.DOTALL)
LEFT_OUT: Any = object()
"""The value of a leaf that shall not be sent at all."""


class Places(Protocol):
    """What may stand in the places of a text."""

    def value(self, name: str) -> str | Fill[Any]:
        """What stands in a place: a constant, or a function. Raises BadInput for a place that there is not."""


class Known(NamedTuple):
    """What stands before there is a message. It knows the places of a message."""

    app_id: str = ""
    feedback_url: str = ""
    """Empty: nobody has to be told."""
    parameters: Mapping[str, str] = {}

    def value(self, name: str) -> str | Fill[Any]:
        """What stands in one place. Raises BadInput for an unknown name."""
        return value_of(name, self)


def taken_apart(text: str) -> tuple[list[str], list[str]]:
    """What stands around the places, and what stands in them. A place that is never closed stays part of the text."""
    literals, names, start = [], [], 0
    while (opening := text.find("{{", start)) >= 0 and (closing := _closing(text, opening + 2)) is not None:
        literals.append(text[start:opening])
        names.append(text[opening + 2 : closing].strip())
        start = closing + 2
    return [*literals, text[start:]], names


def _closing(text: str, start: int) -> int | None:
    depth = 0
    for found in _SYNTAX.finditer(text, start):
        if found.group() == "{":
            depth += 1
        elif found.group() == "}":
            if depth == 0:
                return found.start() if text.startswith("}}", found.start()) else None
            depth -= 1
    return None


def checked(text: str) -> tuple[list[str], list[str]]:
    """The same as `taken_apart`. Raises BadInput for a place that is never closed."""
    literals, names = taken_apart(text)
    _, opened, rest = literals[-1].partition("{{")
    if opened:
        raise BadInput(f"a placeholder is opened with {{{{ and never closed with }}}}: {{{{{rest[:40]}")
    return literals, names


def words_for_places(text: str) -> tuple[str, str, list[str]]:
    """The text with a word in every place, that word, which the text has nowhere else, and what stood in the places.

    So the syntax around the places can be read before there are values.
    """
    literals, names = checked(text)
    word = "place"
    while any(word in literal for literal in literals):
        word += "x"
    return word.join(literals), word, names


def text_parts(
    text: str, places: Places, encode: Callable[[str], str] = str, around: Callable[[str], str] = str
) -> list[Part]:
    """The text in parts: each value encoded by `encode`, and what is around the places by `around`.

    Raises BadInput for an unknown or broken place.
    """
    literals, names = checked(text)
    literals = list(map(around, literals))
    parts: list[Part] = [literals[0]]
    for name, literal in zip(names, literals[1:], strict=True):
        parts += [_encoded(name, places.value(name), encode), literal]
    return parts


def joined(parts: Iterable[Part]) -> Fill[str]:
    """The function that fills the parts in."""
    first, pairs = "", list[tuple[Fill[str], str]]()
    for part in parts:
        if not isinstance(part, str):
            pairs.append((part, ""))
        elif pairs:
            pairs[-1] = (pairs[-1][0], pairs[-1][1] + part)
        else:
            first += part
    if not pairs:
        return lambda _: first
    return lambda values: first + "".join([fill(values) + literal for fill, literal in pairs])


def json_template(node: Any, known: Known) -> Fill[Any]:
    """The JSON value with the places of its text leaves filled in. Raises BadInput as `text_parts` does.

    LEFT_OUT is what becomes of a leaf, see `leaf`, and of an object that nothing is left of.
    """
    match node:
        case str():
            return leaf(node, known)
        case dict():
            return _object([(constant_name(name), json_template(value, known)) for name, value in node.items()])
        case list():
            items = [json_template(item, known) for item in node]
            return lambda values: [value for fill in items if (value := fill(values)) is not LEFT_OUT]
    return lambda _: node


def _object(fields: list[tuple[str, Fill[Any]]]) -> Fill[Any]:
    def fill(values: Values) -> Any:
        found = {name: value for name, field in fields if (value := field(values)) is not LEFT_OUT}
        return found or LEFT_OUT

    return fill if fields else lambda _: {}


def leaf(text: str, known: Known) -> Fill[Any]:
    """A leaf. One that is nothing but a place keeps the value's type, or is LEFT_OUT where it may be and has none."""
    literals, names = checked(text)
    if literals != ["", ""]:
        return joined(text_parts(text, known))
    (name,) = names
    value = value_of(name, known)
    if isinstance(value, str):
        found = LEFT_OUT if name in _OPTIONAL and not value else value
        return lambda _: found
    if name in _OPTIONAL:
        return lambda values: value(values) or LEFT_OUT
    return _left_out_when_none(value) if is_expression(name) else value


def may_be_left_out(text: str) -> bool:
    """Whether a leaf of this text is left out in some messages."""
    literals, names = taken_apart(text)
    return literals == ["", ""] and (names[0] in _OPTIONAL or is_expression(names[0]))


def value_of(name: str, known: Known) -> str | Fill[Any]:
    """What stands in one place: a constant, or a function. Raises BadInput for an unknown name."""
    root, _, rest = name.partition(".")
    if name in TEXTS or name == "suggestions":
        return itemgetter(name)
    if name == "appId":
        return known.app_id
    if name == "feedbackUrl":
        return known.feedback_url
    if is_expression(name):
        return _expressed(name, known)
    if root == "profile":
        return lambda values: values["profile"].get(rest, "")
    if root == "parameters":
        return _parameter(rest, known)
    raise BadInput(f"{{{{{name}}}}} is no placeholder; there are {_LISTED}, and JSONata over these")


def is_expression(name: str) -> bool:
    """Whether a place holds JSONata, and not just a name."""
    root, _, rest = name.partition(".")
    if root in _OBJECTS and name != "suggestions":
        return root == "suggestions" or not _NAME.fullmatch(rest)
    return bool(name) and not _NAME.fullmatch(name)


def form_encoded(value: str) -> str:
    """A value of a form. The standard library's quote_plus goes through Python once a character: five times as slow."""
    return "".join([_FORM[byte] for byte in value.encode("utf-8", "replace")])


def as_text(value: Any) -> str:
    """A value within a text: nothing where there is none, JSON where it is no text."""
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()


def _parameter(name: str, known: Known) -> str:
    if name not in known.parameters:
        raise BadInput(f'{{{{parameters.{name}}}}}: the credential has no parameter "{name}"; add it to its parameters')
    return known.parameters[name]


def _expressed(text: str, known: Known) -> Fill[Any]:
    evaluate = expression(text)
    before = {"appId": known.app_id, "feedbackUrl": known.feedback_url, "parameters": dict(known.parameters)}

    def fill(values: Values) -> Any:
        try:
            return evaluate({**before, **values})
        except Unreadable as error:
            reason = f"the request could not be made: {{{{{text[:80]}}}}}: {error}"
            raise SendFailed(reason, permanent=not isinstance(error, TookTooLong)) from None

    return fill


def _encoded(name: str, value: str | Fill[Any], encode: Callable[[str], str]) -> Part:
    if isinstance(value, str):
        return encode(value)
    if name in TEXTS:
        return lambda values: encode(values[name])
    return lambda values: encode(as_text(value(values)))


def _left_out_when_none(value: Fill[Any]) -> Fill[Any]:
    def fill(values: Values) -> Any:
        found = value(values)
        return LEFT_OUT if found is None else found

    return fill


def constant_name(name: str) -> str:
    """The name of a field. Raises BadInput where a placeholder stands in it."""
    if "{{" in name:
        raise BadInput(f"{name} stands where a field has its name; placeholders fill values only")
    return name
