"""The values and conditions of a provider file, compiled once into functions over the items of a request."""

from collections.abc import Callable
from typing import Any, NamedTuple

from app.decode.paths import Frame, Get, value_at
from app.provider import Alternative, Condition, Value, When

Text = Callable[[Frame], str]
"""The text of a field; empty where there is none."""

Test = Callable[[Frame], bool]


def text_of(value: Value | None) -> Text:
    """The first alternative that has a value."""
    texts = texts_of(value)
    if len(texts) < 2:
        return texts[0] if texts else _constant("")

    def text(frame: Frame) -> str:
        for alternative in texts:
            found = alternative(frame)
            if found:
                return found
        return ""

    return text


def texts_of(value: Value | None) -> list[Text]:
    """Each alternative for itself."""
    return [_alternative(one) for one in _listed(value)]


def spelt(value: Value | None) -> str:
    """Where a value is looked for, for people: `ButtonText or Body`."""
    return " or ".join(one if isinstance(one, str) else one.path or repr(one.const) for one in _listed(value))


def as_text(value: Any) -> str:
    """A leaf of a tree as text; objects, arrays and null have none."""
    if type(value) is str:
        return value
    if value is None or type(value) in (dict, list):
        return ""
    if type(value) is bool:
        return "true" if value else "false"
    return str(int(value) if type(value) is float and value.is_integer() else value)


def _listed(value: Value | None) -> list[str | Alternative]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _alternative(one: str | Alternative) -> Text:
    if isinstance(one, str):
        return _plain(value_at(one))
    text = _plain(value_at(one.path)) if one.path else _constant(one.const)
    if one.prefix or one.suffix:
        text = _cut(text, one.prefix, one.suffix)
    if one.none:
        text = _unless(text, frozenset(one.none))
    text = _guarded(text, condition_of(one.when).holds) if one.when else text
    return _among(value_at(one.among), text) if one.among else text


def _plain(get: Get) -> Text:
    def text(frame: Frame) -> str:
        found = get(frame)
        return found if type(found) is str else as_text(found)

    return text


def _constant(const: str) -> Text:
    return lambda _: const


def _cut(text: Text, prefix: str, suffix: str) -> Text:
    return lambda frame: text(frame).removeprefix(prefix).removesuffix(suffix)


def _unless(text: Text, none: frozenset[str]) -> Text:
    def known(frame: Frame) -> str:
        found = text(frame)
        return "" if found in none else found

    return known


def _guarded(text: Text, holds: Test) -> Text:
    return lambda frame: text(frame) if holds(frame) else ""


def _among(array: Get, text: Text) -> Text:
    def first(frame: Frame) -> str:
        items = array(frame)
        texts = (text(Frame(item, frame)) for item in (items if type(items) is list else ()))
        return next(filter(None, texts), "")

    return first


class Check(NamedTuple):
    """One line of a condition, and how to say what it wants."""

    holds: Test
    wants: str


class Compiled(NamedTuple):
    """A condition; an empty one always holds."""

    holds: Test
    choices: list[list[Check]]

    def lacks(self, frame: Frame) -> str:
        """What is missing for it to hold, for people."""
        first = [next((check.wants for check in checks if not check.holds(frame)), "") for checks in self.choices]
        return " or ".join(dict.fromkeys(first))


def condition_of(when: When) -> Compiled:
    """Compiles a condition, or several of which one must hold."""
    choices = [_checks(condition) for condition in (when if isinstance(when, list) else [when])]
    tests = [_all([check.holds for check in checks]) for checks in choices]
    return Compiled(tests[0] if len(tests) == 1 else lambda frame: any(test(frame) for test in tests), choices)


def _all(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]

    return lambda frame: all(test(frame) for test in tests)


def _checks(condition: Condition) -> list[Check]:
    return [_check(path, wanted) for path, wanted in condition.items()]


def _check(path: str, wanted: bool | str | list[str]) -> Check:
    get = value_at(path)
    if wanted is True:
        return Check(lambda frame: not _is_empty(get(frame)), f"a value at {path}")
    if wanted is False:
        return Check(lambda frame: _is_empty(get(frame)), f"nothing at {path}")
    words = [wanted] if isinstance(wanted, str) else wanted
    wants = f"{path} = {' or '.join(words)}"
    folded = frozenset(word.casefold() for word in words)
    beginnings = tuple(word[:-1] for word in folded if word.endswith("*"))
    if beginnings:
        return Check(lambda frame: _begins(as_text(get(frame)).casefold(), folded, beginnings), wants)
    return Check(lambda frame: as_text(get(frame)).casefold() in folded, wants)


def _begins(text: str, words: frozenset[str], beginnings: tuple[str, ...]) -> bool:
    return text in words or text.startswith(beginnings)


def _is_empty(value: Any) -> bool:
    """Zero and false are values."""
    return not value and (value is None or type(value) in (str, list, dict))
