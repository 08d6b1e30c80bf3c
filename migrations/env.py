"""Alembic's entry: run by `textback migrate` with an open connection, or by the `alembic` command with the settings' URL.

On PostgreSQL a migration waits at most 5 s for a lock, so that it can never queue up the whole service behind it, and an
advisory lock keeps two nodes that start together from migrating together.
"""

import sqlalchemy as sa
from alembic import context

from app.record.database import Database
from app.record.tables import metadata
from app.settings import load

_ADVISORY_LOCK = 7_283_901


def migrate(conn: sa.Connection) -> None:
    if conn.dialect.name == "postgresql":
        conn.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        conn.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    context.configure(connection=conn, target_metadata=metadata, compare_type=False, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


connection = context.config.attributes.get("connection")
if connection is not None:
    migrate(connection)
else:
    Database(load().database_url.get_secret_value()).write_now(migrate)
