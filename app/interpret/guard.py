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
NOTHING_SENT = Guard()

_HOUR = timedelta(hours=1)


class Policy(NamedTuple):
    """The settings of the guard, and how long a reply may wait to leave."""

    default_every: timedelta = timedelta(hours=24)
    per_hour: int = 5
    confirmation_deadline: timedelta = timedelta(minutes=5)
    reply_deadline: timedelta = timedelta(hours=1)
    calls_per_hour: int = 5
    call_deadline: timedelta = timedelta(hours=1)
    """How long a call may wait for which no reply waits."""

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
    if len(_lately(guard.recent, at)) >= policy.per_hour:
        return f"guard: already {policy.per_hour} replies within 1 h"
    return ""


def replied(guard: Guard, category: Category, at: datetime) -> Guard:
    """The guard after one more reply."""
    return Guard(at if category is Category.DEFAULT else guard.default_at, _counted(guard.recent, at), guard.called)


def refuses_call(guard: Guard, policy: Policy, at: datetime) -> str:
    """Why a call of an action would be one too many for this address; empty: it is not.

    Calls are counted for themselves: whoever chats with an action is still told HELP, and the other way round.
    """
    too_many = len(_lately(guard.called, at)) >= policy.calls_per_hour
    return f"guard: already {policy.calls_per_hour} calls within 1 h" if too_many else ""


def called(guard: Guard, at: datetime) -> Guard:
    """The guard after one more call."""
    return guard._replace(called=_counted(guard.called, at))


def _counted(times: tuple[datetime, ...], at: datetime) -> tuple[datetime, ...]:
    recent = [*_lately(times, at), at]
    if len(recent) > 1 and at < recent[-2]:
        recent.sort()
    return tuple(recent)


def _lately(times: tuple[datetime, ...], at: datetime) -> list[datetime]:
    # to both sides: messages of a replay come late, and a clock that jumped ahead must not silence anybody for years
    return [moment for moment in times if abs(at - moment) < _HOUR]
