"""Secrets are write-only: shown as three stars, and what comes back starred, or not at all, stays as it is stored."""

from collections.abc import Iterator
from typing import Any

from pydantic import SecretStr

from app.errors import BadInput
from app.serve.door import STARS

Tree = dict[str, Any]


def keep_secrets(given: Tree, stored: Tree) -> Tree:
    """`given` with the secrets of `stored` in the places where it has stars or nothing.

    `stored` is a model's dump, its secrets still SecretStr. A part of another type (basic, then bearer) keeps none.
    """
    kept = dict(given)
    for name, part in stored.items():
        if name in given:
            kept[name] = _kept(given[name], part)
        elif _is_secret(part):
            kept[name] = part
    return kept


def refuse_stars(tree: Tree) -> None:
    """Raise BadInput where stars are left: there is no secret that they could stand for."""
    places = list(_starred(tree, ""))
    if places:
        raise BadInput(f"{', '.join(places)}: {STARS} stands for the stored secret, and there is none; send it.")


def _kept(given: Any, stored: Any) -> Any:
    match given, stored:
        case dict(), dict() if given.get("type") in (None, stored.get("type")):
            return keep_secrets(given, stored)
        case list(), list():
            return [_kept(part, stored[i]) if i < len(stored) else part for i, part in enumerate(given)]
        case str(), SecretStr() if given == STARS:
            return stored
        case _:
            return given


def _is_secret(value: Any) -> bool:
    return isinstance(value, SecretStr) or (isinstance(value, list) and any(map(_is_secret, value)))


def _starred(value: Any, place: str) -> Iterator[str]:
    if value == STARS:
        yield place
    elif isinstance(value, dict | list):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _starred(part, f"{place}.{name}" if place else str(name))
