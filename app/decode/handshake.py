"""Requests by which a provider tries the URL, and what it wants to hear; nothing in them is an event.

GET /in/…?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=…      is answered with 1158201444
"""

import html
import json
import re
from collections.abc import Callable
from typing import NamedTuple

from app.decode.conditions import Compiled, condition_of
from app.decode.fields import Text, spelt, text_of
from app.decode.folding import fold_paths
from app.decode.opening import opener
from app.decode.paths import PLACE, Frame
from app.errors import BadInput, Unreadable
from app.provider import Handshake, Provider
from app.request import Request
from app.webhook import Webhook


class Shaken(NamedTuple):
    """What is to be answered at once."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """With the content type, where there is a body; one line of visible ASCII each."""
    body: bytes
    unproved: bool
    """It comes without the proof that other requests carry."""
    token: str | None
    """The word given, which must be the webhook's; None: this handshake asks for none."""
    visit: str
    """An https URL to call first; its host is one that the provider file allows. Empty: none."""


class Greeting(NamedTuple):
    """A compiled handshake."""

    method: str
    when: Compiled
    shaken: Callable[[Frame], Shaken]
    """Raises Unreadable where a value is missing, or the URL to call is not allowed."""

    def begins(self, frame: Frame) -> bool:
        """Whether the request, whose whole body the frame holds, is this handshake."""
        return frame.request is not None and frame.request.method == self.method and self.when.holds(frame)


#: host, port and whatever follows; no user, no character that parsers of URLs read in different ways
_VISITED = re.compile(r"https://([A-Za-z0-9.-]+)(?::[0-9]{1,5})?(?:[/?][!-~]*)?")

Escape = Callable[[str], str]


def handshaker(provider: Provider, webhook: Webhook) -> Callable[[Request], Shaken | None] | None:
    """The function that answers this webhook's handshakes, and None to every other request; it raises nothing.

    None where the provider has no handshakes. Raises BadInput where the provider file cannot be used.
    """
    if not provider.handshakes:
        return None
    try:
        greetings, open_body = greetings_of(fold_paths(provider)), opener(provider)
    except BadInput as error:
        raise BadInput(f"webhook {webhook.name}: provider file {provider.slug}: {error}") from None
    methods = frozenset(greeting.method for greeting in greetings)

    def shake(request: Request) -> Shaken | None:
        if request.method not in methods:
            return None
        try:
            frame = Frame(open_body(request), None, request)
        except Unreadable:
            return None
        return next(filter(None, (_answered(greeting, frame) for greeting in greetings)), None)

    return shake


def greetings_of(provider: Provider) -> list[Greeting]:
    """Compiles the handshakes of a provider file. Raises BadInput."""
    return [Greeting(one.method, condition_of(one.when), _maker(one)) for one in provider.handshakes]


def refusal(greetings: list[Greeting], frame: Frame) -> str:
    """Why a request that is a handshake is not answered as one; empty where it is none."""
    for greeting in greetings:
        if greeting.begins(frame):
            try:
                greeting.shaken(frame)
            except Unreadable as error:
                return f"The provider tries the URL, and {error}."
    return ""


def _answered(greeting: Greeting, frame: Frame) -> Shaken | None:
    try:
        return greeting.shaken(frame) if greeting.begins(frame) else None
    except Unreadable:
        return None  # decode tells the operator why, see `refusal`


def _maker(one: Handshake) -> Callable[[Frame], Shaken]:
    body = _filler(one.body, _escape_for(one.content_type))
    headers = [(name, _filler(value, _visible)) for name, value in one.headers.items()]
    token, visit = text_of(one.token) if one.token else None, _visit(one)

    def make(frame: Frame) -> Shaken:
        content = body(frame).encode()
        told = [(name, fill(frame)) for name, fill in headers]
        if content and one.content_type:
            told.insert(0, ("content-type", one.content_type))
        word = token(frame) if token else None
        return Shaken(one.status, tuple(told), content, one.unproved, word, visit(frame))

    return make


def _filler(template: str, escape: Escape) -> Text:
    """The template with its values; literals and paths take turns in what `split` gives."""
    parts = PLACE.split(template)
    fills = [_filled(part, escape) if turn % 2 else _literal(part) for turn, part in enumerate(parts)]
    return lambda frame: "".join(fill(frame) for fill in fills)


def _literal(part: str) -> Text:
    return lambda _: part


def _filled(path: str, escape: Escape) -> Text:
    text = text_of(path)

    def fill(frame: Frame) -> str:
        found = text(frame)
        if not found:
            raise Unreadable(f"there is no value at {path}")
        return escape(found)

    return fill


def _escape_for(content_type: str) -> Escape:
    """What is repeated must not be more than a value of the answer."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind.endswith("json"):
        return lambda text: json.dumps(text)[1:-1]
    return html.escape if kind.endswith(("xml", "html")) else str


def _visible(text: str) -> str:
    """Without line breaks, which would begin another header, and whatever else a header cannot hold."""
    return "".join(character for character in text if " " <= character <= "~")


def _visit(one: Handshake) -> Text:
    if not one.visit:
        return _literal("")
    text, place = text_of(one.visit), spelt(one.visit)
    try:
        hosts = [re.compile(host) for host in one.visit_hosts]
    except re.error as error:
        raise BadInput(f"visit_hosts: {error}") from None

    def visit(frame: Frame) -> str:
        url = text(frame)
        named = _VISITED.fullmatch(url)
        if named is None or not any(host.fullmatch(named[1].lower()) for host in hosts):
            raise Unreadable(f"the URL at {place} is no https URL of a host that the provider file allows")
        return url

    return visit
