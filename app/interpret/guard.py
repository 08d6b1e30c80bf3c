"""The reply guard: who gets no automatic answer, so that two machines cannot talk to each other for ever.

Times are the receive times of the messages answered; there is no clock here.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from app.address import is_reachable
from app.events import Category, Guard

UNREACHABLE = "guard: a short code or alphanumeric sender"
OWN_NUMBER = "guard: one of our own numbers"
OWN_TEXT = "guard: our own text came back"

_HOUR = timedelta(hours=1)


class Policy(NamedTuple):
    """The settings of the guard, and how long a reply may wait to leave."""

    default_every: timedelta = timedelta(hours=24)
    per_hour: int = 5
    confirmation_deadline: timedelta = timedelta(minutes=5)
    reply_deadline: timedelta = timedelta(hours=1)

    def deadline(self, category: Category) -> timedelta:
        """How long a reply of the category may wait. 5 minutes is what 47 CFR 64.1200(a)(12) presumes fine."""
        return self.confirmation_deadline if category is Category.OPT_OUT else self.reply_deadline

    @property
    def longest_deadline(self) -> timedelta:
        """Of a reply of any category."""
        return max(self.confirmation_deadline, self.reply_deadline)


def refuses_address(address: str, sender: str, own_numbers: frozenset[str]) -> str:
    """Why nobody at this address is answered; empty: somebody may be."""
    if address in own_numbers or address == sender:
        return OWN_NUMBER
    return "" if is_reachable(address) else UNREACHABLE


def refuses_rate(guard: Guard, policy: Policy, category: Category, at: datetime) -> str:
    """Why a reply of the category would be one too many; empty: it is not.

    A confirmation of an opt-out is exempt: there is one for each opt-out anyway, and the law expects it.
    """
    if category is Category.OPT_OUT:
        return ""
    if category is Category.DEFAULT and guard.default_at and abs(at - guard.default_at) < policy.default_every:
        return f"guard: default reply already sent within {policy.default_every / _HOUR:g} h"
    if len(_lately(guard, at)) >= policy.per_hour:
        return f"guard: already {policy.per_hour} replies within 1 h"
    return ""


def replied(guard: Guard, category: Category, at: datetime) -> Guard:
    """The guard after one more reply."""
    recent = [*_lately(guard, at), at]
    if len(recent) > 1 and at < recent[-2]:
        recent.sort()
    return Guard(at if category is Category.DEFAULT else guard.default_at, tuple(recent))


def _lately(guard: Guard, at: datetime) -> list[datetime]:
    # to both sides: messages of a replay come late, and a clock that jumped ahead must not silence anybody for years
    return [moment for moment in guard.recent if abs(at - moment) < _HOUR]
