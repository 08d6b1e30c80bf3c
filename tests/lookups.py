"""What tests of look-ups register: two destinations of one datastream, with the ids of the vendor's document."""

import json
import time
from collections.abc import Callable
from typing import Any

from app.record import generations
from tests.serving import Answer, Served

STREAM = "7b1e4d3a-5a5f-4d0e-9a37-1f0c2a9f0f11"
ORGANISATION = "97D1F3F459CE0AD80A495CBE@AdobeOrg"
SHOP = "https://www.example.com"
#: as the document prints them
DESTINATION = "7bb4cb8d-8c2e-4450-871d-b7824f547111"
LOYAL, RECENT = "399eb3e7-3d50-47d3-ad30-a5ad99e8ab77", "499eb3e7-3d50-47d3-ad30-a5ad99e8ab77"
ADVERTISING = "8bb4cb8d-8c2e-4450-871d-b7824f547222"
ALICE, BOB = "+14155550100", "+14155550101"
ECID = "12345678901234567890123456789012345678"
OTHER_ECID = "98765432109876543210987654321098765432"
COOKIE = "kndctr_97D1F3F459CE0AD80A495CBE_AdobeOrg_identity"
#: the document's own example of `event.destinations`
PRINTED = json.loads("""
[
   {
      "type":"profileLookup",
      "destinationId":"7bb4cb8d-8c2e-4450-871d-b7824f547111",
      "alias":"personalizationAlias",
      "segments":[
         {
            "id":"399eb3e7-3d50-47d3-ad30-a5ad99e8ab77"
         },
         {
            "id":"499eb3e7-3d50-47d3-ad30-a5ad99e8ab77"
         }
      ]
   }
]
""")

AUDIENCES = {"loyal": LOYAL, "recent": RECENT}


def audience(name: str) -> dict[str, Any]:
    """Whoever has its name among the words of attribute `in`."""
    return {"name": name, "id": AUDIENCES[name], "condition": f"$contains(profile.in, '{name}')"}


def datastream(**more: Any) -> dict[str, Any]:
    return {"name": STREAM, "origins": [SHOP], "organisation": ORGANISATION} | more


def personalization(**more: Any) -> dict[str, Any]:
    return {
        "name": "personalization", "id": DESTINATION, "alias": "personalizationAlias", "datastream": STREAM,
        "audiences": ["loyal", "recent"],
    } | more  # fmt: skip


def advertising(**more: Any) -> dict[str, Any]:
    return {
        "name": "advertising", "id": ADVERTISING, "alias": "adServerAlias", "datastream": STREAM,
        "audiences": ["loyal"],
    } | more  # fmt: skip


def register(served: Served, plural: str, *bodies: dict[str, Any]) -> None:
    for body in bodies:
        answer = served.ask("POST", f"/v1/{plural}", body)
        assert answer.status == 201, answer.body


def furnish(served: Served) -> None:
    """Audiences and the datastream, with both destinations."""
    register(served, "audiences", *map(audience, AUDIENCES))
    register(served, "datastreams", datastream())
    register(served, "destinations", personalization(), advertising())


def is_in(served: Served, address: str, *audiences: str) -> None:
    """From now on this subscriber is in these audiences."""
    put = {"attributes": {"in": " ".join(audiences)}}
    assert served.ask("PATCH", f"/v1/profiles/{address}", put).status == 200
    assert until(lambda: (found := served.parts.database.read_now(generations.read)) is None or found.gathered)


def until(what: Callable[[], bool]) -> bool:
    """Whether it happens within ten seconds."""
    for _ in range(1_000):
        if what():
            return True
        time.sleep(0.01)
    return False


def page(
    served: Served, body: Any = None, *, path: str = "/ee/v1/interact", stream: str = STREAM, **headers: str
) -> Answer:
    """What a page of the shop asks."""
    sent = {"Origin": SHOP, "Content-Type": "text/plain; charset=UTF-8"} | headers
    asked = {"events": [{"xdm": {}}]} if body is None else body
    return served.ask("POST", f"{path}?configId={stream}&requestId=r-1", asked, token=None, headers=sent)


def server(served: Served, identities: dict[str, Any], token: str, **more: Any) -> Answer:
    """What a server of the company asks."""
    body = {"event": {"xdm": {"identityMap": identities}}} | more
    return served.ask("POST", f"/ee/v2/interact?datastreamId={STREAM}", body, token=token)


def browser(ecid: str) -> dict[str, Any]:
    """The body of a page's look-up that names its browser."""
    return {"xdm": {"identityMap": {"ECID": [{"id": ecid}]}}, "events": [{"xdm": {}}]}


def payload(answer: Answer, kind: str = "activation:pull") -> Any:
    """Of the handle of this type; None where there is none."""
    assert answer.status == 200, answer.body
    return next((handle["payload"] for handle in answer.json["handle"] if handle["type"] == kind), None)


def segments(answer: Answer) -> dict[str, list[str]]:
    """The audiences' ids by alias."""
    return {each["alias"]: [segment["id"] for segment in each["segments"]] for each in payload(answer)}
