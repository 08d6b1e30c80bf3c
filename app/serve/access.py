"""API tokens, for admins: named, scoped, shown once."""

from datetime import UTC, datetime

import sqlalchemy as sa
from pydantic import BaseModel, Field

from app.record import tokens
from app.record.tokens import Scope, TokenEntry
from app.serve.fields import NAME_TAKEN, NO_SUCH_NAME, Listing, Name, NameParams, whole
from app.serve.operation import Call, Operation, Params
from app.serve.problems import Problem, not_found
from app.spec import Spec


class Token(BaseModel):
    """A token as it is listed."""

    name: str
    scopes: list[Scope]
    created_at: datetime
    revoked_at: datetime | None


class NewToken(Token):
    """A token just made."""

    token: str = Field(description="Shown this once.")


class WantedToken(Spec):
    """Whose token, and what it may do."""

    name: Name
    scopes: list[Scope] = Field(min_length=1)


async def every(call: Call[Params, None]) -> Listing[Token]:
    """All of them, the revoked ones too."""
    return whole([_shown(entry) for entry in await call.parts.database.read(tokens.listed)])


async def create(call: Call[Params, WantedToken]) -> NewToken:
    """A new one."""
    now, wanted = datetime.now(UTC), call.body

    def act(conn: sa.Connection) -> str:
        if any(entry.name == wanted.name for entry in tokens.listed(conn)):
            raise Problem(409, "There is a token of this name, or there was one; choose another name.")
        return tokens.create(conn, wanted.name, wanted.scopes, now)

    token = await call.parts.writer.run(act)
    scopes = [scope for scope in Scope if scope in wanted.scopes]
    return NewToken(name=wanted.name, scopes=scopes, created_at=now, revoked_at=None, token=token)


async def revoke(call: Call[NameParams, None]) -> None:
    """From now on it opens nothing."""
    name, now = call.params.name, datetime.now(UTC)
    if not await call.parts.writer.run(lambda conn: tokens.revoke(conn, name, now)):
        raise not_found("live token of this name")
    call.parts.tokens.forget()


def _shown(entry: TokenEntry) -> Token:
    return Token.model_validate(entry._asdict())


OPERATIONS = (
    Operation("GET", "/v1/tokens", "All API tokens, without the tokens themselves", every, Scope.ADMIN, Listing[Token]),
    Operation(
        "POST",
        "/v1/tokens",
        "A new API token, shown once",
        create,
        Scope.ADMIN,
        NewToken,
        body=WantedToken,
        status=201,
        problems=NAME_TAKEN,
    ),
    Operation(
        "DELETE",
        "/v1/tokens/{name}",
        "Revoke an API token",
        revoke,
        Scope.ADMIN,
        params=NameParams,
        status=204,
        problems=NO_SUCH_NAME,
    ),
)
