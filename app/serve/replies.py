"""Named reply texts, for admins: a webhook answers with one as `@name`."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import sqlalchemy as sa
from pydantic import AfterValidator, Field

from app.provider import Spec
from app.record import registry
from app.record.tokens import Scope
from app.serve.apply import save_reply_checked
from app.serve.fields import IN_USE, NAME_TAKEN, NO_SUCH_NAME, Listing, Name, NameParams, whole, without_nul
from app.serve.operation import Call, Operation, Params
from app.serve.parts import Parts
from app.serve.registered import changed, deleted, refuse_missing, refuse_other_name, refuse_taken

_KIND = "reply"

ReplyText = Annotated[str, AfterValidator(without_nul), Field(min_length=1, max_length=1600)]


class Reply(Spec):
    """A named text."""

    name: Name
    text: ReplyText


class NewText(Spec):
    """What it says from now on."""

    name: Name | None = None
    text: ReplyText


async def every(call: Call[Params, None]) -> Listing[Reply]:
    """All of them."""
    return whole([Reply(name=name, text=text) for name, text in (await _texts(call.parts)).items()])


async def read(call: Call[NameParams, None]) -> Reply:
    """One."""
    name = call.params.name
    return Reply(name=name, text=refuse_missing(_KIND, (await _texts(call.parts)).get(name)))


async def create(call: Call[Params, Reply]) -> Reply:
    """A new one."""
    return await _saved(call.parts, call.body, lambda found: refuse_taken(_KIND, found))


async def change(call: Call[NameParams, NewText]) -> Reply:
    """Another text under the same name; webhooks answer with it from now on."""
    refuse_other_name(call.body.name, call.params.name)
    wanted = Reply(name=call.params.name, text=call.body.text)
    return await _saved(call.parts, wanted, lambda found: refuse_missing(_KIND, found))


async def delete(call: Call[NameParams, None]) -> None:
    """Gone, unless a webhook answers with it."""
    await deleted(call.parts, _KIND, lambda conn: registry.delete_reply(conn, call.params.name))


async def _texts(parts: Parts) -> dict[str, str]:
    vault = parts.vault
    return (await parts.database.read(lambda conn: registry.load(conn, vault))).replies


async def _saved(parts: Parts, wanted: Reply, look: Callable[[str | None], object]) -> Reply:
    vault, catalogue = parts.vault, parts.catalogue

    def act(conn: sa.Connection) -> Reply:
        look(registry.load(conn, vault).replies.get(wanted.name))
        save_reply_checked(conn, vault, catalogue, wanted.name, wanted.text, datetime.now(UTC))
        return wanted

    return await changed(parts, act)


OPERATIONS = (
    Operation("GET", "/v1/replies", "All named reply texts", every, Scope.ADMIN, Listing[Reply]),
    Operation(
        "POST",
        "/v1/replies",
        "A new reply text",
        create,
        Scope.ADMIN,
        Reply,
        body=Reply,
        status=201,
        problems=NAME_TAKEN,
    ),
    Operation("GET", "/v1/replies/{name}", "A reply text", read, Scope.ADMIN, Reply, NameParams, problems=NO_SUCH_NAME),
    Operation(
        "PUT",
        "/v1/replies/{name}",
        "Change a reply text",
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
        "Delete a reply text",
        delete,
        Scope.ADMIN,
        params=NameParams,
        status=204,
        problems=NO_SUCH_NAME | IN_USE,
    ),
)
