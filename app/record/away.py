"""What an error of the database means: that it cannot serve at present, or that it refuses what it was given."""

import psycopg
import pysqlite3.dbapi2 as sqlite
from sqlalchemy import exc

from app.errors import StoreUnavailable

#: SQLSTATEs of serialisation failure and deadlock: the same transaction may well succeed the next time
_AGAIN = {"40001", "40P01"}
#: classes of SQLSTATE that say the server is not there or cannot serve, rather than that a row is wrong: connection,
#: conflict with other transactions, resources, locks, intervention, system, read-only, missing table or permission,
#: configuration, internal; and what a pooling proxy says when it reaches no server
_AWAY = ("08", "40", "53", "55", "57", "58", "25006", "42", "F0", "XX")

#: errors without a SQLSTATE that say the same
_CANNOT_SERVE = (
    psycopg.OperationalError, psycopg.InterfaceError, sqlite.OperationalError, sqlite.InterfaceError,
    exc.TimeoutError, StoreUnavailable,
)  # fmt: skip

#: what the drivers and the toolkit raise
DATABASE_ERRORS = (exc.SQLAlchemyError, psycopg.Error, sqlite.Error)


def sqlstate(error: BaseException) -> str | None:
    """The server's own code for the error, where it told one."""
    state = getattr(_driver(error), "sqlstate", None)
    return state if isinstance(state, str) else None


def may_succeed_again(error: BaseException) -> bool:
    """Whether the same transaction may succeed the next time, for it only collided with another."""
    return sqlstate(error) in _AGAIN


def is_away(error: BaseException) -> bool:
    """Whether the database could not serve, as opposed to having refused a row."""
    state = sqlstate(error)
    if state is not None:
        return state.startswith(_AWAY)
    driver = _driver(error)
    # the bare class: SQLite says so of a damaged file, psycopg of what it cannot name
    return isinstance(driver, _CANNOT_SERVE) or type(driver) in (sqlite.DatabaseError, psycopg.DatabaseError)


def _driver(error: BaseException) -> BaseException:
    """The driver's own error, also where the toolkit has wrapped it."""
    return getattr(error, "orig", None) or error
