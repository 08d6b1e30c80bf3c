"""What a request says of people's consent by itself, where there is no database to decide it against.

It is asked while the database is away, and when more comes in than can be recorded: the answer to "may I send?" must be
no at once for whoever has just said STOP, and a STOP is not shed before other things.
"""

from datetime import datetime
from typing import NamedTuple

from app.events import Category, Change, ConsentState, Heard, Inbound
from app.interpret.classify import read
from app.interpret.consent import CONSENT_EVENTS


class Saying(NamedTuple):
    """One event's word about one person."""

    program: str
    address: str
    at: datetime
    """Receive time."""
    opts_out: bool


def sayings(heard: Heard) -> list[Saying]:
    """What its events say, in their order; messages that are no consent events say nothing."""
    found = (_saying(heard, event) for event in heard.events if isinstance(event, Inbound | Change))
    return [saying for saying in found if saying]


def opts_out(heard: Heard) -> bool:
    """Whether anybody opts out in it."""
    return any(saying.opts_out for saying in sayings(heard))


def _saying(heard: Heard, event: Inbound | Change) -> Saying | None:
    if isinstance(event, Change):
        out = event.state is ConsentState.OPTED_OUT
        return Saying(event.program or heard.program, event.address, heard.received_at, out)
    category = read(heard, event, heard.received_at).match.category
    if category not in CONSENT_EVENTS:
        return None
    return Saying(heard.program, event.address, heard.received_at, category is Category.OPT_OUT)
