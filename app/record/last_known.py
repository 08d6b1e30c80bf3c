"""The registry as it was last read, on a local disk: a node that starts while PostgreSQL is away knows its webhooks.

The file holds the rows as they stand in the database, secrets encrypted as there, and is encrypted as a whole beside:
URLs, numbers and token hashes are nobody's business who can only read the disk.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa

from app.errors import BadInput
from app.record import tables
from app.record.vault import Vault

_NAME = "registry.sealed"


class Rows(NamedTuple):
    """What is registered, in the rows of its tables."""

    version: int
    credentials: Sequence[Any]
    webhooks: Sequence[Any]
    replies: Sequence[Any]
    api_tokens: Sequence[Any]
    registrations: Sequence[Any] = ()


def read(conn: sa.Connection) -> Rows:
    """As the database holds it now."""
    version = conn.execute(sa.select(tables.registry_version.c.version)).scalar_one()
    return Rows(int(version), *(conn.execute(_by_name(name)).all() for name in Rows._fields[1:]))


def _by_name(name: str) -> "sa.Select[Any]":
    table = tables.metadata.tables[name]
    return sa.select(table).order_by(table.c.name)


def save(folder: Path, vault: Vault, rows: Rows) -> None:
    """Put it on the disk, whole or not at all. Raises OSError."""
    tree = rows._asdict() | {name: [_plain(row) for row in getattr(rows, name)] for name in Rows._fields[1:]}
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / _NAME
    fresh = file.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as opened:
        opened.write(vault.encrypt(orjson.dumps(tree).decode()))
        opened.flush()
        os.fsync(opened.fileno())
    fresh.replace(file)


def _plain(row: Any) -> dict[str, Any]:
    return {str(name): value for name, value in row._asdict().items()}


def load(folder: Path, vault: Vault) -> Rows | None:
    """What was saved; None where nothing was. Raises BadInput where the key is another, or the file is damaged."""
    try:
        sealed = (folder / _NAME).read_text("ascii")
    except FileNotFoundError:
        return None
    try:
        # a file that the release before has written lacks what that did not know
        tree: Mapping[str, Any] = {"registrations": []} | orjson.loads(vault.decrypt(sealed))
        tables_of = {name: [SimpleNamespace(**row) for row in tree[name]] for name in Rows._fields[1:]}
        return Rows(version=int(tree["version"]), **tables_of)
    except (orjson.JSONDecodeError, LookupError, TypeError, UnicodeDecodeError) as error:
        raise BadInput(f"{folder / _NAME} is damaged ({type(error).__name__}); delete it") from None
