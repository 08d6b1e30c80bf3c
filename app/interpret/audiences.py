"""Who is in which audience: conditions over what is recorded of a person. Pure. What they see stands in `app.audience`.

All conditions are one expression: measured with twenty of them, that takes half the time of one by one. Each counts
only where it is exactly true, so one that finds nothing, or a list, is false without a word. A failure is everybody's,
so a person of whom one fails is worked out condition by condition, and it is false for that one alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from app.audience import Portrait
from app.errors import BadInput, Unreadable
from app.events import EVERY_PROGRAM, NOBODY, Standing
from app.expression import LONGEST, Expression, expression
from app.interpret.consent import effective, may_send

_DEFAULT_PROGRAM = "default"


class Membership(NamedTuple):
    """How a condition turned out."""

    audience: str
    is_member: bool
    problem: str = ""
    """Why it could not be worked out; who it fails for is no member."""


def work_out(
    conditions: Mapping[str, str], portraits: Sequence[Portrait], *, unknown_consent: str
) -> list[tuple[str, ...]]:
    """The audiences that each person is in. `conditions` by name; `unknown_consent` as in `app.settings`."""
    ready = _joined(tuple(conditions.items()))
    return [_of(ready, portrait, unknown_consent) if portrait.is_known else () for portrait in portraits]


def explain(conditions: Mapping[str, str], portrait: Portrait, *, unknown_consent: str) -> list[Membership]:
    """How each condition turns out for a person, and why one fails."""
    if not portrait.is_known:
        return [Membership(name, False, "nothing is recorded of this person") for name in conditions]
    seen = sees(portrait, unknown_consent)
    return [_alone(name, condition, seen) for name, condition in conditions.items()]


def sees(portrait: Portrait, unknown_consent: str) -> dict[str, Any]:
    """What a condition sees of the person."""
    programs = {_DEFAULT_PROGRAM, EVERY_PROGRAM, *portrait.programs, *portrait.standings}
    every = portrait.standings.get(EVERY_PROGRAM, NOBODY)
    return {
        "address": portrait.address,
        "consent": {
            program: _consent(portrait, effective(portrait.standings.get(program, NOBODY), every), unknown_consent)
            for program in sorted(programs)
        },
        "profile": dict(portrait.attributes),
        "messages": _messages(portrait),
        "inbound": {"count": portrait.inbound} | _timed("last_at", portrait.inbound_at),
    }


def _consent(portrait: Portrait, standing: Standing, unknown_consent: str) -> dict[str, Any]:
    allowed = may_send(standing.state, unknown_consent) and not portrait.withheld
    said = {"state": standing.state.value, "may_send": allowed, "cause": standing.cause}
    return said | _timed("since", standing.since)


def _messages(portrait: Portrait) -> dict[str, Any]:
    sent = portrait.sent
    counts = {"sent": sent.sent, "delivered": sent.delivered, "read": sent.read, "failed": sent.failed}
    return counts | _timed("last_at", sent.last_at) | ({"last_status": sent.last_status} if sent.sent else {})


def _timed(name: str, at: datetime | None) -> dict[str, str]:
    return {name: at.isoformat(timespec="milliseconds").replace("+00:00", "Z")} if at else {}


# --- working out --------------------------------------------------------------------------------------------------


class _Joined(NamedTuple):
    """Some conditions as one expression, and one by one."""

    names: tuple[str, ...]
    conditions: tuple[str, ...]
    all_of_them: Expression


def _of(ready: Sequence[_Joined], portrait: Portrait, unknown_consent: str) -> tuple[str, ...]:
    seen = sees(portrait, unknown_consent)
    return tuple(name for joined in ready for name in _members(joined, seen))


def _members(joined: _Joined, seen: Mapping[str, Any]) -> Iterator[str]:
    try:
        found = joined.all_of_them(seen)
    except Unreadable:
        found = [_alone(*each, seen).is_member for each in zip(joined.names, joined.conditions, strict=True)]
    return (name for name, is_member in zip(joined.names, found, strict=True) if is_member)


def _alone(name: str, condition: str, seen: Mapping[str, Any]) -> Membership:
    try:
        return Membership(name, expression(condition)(seen) is True)
    except (BadInput, Unreadable) as error:
        return Membership(name, False, str(error))


@lru_cache(maxsize=8)
def _joined(conditions: tuple[tuple[str, str], ...]) -> tuple[_Joined, ...]:
    """The conditions in as few expressions as their length allows; one that is no JSONata at all is nobody's."""
    groups: list[list[tuple[str, str]]] = []
    length = LONGEST
    for name, condition in conditions:
        if _is_sound(condition):
            length += len(_boxed(condition)) + 2
            if length > LONGEST:
                groups.append([])
                length = len(_boxed(condition)) + 2
            groups[-1].append((name, condition))
    return tuple(_together(group) for group in groups)


def _together(group: Sequence[tuple[str, str]]) -> _Joined:
    names, conditions = zip(*group, strict=True)
    if len(group) == 1 and len(_boxed(conditions[0])) + 2 > LONGEST:
        alone = expression(conditions[0])
        return _Joined(names, conditions, lambda seen: [alone(seen) is True])
    return _Joined(names, conditions, expression(f"[{', '.join(map(_boxed, conditions))}]"))


def _boxed(condition: str) -> str:
    return f"({condition}) = true"


def _is_sound(condition: str) -> bool:
    try:
        expression(condition)
    except BadInput:
        return False
    return True
