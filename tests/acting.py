"""Actions as a running server has them, called against a third party on loopback."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import uvloop

from app.action import Action, Cap
from app.policy import Labels, Policy
from app.record.registry import Registered
from app.registration import Registrations
from app.send import Actions, Called, Client, Destinations

T = TypeVar("T")

FIELDS: Mapping[str, Any] = {
    "event": {"_id": "4711", "type": "inbound", "text": "Hello", "address": "+14155550100"},
    "profile": {"firstName": "Ann", "city": "Bern"},
    "consent": {"state": "opted_in", "may_send": True},
}


async def to_loopback(host: str, _port: int) -> list[str]:
    """Names lead here; what is written as an address stays one."""
    return ["127.0.0.1"] if host.strip("0123456789.") else [host]


def action(url: str, **given: Any) -> Action:
    return Action.model_validate({"name": "crm", "url": url, "timeout": 5, **given})


def registered(*given: Action | Cap | Labels | Policy, broken: Mapping[tuple[str, str], str] = {}) -> Registered:
    found: dict[str, dict[str, Any]] = {"actions": {}, "caps": {}, "labels": {}, "policies": {}}
    kinds = {Action: "actions", Cap: "caps", Labels: "labels", Policy: "policies"}
    for one in given:
        found[kinds[type(one)]][one.name] = one
    return Registered(1, {}, [], {}, others=Registrations(**found, broken=broken))


def acting(story: Callable[[Actions], Awaitable[T]], *given: Action | Cap | Labels | Policy, **more: Any) -> T:
    """What the story makes of actions that follow what is given."""

    async def run() -> T:
        client = Client(Destinations(["127.0.0.1"], resolve=to_loopback))
        actions = Actions(client)
        actions.follow(registered(*given, **more))
        try:
            return await story(actions)
        finally:
            client.close()

    return uvloop.run(run())


def calls(*given: Action | Cap | Labels | Policy, fields: Iterable[Any] = (FIELDS,), **more: Any) -> list[Called]:
    """What became of calls of the action crm, one after the other."""

    async def story(actions: Actions) -> list[Called]:
        return [await actions.call("crm", one) for one in fields]

    return acting(story, *given, **more)


def called(*given: Action | Cap | Labels | Policy, fields: Any = FIELDS, **more: Any) -> Called:
    [found] = calls(*given, fields=[fields], **more)
    return found
