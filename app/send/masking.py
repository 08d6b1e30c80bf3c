"""What a person may see of a request and its answer: everything but secrets, which become three stars.

A secret is what the credential holds as one, wherever and however spelt it turns up; the header that proves the
request; the webhook's token and secret in the URL that the provider is told; and what stands under a telltale name,
because providers without a standard authentication want their password in the URL or in the payload.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
from pydantic import SecretStr

from app.action import Action
from app.credential import BasicAuth, Credential
from app.request import parse_pairs
from app.send.template import taken_apart

STARS = "***"
#: characters that are shown of a body
SHOWN = 4_000

#: fields of a token call that are no secrets (RFC 6749, RFC 8707), and of its answer (RFC 6749, 5.1 and 5.2)
_OPEN_ASKED = frozenset({"grant_type", "scope", "audience", "resource", "content-type", "accept"})
_OPEN_ANSWERED = frozenset({
    "error", "error_description", "error_uri", "token_type", "scope", "message", "detail", "title", "code", "type",
})  # fmt: skip
#: headers that say nothing but what a body is
_OPEN_HEADERS = frozenset({"content-type", "charset", "accept"})
#: shorter ones occur by chance: words of a header's value, and what stands under a telltale name
_TELLING_WORD, _TELLING_VALUE = 8, 4
#: a percent sign, encoded up to three times, and before or after that doubled, as some gateways want it
_PERCENT = "(?:%(?:25){{0,3}}){{1,{}}}"
#: characters that a byte of a secret may take: %252525%25252540
_LONGEST_SPELLING = 16
#: half of a surrogate pair may have been given as a secret
_UTF_8 = ("utf-8", "surrogatepass")

_NAME = (
    r"(?<![\w.-])(?:[\w.-]*(?:passw|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|credential|signature)[\w.-]*"
    r"|key|auth|sig|pass)"
)
_NOTHING = r"(?:null|true|false)\b"
_NAMED = re.compile(
    rf"""({_NAME}["']?\s*[=:]\s*)(?!{_NOTHING})(?:"((?:[^"\\]|\\.)*)"?|'([^']*)'?|([^\s&<>,;{{}}\[\]"']+))""",
    re.IGNORECASE,
)
_ELEMENT = re.compile(rf"(<{_NAME}>)([^<]*)", re.IGNORECASE)
_AUTHORIZATION = re.compile(r"""((?:proxy-)?authorization["']?\s*[=:]\s*["']?)[^"'\r\n<&]+""", re.IGNORECASE)
_SECRET_HEADER = re.compile(rf"{_NAME}|(?:proxy-)?authorization|(?:set-)?cookie", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Mask:
    """Puts stars in the places of the secrets of one credential or action."""

    secrets: re.Pattern[str] | None
    longest: int
    """Characters of the longest secret, however it is spelt."""
    proof: Mapping[str, str]
    """Headers that prove a request, in lower case, and what stands before the secret in each."""
    own: frozenset[str]
    """Headers of the operator's own, in lower case: a key may stand in them."""

    def sentence(self, text: str) -> str:
        """A sentence of ours without the credential's secrets; it may well speak of a password."""
        return self.secrets.sub(STARS, text) if self.secrets else text

    def text(self, text: str) -> str:
        """A text without secrets, of the credential's or of others."""
        hidden = _AUTHORIZATION.sub(rf"\1{STARS}", self.sentence(text))
        return _ELEMENT.sub(rf"\1{STARS}", _NAMED.sub(_starred, hidden))

    def body(self, body: bytes) -> str:
        """The beginning of a body. It is cut last, so that no half of a secret is left at the end."""
        return self.text(body[: 4 * (SHOWN + self.longest)].decode("utf-8", "replace"))[:SHOWN]

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Headers without secrets."""
        return {name: self._header(name.lower(), value) for name, value in headers.items()}

    def _header(self, name: str, value: str) -> str:
        if name in self.proof:
            prefix = self.proof[name]
            return f"{prefix} {STARS}" if prefix and value.startswith(f"{prefix} ") else STARS
        if name in self.own or _SECRET_HEADER.fullmatch(name):
            return STARS
        return self.text(value)


def mask(caller: Credential | Action, proof: Mapping[str, str], others: tuple[str, ...] = ()) -> Mask:
    """The mask of a credential or an action. `others`: what else is secret here, such as access tokens.

    `proof`: see `Mask`.
    """
    found = {secret for secret in (*_secrets(caller), *others) if secret}
    # the longest first: what is a part of another secret must not leave the rest of that
    ordered = sorted(found, key=lambda text: (-len(text), text))
    pattern = re.compile("|".join(map(_in_any_spelling, ordered))) if ordered else None
    own = frozenset(map(str.lower, _secret_headers(caller))) - _OPEN_HEADERS
    longest = max((len(secret.encode(*_UTF_8)) for secret in found), default=0) * _LONGEST_SPELLING
    return Mask(pattern, longest, {name.lower(): prefix for name, prefix in proof.items()}, own)


def secrets_of(url: str) -> tuple[str, ...]:
    """What is secret in a webhook's URL: its last step, the user and password before the host, and its query."""
    parts = urlsplit(url)
    userinfo = parts.netloc.rpartition("@")[0]
    found = (parts.path.rpartition("/")[2], userinfo, userinfo.partition(":")[2], parts.query.partition("=")[2])
    return tuple(unquote(each) for each in found if each)


def token_request(body: bytes, hidden: Mask) -> str:
    """The body of a token call: the names, and the values of those that are never secret."""
    text = body.decode("utf-8", "replace")
    fields: list[tuple[str, Any]] = list(orjson.loads(body).items()) if text.startswith("{") else parse_pairs(text)
    shown = {name: hidden.text(value) if name in _OPEN_ASKED else STARS for name, value in fields}
    return orjson.dumps(shown).decode() if text.startswith("{") else "&".join(f"{n}={v}" for n, v in shown.items())


def token_answer(body: bytes, hidden: Mask) -> str:
    """The body of a token call's answer: a token may stand anywhere in it, so only what tells of errors is shown."""
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        return hidden.body(body)
    return hidden.text(orjson.dumps(_blank(tree), default=str).decode())[:SHOWN]


def _blank(tree: Any, name: str = "", depth: int = 0) -> Any:
    match tree:
        case dict() if depth < 32:
            return {key: _blank(value, key, depth + 1) for key, value in tree.items()}
        case list() if depth < 32:
            return [_blank(value, name, depth + 1) for value in tree]
        case str() | dict() | list():
            return tree if name.lower() in _OPEN_ANSWERED and isinstance(tree, str) else STARS
    return tree


def _starred(match: re.Match[str]) -> str:
    quotation = match[0][len(match[1])] if match[4] is None else ""
    return f"{match[1]}{quotation}{STARS}{quotation}"


def _secret_headers(caller: Credential | Action) -> Iterator[str]:
    """Which of its own headers may be a key as a whole; what an action fills in, its operator wants to see."""
    for name, value in caller.headers.items():
        if isinstance(caller, Credential) or "{{" not in value:
            yield name


def _secrets(caller: Credential | Action) -> Iterator[str]:
    yield from _hidden(caller.model_dump())
    if isinstance(caller.auth, BasicAuth):
        both = f"{caller.auth.username}:{caller.auth.password.get_secret_value()}"
        yield base64.b64encode(both.encode()).decode("ascii")
    for name, value in _constants(caller):
        if name.lower() not in _OPEN_HEADERS:
            yield from (word for word in (value, *value.split()) if len(word) >= _TELLING_WORD)
    yield from (each for each in map(unquote, _named(caller)) if len(each) >= _TELLING_VALUE and "{{" not in each)


def _constants(caller: Credential | Action) -> Iterator[tuple[str, str]]:
    """What never changes in headers and query, by name; in an action's also what stands around the places."""
    if isinstance(caller, Credential):
        yield from ((name, value) for name, value in caller.headers.items() if "{{" not in value)
        return
    for name, value in (*caller.headers.items(), *caller.query.items()):
        yield from ((name, literal.strip()) for literal in taken_apart(value)[0])


def _named(caller: Credential | Action) -> Iterator[str]:
    """What stands under a telltale name in the URL or the payload."""
    payload = caller.payload if isinstance(caller, Credential) else orjson.dumps(caller.payload, default=str).decode()
    for text in (caller.url or "", payload or ""):
        yield from (match[2] or match[3] or match[4] or "" for match in _NAMED.finditer(text))
        yield from (match[2] for match in _ELEMENT.finditer(text))


def _hidden(node: Any, name: str = "") -> Iterator[str]:
    match node:
        case SecretStr():
            if name.lower() not in _OPEN_ASKED:
                yield node.get_secret_value()
        case dict():
            for key, value in node.items():
                yield from _hidden(value, key)


def _in_any_spelling(secret: str) -> str:
    return "".join(map(_spellings, re.findall("%+|[^%]", secret)))


@cache
def _spellings(sign: str) -> str:
    """A character as it is, and as URLs, forms, JSON and XML write it, or one within the other.

    Several percent signs are one pattern: with one for each, a text full of them would take forever to search.
    """
    if sign.isascii() and sign.isalnum():
        return sign
    if sign.startswith("%"):
        return _PERCENT.format(2 * len(sign))
    in_url = "".join(f"{_PERCENT.format(2)}{byte:02X}" for byte in sign.encode(*_UTF_8))
    written = {sign, json.dumps(sign)[1:-1], f"\\{sign}", escape(sign), f"&#{ord(sign)};", f"&#x{ord(sign):x};"}
    written |= {"+"} if sign == " " else set()
    # the longest first, or the rest of an ampersand would be left
    spelt = (re.escape(each) for each in sorted(written, key=len, reverse=True))
    return f"(?i:{in_url}|{'|'.join(spelt)})"
