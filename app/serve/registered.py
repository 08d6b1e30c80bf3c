"""What every registration has in common: made new, changed as a whole, deleted; the server hears it at once."""

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from app.errors import BadInput
from app.serve.parts import Parts
from app.serve.problems import Problem, not_found
from app.serve.takeover import take_over

T = TypeVar("T")


def refuse_other_name(given: object, name: str) -> None:
    """Raise BadInput where the body sent to the path of `name` names another: nothing is renamed."""
    if given not in (None, name):
        raise BadInput(f"name: differs from the path's; nothing is renamed: leave it out, or send it to {name}")


def refuse_taken(kind: str, found: object) -> None:
    """Raise a 409 Problem where there is one already."""
    if found is not None:
        raise Problem(409, f"There is a {kind} of this name; PUT to its path changes it.")


def refuse_missing(kind: str, found: T | None) -> T:
    """What was found. Raises a 404 Problem where nothing was."""
    if found is None:
        raise not_found(f"{kind} of this name")
    return found


async def changed(parts: Parts, act: Callable[[sa.Connection], T]) -> T:
    """Write a change of the registry, and have the webhooks' URLs follow it before it is answered."""
    answer = await parts.writer.run(act)
    await take_over(parts)
    return answer


async def deleted(parts: Parts, kind: str, act: Callable[[sa.Connection], bool]) -> None:
    """Delete. Raises a 409 Problem while it is used, 404 where there is none."""
    try:
        found = await changed(parts, act)
    except BadInput as error:
        raise Problem(409, str(error)) from None
    if not found:
        raise not_found(f"{kind} of this name")
