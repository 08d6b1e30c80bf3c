"""What a look-up says: who asks, whether they want their identity told, and whom a company's server names.

Nothing here is believed that a page cannot be believed in: of a page's `identityMap` the ECID alone is read, whatever
state of authentication it claims. The form is the vendor's (https://developer.adobe.com/data-collection-apis/docs/api/).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from app.errors import BadAddress
from app.serve.edge.identity import ECID, is_ecid, read_cookie
from app.serve.fields import person
from app.serve.problems import Problem

#: namespaces of the vendor's, ours, and what stands before the identity to make an address of it
_NAMESPACES: Mapping[str, str] = {"phone": "", "email": "email:", "address": ""}
_NOTHING: Mapping[str, Any] = {}


class Asked(NamedTuple):
    """One look-up."""

    ecid: str
    """Empty: none was sent."""
    keeps: bool
    """Whether the browser has it in its cookie already."""
    wants_identity: bool
    address: str = ""
    """The subscriber that a company's server names; empty: none."""


def asked_by_page(body: bytes, cookie_name: str, cookies: str) -> Asked:
    """A page's look-up. Raises a 400 Problem for a body that is not the vendor's form."""
    tree = _tree(body)
    return _asked(tree, _first(_maps(tree), ECID), cookie_name, cookies)


def asked_by_server(body: bytes, cookie_name: str, cookies: str) -> Asked:
    """A server's look-up, which may name a person. Raises a 400 Problem, and 422 for a name that is no address."""
    tree = _tree(body)
    maps = list(_maps(tree))
    return _asked(tree, _first(maps, ECID), cookie_name, cookies)._replace(address=_address(maps))


def _tree(body: bytes) -> Mapping[str, Any]:
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Problem(400, "The body is not JSON; send what the Web SDK sends: an object with events.") from None
    if not isinstance(tree, dict):
        raise Problem(400, "The body is not a JSON object; send what the Web SDK sends: an object with events.")
    if not isinstance(tree.get("events", []), list):
        raise Problem(400, "events is not a list; send one object for each event in it.")
    return tree


def _asked(tree: Mapping[str, Any], named: object, cookie_name: str, cookies: str) -> Asked:
    """The cookie counts before what a page names, so that a link with a stranger's ECID in it changes nobody's."""
    kept = _from_state(tree, cookie_name) or _from_header(cookies, cookie_name)
    ecid = kept or (str(named) if is_ecid(named) else "")
    fetch = _table(_table(tree.get("query")).get("identity")).get("fetch")
    return Asked(ecid, bool(kept), isinstance(fetch, list) and ECID in fetch)


def _from_state(tree: Mapping[str, Any], cookie_name: str) -> str:
    """Where the page is of another site than we are, the SDK sends its cookies in the body."""
    entries = _table(_table(tree.get("meta")).get("state")).get("entries")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("key") == cookie_name:
            return read_cookie(entry.get("value"))
    return ""


def _from_header(cookies: str, cookie_name: str) -> str:
    """Where we are a host of the page's own site, the browser sends them."""
    if cookie_name in cookies:
        for cookie in cookies.split(";"):
            name, _, value = cookie.strip().partition("=")
            if name == cookie_name:
                return read_cookie(value)
    return ""


def _maps(tree: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every `identityMap`, the request's own first; of an API call `event` is one event."""
    for part in (tree, tree.get("event"), *tree.get("events", ())):
        if found := _table(_table(_table(part).get("xdm")).get("identityMap")):
            yield found


def _first(maps: Iterable[Mapping[str, Any]], namespace: str) -> object:
    """The primary identity of the namespace, else its first, as it was sent; None: none."""
    for each in maps:
        items = [item for item in _list(each.get(namespace)) if isinstance(item, dict)]
        for item in sorted(items, key=lambda item: item.get("primary") is not True):
            return item.get("id")
    return None


def _address(maps: Iterable[Mapping[str, Any]]) -> str:
    """Of the first namespace by which somebody is named: phone, e-mail, then an address as we write it."""
    lowered = [{name.casefold(): value for name, value in each.items()} for each in maps]
    for namespace, before in _NAMESPACES.items():
        given = _first(lowered, namespace)
        if isinstance(given, str) and given:
            try:
                return person(before + given)
            except BadAddress as error:
                raise Problem(422, f"identityMap.{namespace}: {error}") from None
        elif given:  # a `true` as a text would be the one "person" of all whom it is sent for
            raise Problem(422, f"identityMap.{namespace}: the id is no text; send it in quotes, or leave it out.")
    return ""


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else _NOTHING


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
