"""Trying an action: the request as it would leave, and unless it is a dry run, what came of it. No secret is shown.

It goes the way of every call, past the same policies and caps. Nothing is recorded.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from app.action import Action
from app.errors import SendFailed
from app.send.actions.fields import Fields
from app.send.actions.ready import Actions, ReadyAction
from app.send.authorization import replaced
from app.send.masking import SHOWN, STARS, Mask, mask
from app.send.render import Outgoing
from app.send.trial import ShownRequest, proof_of

DRY_RUN: Literal["dry_run"] = "dry_run"


@dataclass(frozen=True, slots=True)
class ActionTrial:
    """What became of it."""

    outcome: Annotated[
        str, Field(description="success, http_<status>, timedout, capped, internalError, excluded; dry_run: not called")
    ]
    problem: Annotated[str, Field(description="Why it was no success; empty: it was.")]
    policy: Annotated[str, Field(description="The consent policy that leaves this person out; empty: none does.")]
    tries: int
    status: Annotated[int, Field(description="Of the last answer; 0: none came.")]
    answer: Annotated[str, Field(description="Its beginning, at most 4,000 characters; secrets as ***.")]
    request: Annotated[ShownRequest | None, Field(description="null: none could be made, or none may be.")]


async def try_action(actions: Actions, name: str, fields: Fields, *, dry_run: bool) -> ActionTrial:
    """Try the action of this name, with these fields; see `app.action`."""
    if (ready := actions.get(name)) is None:
        return _untried("internalError", actions.why_not(name))
    if policy := ready.excluded(fields):
        return _untried("excluded", f"Policy {policy} leaves this person out; nothing is sent.", policy)
    try:
        request = ready.request(fields)
    except SendFailed as failure:
        return _untried("internalError", f"No request can be made: {failure}.")
    if dry_run:
        hidden = mask(ready.action, proof_of(ready.action.auth))
        return ActionTrial(DRY_RUN, "", "", 0, 0, "", _shown(_as_if_proved(ready.action, request), hidden))
    return await _called(actions, ready, fields, request)


async def _called(actions: Actions, ready: ReadyAction, fields: Fields, request: Outgoing) -> ActionTrial:
    called, status = await actions.tried(ready.action.name, fields)
    proved = await _proved_again(ready, request) if called.response else None
    hidden = mask(ready.action, proof_of(ready.action.auth), _proofs(ready.action, proved))
    shown = _shown(_as_if_proved(ready.action, request), hidden)
    answer = hidden.sentence(called.response)[:SHOWN]
    return ActionTrial(
        called.outcome, hidden.sentence(called.problem), called.policy, called.tries, status, answer, shown
    )


def _untried(outcome: str, problem: str, policy: str = "") -> ActionTrial:
    return ActionTrial(outcome, problem, policy, 0, 0, "", None)


def _as_if_proved(action: Action, request: Outgoing) -> Outgoing:
    """With stars in the headers that only a try sets: a dry run asks nobody for a token."""
    missing = {
        name: f"{prefix} {STARS}".strip()
        for name, prefix in proof_of(action.auth).items()
        if name not in request.headers
    }
    return request._replace(headers=replaced(request.headers, missing))


async def _proved_again(ready: ReadyAction, request: Outgoing) -> Outgoing | None:
    """With the token that was kept: a third party that sends back what it got must not show it."""
    if ready.compiled.authorizer is None:
        return None
    try:
        return await ready.compiled.authorizer.prove(request)
    except SendFailed:  # then no token was sent either
        return None


def _proofs(action: Action, proved: Outgoing | None) -> tuple[str, ...]:
    if proved is None:
        return ()
    prefixes = proof_of(action.auth)
    return tuple(value.removeprefix(f"{prefixes[name]} ") for name, value in proved.headers.items() if name in prefixes)


def _shown(request: Outgoing, hidden: Mask) -> ShownRequest:
    return ShownRequest(
        request.method, hidden.text(request.url), hidden.headers(request.headers), hidden.body(request.body)
    )
