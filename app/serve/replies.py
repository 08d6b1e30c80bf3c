"""Named replies, for admins: a webhook answers with one as `@name`."""

from collections.abc import Callable
from datetime import UTC, datetime

import sqlalchemy as sa

from app import reply
from app.record import registry
from app.record.tokens import Scope
from app.serve.apply import save_reply_checked
from app.serve.fields import IN_USE, NAME_TAKEN, NO_SUCH_NAME, Listing, Name, NameParams, whole
from app.serve.operation import Call, Operation, Params
from app.serve.parts import Parts
from app.serve.registered import changed, deleted, refuse_missing, refuse_other_name, refuse_taken

_KIND = "reply"


class Reply(reply.Reply):
    """A named reply; a plain one is only a text."""

    name: Name


class NewText(reply.Reply):
    """What it says from now on."""

    name: Name | None = None


async def every(call: Call[Params, None]) -> Listing[Reply]:
    """All of them."""
    return whole(list((await _replies(call.parts)).values()))


async def read(call: Call[NameParams, None]) -> Reply:
    """One."""
    return refuse_missing(_KIND, (await _replies(call.parts)).get(call.params.name))


async def create(call: Call[Params, Reply]) -> Reply:
    """A new one."""
    return await _saved(call.parts, call.body, lambda found: refuse_taken(_KIND, found))


async def change(call: Call[NameParams, NewText]) -> Reply:
    """Another text under the same name; webhooks answer with it from now on."""
    refuse_other_name(call.body.name, call.params.name)
    wanted = Reply(**{**call.body.model_dump(), "name": call.params.name})
    return await _saved(call.parts, wanted, lambda found: refuse_missing(_KIND, found))


async def delete(call: Call[NameParams, None]) -> None:
    """Gone, unless a webhook answers with it."""
    await deleted(call.parts, _KIND, lambda conn: registry.delete_reply(conn, call.params.name))


def _named(name: str, found: str | reply.Reply) -> Reply:
    return Reply(name=name, text=found) if isinstance(found, str) else Reply(name=name, **found.model_dump())


def _unnamed(wanted: Reply) -> str | reply.Reply:
    return reply.reply_of(wanted.text, wanted.content)


async def _replies(parts: Parts) -> dict[str, Reply]:
    vault = parts.vault
    found = (await parts.database.read(lambda conn: registry.load(conn, vault))).replies
    return {name: _named(name, each) for name, each in found.items()}


async def _saved(parts: Parts, wanted: Reply, look: Callable[[str | reply.Reply | None], object]) -> Reply:
    vault, catalogue = parts.vault, parts.catalogue

    def act(conn: sa.Connection) -> Reply:
        look(registry.load(conn, vault).replies.get(wanted.name))
        save_reply_checked(conn, vault, catalogue, wanted.name, _unnamed(wanted), datetime.now(UTC))
        return wanted

    return await changed(parts, act)


OPERATIONS = (
    Operation("GET", "/v1/replies", "All named replies", every, Scope.ADMIN, Listing[Reply]),
    Operation(
        "POST",
        "/v1/replies",
        "A new reply",
        create,
        Scope.ADMIN,
        Reply,
        body=Reply,
        status=201,
        problems=NAME_TAKEN,
    ),
    Operation("GET", "/v1/replies/{name}", "A reply", read, Scope.ADMIN, Reply, NameParams, problems=NO_SUCH_NAME),
    Operation(
        "PUT",
        "/v1/replies/{name}",
        "Change a reply",
        change,
        Scope.ADMIN,
        Reply,
        NameParams,
        NewText,
        problems=NO_SUCH_NAME,
    ),
    Operation(
        "DELETE",
        "/v1/replies/{name}",
        "Delete a reply",
        delete,
        Scope.ADMIN,
        params=NameParams,
        status=204,
        problems=NO_SUCH_NAME | IN_USE,
    ),
)
