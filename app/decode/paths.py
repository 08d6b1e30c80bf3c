"""Where a value stands: dotted paths, and the fan-out over arrays, compiled once into functions.

`messages.0.id` is read in the present item, `$.id` in the whole body, `^.id` in the item around the present one; `@` is
the item itself. `statuses[].recipients[]` fans out; a single object where an array is told counts as an array of one.
`header:`, `query:` and `request:` lead out of the body, see `app.decode.envelope`.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from app.decode.envelope import PREFIXES, look_at
from app.errors import BadInput
from app.request import Request

_PART = re.compile(r"(?:\\.|[^.\\])+")
_ESCAPED = re.compile(r"\\(.)")
_SPECIAL = re.compile(r"[\\.@$^\[\]]")
#: a path in a text that is made of values
PLACE = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")


class Frame(NamedTuple):
    """An item of a request, and what it stands in."""

    item: Any
    around: "Frame | None" = None
    request: Request | None = None
    """With the whole body alone."""


Get = Callable[[Frame], Any]
"""The value at a path; None where there is none."""

Spread = Callable[[Frame, list[Frame]], Iterable[Frame]]
"""(whole body, strays) -> the items that a fan-out finds. What is not of the told form is appended to the strays."""

Step = tuple[str, int | None]
"""A name, and the index that it is where a list stands."""


def escape(name: str) -> str:
    """A name as it is written in a path."""
    name = _SPECIAL.sub(lambda found: "\\" + found[0], name).replace("{i}", "{\\i}")
    return name.replace(":", "\\:", 1) if name.startswith(PREFIXES) else name


def value_at(path: str) -> Get:
    """Compiles a path. Raises BadInput."""
    look = look_at(path)
    if look is not None:
        return _outside(look)
    parts = parts_of(path)
    if any(part.endswith("[]") and not part.endswith("\\[]") for part in parts) or not parts:
        raise BadInput(f"path '{path}': a value stands at one place; [] belongs into `each`")
    if parts == ["@"]:
        return _item
    start, names = _start(parts)
    steps = [step_of(name) for name in names]
    if start is _item and len(steps) == 1 and steps[0][1] is None:
        return _named(steps[0][0])
    return _walk(start, steps)


def fan_out(each: str) -> Spread:
    """Compiles a fan-out; the empty one finds the whole body. Raises BadInput."""
    levels = levels_of(each)

    def spread(root: Frame, strays: list[Frame]) -> Iterable[Frame]:
        frames = [root]
        for level in levels:
            frames = [Frame(item, frame) for frame in frames for item in _items(frame, level, strays)]
        return frames

    return spread


def levels_of(each: str) -> list[list[Step]]:
    """The steps to each array of a fan-out. Raises BadInput."""
    levels: list[list[Step]] = []
    steps: list[Step] = []
    for part in parts_of(each):
        name = part.removesuffix("[]")
        steps.extend([step_of(name)] if name else [])
        if name != part:
            levels.append(steps)
            steps = []
    if steps:
        raise BadInput(f"each '{each}' must end with [], as in 'results[]'")
    return levels


def as_text(value: Any) -> str:
    """A leaf of a tree as text; objects, arrays and null have none."""
    if type(value) is str:
        return value
    if value is None or type(value) in (dict, list):
        return ""
    if type(value) is bool:
        return "true" if value else "false"
    return str(int(value) if type(value) is float and value.is_integer() else value)


def parts_of(path: str) -> list[str]:
    """The names of a path as they are written. Raises BadInput."""
    parts = _PART.findall(path)
    if ".".join(parts) != path:
        raise BadInput(f"path '{path}' has an empty name or a backslash at its end")
    return parts


def step_of(part: str) -> Step:
    """A name of a path as it is meant."""
    name = _ESCAPED.sub(r"\1", part)
    return name, int(name) if name.isascii() and name.isdigit() and len(name) < 10 else None


def _start(parts: list[str]) -> tuple[Get, list[str]]:
    """Where the path sets out from, and the names that follow."""
    if parts[0] == "$":
        return _root, parts[1:]
    climb = climb_of(parts)
    return (_outer(climb) if climb else _item), parts[climb:]


def climb_of(parts: list[str]) -> int:
    """How many items a path climbs."""
    return next((n for n, part in enumerate(parts) if part != "^"), len(parts))


def _item(frame: Frame) -> Any:
    return frame.item


def _root(frame: Frame) -> Any:
    return _whole(frame).item


def _whole(frame: Frame) -> Frame:
    while frame.around is not None:
        frame = frame.around
    return frame


def _outside(look: Callable[[Request], str | None]) -> Get:
    def get(frame: Frame) -> Any:
        request = _whole(frame).request
        return None if request is None else look(request)

    return get


def _outer(climb: int) -> Get:
    def get(frame: Frame) -> Any:
        found: Frame | None = frame
        for _ in range(climb):
            found = found and found.around
        return found and found.item

    return get


def _named(name: str) -> Get:
    def get(frame: Frame) -> Any:
        item = frame[0]
        return item.get(name) if type(item) is dict else None

    return get


def _walk(start: Get, steps: list[Step]) -> Get:
    def get(frame: Frame) -> Any:
        value = start(frame)
        for step in steps:
            value = enter(value, step)
        return value

    return get


def enter(value: Any, step: Step) -> Any:
    """What stands there; None where nothing does."""
    name, index = step
    if type(value) is dict:
        return value.get(name)
    if type(value) is list and index is not None and index < len(value):
        return value[index]
    return None


def _items(frame: Frame, steps: list[Step], strays: list[Frame]) -> list[Any]:
    value = frame.item
    for step in steps:
        if type(value) not in (dict, list):
            strays.append(frame)
            return []
        value = enter(value, step)
        if value is None:
            return []
    return value if type(value) is list else [value]
