"""A message becomes the request that its provider wants, as the provider file or the operator's own payload says."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import quote

from app.credential import Credential
from app.errors import BadInput, SendFailed
from app.provider import Provider
from app.send.authorization import Authorization, authorization
from app.send.body import body, form
from app.send.destinations import place
from app.send.http import OWN_HEADERS
from app.send.payload import custom_rules
from app.send.template import Fill, Known, Part, Values, joined, text_parts
from app.sending import Send
from app.webhook import CUSTOM

#: kinds of `app.address` that are ours alone; a provider wants the bare number or name
_OUR_KINDS = ("short:", "alpha:")
_HOST = re.compile(r"https?://[^/?#]+[/?#]", re.IGNORECASE)
#: a step of a path that some server or proxy may read as "up": percent-encoding does not hide it from all of them
#: (RFC 3986, 6.2.2.2), nor does a parameter behind it, and to some a backslash is a slash
_SLASH, _POINT = r"(?:[/\\]|%2f|%5c)", r"(?:\.|%2e)"
_UP = re.compile(rf"{_SLASH}{_POINT}{{1,2}}(?={_SLASH}|;|%3b|$)", re.IGNORECASE)


class Message(NamedTuple):
    """What shall leave."""

    from_number: str
    to_number: str
    text: str
    reference: str
    """Ours, and the same for every try of one message."""
    profile: Mapping[str, str] = {}
    """The person's attributes; read only where `app.send.personal.needs_profile` says so."""
    suggestions: tuple[dict[str, str], ...] = ()
    """Buttons of an RCS message."""
    fallback: str = ""
    """The text for a phone without RCS: what an SMS credential sends in the text's place."""


class Outgoing(NamedTuple):
    """A request, ready for the client."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes


def send_rules(credential: Credential, provider: Provider | None) -> Send:
    """How the credential sends: by its provider's file, or by its own payload. Raises BadInput that names the mend."""
    rules = _rules(credential, provider)
    if rules.idempotent and not mentions("messageReference", rules, credential):
        raise BadInput(
            "idempotent needs {{messageReference}} in the request; without it the provider cannot notice a repeat"
        )
    return rules


def mentions(name: str, rules: Send, credential: Credential) -> bool:
    """Whether a place stands anywhere in what the credential sends."""
    return name in rules.model_dump_json() + "".join(credential.headers.values())


def _rules(credential: Credential, provider: Provider | None) -> Send:
    if credential.provider == CUSTOM:
        return custom_rules(credential)
    if credential.payload is not None:
        raise BadInput('payload is for provider "custom"; the provider file says what this one is sent')
    if provider is None or credential.channel not in provider.send:
        raise BadInput(f'{credential.provider} has no way to send {credential.channel}; provider "custom" can be told')
    rules = provider.send[credential.channel]
    if rules.auth and credential.auth.type not in rules.auth:
        raise BadInput(f"{provider.name} takes auth of type {' or '.join(rules.auth)}, not {credential.auth.type}")
    given = {"url": credential.url, "id": credential.message_id, "idempotent": credential.idempotent or None}
    return rules.model_copy(update={name: value for name, value in given.items() if value is not None})


def composer(credential: Credential, rules: Send, feedback_url: str = "") -> Callable[[Message], Outgoing]:
    """The function that makes requests; everything that can be known before is worked out here.

    A proof that changes with time or message is no part of them: see `app.send.authorizer`.
    Raises BadInput for what no message could ever be sent with: an unknown placeholder, a URL without a host.
    The function raises SendFailed, permanent, where an expression fails.
    """
    known = Known(credential.app_id, feedback_url, credential.parameters)
    proof = authorization(credential.auth)
    url = _url(rules, known, proof)
    content_type, fill_body = body(rules, known)
    headers = _headers(credential, rules, known, proof, content_type)
    method, values_of = rules.method, _values(credential, rules)

    def compose(message: Message) -> Outgoing:
        values = values_of(message)
        return Outgoing(method, url(values), headers(values), fill_body(values))

    return compose


