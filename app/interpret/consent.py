"""The consent table and its rules: who stands where, what a keyword or a change does to it, and who may be sent to."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from app.events import EVERY_PROGRAM, Category, Cause, Change, ConsentState, Standing

SUPERSEDED = "superseded by a later event"
OPTED_OUT = "opted out"

_U, _P, _I, _O = ConsentState.UNKNOWN, ConsentState.PENDING, ConsentState.OPTED_IN, ConsentState.OPTED_OUT
_OUT, _IN, _DOUBLE = Category.OPT_OUT, Category.OPT_IN, Category.DOUBLE_OPT_IN
_HELP, _CUSTOM, _ELSE = Category.HELP, Category.CUSTOM, Category.DEFAULT

#: (state before, category) -> (state after, category of the answer; None: silence)
TABLE: Mapping[ConsentState, Mapping[Category, tuple[ConsentState, Category | None]]] = {
    _U: {
        _OUT: (_O, _OUT), _IN: (_I, _IN), _DOUBLE: (_P, _DOUBLE),
        _HELP: (_U, _HELP), _CUSTOM: (_U, _CUSTOM), _ELSE: (_U, _ELSE),
    },
    _P: {
        _OUT: (_O, _OUT), _IN: (_I, _IN), _DOUBLE: (_P, _DOUBLE),
        _HELP: (_P, _HELP), _CUSTOM: (_P, _CUSTOM), _ELSE: (_P, _ELSE),
    },
    # who is in and asks for a double opt-in has nothing to confirm: welcome
    _I: {
        _OUT: (_O, _OUT), _IN: (_I, _IN), _DOUBLE: (_I, _IN),
        _HELP: (_I, _HELP), _CUSTOM: (_I, _CUSTOM), _ELSE: (_I, _ELSE),
    },
    # help is answered whatever the state (CTIA); a second STOP only where the first was not confirmed
    _O: {
        _OUT: (_O, _OUT), _IN: (_I, _IN), _DOUBLE: (_P, _DOUBLE),
        _HELP: (_O, _HELP), _CUSTOM: (_O, None), _ELSE: (_O, None),
    },
}  # fmt: skip

#: messages of these categories are consent events: each leaves a ledger entry
CONSENT_EVENTS = frozenset({_OUT, _IN, _DOUBLE})


class Turn(NamedTuple):
    """What an event does to a person's consent."""

    state: ConsentState
    """Afterwards."""
    answer: Category | None = None
    """Which text answers it; None: silence."""
    kept: str = ""
    """Why it changes nothing, not even the time of the latest event."""
    superseded: bool = False


def effective(own: Standing, every_program: Standing) -> Standing:
    """What holds for a program: the later of its own row and the row of all programs; on a tie the opt-out."""
    if every_program.as_of is None:
        return own
    if own.as_of is None or every_program.as_of > own.as_of:
        return every_program
    if every_program.as_of == own.as_of and every_program.state is ConsentState.OPTED_OUT:
        return every_program
    return own


def may_send(state: ConsentState, unknown_consent: str) -> bool:
    """Whether a person in this state may be sent to; `unknown_consent` is the setting, `allow` or `deny`."""
    return state is ConsentState.OPTED_IN or (state is ConsentState.UNKNOWN and unknown_consent == "allow")


def counted(standing: Standing, at: datetime, received_at: datetime, *, opts_out: bool, late: bool) -> datetime:
    """The effective time as it counts against what is known.

    An opt-out that comes in now is the later word, whatever the clocks say. Where its receive time is before what is
    known, our clock was set back, or another node's is ahead; then it counts as told at the same moment, and on a tie
    the opt-out holds. What comes late, from the spool or a replay, may rightly be the older word.
    """
    if opts_out and not late and standing.as_of is not None and received_at < standing.as_of:
        return standing.as_of
    return at


def heard(standing: Standing, category: Category, at: datetime) -> Turn:
    """What a message of the category, effective `at`, does to the (effective) standing."""
    if category in CONSENT_EVENTS and _is_superseded(standing, at, opts_out=category is Category.OPT_OUT):
        return Turn(standing.state, None, SUPERSEDED, superseded=True)
    return Turn(*TABLE[standing.state][category])


def told(standing: Standing, change: Change, program: str, at: datetime) -> Turn:
    """What a change that is no keyword does to the (effective) standing. It is never answered."""
    if _is_superseded(standing, at, opts_out=change.state is ConsentState.OPTED_OUT):
        return Turn(standing.state, None, SUPERSEDED, superseded=True)
    kept = _forbidden(standing, change, program)
    return Turn(standing.state, None, kept) if kept else Turn(change.state)


def _is_superseded(standing: Standing, at: datetime, *, opts_out: bool) -> bool:
    if standing.as_of is None or at > standing.as_of:
        return False
    if opts_out and standing.cause == Cause.IMPORT and standing.state is not ConsentState.OPTED_OUT:
        # rule 1: an import ends no opt-out, not even one that is heard of after it
        return False
    return at < standing.as_of or (standing.state is ConsentState.OPTED_OUT and not opts_out)


def _forbidden(standing: Standing, change: Change, program: str) -> str:
    """Rule 1: only an explicit opt-in, or a person with a reason, ends an opt-out. Never an import."""
    if change.state is ConsentState.OPTED_OUT:
        return ""
    if change.cause is Cause.IMPORT and program == EVERY_PROGRAM:
        # it would be later than an opt-out from a single program, of which the row of all programs knows nothing
        return "an import to all programs may only opt out"
    if standing.state is not ConsentState.OPTED_OUT:
        return ""
    if change.cause is Cause.API:
        return "" if change.reason.strip() else "an opt-out is not ended without a reason"
    if change.cause in (Cause.KEYWORD, Cause.PROVIDER_EVENT):
        return "" if change.state is ConsentState.OPTED_IN else "only an explicit opt-in ends an opt-out"
    return f"an event of cause {change.cause} never ends an opt-out"
