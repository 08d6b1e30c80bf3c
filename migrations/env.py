"""Alembic's entry: run by `textback migrate` with an open connection, or by the `alembic` command with the settings' URL.

On PostgreSQL an advisory lock keeps two nodes that start together from migrating together: the second waits up to a
minute, and finds nothing left to do. A migration itself waits at most 5 s for a lock, so that it can never queue up the
whole service behind it.
"""

from collections.abc import Collection
from functools import partial
from typing import Any

import sqlalchemy as sa
from alembic import context

from app.record.database import opened
from app.record.tables import metadata
from app.settings import load

_ADVISORY_LOCK = 7_283_901


def migrate(conn: sa.Connection) -> None:
    partitions: set[str] = set()
    if conn.dialect.name == "postgresql":
        conn.execute(sa.text("SET LOCAL lock_timeout = '60s'"))
        conn.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        conn.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        partitions |= set(conn.execute(sa.text("SELECT relname FROM pg_class WHERE relispartition")).scalars())
    context.configure(
        connection=conn,
        target_metadata=metadata,
        compare_type=False,
        transactional_ddl=True,
        include_name=partial(_is_ours, partitions=partitions),
    )
    with context.begin_transaction():
        context.run_migrations()


def _is_ours(name: str | None, kind: str, _parents: Any, *, partitions: Collection[str]) -> bool:
    """Partitions come and go with the months; no migration makes or misses them."""
    return kind != "table" or name not in partitions


connection = context.config.attributes.get("connection")
if connection is not None:
    migrate(connection)
else:
    opened(load()).direct_now(migrate)
