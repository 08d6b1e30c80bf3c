"""From an XML body to the tree that JSON would have made of it: `<sms id="7"><from>+41…</from></sms>` becomes
`{"sms": {"@id": "7", "from": "+41…"}}`.

An element without children and attributes is its text, one that is repeated becomes a list, and the text of any other
is its `#text`. Prefixes of namespaces are dropped. Document types and entities are refused: no provider sends them, and
they are how a small body becomes a large one (https://docs.python.org/3/library/xml.html#xml-vulnerabilities).
"""

from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml.ElementTree import XMLParser  # type: ignore[import-untyped]

from app.errors import Unreadable

#: elements and attributes of a body
MOST = 20_000


def read_xml(body: bytes, charset: str | None, *, deepest: int) -> dict[str, Any]:
    """The tree, by the name of its root. Raises Unreadable where the body is not well-formed, too deep or too large."""
    tree = _Tree(deepest)
    parser = XMLParser(target=tree, encoding=charset, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    try:
        parser.feed(body)
        parser.close()
    except ParseError as error:
        raise Unreadable(f"The body is not well-formed XML: {error}.") from None
    except (ValueError, LookupError):
        raise Unreadable("The body is XML with a document type or an encoding that is not taken.") from None
    return tree.root


class _Tree:
    """Takes what the parser meets, one call for each, and makes the tree of it; so it can stop at a limit."""

    def __init__(self, deepest: int) -> None:
        self.root: dict[str, Any] = {}
        self._deepest = deepest
        #: the elements that are open: what is in them, and their text
        self._open: list[tuple[dict[str, Any], list[str]]] = [(self.root, [])]
        self._left = MOST

    def start(self, _tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        self._left -= 1 + len(attributes)
        if self._left < 0:
            raise Unreadable(f"The body has more than {MOST} elements and attributes.")
        if len(self._open) > self._deepest:
            raise Unreadable(f"The body has more than {self._deepest} elements inside each other.")
        self._open.append(({f"@{_local(name)}": value for name, value in attributes.items()}, []))

    def data(self, text: str) -> None:
        """Text of the innermost open element."""
        self._open[-1][1].append(text)

    def end(self, tag: str) -> None:
        """The innermost open element ends."""
        inside, texts = self._open.pop()
        _add(self._open[-1][0], _local(tag), _content(inside, "".join(texts)))

    def close(self) -> None:
        """The body ends."""


def _local(name: str) -> str:
    """A name without the namespace that the parser puts before it."""
    return name.rpartition("}")[2]


def _content(inside: dict[str, Any], text: str) -> Any:
    if not inside:
        return text
    return {**inside, "#text": text} if text.strip() else inside


def _add(parent: dict[str, Any], name: str, value: Any) -> None:
    if name not in parent:
        parent[name] = value
    elif isinstance(parent[name], list):
        parent[name].append(value)
    else:
        parent[name] = [parent[name], value]
