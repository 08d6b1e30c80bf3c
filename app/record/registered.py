"""What every kind of registration shares: the registry's version and its lock, and what an unusable row is called."""

from typing import Literal

import sqlalchemy as sa
from pydantic import ValidationError

from app.record.tables import registry_version

Outcome = Literal["created", "changed", "unchanged"]

#: what `vault.joined` raises for a row that cannot be used: no JSON, secrets without a place, another form
UNUSABLE = (ValueError, LookupError, TypeError)


def version(conn: sa.Connection) -> int:
    """The registry's version; it rises with every change."""
    return int(conn.execute(sa.select(registry_version.c.version)).scalar_one())


def lock(conn: sa.Connection) -> None:
    """From here to the end of the transaction nobody else changes the registry: what a check saw still holds."""
    conn.execute(sa.select(registry_version.c.version).with_for_update())


def raised(conn: sa.Connection, outcome: Outcome) -> Outcome:
    """Raise the version, so that running servers take the change over; the outcome is handed through."""
    conn.execute(registry_version.update().values(version=registry_version.c.version + 1))
    return outcome


def fields_of(error: ValidationError) -> str:
    """The fields that have another form than they should."""
    return ", ".join(".".join(map(str, each["loc"])) for each in error.errors())