def _values(credential: Credential, rules: Send) -> Callable[[Message], Values]:
    cut, rich = rules.strip_plus, credential.channel == "rcs"

    def values(message: Message) -> Values:
        return {
            "fromNumber": _as_wanted(message.from_number, cut),
            "toNumber": _as_wanted(message.to_number, cut),
            "message": message.text if rich else message.fallback or message.text,
            "messageReference": message.reference,
            "profile": message.profile,
            "suggestions": message.suggestions,
            "fallback": message.fallback,
        }

    return values


def _as_wanted(number: str, strip_plus: bool) -> str:
    if number.startswith(_OUR_KINDS):
        return number.partition(":")[2]
    return number.removeprefix("+") if strip_plus else number


def _url(rules: Send, known: Known, proof: Authorization) -> Fill[str]:
    if not rules.url:
        raise BadInput("the provider has no fixed url; give the credential one")
    parts = text_parts(rules.url, known, lambda value: quote(value, safe=""))
    sample = _prove(parts)
    path = joined(parts) if all(isinstance(part, str) for part in parts) else _within(joined(parts))
    query = form(rules.form, known) if rules.method == "GET" and rules.form else None
    if not proof.query and query is None:
        return path
    mark, start = "&" if "?" in sample else "?", [proof.query] if proof.query else []

    def fill(values: Values) -> str:
        return f"{path(values)}{mark}{'&'.join([*start, query(values)] if query else start)}"

    return fill


def _prove(parts: list[Part]) -> str:
    """A sample of the URL. Its host must stand before there is a message, so that no message can choose it."""
    sample = "".join([part if isinstance(part, str) else "0" for part in parts])
    place(sample)
    if "#" in sample or _UP.search(sample.partition("?")[0]):
        raise BadInput("the url has a fragment (#) or a step up (..) in it; give the address as the provider writes it")
    first = next((at for at, part in enumerate(parts) if not isinstance(part, str)), None)
    if first is not None and not _HOST.match("".join(map(str, parts[:first]))):
        raise BadInput("the url's host depends on the message; only {{appId}} and {{parameters.name}} may stand there")
    return sample


def _within(fill: Fill[str]) -> Fill[str]:
    """The URL, which no value may lead to another path."""

    def checked(values: Values) -> str:
        url = fill(values)
        if _UP.search(url.partition("?")[0]):
            raise SendFailed("a value of the message would change the path of the url", permanent=True)
        return url

    return checked


def _headers(
    credential: Credential, rules: Send, known: Known, proof: Authorization, content_type: str
) -> Fill[dict[str, str]]:
    """Content-Type and Charset are always there; only the first may get another value. Later ones replace earlier."""
    _refuse_clash(set(map(str.lower, credential.headers)), set(map(str.lower, proof.headers)))
    merged: dict[str, tuple[str, list[Part]]] = {}
    default = {"Content-Type": content_type, "Charset": "UTF-8"}
    for name, text in (*default.items(), *rules.headers.items(), *credential.headers.items()):
        merged[name.lower()] = (name, text_parts(text, known))
    for name, text in proof.headers.items():
        merged[name.lower()] = (name, [text])
    fixed = {
        name: "".join(map(str, parts)) for name, parts in merged.values() if all(isinstance(p, str) for p in parts)
    }
    filled = {name: joined(parts) for name, parts in merged.values() if name not in fixed}
    if not filled:
        return lambda _: dict(fixed)
    return lambda values: {**fixed, **{name: fill(values) for name, fill in filled.items()}}


def _refuse_clash(own: set[str], proof: set[str]) -> None:
    if own & proof:
        raise BadInput("headers and auth set the same header; leave it to auth")
    if (own | proof) & (OWN_HEADERS | {"charset"}):
        raise BadInput("headers: Charset is always UTF-8, and Host, lengths and Connection are the HTTP client's")
