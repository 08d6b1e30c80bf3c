"""What a stream's receiver is sent, ready to be copied: the newest real event of each kind, else a sample."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from pydantic import BaseModel, Field

from app.events import ConsentState, Standing
from app.interpret.governance import governed_by
from app.record import stream_events
from app.record.registry import Registered
from app.record.stream_events import Happened
from app.send import Client, Destinations
from app.send.streams.courier import ORGANISATION_HEADER, ReadyStream, fields_of, outgoing, ready, shown
from app.send.streams.envelope import written
from app.send.streams.signature import HEADERS as SIGNATURE_HEADERS
from app.serve.door import STARS
from app.stream import Source, Stream

#: headers that hold no secret
_OPEN = SIGNATURE_HEADERS | {"content-type", ORGANISATION_HEADER}

_AT = datetime(2026, 11, 22, 17, 18, tzinfo=UTC)
_COMMON: Mapping[str, Any] = {"address": "+14155550101", "program": "default", "webhook": "acme-inbound",
                              "received_at": _AT}  # fmt: skip
_SAMPLES: Mapping[Source, Mapping[str, Any]] = {
    "consent": {
        "effective_at": _AT, "old_state": "opted_in", "new_state": "opted_out", "superseded": False, "cause": "keyword",
        "rule": "whole message", "list_version": "0a1b2c3d", "keyword": "STOP", "actor": "", "reason": "",
    },
    "inbound": {
        "provider": "twilio", "effective_at": _AT, "provider_id": "SM0123456789abcdef0123456789abcdef",
        "sender": "+14155550199", "channel": "sms", "text": "Stop.", "normal": "stop", "category": "opt_out",
        "keyword": "STOP",
    },
    "receipt": {
        "account": "twilio", "provider_time": None, "message_id": "SM0123456789abcdef0123456789abcdef",
        "sender": "+14155550199", "status": "delivered", "provider_status": "delivered", "code": "", "error_text": "",
        "part": "", "raised": True,
    },
}  # fmt: skip


class Preview(BaseModel):
    """One kind of event as it is sent."""

    event: Source
    sample: bool = Field(description="It is made up, for nothing of the kind was recorded yet.")
    url: str
    headers: dict[str, str] = Field(description="As sent; what proves who we are is shown as ***.")
    payload: Any = Field(description="The body, with its header filled in.")


def ready_stream(registered: Registered, stream: Stream, unknown_consent: str) -> ReadyStream:
    """The stream as it would tell, by the labels and policies registered. Raises BadInput where it could not."""
    return ready(stream, governed_by(registered.others), Client(Destinations()), unknown_consent)


def previews(conn: sa.Connection, registered: Registered, told_to: ReadyStream) -> list[Preview]:
    """One for each kind of event that the stream tells of."""
    programs = {entry.webhook.name: entry.webhook.program for entry in registered.webhooks}
    return [_preview(conn, told_to, source, programs) for source in told_to.stream.events]


def _preview(conn: sa.Connection, told_to: ReadyStream, source: Source, programs: Mapping[str, str]) -> Preview:
    newest = stream_events.newest_id(conn, source)
    found = stream_events.read(conn, source, [newest], programs) if newest else []
    happened = found[0] if found else sample(source)
    event = shown(told_to, happened, fields_of(told_to, happened))
    request = outgoing(told_to, [written(told_to.stream, event)], datetime.now(UTC))
    headers = {name: text if name.lower() in _OPEN else STARS for name, text in request.headers.items()}
    return Preview(
        event=source, sample=not found, url=told_to.stream.url, headers=headers, payload=orjson.loads(request.body)
    )


def sample(source: Source) -> Happened:
    """A made-up event."""
    event = {"type": source, "sequence": "7906041036800000000", **_COMMON, **_SAMPLES[source]}
    since = _AT if source != "receipt" else _AT - timedelta(days=30)
    state = ConsentState.OPTED_IN if source == "receipt" else ConsentState.OPTED_OUT
    standing = Standing(state, since, since, "keyword")
    return Happened(7906041036800000000, source, event, {}, standing, Standing(), withheld=False)
