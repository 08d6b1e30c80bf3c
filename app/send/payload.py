"""The operator's own payload (provider "custom") becomes what a provider file would have said."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError

from app.credential import Credential
from app.errors import BadInput
from app.send.template import words_for_places
from app.sending import Send


def custom_rules(credential: Credential) -> Send:
    """How the credential sends. Raises BadInput for a payload that is not what its format says."""
    if not credential.url:
        raise BadInput('provider "custom" needs a url')
    if not credential.payload:
        raise BadInput('provider "custom" needs a payload: the body, with placeholders such as {{toNumber}}')
    try:
        return Send(
            url=credential.url,
            method=credential.method,
            id=credential.message_id or "",
            idempotent=credential.idempotent,
            **{credential.payload_format: _read(credential.payload, credential.payload_format)},
        )
    except ValidationError:
        raise BadInput("payload must be a JSON object or array") from None


def _read(payload: str, payload_format: str) -> Any:
    if payload_format == "json":
        return _json(payload)
    return _fields(payload) if payload_format == "form" else payload


def _json(payload: str) -> Any:
    try:
        return json.loads(payload, parse_constant=_refused_constant)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"payload is not JSON: {error}; placeholders stand inside of quotes") from None


def _refused_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _fields(payload: str) -> dict[str, str]:
    """The fields of `to={{toNumber}}&text={{message}}`; an expression may have & and = in it."""
    text, word, names = words_for_places(payload.strip())
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        raise BadInput("payload is not a form: write name=value&name=value, percent-encoded where need be") from None
    if any(word in name for name, _ in pairs):
        raise BadInput("payload: a placeholder stands where a field has its name; placeholders fill values only")
    if len({name for name, _ in pairs}) < len(pairs):
        raise BadInput("payload: a field is there twice")
    rest = iter(names)
    return {name: _put_back(value, word, rest) for name, value in pairs}


def _put_back(value: str, word: str, names: Iterator[str]) -> str:
    first, *others = value.split(word)
    return first + "".join([f"{{{{{next(names)}}}}}{other}" for other in others])
