"""Which nodes still bring in what they heard while PostgreSQL was away: until then a STOP may be missing here.

A node says so in table `facts` before it drains its spool, again and again while it does, and takes it back when it is
done. The database's own clock tells how old that word is; a node that died stops saying it, and soon holds nobody up.
"""

import sqlalchemy as sa

_NAME = "draining "
#: seconds between two words of a node
SAID_EVERY = 2.0
_ANNOUNCE = sa.text(
    "INSERT INTO facts (name, value, since) VALUES (:name, '', clock_timestamp()) "
    "ON CONFLICT (name) DO UPDATE SET since = excluded.since"
)
_WITHDRAW = sa.text(
    "DELETE FROM facts WHERE name = :name OR (name LIKE 'draining %' AND since < clock_timestamp() - interval '1 hour')"
)
_ELSEWHERE = sa.text(
    "SELECT EXISTS (SELECT 1 FROM facts WHERE name LIKE 'draining %' AND name <> :name "
    "AND since > clock_timestamp() - interval '15 seconds')"
)


def announce(conn: sa.Connection, node: str) -> None:
    """This node drains its spool."""
    conn.execute(_ANNOUNCE, {"name": _NAME + node})


def withdraw(conn: sa.Connection, node: str) -> None:
    """It is done."""
    conn.execute(_WITHDRAW, {"name": _NAME + node})


def elsewhere(conn: sa.Connection, node: str) -> bool:
    """Whether another node than this drains its spool. In SQLite there is none."""
    return conn.dialect.name == "postgresql" and bool(conn.execute(_ELSEWHERE, {"name": _NAME + node}).scalar_one())
