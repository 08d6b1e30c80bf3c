"""A stream, ready to tell: how its requests look, how they are proved, and what may be said of whom."""

import ssl
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.errors import BadInput, SendFailed
from app.interpret import effective
from app.interpret.governance import Governance, consent_fields
from app.record.stream_events import Happened
from app.send.actions.fields import leaving
from app.send.authorization import authorization, replaced
from app.send.authorizer import Authorizer, prover
from app.send.certificate import tls_for
from app.send.destinations import place
from app.send.http import OWN_HEADERS, Client
from app.send.proved import answer_to
from app.send.render import Outgoing
from app.send.streams.answer import Judged, judge
from app.send.streams.envelope import Event, Written, written
from app.send.streams.signature import HEADERS as SIGNATURE_HEADERS
from app.send.streams.signature import keys_of, signature
from app.stream import Stream

#: bytes of a request: a streaming inlet takes 1 MB
LIMIT = 1_000_000
ORGANISATION_HEADER = "x-gw-ims-org-id"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://textback/streams/requests")
#: before and after the events of a request, by format, for one event by itself and for several
_FORMS = {
    ("xdm", False): ("application/json", b"", b""),
    ("xdm", True): ("application/json", b'{"messages":[', b"]}"),
    ("cloudevents", False): ("application/cloudevents+json", b"", b""),
    ("cloudevents", True): ("application/cloudevents-batch+json", b"[", b"]"),
}


@dataclass(frozen=True, slots=True)
class ReadyStream:
    """Compiled once per stream, and again when it, a label or a policy changes."""

    stream: Stream
    governance: Governance
    denied: frozenset[str]
    unknown_consent: str
    url: str
    headers: dict[str, str]
    keys: Sequence[bytes]
    authorizer: Authorizer | None
    tls: ssl.SSLContext | None
    client: Client = field(repr=False)

    @property
    def together(self) -> bool:
        """Whether its requests are batches, of which one event may be the only one."""
        return self.stream.batch > 1


def ready(stream: Stream, governance: Governance, client: Client, unknown_consent: str) -> ReadyStream:
    """The stream, ready. Raises BadInput for what could never be sent."""
    place(stream.url)
    proof = authorization(stream.auth)
    own = {**stream.headers, **({ORGANISATION_HEADER: stream.organisation} if stream.format == "xdm" else {})}
    _refuse_clash(stream, {name.lower() for name in proof.headers})
    content_type = _FORMS[stream.format, stream.batch > 1][0]
    return ReadyStream(
        stream,
        governance,
        frozenset(governance.denied(stream.marketing_actions)),
        unknown_consent,
        stream.url + _joint(stream.url, proof.query) + proof.query,
        replaced({"Content-Type": content_type, **own}, proof.headers),
        keys_of(_secrets(stream)),
        prover(stream.auth, own, client),
        tls_for(stream.url, stream.client_certificate),
        client,
    )


def check_inlet(stream: Stream) -> None:
    """Raise BadInput where the URL of a streaming inlet is that of single messages and it is sent batches, or the
    other way round (https://developer.adobe.com/experience-platform-apis/references/streaming-ingestion/)."""
    path = urlsplit(stream.url).path
    if stream.format != "xdm" or "/collection/" not in path:
        return
    if stream.batch > 1 and "/collection/batch/" not in path:
        raise BadInput("the url takes one message at a time: say batch = 1, or give the url with /collection/batch/")
    if stream.batch == 1 and "/collection/batch/" in path:
        raise BadInput("the url takes batches: say batch = 2 or more, or give the url without /batch/")


def _refuse_clash(stream: Stream, proof: set[str]) -> None:
    own = {name.lower() for name in stream.headers}
    if own & proof:
        raise BadInput("headers and auth set the same header; leave it to auth")
    if taken := (own | proof) & (OWN_HEADERS | SIGNATURE_HEADERS | {"content-type", ORGANISATION_HEADER}):
        raise BadInput(f"headers: {', '.join(sorted(taken))} is set by textback itself; leave it out")


def _joint(url: str, query: str) -> str:
    if not query:
        return ""
    return "&" if "?" in url else "?"


