"""Where in a body a path leads: names and indexes from its top. For people; reading itself needs values alone."""

from collections.abc import Iterable, Iterator
from itertools import count, takewhile
from typing import Any, NamedTuple

from app.decode.envelope import PREFIXES
from app.decode.fields import MOST_INDEXES
from app.decode.paths import Frame, Step, climb_of, enter, escape, levels_of, parts_of, step_of, value_at
from app.provider import Alternative
from app.spec import When

Place = tuple[str, ...]
"""Names and indexes."""


class Item(NamedTuple):
    """An item of a request, and where it stands."""

    frame: Frame
    places: tuple[Place, ...]
    """Of the whole body, of each item on the way, and its own."""

    @property
    def place(self) -> str:
        """Its own, as a path; empty for the whole body."""
        return spelt_place(self.places[-1])


def items_of(each: str, root: Frame) -> list[Item]:
    """What a fan-out finds, as `paths.fan_out` does."""
    items = [Item(root, ((),))]
    for level in levels_of(each):
        items = [inner for outer in items for inner in _inside(outer, level)]
    return items


def _inside(outer: Item, level: list[Step]) -> Iterator[Item]:
    value = outer.frame.item
    for step in level:
        value = enter(value, step)
    place = (*outer.places[-1], *(name for name, _ in level))
    if type(value) is list:
        for index, item in enumerate(value):
            yield _item(outer, item, (*place, str(index)))
    elif value is not None:
        yield _item(outer, value, place)


def _item(outer: Item, value: Any, place: Place) -> Item:
    return Item(Frame(value, outer.frame), (*outer.places, place))


def spelt_place(place: Place) -> str:
    """A place as a path."""
    return ".".join(escape(name) for name in place)


def leaves(tree: Any, place: Place = ()) -> Iterator[Place]:
    """The places of all values that are neither empty nor hold others."""
    inside: Iterable[tuple[Any, Any]] = ()
    if isinstance(tree, dict):
        inside = tree.items()
    elif isinstance(tree, list):
        inside = enumerate(tree)
    elif tree not in (None, ""):
        yield place
    for name, value in inside:
        yield from leaves(value, (*place, str(name)))


def places_of(one: str | Alternative, item: Item) -> Iterator[Place]:
    """Where an alternative looks in the body, its condition included."""
    if isinstance(one, str):
        yield from _places(one, item)
        return
    within = list(_elements(one.among, item)) if one.among else [item]
    for inner in within:
        yield from condition_places(one.when, inner)
        for path in _paths(one.path, inner):
            yield from _places(path, inner)


def condition_places(when: When, item: Item) -> Iterator[Place]:
    """Where a condition looks in the body."""
    for condition in when if isinstance(when, list) else [when]:
        for path in condition:
            yield from _places(path, item)


def _paths(path: str, item: Item) -> list[str]:
    """The path, or those that it stands for: `text_{i}` as far as there are any."""
    if "{i}" not in path:
        return [path] if path else []
    numbered = (path.replace("{i}", str(index)) for index in range(1, MOST_INDEXES + 1))
    present = takewhile(lambda one: value_at(one)(item.frame) is not None, numbered)
    return [path.replace("{i}", "0"), *present]


def _elements(among: str, item: Item) -> Iterator[Item]:
    for place in _places(among, item):
        found = value_at(among)(item.frame)
        elements = zip(count(), found if type(found) is list else (), strict=False)
        yield from (_item(item, element, (*place, str(index))) for index, element in elements)


def _places(path: str, item: Item) -> Iterator[Place]:
    """One place, or none where the path leads out of the body."""
    if path.startswith(PREFIXES):
        return
    parts = parts_of(path)
    if parts == ["@"]:
        yield item.places[-1]
    elif parts[0] == "$":
        yield tuple(step_of(part)[0] for part in parts[1:])
    elif (climb := climb_of(parts)) < len(item.places):
        yield (*item.places[-1 - climb], *(step_of(part)[0] for part in parts[climb:]))
