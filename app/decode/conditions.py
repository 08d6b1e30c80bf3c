"""The conditions of a provider file, compiled once into functions over the items of a request."""

from collections.abc import Callable
from typing import Any, NamedTuple

from app.decode.paths import Frame, as_text, value_at
from app.spec import Condition, When

Test = Callable[[Frame], bool]


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
    """Compiles a condition, or several of which one must hold. Raises BadInput."""
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
