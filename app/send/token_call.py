"""The call that gets an access token (RFC 6749, 4.4; RFC 7523, 2.1), and what is believed of its answer."""

import math
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from app.credential import OAuthAuth
from app.errors import BadInput, SendFailed
from app.send.answer import at, body_of, retry_after, steps_of
from app.send.authorization import header_name, visible_or_empty
from app.send.connection import Answer
from app.send.destinations import place
from app.send.http import Client
from app.send.own_token import token_maker
from app.send.template import form_encoded

#: seconds for one call
_TIMEOUT = 10.0
_LIMIT = 65_536
_ASSERTION = re.compile(r"\{\{\s*assertion\s*\}\}")
_TOKEN = re.compile(r"[\x21-\x7e]+")
#: the codes that RFC 6749, 5.2 knows are such; anything longer or odder might be a secret that is sent back to us
_ERROR = re.compile(r"[a-z_]{1,40}")
_TYPES = {"form": "application/x-www-form-urlencoded", "json": "application/json"}


class Granted(NamedTuple):
    """An access token, and the seconds that it is good for; infinite where the answer does not say."""

    token: str
    seconds: float


TokenCall = Callable[[], Awaitable[Granted]]


def token_call(auth: OAuthAuth, client: Client) -> TokenCall:
    """The function that gets a token. It raises SendFailed, which tells the status and the code, never the answer.

    Raises BadInput for a URL, header or assertion that cannot be used.
    """
    host, headers, body, read = _host(auth.url), _headers(auth), _body(auth), _reader(auth)

    async def call() -> Granted:
        try:
            answer = await client.request("POST", auth.url, headers, body(), timeout=_TIMEOUT, limit=_LIMIT)
        except SendFailed as failure:
            # whatever became of the call, nothing of the message has left
            raise SendFailed(f"no access token: {failure}", permanent=failure.permanent) from None
        try:
            return read(answer)
        except ValueError as error:
            # never permanent: an operator may mend the credential before the reply's deadline
            raise SendFailed(
                f"no access token: {host} {error}",
                retry_after=retry_after(answer.headers.get("retry-after", ""), datetime.now(UTC)),
            ) from None

    return call


def _host(url: str) -> str:
    try:
        return place(url).origin.host
    except BadInput as error:
        raise BadInput(f"auth: the token url: {error}") from None


def _headers(auth: OAuthAuth) -> dict[str, str]:
    given = {
        header_name(name): visible_or_empty(f"header {name}", value.get_secret_value())
        for name, value in auth.headers.items()
    }
    told = any(name.lower() == "content-type" for name in given)
    return given if told else {"Content-Type": _TYPES[auth.format], **given}


def _body(auth: OAuthAuth) -> Callable[[], bytes]:
    fields = {name: value.get_secret_value() for name, value in auth.body.items()}
    written = _form if auth.format == "form" else orjson.dumps
    used = any(map(_ASSERTION.search, fields.values()))
    if used != (auth.assertion is not None):
        raise BadInput("auth: {{assertion}} in the body and the table assertion go together; one of them is missing")
    if auth.assertion is None:
        return lambda: written(fields)
    make = token_maker(auth.assertion, {"aud": auth.url})

    def signed() -> bytes:
        assertion = make()
        return written({name: _ASSERTION.sub(assertion, value) for name, value in fields.items()})

    return signed


def _form(fields: dict[str, str]) -> bytes:
    return "&".join(f"{form_encoded(name)}={form_encoded(value)}" for name, value in fields.items()).encode("ascii")


def _reader(auth: OAuthAuth) -> Callable[[Answer], Granted]:
    token_path, expires_path = steps_of(auth.token_path), steps_of(auth.expires_path)

    def read(answer: Answer) -> Granted:
        body = body_of(answer)
        if not 200 <= answer.status < 300:
            raise ValueError(f"answered {answer.status}{_error(body)}")
        token = at(body, token_path)
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise ValueError(f"answered {answer.status} without a token at '{auth.token_path}'{_error(body)}")
        return Granted(token, _seconds(at(body, expires_path)))

    return read


def _error(body: Any) -> str:
    code = body.get("error") if isinstance(body, dict) else None
    return f", error {code}" if isinstance(code, str) and _ERROR.fullmatch(code) else ""


def _seconds(value: Any) -> float:
    """Seconds; some servers write them as a text. Infinite for anything that is no time."""
    try:
        seconds = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except ValueError:
        return math.inf
    return seconds if seconds > 0 else math.inf
