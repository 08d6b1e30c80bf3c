"""What an operator is shown of the reading of a request: which rules hold and what the others lack, where each value
was found, which handshake it is, and what nothing looks at. It serves who writes a payload or mends a provider file.
"""

import dataclasses
from datetime import datetime
from typing import Any

from app.events import Decoded


@dataclasses.dataclass(frozen=True, slots=True)
class Looked:
    """An alternative of a value."""

    path: str
    value: str
    """Empty: there is none."""


@dataclasses.dataclass(frozen=True, slots=True)
class FieldRead:
    """A field of a rule."""

    name: str
    value: str
    path: str
    """Where it was found; empty: nowhere."""
    looked: tuple[Looked, ...]
    """All places where the rule looks, in their order."""
    problem: str
    """One sentence; empty: none."""


@dataclasses.dataclass(frozen=True, slots=True)
class RuleRead:
    """What a rule makes of an item."""

    number: int
    """Its place among the rules, counted from 1."""
    kind: str
    item: str
    """Path of the item; empty: the whole body."""
    lacks: str
    """What is missing for it to hold; empty: it holds."""
    reads: bool
    """It is the first that holds, so it reads the item, unless what is around the item has been read."""
    fields: tuple[FieldRead, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class HandshakeRead:
    """What a handshake of the provider file makes of the request."""

    number: int
    lacks: str
    """What is missing for it to be this one; empty: nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class Explained:
    """How a request is read."""

    decoded: Decoded
    is_handshake: bool
    handshakes: tuple[HandshakeRead, ...] = ()
    rules: tuple[RuleRead, ...] = ()
    """By rule and item; none where the body cannot be read."""
    left: tuple[str, ...] = ()
    """Paths of values that nothing looks at."""


def explained_json(explained: Explained) -> dict[str, Any]:
    """The same of dictionaries, lists, texts, numbers and truth values alone."""
    plain = dataclasses.asdict(explained)
    found: dict[str, Any] = _plain(plain)
    return found


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {str(name): _plain(inner) for name, inner in value.items()}
        case tuple() if hasattr(value, "_asdict"):
            return _plain(value._asdict())
        case tuple() | list():
            return [_plain(inner) for inner in value]
        case datetime():
            return value.isoformat()
        case str():
            return str(value)
    return value
