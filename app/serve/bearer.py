"""Who calls, and what they may do: `Authorization: Bearer`, the ADMIN_TOKEN or a named token of the database."""

import hmac
import time
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple

from app.record import tokens
from app.record.database import Database
from app.record.registry import token_hash
from app.record.tokens import Scope
from app.serve.problems import Problem
from app.settings import Settings

#: seconds that an answer of the database is believed: a revoked token ends within a second
_BELIEVED = 0.5
_ROOM = 1024


class Caller(NamedTuple):
    """Who calls: the token's name, for evidence and logs."""

    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether a token of the caller has this scope; admin has every one."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


_ADMIN = Caller("ADMIN_TOKEN", frozenset(Scope))
_HEADER = {"www-authenticate": 'Bearer realm="textback"'}
_UNKNOWN = {"www-authenticate": 'Bearer realm="textback", error="invalid_token"'}


class KnownTokens:
    """What the database lately said of tokens, by their hash. Unknown ones are not kept: guesses shall not fill it."""

    def __init__(self) -> None:
        self._callers: dict[bytes, tuple[float, Caller]] = {}
        self._last_known: dict[str, Caller] = {}

    def learn(self, rows: Iterable[Any]) -> None:
        """Keep what the database says of its tokens (rows of `api_tokens`), for when it is away."""
        live = (row for row in rows if row.revoked_at is None)
        self._last_known = {row.token_hash: Caller(row.name, frozenset(map(Scope, row.scopes.split()))) for row in live}

    def last_known(self, token: str) -> Caller | None:
        """Whose token it was when the database was last read."""
        return self._last_known.get(token_hash(token))

    async def caller(self, database: Database, token: str) -> Caller | None:
        """Whose token it is; None for an unknown or revoked one."""
        key, now = sha256(token.encode()).digest(), time.monotonic()
        known = self._callers.get(key)
        if known and known[0] > now:
            return known[1]
        entry = await database.read(lambda conn: tokens.find(conn, token))
        if entry is None:
            self._callers.pop(key, None)
            return None
        if len(self._callers) >= _ROOM:
            self._callers.clear()
        caller = Caller(entry.name, frozenset(entry.scopes))
        self._callers[key] = now + _BELIEVED, caller
        return caller

    def forget(self) -> None:
        """Ask the database anew for every token."""
        self._callers.clear()


async def require(
    scope: Scope, authorization: str, *, settings: Settings, database: Database, known: KnownTokens, away: bool = False
) -> Caller:
    """The caller, who has this scope. Raises a 401 or 403 Problem. `away`: the database cannot be asked now."""
    token = _bearer_token(authorization)
    if token is None:
        raise Problem(401, _how_to_call(settings), headers=_HEADER)
    if _is_admin(token, settings):
        caller: Caller | None = _ADMIN
    else:
        caller = known.last_known(token) if away else await known.caller(database, token)
    if caller is None:
        raise Problem(401, "This token is not known here, or was revoked.", headers=_UNKNOWN)
    if not caller.may(scope):
        refusal = f'Bearer realm="textback", error="insufficient_scope", scope="{scope}"'
        detail = f"The token '{caller.name}' lacks the scope {scope}; create one with it: textback token create"
        raise Problem(403, detail, headers={"www-authenticate": refusal})
    return caller


def _bearer_token(authorization: str) -> str | None:
    scheme, _, token = authorization.partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _is_admin(token: str, settings: Settings) -> bool:
    expected = settings.admin_token
    return expected is not None and hmac.compare_digest(token.encode(), expected.get_secret_value().encode())


def _how_to_call(settings: Settings) -> str:
    if settings.admin_token is None:
        return (
            "This path wants 'Authorization: Bearer <token>', and no TEXTBACK_ADMIN_TOKEN is set. Set one of at least"
            " 16 characters (openssl rand -hex 24), or create a token with: textback token create"
        )
    return "This path wants 'Authorization: Bearer <token>': the TEXTBACK_ADMIN_TOKEN, or one of: textback token create"
