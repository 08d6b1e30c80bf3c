"""The registered actions, each made ready once: a name and an event's fields become a call, and what came of it."""

import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from app.action import Action
from app.errors import BadInput, SendFailed
from app.interpret.governance import Denial, Governance, governed_by
from app.record.registry import Registered
from app.registration import Registrations
from app.send.actions.call import Called, Tried, Way, call
from app.send.actions.capping import Capping
from app.send.actions.fields import Fields, leaving, with_full_names
from app.send.actions.path import path
from app.send.actions.request import composer
from app.send.authorizer import Authorizer, prover
from app.send.certificate import tls_for
from app.send.complaint import complain
from app.send.destinations import Destinations, place
from app.send.http import Client
from app.send.render import Outgoing
from app.send.template import taken_apart

log = structlog.get_logger()

__all__ = ["Actions", "Called", "ReadyAction", "check", "texts_of"]


@dataclass(frozen=True, slots=True)
class Compiled:
    """An action, compiled once, and again when it changes."""

    action: Action
    compose: Callable[[Fields], Outgoing]
    authorizer: Authorizer | None
    """It keeps its token as long as the action is as it was."""
    tls: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class ReadyAction:
    """An action, and what policies say of it; made anew with every change of the registry."""

    compiled: Compiled
    governance: Governance
    denied: Mapping[str, Denial]
    """The fields that may not leave through it."""

    @property
    def action(self) -> Action:
        """As it is registered."""
        return self.compiled.action

    def excluded(self, fields: Fields) -> str | None:
        """The consent policy that leaves this person out; None: none does."""
        return self.governance.excludes(self.action.marketing_actions, fields)

    def request(self, fields: Fields) -> Outgoing:
        """The request, of nothing but what may leave; not yet proved. Raises SendFailed that names the parameter."""
        return self.compiled.compose(leaving(fields, self.denied))


class Actions:
    """All actions of a process; it follows the registry. `call` is to be used in one event loop."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._capping = Capping()
        self._ready: dict[str, ReadyAction] = {}
        self._broken: dict[str, str] = {}

    def follow(self, registered: Registered) -> None:
        """Take over what is registered. An action that is as it was keeps its token, a cap what is left of it."""
        others, old = registered.others, self._ready
        self._capping.follow(others.caps)
        self._broken = _broken(others)
        self._ready = dict(self._made_ready(others, governed_by(others), old))
        for name, reason in self._broken.items():
            log.warning("an action cannot be called", action=name, reason=reason)

    def _made_ready(
        self, others: Registrations, governance: Governance, old: Mapping[str, ReadyAction]
    ) -> Iterator[tuple[str, ReadyAction]]:
        for name, action in others.actions.items():
            known = old.get(name)
            try:
                compiled = known.compiled if known and known.action == action else compile_action(action, self._client)
            except BadInput as error:
                self._broken[name] = str(error)
            except Exception as error:  # noqa: BLE001 - the other actions have nothing to do with it
                complain("an action could not be made ready", error, action=name)
                self._broken[name] = f"an error of ours: {type(error).__name__}"
            else:
                yield name, ReadyAction(compiled, governance, governance.denied(action.marketing_actions))

    def get(self, name: str) -> ReadyAction | None:
        """The action of this name; None where there is none that can be called."""
        return self._ready.get(name)

    def knows(self, name: str) -> bool:
        """Whether there is an action of this name, be it broken."""
        return name in self._ready or name in self._broken

    def why_not(self, name: str) -> str:
        """Why there is no such action, in a sentence."""
        if reason := self._broken.get(name):
            return f"Action '{name}' cannot be called: {reason}"
        return f"There is no action '{name}'; register it first."

    async def call(self, name: str, fields: Mapping[str, Any]) -> Called:
        """Call a third party, unless a policy leaves this person out. It never raises for what happens there.

        `fields`: all of them, denied ones too; see `app.action`.
        """
        return (await self.tried(name, fields)).called

    async def tried(self, name: str, fields: Mapping[str, Any]) -> Tried:
        """The same, and the status of the last answer."""
        if (ready := self._ready.get(name)) is None:
            return _unmade(self.why_not(name))
        try:
            if policy := ready.excluded(fields):
                return Tried(Called("excluded", problem=f"Policy {policy} leaves this person out.", policy=policy))
            return await call(self._way(ready.compiled), ready.request(fields))
        except SendFailed as failure:
            if failure.__cause__ is not None:
                return _error_of_ours(name, failure.__cause__)
            return _unmade(f"Nothing was sent: {failure}.")
        except Exception as error:  # noqa: BLE001 - whoever waits for the call is told in any case
            return _error_of_ours(name, error)

    def _way(self, compiled: Compiled) -> Way:
        return Way(compiled.action, self._client, compiled.authorizer, compiled.tls, self._may_leave)

    def _may_leave(self, url: str) -> bool:
        return self._capping.take(place(url).origin)


def _unmade(problem: str) -> Tried:
    return Tried(Called("internalError", problem=problem))


def _error_of_ours(name: str, error: BaseException) -> Tried:
    complain("the call of an action met an error of ours", error, action=name)
    return _unmade(f"An error of ours: {type(error).__name__}; the log names its place.")


def _broken(others: Registrations) -> dict[str, str]:
    return {name: reason for (kind, name), reason in others.broken.items() if kind == "action"}


def compile_action(action: Action, client: Client) -> Compiled:
    """Everything that can be known of it before there is an event. Raises BadInput, which says what to mend."""
    return Compiled(
        action,
        composer(action),
        prover(action.auth, action.headers, client),
        tls_for(action.url, action.client_certificate),
    )


def check(action: Action) -> None:
    """Raises BadInput where it could never be called."""
    compile_action(action, Client(Destinations()))


def texts_of(action: Action) -> list[str]:
    """Everything that it says of fields: what stands in the places of its texts, and the fields of its path.

    `_id` is there as `event._id`. A path that cannot be read is there as it is.
    """
    texts = [text for tree in (action.headers, action.query, action.payload) for text in _leaves(tree)]
    named = [name for text in texts for place in taken_apart(text)[1] for name in with_full_names(place)]
    return [*_fields_of_path(action.path), *named]


def _fields_of_path(text: str) -> list[str]:
    try:
        return list(path(text).fields) if text else []
    except BadInput:
        return with_full_names(text)


def _leaves(node: Any) -> Iterator[str]:
    match node:
        case str():
            yield node
        case dict():
            for inner in node.values():
                yield from _leaves(inner)
        case list():
            for inner in node:
                yield from _leaves(inner)
