"""The schema's revision: brought up to date, asked for, compared. The migrations themselves stand in `migrations/`."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from app.record.database import Database

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def head() -> str:
    """The newest revision that this code knows."""
    found = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    if found is None:
        raise FileNotFoundError(f"no migrations in {MIGRATIONS}")
    return found


def knows(revision: str) -> bool:
    """Whether this code can bring a database of this revision to its own; one of a newer textback it does not know."""
    return any(script.revision == revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions())


def revision(conn: sa.Connection) -> str | None:
    """The database's revision; None for an empty one."""
    return MigrationContext.configure(conn).get_current_revision()


def is_current(database: Database) -> bool:
    """Whether the database has the newest revision."""
    return database.read_now(revision) == head()


def upgrade(database: Database, target: str = "head") -> None:
    """Bring the database to `target`."""
    database.write_now(lambda conn: command.upgrade(_config(conn), target))


def downgrade(database: Database, target: str) -> None:
    """Take the database back to `target` (`base`: empty)."""
    database.write_now(lambda conn: command.downgrade(_config(conn), target))


def check(database: Database) -> None:
    """Raise where tables and migrations differ."""
    database.read_now(lambda conn: command.check(_config(conn)))


def upgrade_in(conn: sa.Connection) -> None:
    """Bring the database to the newest revision inside the open transaction."""
    command.upgrade(_config(conn), "head")


def _config(conn: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = conn
    return config
