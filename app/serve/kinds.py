"""Every other kind of registration, for admins: one set of operations, made for each kind from its declaration."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import Field, GetJsonSchemaHandler, RootModel, create_model
from pydantic.json_schema import JsonSchemaValue

from app.errors import BadInput
from app.record import registrations, registry
from app.record.tokens import Scope
from app.registration import KINDS, Kind
from app.serve.apply import save_other_checked
from app.serve.door import STARS
from app.serve.fields import IN_USE, NAME_TAKEN, NO_SUCH_NAME, Listing, whole
from app.serve.kept import keep_secrets, refuse_stars
from app.serve.operation import Call, Operation, Params
from app.serve.registered import changed, deleted, refuse_missing, refuse_other_name, refuse_taken
from app.serve.soundness import new_faults
from app.serve.whole import whole as as_it_stands

AnyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:_-]{0,127}$")]


class AnyNameParams(Params):
    """The name of a registration, whatever its kind."""

    name: AnyName


def operations_of(kind: Kind) -> Iterator[Operation]:
    """List, create, read, change and delete."""
    shown = create_model(f"Shown{kind.model.__name__}", __base__=kind.model, __doc__=f"A {kind.name}, secrets as ***.")
    path, one, draft = f"/v1/{kind.plural}", f"/v1/{kind.plural}/{{name}}", _draft(kind)
    scope = Scope.ADMIN
    act: Callable[..., Any] = partial
    yield Operation("GET", path, f"All {kind.plural}", act(_every, kind, shown), scope, Listing[shown])
    yield Operation("POST", path, f"A new {kind.name}", act(_create, kind, shown), scope, shown, body=draft, status=201,
                    problems=NAME_TAKEN)  # fmt: skip
    yield Operation("GET", one, f"A {kind.name}", act(_read, kind, shown), scope, shown, AnyNameParams,
                    problems=NO_SUCH_NAME)  # fmt: skip
    yield Operation("PUT", one, f"Change a {kind.name} as a whole; *** or a missing secret keeps the stored one",
                    act(_change, kind, shown), scope, shown, AnyNameParams, draft, problems=NO_SUCH_NAME)  # fmt: skip
    yield Operation("DELETE", one, f"Delete a {kind.name}", act(_delete, kind), scope, params=AnyNameParams, status=204,
                    problems=NO_SUCH_NAME | IN_USE)  # fmt: skip


def _draft(kind: Kind) -> type[RootModel[dict[str, Any]]]:
    """What is sent: a secret that is stored already may be *** or left out."""

    class Draft(RootModel[dict[str, Any]]):
        @classmethod
        def __get_pydantic_json_schema__(cls, _schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
            return handler(kind.model.__pydantic_core_schema__)

    Draft.__name__ = Draft.__qualname__ = f"{kind.model.__name__}Draft"
    Draft.__doc__ = f"A {kind.name} as it is sent; a secret that is stored already may be *** or left out."
    return Draft


async def _every(kind: Kind, shown: type[Any], call: Call[Params, None]) -> Listing[Any]:
    vault = call.parts.vault
    found = await call.parts.database.read(lambda conn: registrations.read(conn, vault))
    return whole([_shown(kind, shown, model) for model in found.of(kind).values()])


async def _read(kind: Kind, shown: type[Any], call: Call[AnyNameParams, None]) -> Any:
    vault = call.parts.vault
    found = await call.parts.database.read(lambda conn: registrations.read(conn, vault))
    return _shown(kind, shown, refuse_missing(kind.name, found.of(kind).get(call.params.name)))


async def _create(kind: Kind, shown: type[Any], call: Call[Params, RootModel[dict[str, Any]]]) -> Any:
    parts = call.parts
    refuse_stars(call.body.root)
    wanted = kind.model.model_validate(call.body.root)

    def act(conn: sa.Connection) -> None:
        refuse_taken(kind.name, registrations.read(conn, parts.vault).of(kind).get(wanted.name))  # type: ignore[attr-defined]
        save_other_checked(conn, parts.vault, parts.catalogue, kind, wanted)

    await changed(parts, act)
    return _shown(kind, shown, wanted)


async def _change(kind: Kind, shown: type[Any], call: Call[AnyNameParams, RootModel[dict[str, Any]]]) -> Any:
    parts, name = call.parts, call.params.name
    refuse_other_name(call.body.root.get("name"), name)
    tree = {**call.body.root, "name": name}

    def act(conn: sa.Connection) -> Any:
        stored = refuse_missing(kind.name, registrations.read(conn, parts.vault).of(kind).get(name))
        kept = keep_secrets(_unstarred(kind, tree, stored), stored.model_dump())
        refuse_stars(kept)
        wanted = kind.model.model_validate(kept)
        save_other_checked(conn, parts.vault, parts.catalogue, kind, wanted)
        return wanted

    return _shown(kind, shown, await changed(parts, act))


async def _delete(kind: Kind, call: Call[AnyNameParams, None]) -> None:
    await deleted(call.parts, kind.name, partial(deletion, call.parts.vault, kind, call.params.name))


def deletion(vault: Any, kind: Kind, name: str, conn: sa.Connection) -> bool:
    """Delete; whether there was one. Raises BadInput where something that is registered would no longer work."""

    def check() -> None:
        before = as_it_stands(registry.load(conn, vault))
        faults = new_faults(before, before._replace(others=before.others.without(kind, name)))
        if faults:
            raise BadInput(" ".join(faults))

    return registrations.delete(conn, kind, name, check=check)


def _shown(kind: Kind, shown: type[Any], model: Any) -> Any:
    """Tables of texts that may hold keys are shown as stars, name by name."""
    starred = {name: dict.fromkeys(getattr(model, name), STARS) for name in kind.sealed}
    return shown.model_validate(model.model_dump() | starred)


def _unstarred(kind: Kind, tree: dict[str, Any], stored: Any) -> dict[str, Any]:
    """What is starred in such a table stays as it is stored; what is left out is gone."""
    found = dict(tree)
    for name in kind.sealed:
        if isinstance(given := tree.get(name), dict):
            known = getattr(stored, name)
            found[name] = {key: known.get(key, value) if value == STARS else value for key, value in given.items()}
    return found


OPERATIONS = tuple(operation for kind in KINDS.values() for operation in operations_of(kind))
