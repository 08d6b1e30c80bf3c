"""Empty databases for the contenders, durable ones, and what is in them afterwards."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pysqlite3

from tests.bench.processes import parent

#: id and status of every stored event, by family and kind; the status is empty where the id alone is the key. What
#: `filling` has put there before is left out
EVENTS = {
    ("textback", "inbound"): "SELECT provider_id, '' FROM inbound_messages WHERE webhook <> 'before'",
    ("textback", "receipts"): (
        "SELECT m.provider_id, r.status FROM receipts AS r JOIN messages AS m ON m.id = r.message_id "
        "WHERE r.webhook <> 'before'"
    ),
    ("baseline", "inbound"): "SELECT provider_id, '' FROM inbound",
    ("baseline", "receipts"): "SELECT provider_id, status FROM receipts",
}
#: inbound messages that were answered more than once
ANSWERED_TWICE = (
    "SELECT count(*) - count(DISTINCT inbound_id) FROM outbox WHERE inbound_id IS NOT NULL AND webhook <> 'before'"
)


@contextmanager
def fresh(database: str, folder: Path, server: str, template: str = "") -> Iterator[str]:
    """URL of an empty database (sqlite | postgresql | nothing), which is gone afterwards; or of a copy of `template`.

    `server` is the URL of the PostgreSQL server, without a database's name.
    """
    if database != "postgresql":
        if template:
            shutil.copy(template, folder / "bench.db")
        yield f"sqlite:///{folder / 'bench.db'}" if database else ""
        return
    name = f"bench_{uuid.uuid4().hex}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        copied = f" TEMPLATE {template} STRATEGY file_copy" if template else ""
        connection.execute(f"CREATE DATABASE {name}{copied}")
    try:
        yield f"{server}/{name}"
    finally:
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def postgres_pid(server: str) -> int:
    """The process id of the PostgreSQL server on this machine, whose children do the work."""
    with psycopg.connect(f"{server}/postgres") as connection:
        return parent(connection.info.backend_pid)


def stored_events(url: str, family: str, kind: str) -> list[tuple[str, str]]:
    """Id and status of every event in a contender's database, one item per row."""
    return _rows(url, EVENTS[family, kind])


def answered_twice(url: str) -> int:
    """How many replies too many textback has queued: one inbound message has one reply at most."""
    return int(_rows(url, ANSWERED_TWICE)[0][0])


def _rows(url: str, query: str) -> list[tuple]:
    if url.startswith("sqlite:///"):
        connection = pysqlite3.connect(url.removeprefix("sqlite:///"))
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()
