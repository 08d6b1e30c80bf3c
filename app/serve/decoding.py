"""The payload editor's engine: what a sample decodes to, what each rule lacks, where each value was found."""

import base64
import binascii
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal

import sqlalchemy as sa
from pydantic import BaseModel, Field, JsonValue

from app.decode import explain_reading, explained_json
from app.decode.explained import HandshakeRead, RuleRead
from app.errors import BadInput
from app.events import Event, Reading, Status
from app.record import queries, registry
from app.record.queries import StoredRequest
from app.record.tokens import Scope
from app.record.vault import Vault
from app.request import Request
from app.serve.apply import Catalogue, provider_of
from app.serve.fields import GivenId, Name, Region, Text
from app.serve.operation import Call, Operation, Params
from app.serve.pasted import Pasted, request_of
from app.serve.problems import Problem, not_found
from app.serve.replay import stored_as_request
from app.spec import Spec
from app.webhook import CUSTOM, Webhook

_LENGTH = 1_000_000
#: stands for the name of a webhook that is not registered
_NAMELESS = "sample"
Template = Annotated[str, Field(max_length=_LENGTH)]


class Reader(Spec):
    """Whose request it is: one of provider, webhook and payload. A stored request knows its webhook itself."""

    provider: Annotated[str | None, Field(max_length=64, description="A provider file.")] = None
    webhook: Annotated[Name | None, Field(description="A registered webhook, with its payload and statuses.")] = None
    payload: Annotated[
        Template | None, Field(description="An inverse template, as a webhook of a custom provider has.")
    ] = None
    feedback_payload: Annotated[Template | None, Field(description="That of receipts, for type both.")] = None
    type: Annotated[
        Literal["inbound", "feedback", "both"] | None,
        Field(description="null: inbound for a payload, both for a provider file"),
    ] = None
    statuses: dict[str, Status] = {}
    region: Region | None = None


class Sample(Reader):
    """A request, and whose it is: its body, or the id of a stored one."""

    body: Annotated[str | None, Field(max_length=_LENGTH)] = None
    encoding: Annotated[Literal["utf-8", "base64"], Field(description="How `body` is written.")] = "utf-8"
    raw_id: Annotated[GivenId | None, Field(description="A stored request, see GET /v1/raw/{id}.")] = None
    headers: dict[str, str] = {}
    method: Literal["POST", "GET", "PUT", "OPTIONS"] = "POST"
    query: Annotated[Text, Field(max_length=20_000, description="Without the question mark.")] = ""


class ReadTrouble(BaseModel):
    """An item that could not be read."""

    kind: str
    reason: str
    item: str


class Decoding(BaseModel):
    """What a request decodes to, and how."""

    reading: Reading
    problem: str = Field(description="Why nothing in it is understood; empty: something is, or nothing needs to be.")
    events: list[dict[str, JsonValue]] = Field(description="Each with its kind: inbound, receipt or change.")
    troubles: list[ReadTrouble]
    is_handshake: bool = Field(description="The provider only tries the URL.")
    handshakes: list[HandshakeRead]
    rules: list[RuleRead] = Field(description="What each rule makes of each item, and what it lacks.")
    left: list[str] = Field(description="Paths of values that nothing reads.")


async def decode(call: Call[Params, Sample]) -> Decoding:
    """What it decodes to; nothing is written."""
    parts, wanted = call.parts, call.body
    catalogue = Catalogue(parts.providers, parts.packs)
    return await parts.database.read(partial(_decoded, vault=parts.vault, catalogue=catalogue, wanted=wanted))


def _decoded(conn: sa.Connection, vault: Vault, catalogue: Catalogue, wanted: Sample) -> Decoding:
    stored = stored_request(conn, wanted.raw_id) if wanted.raw_id is not None else None
    if (stored is None) == (wanted.body is None):
        raise BadInput("give a body, or the raw_id of a stored request, and not both")
    name = registered_name(wanted, stored)
    webhook = registered(conn, vault, name) if name else unregistered(wanted)
    request = stored_as_request(stored) if stored else request_of(_pasted(wanted))
    return explained(catalogue, webhook, request)