def _secrets(stream: Stream) -> list[str]:
    given = stream.secret if isinstance(stream.secret, list) else [stream.secret]
    return [secret.get_secret_value() for secret in given if isinstance(secret, SecretStr)]


# --- what is told -------------------------------------------------------------------------------------------------


def fields_of(told_to: ReadyStream, happened: Happened) -> dict[str, Any]:
    """`event`, `profile` and `consent`, as policies and labels know them."""
    standing = effective(happened.own, happened.every)
    consent = consent_fields(standing, told_to.unknown_consent, withheld=happened.withheld)
    return {"event": _plain(happened.event), "profile": happened.profile, "consent": consent}


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Times as texts, for expressions know no others."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in fields.items()}


def event_of(told_to: ReadyStream, happened: Happened) -> Event | None:
    """What may be told of it. None: a policy leaves the person out.

    Nobody is left out of changes of consent: a company must learn that somebody said STOP, and all the more of whom it
    may not use for anything else.
    """
    fields = fields_of(told_to, happened)
    if happened.source != "consent" and told_to.governance.excludes(told_to.stream.marketing_actions, fields):
        return None
    return shown(told_to, happened, fields)


def shown(told_to: ReadyStream, happened: Happened, fields: dict[str, Any]) -> Event:
    """The event without the fields that labels deny, whoever it is about."""
    left = leaving(fields, told_to.denied)
    at: datetime | None = happened.event["received_at"] if "received_at" in left["event"] else None
    data = left["event"] | {"consent": left["consent"]}
    return Event(happened.row_id, happened.source, at, left["event"].get("address", ""), data)


# --- requests -----------------------------------------------------------------------------------------------------


def requests_of(told_to: ReadyStream, events: Sequence[Event]) -> Iterator[list[Written]]:
    """The events in requests of at most so many, and of at most so many bytes; one that is too large stands alone."""
    found: list[Written] = []
    size = 0
    for event in events:
        one = written(told_to.stream, event)
        if found and (len(found) == told_to.stream.batch or size + len(one.json) + 32 > LIMIT):
            yield found
            found, size = [], 0
        found.append(one)
        size += len(one.json) + 1
    if found:
        yield found


def outgoing(told_to: ReadyStream, events: Sequence[Written], now: datetime) -> Outgoing:
    """The request, signed; auth that proves each request is still to come."""
    _, before, after = _FORMS[told_to.stream.format, told_to.together]
    body = before + b",".join(event.json for event in events) + after
    headers = dict(told_to.headers)
    if told_to.keys:
        headers |= signature(told_to.keys, request_id(events), now, body)
    return Outgoing("POST", told_to.url, headers, body)


def request_id(events: Sequence[Written]) -> str:
    """Of one event its own; of several one that is the same when they are sent together again."""
    if len(events) == 1:
        return events[0].event_id
    return str(uuid.uuid5(_NAMESPACE, " ".join(event.event_id for event in events)))


async def deliver(told_to: ReadyStream, events: Sequence[Written]) -> Judged:
    """Send these events, and say what became of each. One request, or more where it is split."""
    request = outgoing(told_to, events, datetime.now(UTC))
    if len(request.body) > LIMIT and len(events) == 1:
        return Judged([], [(events[0], f"it has {len(request.body):,} bytes, more than the {LIMIT:,} of a request")])
    try:
        answer = await answer_to(
            request, told_to.client, told_to.authorizer, timeout=told_to.stream.timeout, tls=told_to.tls
        )
    except SendFailed as failed:
        return Judged([], [], str(failed), failed.retry_after)
    judged = judge(answer, events, datetime.now(UTC), inlet=told_to.stream.format == "xdm")
    return await _split(told_to, events) if judged.split else judged


async def _split(told_to: ReadyStream, events: Sequence[Written]) -> Judged:
    """Each half by itself; what waits in the first does not keep the second back."""
    middle = len(events) // 2
    first = await deliver(told_to, events[:middle])
    if first.problem and not first.taken and not first.refused:
        return first  # nobody answers any more
    second = await deliver(told_to, events[middle:])
    asked = max((each.retry_after or 0.0 for each in (first, second)), default=0.0)
    return Judged(
        first.taken + second.taken,
        first.refused + second.refused,
        first.problem or second.problem,
        asked or None,
    )
