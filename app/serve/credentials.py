"""Credentials, for admins: how messages leave."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from pydantic import GetJsonSchemaHandler, RootModel
from pydantic.json_schema import JsonSchemaValue

from app.credential import Credential
from app.record import registry
from app.record.tokens import Scope
from app.record.vault import Vault
from app.serve.apply import Catalogue, save_credential_checked
from app.serve.door import STARS
from app.serve.fields import IN_USE, NAME_TAKEN, NO_SUCH_NAME, Listing, NameParams, whole
from app.serve.kept import keep_secrets, refuse_stars
from app.serve.operation import Call, Operation, Params
from app.serve.registered import changed, deleted, refuse_missing, refuse_other_name, refuse_taken

_KIND = "credential"


class CredentialDraft(RootModel[dict[str, Any]]):
    """A credential as it is sent; a secret that is stored already may be *** or left out."""

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A credential's."""
        return handler(Credential.__pydantic_core_schema__)


class ShownCredential(Credential):
    """A credential, its secrets and the values of its headers as ***."""


async def every(call: Call[Params, None]) -> Listing[ShownCredential]:
    """All of them."""
    vault = call.parts.vault
    found = await call.parts.database.read(lambda conn: registry.load(conn, vault))
    return whole([_shown(credential) for credential in found.credentials.values()])


async def read(call: Call[NameParams, None]) -> ShownCredential:
    """One."""
    vault, name = call.parts.vault, call.params.name
    found = await call.parts.database.read(lambda conn: registry.read_credential(conn, vault, name))
    return _shown(refuse_missing(_KIND, found))


async def create(call: Call[Params, CredentialDraft]) -> ShownCredential:
    """A new one."""
    vault, catalogue = call.parts.vault, call.parts.catalogue
    refuse_stars(call.body.root)
    wanted = Credential.model_validate(call.body.root)

    def act(conn: sa.Connection) -> None:
        refuse_taken(_KIND, registry.read_credential(conn, vault, wanted.name))
        save_credential_checked(conn, vault, catalogue, wanted, datetime.now(UTC))

    await changed(call.parts, act)
    return _shown(wanted)


async def change(call: Call[NameParams, CredentialDraft]) -> ShownCredential:
    """The whole of it, but for secrets that are starred or left out."""
    vault, catalogue = call.parts.vault, call.parts.catalogue
    refuse_other_name(call.body.root.get("name"), call.params.name)
    tree = {**call.body.root, "name": call.params.name}
    return _shown(await changed(call.parts, lambda conn: _change(conn, vault, catalogue, tree)))


async def delete(call: Call[NameParams, None]) -> None:
    """Gone, unless a webhook replies through it."""
    await deleted(call.parts, _KIND, lambda conn: registry.delete_credential(conn, call.params.name))


def _change(conn: sa.Connection, vault: Vault, catalogue: Catalogue, tree: dict[str, Any]) -> Credential:
    stored = refuse_missing(_KIND, registry.read_credential(conn, vault, tree["name"]))
    kept = keep_secrets(_with_headers(tree, stored), stored.model_dump())
    refuse_stars(kept)
    wanted = Credential.model_validate(kept)
    save_credential_checked(conn, vault, catalogue, wanted, datetime.now(UTC))
    return wanted


def _with_headers(tree: dict[str, Any], stored: Credential) -> dict[str, Any]:
    """A header's value may be starred too; a header that is left out is gone."""
    headers = tree.get("headers")
    if not isinstance(headers, dict):
        return tree
    kept = {n: stored.headers.get(n, v) if v == STARS else v for n, v in headers.items()}
    return {**tree, "headers": kept}


def _shown(credential: Credential) -> ShownCredential:
    # Providers without a standard authentication take their key in a header. URL and payload are shown, to be edited.
    headers = dict.fromkeys(credential.headers, STARS)
    return ShownCredential.model_validate(credential.model_dump() | {"headers": headers})


OPERATIONS = (
    Operation("GET", "/v1/credentials", "All credentials", every, Scope.ADMIN, Listing[ShownCredential]),
    Operation(
        "POST",
        "/v1/credentials",
        "A new credential",
        create,
        Scope.ADMIN,
        ShownCredential,
        body=CredentialDraft,
        status=201,
        problems=NAME_TAKEN,
    ),
    Operation(
        "GET",
        "/v1/credentials/{name}",
        "A credential",
        read,
        Scope.ADMIN,
        ShownCredential,
        NameParams,
        problems=NO_SUCH_NAME,
    ),
    Operation(
        "PUT",
        "/v1/credentials/{name}",
        "Change a credential as a whole; *** or a missing secret keeps the stored one",
        change,
        Scope.ADMIN,
        ShownCredential,
        NameParams,
        CredentialDraft,
        problems=NO_SUCH_NAME,
    ),
    Operation(
        "DELETE",
        "/v1/credentials/{name}",
        "Delete a credential",
        delete,
        Scope.ADMIN,
        params=NameParams,
        status=204,
        problems=NO_SUCH_NAME | IN_USE,
    ),
)
