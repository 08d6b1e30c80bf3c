"""What becomes of a request, as a sample's `.json` tells it (tests/README.md): what is empty, or as usual, is left out.

The tests compare this with what is written there, and `textback decode --expect` prints it.
"""

from dataclasses import MISSING, fields
from datetime import datetime
from typing import Any

from app.decode.compile import decoder
from app.decode.handshake import Shaken, handshaker
from app.events import Decoded, Event, Piece
from app.provider import Provider
from app.request import Request
from app.webhook import Webhook


def expected(provider: Provider, webhook: Webhook, request: Request) -> dict[str, Any]:
    """What this webhook makes of a request, be it proved or not.

    Raises BadInput where the provider file or the webhook's payload cannot be used.
    """
    shake = handshaker(provider, webhook)
    shaken = shake(request) if shake else None
    return {"handshake": shown_handshake(shaken)} if shaken else outcome(decoder(provider, webhook)(request))


def outcome(decoded: Decoded) -> dict[str, Any]:
    """A request that is no handshake."""
    found: dict[str, Any] = {"reading": decoded.reading.value, "events": [shown(event) for event in decoded.events]}
    if decoded.troubles:
        found["troubles"] = [{"kind": trouble.kind, "reason": trouble.reason} for trouble in decoded.troubles]
    return {**found, "answer": decoded.answer}


def shown(event: Event) -> dict[str, Any]:
    """An event: every field but the key that has not its default."""
    found: dict[str, Any] = {"kind": type(event).__name__.lower()}
    for field in fields(event):
        value = getattr(event, field.name)
        if field.name != "key" and value != ("" if field.default is MISSING else field.default):
            found[field.name] = _plain(value)
    return found


def shown_handshake(shaken: Shaken) -> dict[str, Any]:
    """A handshake: its status always, and what is not empty."""
    headers = dict(shaken.headers)
    told = {
        "content_type": headers.pop("content-type", ""),
        "body": shaken.body.decode(),
        "headers": headers,
        "unproved": shaken.unproved,
        "visit": shaken.visit,
    }
    word = {} if shaken.token is None else {"token": shaken.token}
    return {"status": shaken.status, **{name: value for name, value in told.items() if value}, **word}


def _plain(value: Any) -> Any:
    if isinstance(value, Piece):
        return value._asdict()
    return value.isoformat() if isinstance(value, datetime) else value
