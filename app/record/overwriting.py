"""Having what is deleted vanish from SQLite's files too. PostgreSQL's vacuum does it by itself, after a while."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import sqlalchemy as sa

from app.record.database import Database

#: milliseconds that a checkpoint may keep the writer waiting
_PATIENCE_MS = 200


@contextmanager
def overwriting(conn: sa.Connection) -> Iterator[None]:
    """What is deleted within is overwritten with zeros, in pages that become free as well (usually those are not)."""
    if conn.dialect.name != "sqlite":
        yield
        return
    conn.exec_driver_sql("PRAGMA secure_delete=ON").close()
    try:
        yield
    finally:
        conn.exec_driver_sql("PRAGMA secure_delete=FAST").close()


def empty_log(database: Database) -> bool:
    """Bring everything from the write-ahead log into the file, and cut it to nothing: it holds pages as they were.

    False: somebody reads or writes at this moment, ask again soon.
    """
    if database.dialect != "sqlite":
        return True
    with closing(database.readers.raw_connection()) as conn:
        cursor = conn.cursor()
        (before,) = cursor.execute("PRAGMA busy_timeout").fetchone()
        cursor.execute(f"PRAGMA busy_timeout={_PATIENCE_MS}").fetchall()
        busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        cursor.execute(f"PRAGMA busy_timeout={before}").fetchall()
        return not busy
