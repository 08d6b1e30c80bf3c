"""How an outgoing request proves who we are: worked out once per credential, and the same for every message."""

import base64
import re
from typing import NamedTuple
from urllib.parse import quote_plus

from app.credential import ApiKeyAuth, Auth, BasicAuth, BearerAuth
from app.errors import BadInput

_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


class Authorization(NamedTuple):
    """What is added to every request of a credential."""

    headers: dict[str, str] = {}
    query: str = ""
    """Encoded, without the question mark."""


def authorization(auth: Auth) -> Authorization:
    """The headers and the query that prove us. Raises BadInput for a secret that is missing or fits into no header."""
    match auth:
        case BasicAuth():
            return _basic(auth)
        case BearerAuth():
            token = _visible("token", auth.token.get_secret_value())
            return Authorization({"Authorization": f"{_visible_or_empty('prefix', auth.prefix)} {token}".strip()})
        case ApiKeyAuth(place="header"):
            return Authorization({auth.name: _visible("token", auth.token.get_secret_value())})
        case ApiKeyAuth():
            token = _visible("token", auth.token.get_secret_value())
            return Authorization(query=f"{quote_plus(auth.name)}={quote_plus(token)}")
    return Authorization()


def _basic(auth: BasicAuth) -> Authorization:
    if ":" in auth.username:
        raise BadInput("auth: a colon cannot stand in a Basic user name (RFC 7617); it would begin the password")
    both = f"{auth.username}:{auth.password.get_secret_value()}"
    return Authorization({"Authorization": "Basic " + base64.b64encode(both.encode()).decode("ascii")})


def _visible(name: str, value: str) -> str:
    if not value:
        raise BadInput(f"auth: the {name} is empty; is the environment variable it comes from set?")
    return _visible_or_empty(name, value)


def _visible_or_empty(name: str, value: str) -> str:
    if not _HEADER_VALUE.fullmatch(value):
        raise BadInput(f"auth: the {name} has a line break or a character beyond ASCII in it; was it copied whole?")
    return value
