"""How an outgoing request proves who we are, where the proof is the same for every message: worked out once.

What changes with time or message is in `authorizer`.
"""

import base64
import re
from typing import NamedTuple
from urllib.parse import quote_plus

from app.credential import HEADER_NAME, ApiKeyAuth, Auth, BasicAuth, BearerAuth
from app.errors import BadInput
from app.send.http import OWN_HEADERS

_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
#: Charset is always UTF-8 (SPEC 1), the others say where a message begins and ends
_NOT_OURS = OWN_HEADERS | {"charset"}


class Authorization(NamedTuple):
    """What is added to every request of a credential."""

    headers: dict[str, str] = {}
    query: str = ""
    """Encoded, without the question mark."""


def authorization(auth: Auth) -> Authorization:
    """The headers and the query that prove us; empty where `auth` has to prove each request.

    Raises BadInput for a secret that is missing or fits into no header.
    """
    match auth:
        case BasicAuth():
            return _basic(auth)
        case BearerAuth():
            token = visible("token", auth.token.get_secret_value())
            return Authorization({"Authorization": prefixed(auth.prefix) + token})
        case ApiKeyAuth(place="header"):
            return Authorization({auth.name: visible("token", auth.token.get_secret_value())})
        case ApiKeyAuth():
            token = visible("token", auth.token.get_secret_value())
            return Authorization(query=f"{quote_plus(auth.name)}={quote_plus(token)}")
    return Authorization()


def _basic(auth: BasicAuth) -> Authorization:
    if ":" in auth.username:
        raise BadInput("auth: a colon cannot stand in a Basic user name (RFC 7617); it would begin the password")
    both = f"{auth.username}:{auth.password.get_secret_value()}"
    return Authorization({"Authorization": "Basic " + base64.b64encode(both.encode()).decode("ascii")})


def visible(name: str, value: str) -> str:
    """The value of what is called `name`. Raises BadInput where it is empty, or fits into no header."""
    return visible_or_empty(name, present(name, value))


def present(name: str, value: str) -> str:
    """The value of what is called `name`. Raises BadInput where it is empty."""
    if not value:
        raise BadInput(f"auth: the {name} is empty; is the environment variable it comes from set?")
    return value


def visible_or_empty(name: str, value: str) -> str:
    """The same for one that may be empty."""
    if not _HEADER_VALUE.fullmatch(value):
        raise BadInput(f"auth: the {name} has a line break or a character beyond ASCII in it; was it copied whole?")
    return value


def prefixed(prefix: str) -> str:
    """What stands before a token: the prefix and a blank, or nothing. Raises BadInput for one that fits no header."""
    return f"{visible_or_empty('prefix', prefix)} " if prefix else ""


def header_name(name: str) -> str:
    """The name of a header that auth may set. Raises BadInput."""
    if not HEADER_NAME.fullmatch(name):
        raise BadInput(f"auth: '{name}' is not a header name")
    if name.lower() in _NOT_OURS:
        raise BadInput(f"auth: {name} is a header that only the HTTP client sets")
    return name


def replaced(headers: dict[str, str], proof: dict[str, str]) -> dict[str, str]:
    """The headers with those of the proof, which take the place of others of the same name in any case."""
    names = set(map(str.lower, proof))
    return {name: text for name, text in headers.items() if name.lower() not in names} | proof
