"""What makes an event unique: two events with one key are one event, however often the provider sends it.

The account stands in each key, so that the same id from two accounts is two events. No part of a key is ever None.
"""

from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from app.errors import Unreadable
from app.webhook import CUSTOM, Webhook

#: PostgreSQL indexes at most 2,700 bytes; nobody's ids come near it
LONGEST = 600
#: seconds in which an equal event without id and time is the same one, sent again; more than a provider takes to come
#: back after our own 503, for that request may have been written all the same
REPEAT = 30.0

Join = Callable[..., str]


class Key(NamedTuple):
    """A key, and for how long: see `app.events.Inbound.repeats_within`."""

    text: str
    repeats_within: float | None = None


def hearing_account(webhook: Webhook) -> str:
    """The account that ids of inbound messages and changes are unique in.

    Two custom providers, each with a counter for an id, must not swallow each other's STOP. Receipts use the webhook's
    `ids_account`: they meet the messages that were sent, maybe through another webhook's credential.
    """
    if webhook.provider == CUSTOM and not webhook.account:
        return f"{CUSTOM}/{webhook.name}"
    return webhook.ids_account


def joiner(kind: str, account: str) -> Join:
    """A function that joins parts to a key; a part may hold anything. It raises Unreadable where they are too long."""
    head = f"{kind}|{_escaped(account)}|"

    def join(*parts: str) -> str:
        key = "|".join(parts)
        if "%" in key or key.count("|") >= len(parts):
            key = "|".join([_escaped(part) for part in parts])
        key = head + key
        if len(key) > LONGEST:
            raise Unreadable(f"its ids have more than {LONGEST} characters")
        return key

    return join


def fingerprint(join: Join, time: datetime | None, *parts: str) -> Key:
    """The key of an event without id: what it says, and the provider's time. Without a time only a repeat within
    seconds is the same event."""
    told = "\0".join((*parts, stamp(time)))
    return Key(join("#" + sha256(told.encode()).hexdigest()), REPEAT if time is None else None)


def stamp(time: datetime | None) -> str:
    """A time as part of a key."""
    return time.isoformat() if time else ""


def _escaped(part: str) -> str:
    return part.replace("%", "%25").replace("|", "%7C")
