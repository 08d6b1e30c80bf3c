"""Bearer tokens of the API: named, scoped, found by their hash, shown once."""

import secrets
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa

from app.errors import BadInput
from app.record.ids import new_id
from app.record.registry import token_hash
from app.record.tables import api_tokens


class Scope(StrEnum):
    """What a token may do."""

    CONSENT_READ = "consent:read"
    CONSENT_WRITE = "consent:write"
    METRICS = "metrics"
    #: the document system's custom actions
    DOCUMENT = "document"
    #: profile look-ups of servers: by phone and e-mail, with attributes
    LOOKUP = "lookup"
    #: everything
    ADMIN = "admin"


class TokenEntry(NamedTuple):
    """A token as it is listed; the token itself is not kept."""

    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    revoked_at: datetime | None


def create(conn: sa.Connection, name: str, scopes: Iterable[str], now: datetime) -> str:
    """The new token, which cannot be read again. Raises BadInput for a name in use or an unknown scope."""
    wanted = _scopes(scopes)
    if not name.strip():
        raise BadInput("A token needs a name, so that it can be found and revoked.")
    if conn.execute(sa.select(api_tokens.c.id).where(api_tokens.c.name == name)).first():
        raise BadInput(f"There is a token named '{name}', or there was one; choose another name.")
    token = "tb_" + secrets.token_urlsafe(32)
    row = {"id": new_id(), "name": name, "token_hash": token_hash(token), "scopes": " ".join(wanted), "created_at": now}
    conn.execute(api_tokens.insert(), row)
    return token


def find(conn: sa.Connection, token: str) -> TokenEntry | None:
    """Whose token it is and what it may do; None for an unknown or revoked one."""
    live = sa.and_(api_tokens.c.token_hash == token_hash(token), api_tokens.c.revoked_at.is_(None))
    row = conn.execute(_entries().where(live)).one_or_none()
    return _entry(row) if row else None


def listed(conn: sa.Connection) -> list[TokenEntry]:
    """All tokens by name, the revoked ones too."""
    return [_entry(row) for row in conn.execute(_entries().order_by(api_tokens.c.name))]


def revoke(conn: sa.Connection, name: str, now: datetime) -> bool:
    """Whether there was a live token of that name. From now on it opens nothing."""
    live = sa.and_(api_tokens.c.name == name, api_tokens.c.revoked_at.is_(None))
    return conn.execute(api_tokens.update().where(live).values(revoked_at=now)).rowcount > 0


def _scopes(given: Iterable[str]) -> list[Scope]:
    names = set(given)
    known = {scope.value for scope in Scope}
    if not names or names - known:
        wrong = ", ".join(f"'{name}'" for name in sorted(names - known)) or "nothing"
        raise BadInput(f"{wrong} is no scope; choose from: {', '.join(Scope)}.")
    return [scope for scope in Scope if scope in names]


def _entries() -> "sa.Select[str, str, datetime, datetime | None]":
    return sa.select(api_tokens.c.name, api_tokens.c.scopes, api_tokens.c.created_at, api_tokens.c.revoked_at)


def _entry(row: "sa.Row[str, str, datetime, datetime | None]") -> TokenEntry:
    return TokenEntry(row[0], tuple(Scope(name) for name in row[1].split()), row[2], row[3])
