"""Webhooks, for admins: the URLs that providers call. Every answer carries the URL to copy."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from pydantic import Field, GetJsonSchemaHandler, RootModel
from pydantic.json_schema import JsonSchemaValue

from app.record import registry
from app.record.registry import RegisteredWebhook
from app.record.tokens import Scope
from app.record.vault import Vault
from app.serve.apply import Catalogue, save_webhook_checked
from app.serve.fields import IN_USE, NAME_TAKEN, NO_SUCH_NAME, Listing, NameParams, whole
from app.serve.kept import keep_secrets, refuse_stars
from app.serve.operation import Call, Operation, Params
from app.serve.registered import changed, deleted, refuse_missing, refuse_other_name, refuse_taken
from app.webhook import Webhook

_KIND = "webhook"


class WebhookDraft(RootModel[dict[str, Any]]):
    """A webhook as it is sent; a secret that is stored already may be *** or left out, and null removes it."""

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A webhook's."""
        return handler(Webhook.__pydantic_core_schema__)


class ShownWebhook(Webhook):
    """A webhook, its secrets as ***."""

    url: str = Field(description="What the provider shall call.")


async def every(call: Call[Params, None]) -> Listing[ShownWebhook]:
    """All of them."""
    vault = call.parts.vault
    found = await call.parts.database.read(lambda conn: registry.load(conn, vault))
    return whole([_shown(entry, call.base_url) for entry in found.webhooks])


async def read(call: Call[NameParams, None]) -> ShownWebhook:
    """One."""
    vault, name = call.parts.vault, call.params.name
    found = await call.parts.database.read(lambda conn: registry.read_webhook(conn, vault, name))
    return _shown(refuse_missing(_KIND, found), call.base_url)


async def create(call: Call[Params, WebhookDraft]) -> ShownWebhook:
    """A new one, with its URL."""
    vault, catalogue = call.parts.vault, call.parts.catalogue
    refuse_stars(call.body.root)
    wanted = Webhook.model_validate(call.body.root)

    def act(conn: sa.Connection) -> RegisteredWebhook:
        refuse_taken(_KIND, registry.read_webhook(conn, vault, wanted.name))
        return _saved(conn, vault, catalogue, wanted)

    return _shown(await changed(call.parts, act), call.base_url)


async def change(call: Call[NameParams, WebhookDraft]) -> ShownWebhook:
    """The whole of it, but for secrets that are starred or left out. Its URL stays."""
    vault, catalogue = call.parts.vault, call.parts.catalogue
    refuse_other_name(call.body.root.get("name"), call.params.name)
    tree = {**call.body.root, "name": call.params.name}
    return _shown(await changed(call.parts, lambda conn: _change(conn, vault, catalogue, tree)), call.base_url)


async def delete(call: Call[NameParams, None]) -> None:
    """Gone, unless a credential has receipts sent to it; what it heard stays."""
    await deleted(call.parts, _KIND, lambda conn: registry.delete_webhook(conn, call.params.name))


async def new_url(call: Call[NameParams, None]) -> ShownWebhook:
    """A new URL; the old one is nobody's from now on."""
    vault, name = call.parts.vault, call.params.name

    def act(conn: sa.Connection) -> RegisteredWebhook | None:
        registry.rotate_webhook(conn, vault, name, datetime.now(UTC))
        return registry.read_webhook(conn, vault, name)

    return _shown(refuse_missing(_KIND, await changed(call.parts, act)), call.base_url)


def _change(conn: sa.Connection, vault: Vault, catalogue: Catalogue, tree: dict[str, Any]) -> RegisteredWebhook:
    stored = refuse_missing(_KIND, registry.read_webhook(conn, vault, tree["name"]))
    kept = keep_secrets(tree, stored.webhook.model_dump())
    refuse_stars(kept)
    return _saved(conn, vault, catalogue, Webhook.model_validate(kept))


def _saved(conn: sa.Connection, vault: Vault, catalogue: Catalogue, wanted: Webhook) -> RegisteredWebhook:
    save_webhook_checked(conn, vault, catalogue, wanted, datetime.now(UTC))
    return refuse_missing(_KIND, registry.read_webhook(conn, vault, wanted.name))


def _shown(entry: RegisteredWebhook, base_url: str) -> ShownWebhook:
    return ShownWebhook.model_validate(entry.webhook.model_dump() | {"url": f"{base_url}/in/{entry.token}"})


OPERATIONS = (
    Operation("GET", "/v1/webhooks", "All webhooks with their URLs", every, Scope.ADMIN, Listing[ShownWebhook]),
    Operation(
        "POST",
        "/v1/webhooks",
        "A new webhook",
        create,
        Scope.ADMIN,
        ShownWebhook,
        body=WebhookDraft,
        status=201,
        problems=NAME_TAKEN,
    ),
    Operation(
        "GET",
        "/v1/webhooks/{name}",
        "A webhook with its URL",
        read,
        Scope.ADMIN,
        ShownWebhook,
        NameParams,
        problems=NO_SUCH_NAME,
    ),
    Operation(
        "PUT",
        "/v1/webhooks/{name}",
        "Change a webhook as a whole; *** or a missing secret keeps the stored one",
        change,
        Scope.ADMIN,
        ShownWebhook,
        NameParams,
        WebhookDraft,
        problems=NO_SUCH_NAME,
    ),
    Operation(
        "DELETE",
        "/v1/webhooks/{name}",
        "Delete a webhook; what it heard stays",
        delete,
        Scope.ADMIN,
        params=NameParams,
        status=204,
        problems=NO_SUCH_NAME | IN_USE,
    ),
    Operation(
        "POST",
        "/v1/webhooks/{name}/rotate",
        "Give a webhook a new URL; the old one is nobody's from then on",
        new_url,
        Scope.ADMIN,
        ShownWebhook,
        NameParams,
        problems=NO_SUCH_NAME,
    ),
)
