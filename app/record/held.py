"""Who waits in the spool: whose new events must queue up behind their old ones, and who has just said STOP.

In memory, so that "may I send?" is answered at once while the database is away. Told by names (addresses, message ids)
and by what was said of people's consent.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from app.events import EVERY_PROGRAM


class Word(NamedTuple):
    """The latest that a person in the spool said of a program."""

    at: datetime
    """Receive time."""
    opts_out: bool


Saying = tuple[str, str, datetime, bool]
"""(program, address, receive time, whether it opts out); `app.interpret.sayings` tells it."""


class Held:
    """What the spool holds, by name."""

    def __init__(self) -> None:
        self._names: Counter[str] = Counter()
        self._said: dict[tuple[str, str], tuple[int, Word]] = {}
        self.items = 0

    def __bool__(self) -> bool:
        return self.items > 0

    def holds(self, names: Iterable[str]) -> bool:
        """Whether something about one of them waits."""
        return any(name in self._names for name in names)

    def add(self, names: Iterable[str], sayings: Iterable[Saying]) -> None:
        """An item was kept."""
        self.items += 1
        self._names.update(names)
        for program, address, at, opts_out in sayings:
            count, latest = self._said.get((program, address), (0, None))
            word = Word(at, opts_out)
            # at the same moment the opt-out holds
            self._said[program, address] = count + 1, max(latest, word) if latest else word

    def release(self, names: Iterable[str], sayings: Iterable[Saying]) -> None:
        """An item was recorded, or was refused by the disk."""
        self.items -= 1
        for name in names:
            self._names[name] -= 1
            if not self._names[name]:
                del self._names[name]
        for program, address, *_ in sayings:
            count, latest = self._said[program, address]
            if count > 1:
                self._said[program, address] = count - 1, latest
            else:
                del self._said[program, address]

    def opted_out(self, program: str, address: str) -> datetime | None:
        """When the person said STOP to the program or to all of them, where that is the latest word."""
        found = [self._said.get((name, address)) for name in {program, EVERY_PROGRAM}]
        latest = max((word for entry in found if entry for word in entry[1:]), default=None)
        return latest.at if latest and latest.opts_out else None


def names_text(names: Iterable[str]) -> str:
    """Names as the spool keeps them."""
    return orjson.dumps(list(names)).decode()


def sayings_text(sayings: Iterable[Saying]) -> str:
    """Sayings as the spool keeps them."""
    return orjson.dumps([list(saying) for saying in sayings]).decode()


def read_names(text: str) -> list[str]:
    """Names from the spool; none where they are damaged."""
    return [name for name in _list(text) if isinstance(name, str)]


def read_sayings(text: str) -> list[Saying]:
    """Sayings from the spool; none where they are damaged."""
    try:
        return [(str(p), str(a), datetime.fromisoformat(at), bool(out)) for p, a, at, out in _list(text)]
    except (ValueError, TypeError):
        return []


def _list(text: str) -> list[Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []
    return found if isinstance(found, list) else []
