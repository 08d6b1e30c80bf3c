"""Each request signed with a shared secret, by a recipe that says what is signed and where the signature goes.

The usual recipe is https://datatracker.ietf.org/doc/html/draft-ietf-oauth-v2-http-mac-01; providers have their own.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from string import Formatter
from typing import NamedTuple

from app.credential import MacAuth, MacRecipe
from app.errors import BadInput
from app.send.authorization import header_name, replaced, visible, visible_or_empty
from app.send.destinations import Place
from app.send.http import placed
from app.send.render import Outgoing


class Occasion(NamedTuple):
    """One request at one moment: what the places of a recipe are filled from."""

    outgoing: Outgoing
    where: Place
    now: datetime
    nonce: str
    token: str
    encode: Callable[[bytes], str]
    signature: str = ""


_Fill = Callable[[Occasion], str]

_ENCODINGS: Mapping[str, Callable[[bytes], str]] = {
    "base64": lambda data: base64.b64encode(data).decode("ascii"),
    "hex": bytes.hex,
}
_IN_BOTH: Mapping[str, _Fill] = {
    "method": lambda o: o.outgoing.method,
    "url": lambda o: o.outgoing.url,
    "host": lambda o: o.where.origin.host,
    "port": lambda o: str(o.where.origin.port),
    "target": lambda o: o.where.target,
    "body_sha256": lambda o: o.encode(hashlib.sha256(o.outgoing.body).digest()),
    "body_md5": lambda o: o.encode(hashlib.md5(o.outgoing.body, usedforsecurity=False).digest()),
    "timestamp": lambda o: str(int(o.now.timestamp())),
    "iso_time": lambda o: o.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "http_date": lambda o: format_datetime(o.now, usegmt=True),
    "nonce": lambda o: o.nonce,
    "token": lambda o: o.token,
}
#: a body may have bytes that are no UTF-8, and is signed as it is
_SIGNED: Mapping[str, _Fill] = {**_IN_BOTH, "body": lambda o: o.outgoing.body.decode("utf-8", "surrogateescape")}
_IN_HEADERS: Mapping[str, _Fill] = {**_IN_BOTH, "signature": lambda o: o.signature}


def _now() -> datetime:
    return datetime.now(UTC)


def _nonce() -> str:
    return secrets.token_hex(16)


class MacSigner:
    """Signs requests; time and nonce are new for each. Raises BadInput for a secret or a recipe that cannot be used."""

    def __init__(
        self,
        auth: MacAuth,
        recipe: MacRecipe,
        *,
        now: Callable[[], datetime] = _now,
        nonce: Callable[[], str] = _nonce,
    ) -> None:
        self._now, self._nonce = now, nonce
        self._token = _token(auth, recipe)
        self._key, self._hash = _key(auth, recipe), recipe.hash
        self._encode = _ENCODINGS[recipe.encoding]
        self._signed = _template(recipe.signed, _SIGNED)
        self._filled = [(header_name(name), _template(text, _IN_HEADERS)) for name, text in recipe.headers.items()]
        if not any("{signature}" in text for text in recipe.headers.values()):
            raise BadInput("auth: no header has {signature} in it, so the request would go unsigned")
        self.headers = frozenset(map(str.lower, recipe.headers))

    async def prove(self, outgoing: Outgoing) -> Outgoing:
        """The request, signed."""
        occasion = Occasion(outgoing, placed(outgoing.url), self._now(), self._nonce(), self._token, self._encode)
        mac = hmac.digest(self._key, self._signed(occasion).encode("utf-8", "surrogateescape"), self._hash)
        occasion = occasion._replace(signature=self._encode(mac))
        proof = {name: fill(occasion) for name, fill in self._filled}
        return outgoing._replace(headers=replaced(outgoing.headers, proof))

    def refused(self, outgoing: Outgoing) -> bool:  # noqa: ARG002 - another kind of proof wants to know
        """Whether another try would be proved better: no."""
        return False


def _token(auth: MacAuth, recipe: MacRecipe) -> str:
    wanted = any("{token}" in text for text in (recipe.signed, *recipe.headers.values()))
    return visible("token", auth.token) if wanted else visible_or_empty("token", auth.token)


def _key(auth: MacAuth, recipe: MacRecipe) -> bytes:
    text = visible("secret", auth.secret.get_secret_value())
    try:
        if recipe.key == "base64":
            return base64.b64decode(text, validate=True)
        return bytes.fromhex(text) if recipe.key == "hex" else text.encode()
    except (binascii.Error, ValueError):
        raise BadInput(f"auth: the secret is not {recipe.key}; was it copied whole?") from None


def _template(text: str, places: Mapping[str, _Fill]) -> _Fill:
    """The function that fills the places in. Raises BadInput for one that there is not."""
    fills: list[_Fill] = []
    for literal, name in _taken_apart(text):
        fills.append(_fixed(literal))
        if name is not None:
            if name not in places:
                known = " ".join(f"{{{each}}}" for each in places)
                raise BadInput(f"auth: {{{name}}} is no place of '{text}'; there are {known}")
            fills.append(places[name])
    return lambda occasion: "".join([fill(occasion) for fill in fills])


def _taken_apart(text: str) -> list[tuple[str, str | None]]:
    try:
        parts = list(Formatter().parse(text))
    except ValueError:
        raise BadInput(f"auth: '{text}' has a lone brace; one that is meant is doubled") from None
    return [
        (literal, name and name + (f"!{turned}" if turned else "") + (f":{form}" if form else ""))
        for literal, name, form, turned in parts
    ]


def _fixed(literal: str) -> _Fill:
    return lambda _: literal
