"""What is registered beside credentials, webhooks and replies, whatever its kind: one table, secrets encrypted."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import orjson
import sqlalchemy as sa
from pydantic import ValidationError

from app.audience import Audience
from app.errors import BadInput
from app.record import generations, streams, tables
from app.record.registered import UNUSABLE, Outcome, fields_of, lock, raised
from app.record.vault import Vault, joined, split
from app.registration import KINDS, Kind, Registrations
from app.stream import Stream


def opened(rows: Iterable[Any], vault: Vault) -> Registrations:
    """The stored rows as what they are; those that cannot be used are named in `broken`. A kind that only a later
    release knows is left alone."""
    found: dict[str, dict[str, Any]] = {kind.plural: {} for kind in KINDS.values()}
    broken = {}
    for row in rows:
        if (kind := KINDS.get(row.kind)) is None:
            continue
        try:
            found[kind.plural][row.name] = _opened(vault, row, kind)
        except BadInput as error:
            broken[kind.name, row.name] = str(error)
    return Registrations(**found, broken=broken)


def read(conn: sa.Connection, vault: Vault) -> Registrations:
    """All of them, as the database holds them now."""
    return opened(conn.execute(sa.select(tables.registrations).order_by(tables.registrations.c.name)), vault)


def save(conn: sa.Connection, vault: Vault, kind: Kind, model: Any, now: datetime) -> Outcome:
    """Create or change the one of this kind and name."""
    lock(conn)
    table, its = tables.registrations, _its(kind, model.name)
    row = conn.execute(sa.select(table).where(its)).one_or_none()
    if row is not None and _holds(vault, row, kind, model):
        return "unchanged"
    settings, sealed = split(model, (*kind.sealed, *kind.encrypted))
    values = {"settings": settings, "secrets": vault.encrypt(sealed), "updated_at": now}
    if row is None:
        conn.execute(table.insert(), {"kind": kind.name, "name": model.name, "created_at": now, **values})
    else:
        conn.execute(table.update().where(its), values)
    if isinstance(model, Stream):  # now, for it may be changed again before anybody tells
        streams.begin(conn, model.name, model.events, now, from_the_beginning=model.from_the_beginning)
    if isinstance(model, Audience) and not (row and _has_condition(row, model.condition)):
        generations.follow(conn, left=_count(conn, kind), added=True, now=now)
    return raised(conn, "changed" if row else "created")


def delete(conn: sa.Connection, kind: Kind, name: str, *, check: Callable[[], None] | None = None) -> bool:
    """Whether there was one. `check`, asked first and under the registry's lock, raises BadInput while it is used."""
    lock(conn)
    if check:
        check()
    gone = conn.execute(tables.registrations.delete().where(_its(kind, name))).rowcount > 0
    if gone:
        if kind.model is Audience:
            generations.follow(conn, left=_count(conn, kind), added=False, now=datetime.now(UTC))
        if kind.name == "stream":
            streams.forget(conn, name)
        raised(conn, "changed")
    return gone


def _has_condition(row: Any, condition: str) -> bool:
    """Whether the stored audience has this condition already; then nobody's membership changes."""
    return bool(orjson.loads(row.settings).get("condition") == condition)


def _count(conn: sa.Connection, kind: Kind) -> int:
    here = tables.registrations.c.kind == kind.name
    return conn.execute(sa.select(sa.func.count()).select_from(tables.registrations).where(here)).scalar_one()


def _its(kind: Kind, name: str) -> "sa.ColumnElement[bool]":
    return sa.and_(tables.registrations.c.kind == kind.name, tables.registrations.c.name == name)


def _opened(vault: Vault, row: Any, kind: Kind) -> Any:
    try:
        secret = vault.decrypt(row.secrets)
    except BadInput as error:
        raise BadInput(f"{kind.name} '{row.name}': {error}") from None
    try:
        return joined(row.settings, secret, kind.model)
    except UNUSABLE as error:
        fields = fields_of(error) if isinstance(error, ValidationError) else "its secrets do not fit its settings"
        raise BadInput(f"The stored {kind.name} '{row.name}' cannot be used ({fields}); apply it again.") from None


def _holds(vault: Vault, row: Any, kind: Kind, model: Any) -> bool:
    try:
        return bool(_opened(vault, row, kind) == model)
    except BadInput:  # sealed with a lost key, or of another form: what is given now replaces it
        return False
