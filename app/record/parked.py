"""Changes of consent that the database refused and that came with no request (by hand, from an import, from a block
error): kept whole in the item of their entry on the work list, so that they can be recorded again."""

from typing import Any

import orjson

from app.events import Cause, Change, ConsentState, Heard
from app.record.moments import moment

_LONGEST_ITEM = 4_000
_COMMON = ("provider", "account", "program")


def as_item(heard: Heard) -> str:
    """The changes as JSON, for `read_back`; of what cannot be kept so, only what kind of events they were."""
    kinds = ", ".join(type(event).__name__.lower() for event in heard.events)
    if not all(isinstance(event, Change) for event in heard.events):
        return kinds
    try:
        item = orjson.dumps({name: getattr(heard, name) for name in _COMMON} | {"changes": heard.events}).decode()
    except orjson.JSONEncodeError:  # half of a surrogate pair, which no database takes either
        return kinds
    return item if len(item) <= _LONGEST_ITEM else kinds


def read_back(entry: Any) -> Heard | None:
    """What an entry of the work list keeps, as it was heard; None: nothing that could be recorded."""
    if entry.kind != "parked" or entry.raw_id is not None or not entry.item.startswith("{"):
        return None
    kept = orjson.loads(entry.item)
    if "changes" not in kept:
        return None
    changes = tuple(_change(each) for each in kept["changes"])
    provider, account, program = (kept[name] for name in _COMMON)
    return Heard(entry.webhook, provider, account, program, entry.received_at, changes, late=True)


def _change(kept: dict[str, Any]) -> Change:
    told = {"state": ConsentState(kept["state"]), "cause": Cause(kept["cause"])}
    told_at, about = moment(kept["provider_time"]), kept["about"]
    return Change(**kept | told | {"provider_time": told_at, "about": about and tuple(about)})
