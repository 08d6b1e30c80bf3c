"""An event as its receiver wants it: an XDM entity for a streaming inlet, or a CloudEvent. Pure.

Both bear the same id, made of the row that the event tells of: the same for every resend, from every node, to every
stream, and telling nothing of anybody. `data` of a CloudEvent and the tenant's fields of an entity are the same object.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from app.address import split_channel
from app.stream import Source, Stream

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://textback/streams")
#: of CloudEvents, https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#type
TYPES: Mapping[Source, str] = {
    "consent": "textback.consent.changed",
    "inbound": "textback.message.received",
    "receipt": "textback.receipt.received",
}


class Event(NamedTuple):
    """What is told of a row, denied fields left out."""

    row_id: int
    source: Source
    at: datetime | None
    """None: not told."""
    address: str
    """Empty: not told."""
    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Reproducible: a resend is not a second event."""
        return event_id(self.source, self.row_id)


class Written(NamedTuple):
    """An event as JSON."""

    row_id: int
    event_id: str
    json: bytes


def event_id(source: str, row_id: int) -> str:
    """The id of the event that tells of this row."""
    return str(uuid.uuid5(_NAMESPACE, f"{source} {row_id}"))


def written(stream: Stream, event: Event) -> Written:
    """The event in the stream's format."""
    made = entity(stream, event) if stream.format == "xdm" else cloud_event(stream, event)
    return Written(event.row_id, event.id, orjson.dumps(made, option=orjson.OPT_UTC_Z))


# --- CloudEvents --------------------------------------------------------------------------------------------------


def cloud_event(stream: Stream, event: Event) -> dict[str, Any]:
    """https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md

    `sequence` is the extension of that name: texts of equal length, so that they sort as the rows were recorded.
    """
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": stream.source,
        "type": TYPES[event.source],
        **({"subject": event.address} if event.address else {}),
        **({"time": timestamp(event.at)} if event.at else {}),
        "datacontenttype": "application/json",
        **({"sequence": f"{event.row_id:019}"} if "sequence" in event.data else {}),
        "data": dict(event.data),
    }


# --- XDM ----------------------------------------------------------------------------------------------------------


def entity(stream: Stream, event: Event) -> dict[str, Any]:
    """The envelope of the streaming ingestion API, as an inlet takes it.

    https://experienceleague.adobe.com/docs/journey-optimizer/using/events-journeys/about-events/additional-steps-to-send-events-to-journey.html
    """
    schema = {"id": stream.schema_id, "contentType": stream.schema_content_type}
    return {
        "header": {
            "msgType": "xdmEntityCreate",
            "msgId": str(uuid.uuid5(_NAMESPACE, f"message {event.id}")),
            "msgVersion": "1.0",
            "xactionId": str(uuid.uuid5(_NAMESPACE, f"transaction {event.id}")),
            **({"datasetId": stream.dataset} if stream.dataset else {}),
            "imsOrgId": stream.organisation,
            "schemaRef": schema,
            "source": {"name": stream.source},
        },
        "body": {"xdmMeta": {"schemaRef": schema}, "xdmEntity": _entity(stream, event)},
    }


def _entity(stream: Stream, event: Event) -> dict[str, Any]:
    return {
        "_id": event.id,
        **({"timestamp": timestamp(event.at)} if event.at else {}),
        **({"identityMap": identity_map(event.address)} if event.address else {}),
        stream.tenant: dict(event.data),
        "_experience": {"campaign": {"orchestration": {"eventID": stream.event_id}}},
    }


def identity_map(address: str) -> dict[str, list[dict[str, str]]]:
    """A phone number under Phone, any other kind of address under its own name: Email, Whatsapp."""
    kind, rest = split_channel(address)
    return {kind.capitalize(): [{"id": rest}]} if kind else {"Phone": [{"id": address}]}


def timestamp(moment: datetime) -> str:
    """`2023-05-29T00:00:00.000Z`, as the document writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