def _pasted(wanted: Sample) -> Pasted:
    try:
        text = wanted.body or ""
        body = base64.b64decode(text, validate=True) if wanted.encoding == "base64" else text.encode("utf-8", "replace")
    except (binascii.Error, ValueError):
        raise BadInput("body is not base64, as its encoding says") from None
    headers = {name.lower(): value for name, value in wanted.headers.items()}
    return Pasted(wanted.method, wanted.query, headers, body)


# --- for the command as well --------------------------------------------------------------------------------------


def registered_name(wanted: Reader, stored: StoredRequest | None) -> str | None:
    """The webhook that reads it; None: one that is not registered. Raises BadInput where nobody says whose it is."""
    given = [each for each in (wanted.provider, wanted.webhook, wanted.payload) if each]
    if not given and stored:
        return stored.webhook
    if len(given) != 1:
        raise BadInput("say whose request it is: one of provider, webhook and payload")
    return wanted.webhook


def unregistered(wanted: Reader) -> Webhook:
    """A webhook that hears what a provider file or a payload tells. Raises BadInput."""
    if wanted.provider == CUSTOM:
        raise BadInput(f'provider "{CUSTOM}" reads what a payload says: give the payload, or the webhook that has one')
    usual: Literal["inbound", "both"] = "inbound" if wanted.payload else "both"
    return Webhook(
        name=_NAMELESS,
        provider=wanted.provider or CUSTOM,
        type=wanted.type or usual,
        payload=wanted.payload,
        feedback_payload=wanted.feedback_payload,
        statuses=wanted.statuses,
        region=wanted.region,
    )


def registered(conn: sa.Connection, vault: Vault, name: str) -> Webhook:
    """The registered webhook. Raises a 404 Problem where there is none."""
    found = registry.read_webhook(conn, vault, name)
    if found is None:
        raise not_found(f"webhook named {name}")
    return found.webhook


def stored_request(conn: sa.Connection, number: int) -> StoredRequest:
    """The stored request. Raises a 404 Problem where there is none."""
    found = queries.stored_request(conn, number)
    if found is None:
        raise Problem(404, "There is no stored request of this id; they are kept for TEXTBACK_RAW_RETENTION_DAYS.")
    return found


def explained(catalogue: Catalogue, webhook: Webhook, request: Request) -> Decoding:
    """How the webhook reads the request. Raises BadInput where its payload cannot be used: it says what to mend."""
    try:
        found = explain_reading(provider_of(catalogue, webhook.provider), webhook, request)
    except BadInput as error:
        raise BadInput(str(error).removeprefix(f"webhook {_NAMELESS}: ")) from None
    plain = explained_json(found)
    decoded = plain.pop("decoded")
    return Decoding(
        reading=decoded["reading"],
        problem="" if found.is_handshake else decoded["problem"],
        events=[_event(*each) for each in zip(found.decoded.events, decoded["events"], strict=True)],
        troubles=[ReadTrouble.model_validate(trouble, extra="ignore") for trouble in decoded["troubles"]],
        **plain,
    )


def _event(event: Event, plain: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """An event with what it has."""
    kept = {name: value for name, value in plain.items() if value not in _SAY_NOTHING and name not in _INNER}
    return {"kind": type(event).__name__.lower(), **kept}


#: what says how an event is kept, not what was told
_INNER = frozenset({"key", "repeats_within"})
_SAY_NOTHING = ("", None, False)

OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/decode",
        summary="What a sample request decodes to, and what each rule lacks; nothing is written",
        handler=decode,
        scope=Scope.ADMIN,
        body=Sample,
        answer=Decoding,
        problems={404: "There is no such webhook or stored request."},
    ),
)
