"""The schema's revision: brought up to date, asked for, compared. The migrations themselves stand in `migrations/`."""

from typing import Literal

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from app.record.database import Database
from app.shipped import shipped

Standing = Literal["older", "current", "newer"]

MIGRATIONS = shipped("migrations")


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


def standing(found: str | None) -> Standing:
    """How a database's revision stands to this code. One that this code does not know is of a release to come: an
    upgrade migrates first and restarts the nodes one by one, and migrations are such that older code runs on them."""
    known = [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]
    if found == known[0]:
        return "current"
    return "older" if found is None or found in known else "newer"


def is_current(database: Database) -> bool:
    """Whether the database has the newest revision that this code knows."""
    return standing(database.read_now(revision)) == "current"


def is_usable(database: Database) -> bool:
    """Whether this code can work with the database."""
    return standing(database.read_now(revision)) != "older"


def upgrade(database: Database, target: str = "head") -> None:
    """Bring the database to `target`. One that is newer than this code is left as it is."""
    if standing(database.read_now(revision)) == "newer":
        return
    database.direct_now(lambda conn: command.upgrade(_config(conn), target))


def downgrade(database: Database, target: str) -> None:
    """Take the database back to `target` (`base`: empty)."""
    database.direct_now(lambda conn: command.downgrade(_config(conn), target))


def check(database: Database) -> None:
    """Raise where tables and migrations differ."""
    database.direct_now(lambda conn: command.check(_config(conn)))


def upgrade_in(conn: sa.Connection) -> None:
    """Bring the database to the newest revision inside the open transaction."""
    command.upgrade(_config(conn), "head")


def _config(conn: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = conn
    return config
