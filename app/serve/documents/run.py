"""Run a document's action once, however often and at how many nodes it is asked for.

1. One row of the database, the key of (action, document, version), is held by the first request; with it the call is
   written down. Others learn which call holds the key, and wait for its outcome.
2. The call is made, by whoever holds the key, for no longer than the lease lasts.
3. Its outcome is written down. A success is the answer of all that ask for the same within `document_window` seconds;
   a failure is told to those that wait, and the next request tries anew.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from app.action import Action
from app.record import documents
from app.record.documents import Held, Wanted
from app.send import Called, complain
from app.serve.parts import Parts

#: seconds beyond the action's time-out after which its call is given up
_GRACE = 5.0
#: seconds after that in which the outcome must be written down; then the lease ends
_WRITING = 10.0
#: seconds between two looks at a call that another request makes
_FIRST_LOOK, _LONGEST_LOOK = 0.05, 0.5


class Ran(NamedTuple):
    """What an action ended with."""

    outcome: str
    """As in `action_calls`; empty: not known yet."""
    policy: str
    call_id: int
    here: bool
    """Whether this request made the call."""


async def run_once(parts: Parts, action: Action, event: Mapping[str, Any]) -> Ran:
    """What the action ended with for this event.

    Raises StoreUnavailable or TimeoutError where the database is away: nothing was called then.
    """
    wanted = Wanted(action.name, event)
    now = datetime.now(UTC)
    lease_until = now + timedelta(seconds=action.timeout + _GRACE + _WRITING)
    async with asyncio.timeout(parts.settings.commit_timeout):
        held = await parts.writer.run(partial(documents.hold, wanted=wanted, now=now, lease_until=lease_until))
    if held.event is None:
        return await _of_another(parts, held.call_id, lease_until)
    called = await _call(parts, action, held.event)
    await _settle(parts, held, called)
    return Ran(called.outcome, called.policy, held.call_id, here=True)


async def _call(parts: Parts, action: Action, event: Mapping[str, Any]) -> Called:
    """It never raises for what happens there, and never goes on beyond the lease: by then another may make the call."""
    try:
        async with asyncio.timeout(action.timeout + _GRACE):
            fields = {"event": event, "profile": {}, "consent": {}}
            return await parts.actions.call(action.name, fields)
    except TimeoutError:
        return Called("timedout", problem="The call went on after its time-out, and was given up.")


async def _settle(parts: Parts, held: Held, called: Called) -> None:
    """What happened has happened: where it cannot be written down, it is told all the same."""
    act = partial(
        documents.settle,
        held=held,
        outcome=called.outcome,
        policy=called.policy,
        response=called.response,
        problem=called.problem,
        tries=called.tries,
        now=datetime.now(UTC),
        window=parts.settings.document_window,
    )
    try:
        async with asyncio.timeout(_WRITING):
            await parts.writer.run(act)
    except Exception as error:  # noqa: BLE001
        complain("the outcome of a document action could not be written down", error, call=held.call_id)


async def _of_another(parts: Parts, call_id: int, until: datetime) -> Ran:
    """What the call of another request ends with; as long as that call may take, looked at less and less often."""
    pause = _FIRST_LOOK
    while (found := await parts.database.read(partial(documents.standing, call_id=call_id))) and not found.done:
        now = datetime.now(UTC)
        if now > min(until, found.claimed_until or until):
            break
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_LOOK)
    if found is None or not found.done:
        return Ran("", "", call_id, here=False)
    return Ran(found.outcome, found.policy, call_id, here=False)
