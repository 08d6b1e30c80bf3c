"""The tree of a request as a provider file means it: what is wrapped in it opened, names folded where it says so."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from app.decode.body import Plain, check_depth, clean_text, parse_json, read_body
from app.decode.folding import fold_path, fold_tree
from app.decode.paths import Step, parts_of, step_of
from app.decode.wrapping import unwrapped_bytes
from app.errors import BadInput
from app.provider import Provider, Unwrap
from app.request import Request

Opener = Callable[[Request], Any]
"""The tree. Raises Unreadable where the body cannot be read, or is nested too deep."""

_BODY_AS_TEXT = re.compile(r'"request:body"')
_BESIDE_THE_BODY = re.compile(r'"(?:header|query|request):')


def opener(provider: Provider) -> Opener:
    """Compiles how bodies of this provider are read. Raises BadInput."""
    plain = _plain(provider)
    changes: list[Callable[[Any], Any]] = [fold_tree] if provider.fold_names else []
    changes.extend(_change(one, fold=provider.fold_names) for one in provider.unwrap)

    def read(request: Request) -> Any:
        tree = read_body(request, plain)
        for change in changes:
            tree = change(tree)
        check_depth(tree)
        return tree

    read_plainly = read if changes else partial(read_body, plain=plain) if plain != "never" else read_body
    return _once(provider, read_plainly) if provider.handshakes else read_plainly


def _plain(provider: Provider) -> Plain:
    """A provider that tells in headers whose message it is may send the message itself as plain text."""
    rules = provider.model_dump_json(include={"events", "status_rules"})
    if _BODY_AS_TEXT.search(rules):
        return "unless claimed"
    return "else" if _BESIDE_THE_BODY.search(rules) else "never"


def _once(provider: Provider, read: Opener) -> Opener:
    """Handshakes and events read the same tree."""

    def read_once(request: Request) -> Any:
        kept = request.tree
        if kept is None or kept[0] is not provider:
            kept = request.tree = (provider, read(request))
        return kept[1]

    return read_once


def _change(one: Unwrap, *, fold: bool) -> Callable[[Any], Any]:
    try:
        places = _places(fold_path(one.path) if fold else one.path)
    except BadInput as error:
        raise BadInput(f"unwrap: {error}") from None

    def opened(value: Any) -> Any:
        found = _opened(value, one.steps)
        return fold_tree(found) if fold else found

    return partial(_changed, places=places, change=opened)


def _places(path: str) -> list[Step | None]:
    """The steps to a value; None: into each element of an array."""
    if not path:
        raise BadInput("path '' leads nowhere; the whole body is @")
    places: list[Step | None] = []
    for part in parts_of(path):
        name = part.removesuffix("[]")
        if name not in ("", "@"):
            places.append(step_of(name))
        if name != part:
            places.append(None)
    return places


def _changed(tree: Any, places: Sequence[Step | None], change: Callable[[Any], Any]) -> Any:
    """The tree with the values at a place changed, in place where it can be."""
    if not places:
        return change(tree)
    place, *rest = places
    if place is None:
        several = type(tree) is list
        return [_changed(item, rest, change) for item in tree] if several else _changed(tree, rest, change)
    name, index = place
    if type(tree) is dict and name in tree:
        tree[name] = _changed(tree[name], rest, change)
    elif type(tree) is list and index is not None and index < len(tree):
        tree[index] = _changed(tree[index], rest, change)
    return tree


def _opened(value: Any, steps: Sequence[str]) -> Any:
    """What is in the value; itself where it cannot be opened, and so read or shown as it is."""
    found = value
    try:
        for step in steps:
            if type(found) is not str:
                return value
            found = parse_json(found.encode()) if step == "json" else _from_base64(found)
    except ValueError:
        return value
    return found if type(found) in (dict, list) or steps[-1:] != ["json"] else value


def _from_base64(text: str) -> str:
    return clean_text(unwrapped_bytes(text, "base64").decode())
