"""A message becomes the request that its provider wants, as the provider file or the operator's own payload says."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus, urlsplit

import orjson
from pydantic import ValidationError

from app.credential import Credential
from app.errors import BadInput
from app.provider import Provider, Send
from app.send.authorization import Authorization, authorization
from app.send.destinations import place
from app.send.http import OWN_HEADERS
from app.send.template import Fill, Values, form_encoded, json_template, text_template
from app.webhook import CUSTOM

_FORM_TYPE = "application/x-www-form-urlencoded"
_JSON_TYPE = "application/json"
#: kinds of `app.address` that are ours alone; a provider wants the bare number or name
_OUR_KINDS = ("short:", "alpha:")
_SAMPLE: Values = dict.fromkeys(("fromNumber", "toNumber", "message", "messageReference"), "0")


class Message(NamedTuple):
    """What shall leave."""

    from_number: str
    to_number: str
    text: str
    reference: str
    """Ours, and the same for every try of one message."""


class Outgoing(NamedTuple):
    """A request, ready for the client."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes


def send_rules(credential: Credential, provider: Provider | None) -> Send:
    """How the credential sends: by its provider's file, or by its own payload. Raises BadInput that names the mend."""
    rules = _rules(credential, provider)
    if rules.idempotent and "messageReference" not in rules.model_dump_json():
        raise BadInput(
            "idempotent needs {{messageReference}} in the request; without it the provider cannot notice a repeat"
        )
    return rules


def _rules(credential: Credential, provider: Provider | None) -> Send:
    if credential.provider == CUSTOM:
        return _custom(credential)
    if credential.payload is not None:
        raise BadInput('payload is for provider "custom"; the provider file says what this one is sent')
    if provider is None or credential.channel not in provider.send:
        raise BadInput(f'{credential.provider} has no way to send {credential.channel}; provider "custom" can be told')
    rules = provider.send[credential.channel]
    if rules.auth and credential.auth.type not in rules.auth:
        raise BadInput(f"{provider.name} takes auth of type {' or '.join(rules.auth)}, not {credential.auth.type}")
    given = {"url": credential.url, "id": credential.message_id, "idempotent": credential.idempotent or None}
    return rules.model_copy(update={name: value for name, value in given.items() if value is not None})


def _custom(credential: Credential) -> Send:
    if not credential.url:
        raise BadInput('provider "custom" needs a url')
    if not credential.payload:
        raise BadInput('provider "custom" needs a payload: the JSON body, with placeholders such as {{toNumber}}')
    try:
        body = json.loads(credential.payload, parse_constant=_refused_constant)
        return Send(url=credential.url, json=body, id=credential.message_id or "", idempotent=credential.idempotent)
    except ValidationError:
        raise BadInput("payload must be a JSON object or array") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"payload is not JSON: {error}; placeholders stand inside of quotes") from None


def _refused_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def composer(credential: Credential, rules: Send) -> Callable[[Message], Outgoing]:
    """The function that makes requests; everything that can be known before is worked out here.

    Raises BadInput for what no message could ever be sent with: an unknown placeholder, a URL without a host.
    """
    proof = authorization(credential.auth)
    url, body = _url(rules, proof), _body(rules)
    headers = _headers(credential, rules, proof)
    method, app_id, cut = rules.method, credential.app_id, rules.strip_plus

    def compose(message: Message) -> Outgoing:
        values = {
            "appId": app_id,
            "fromNumber": _as_wanted(message.from_number, cut),
            "toNumber": _as_wanted(message.to_number, cut),
            "message": message.text,
            "messageReference": message.reference,
        }
        return Outgoing(method, url(values), {name: fill(values) for name, fill in headers.items()}, body(values))

    _prove(url, credential)
    return compose


def _as_wanted(number: str, strip_plus: bool) -> str:
    if number.startswith(_OUR_KINDS):
        return number.partition(":")[2]
    return number.removeprefix("+") if strip_plus else number


def _prove(url: Fill[str], credential: Credential) -> None:
    """The host must stand before there is a message, so that no message can choose it."""
    one = url({**_SAMPLE, "appId": credential.app_id})
    other = url({**dict.fromkeys(_SAMPLE, "1"), "appId": credential.app_id})
    if urlsplit(one).netloc != urlsplit(other).netloc:
        raise BadInput("the url's host depends on the message; only {{appId}} may stand there")
    place(one)


def _url(rules: Send, proof: Authorization) -> Fill[str]:
    if not rules.url:
        raise BadInput("the provider has no fixed url; give the credential one")
    path = text_template(rules.url, lambda value: quote(value, safe=""))
    added = [proof.query] if proof.query else []
    form = _form(rules.form) if rules.method == "GET" else None
    if not added and form is None:
        return path

    def fill(values: Values) -> str:
        start = path(values)
        query = "&".join([*added, form(values)] if form else added)
        return f"{start}{'&' if '?' in start else '?'}{query}"

    return fill


def _form(fields: dict[str, str]) -> Fill[str]:
    pairs = [(quote_plus(name) + "=", text_template(value)) for name, value in fields.items()]
    return lambda values: "&".join([name + form_encoded(fill(values)) for name, fill in pairs])


def _body(rules: Send) -> Fill[bytes]:
    if rules.json_body is not None:
        if rules.form or rules.method == "GET":
            raise BadInput("a request has either a form or a json body, and a GET has no json")
        return _json(rules.json_body)
    if rules.method == "GET":
        return lambda _: b""
    form = _form(rules.form)
    return lambda values: form(values).encode("ascii")


def _json(node: Any) -> Fill[bytes]:
    try:
        orjson.dumps(node)
    except orjson.JSONEncodeError as error:
        raise BadInput(f"the json body cannot be sent: {error}") from None
    fill = json_template(node)
    return lambda values: orjson.dumps(fill(values))


def _headers(credential: Credential, rules: Send, proof: Authorization) -> dict[str, Fill[str]]:
    """Content-Type and Charset are always there; only the first may get another value. Later ones replace earlier."""
    default = {"Content-Type": _FORM_TYPE if rules.json_body is None else _JSON_TYPE, "Charset": "UTF-8"}
    own = {name.lower() for name in credential.headers}
    if own & {name.lower() for name in proof.headers}:
        raise BadInput("headers and auth set the same header; leave it to auth")
    if (own | {name.lower() for name in proof.headers}) & (OWN_HEADERS | {"charset"}):
        raise BadInput("headers: Charset is always UTF-8, and Host, lengths and Connection are the HTTP client's")
    merged: dict[str, tuple[str, Fill[str]]] = {}
    for name, text in (*default.items(), *rules.headers.items(), *credential.headers.items()):
        merged[name.lower()] = (name, text_template(text))
    for name, text in proof.headers.items():
        merged[name.lower()] = (name, _fixed(text))
    return dict(merged.values())


def _fixed(text: str) -> Fill[str]:
    return lambda _: text
