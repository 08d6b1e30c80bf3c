"""Databases that hold millions of messages before they are measured, filled with a few large statements.

What stands in them is what textback leaves of so many events (raw requests apart, which go after a month), months old
and of other people than the load's: the same load does the same work as on an empty database, only in large tables.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pysqlite3

from app.record import schema
from app.record.database import Database
from app.record.ids import first_id_at

#: the webhook that all of it came through; no event of the load has it
BEFORE = "before"
#: one person for so many inbound messages
MESSAGES_OF_A_PERSON = 5
_SPAN = timedelta(days=90)

_ID = "{first} + n * {step}"
_PERSON = "'+1303' || (2000000 + n % {people})"
#: by kind: table, columns, and the values of row n as SQL; `WHERE` keeps some of the rows
_ROWS = {
    "inbound": (
        ("seen", "key, at", "'i|twilio|SM' || {hex}, {at}"),
        (
            "inbound_messages",
            "id, webhook, provider, account, program, provider_id, address, sender, channel, text, normal, category, "
            "rule, keyword, list_version, received_at, effective_at, reply, outbox_id",
            f"{_ID}, 'before', 'twilio', 'twilio', 'default', 'SM' || {{hex}}, {_PERSON}, '+14155550199', 'sms', 'STOP', "
            f"'stop', 'opt_out', 'default keyword', 'STOP', '0123456789abcdef', {{at}}, {{at}}, 'queued', {_ID}",
        ),
        (
            "ledger",
            "id, program, old_state, new_state, cause, rule, list_version, superseded, effective_at, received_at, "
            "commitment",
            f"{_ID}, 'default', 'unknown', 'opted_out', 'keyword', 'default keyword', '0123456789abcdef', {{no}}, {{at}}, "
            "{at}, {hex} || {hex} WHERE n % 5 < 2",
        ),
        (
            "evidence",
            "ledger_id, address, actor, reason, webhook, inbound_id, text, normal, keyword, signature, reply_text, salt",
            f"{_ID}, {_PERSON}, 'subscriber', '', 'before', {_ID}, 'STOP', 'stop', 'STOP', 'twilio, secret 1 of 1', "
            "'You are unsubscribed. No more messages will be sent.', {hex} WHERE n % 5 < 2",
        ),
        (
            "consent",
            "program, address, state, since, as_of, cause, ledger_id, confirmed",
            f"'default', {_PERSON}, 'opted_out', {{at}}, {{at}}, 'keyword', {_ID}, {{yes}} WHERE n <= {{people}}",
        ),
        ("reply_guard", "address, recent", f"{_PERSON}, '2026-01-01T00:00:00+00:00' WHERE n <= {{people}}"),
        (
            "outbox",
            "id, kind, webhook, credential, program, category, address, sender, text, inbound_id, state, attempts, "
            "next_at, deadline, created_at, provider_id, sent_at",
            f"{_ID}, 'reply', 'before', 'bench', 'default', 'opt_out', {_PERSON}, '+14155550199', "
            f"'You are unsubscribed. No more messages will be sent.', {_ID}, 'sent', 1, {{at}}, {{at}}, {{at}}, "
            "'SM' || {hex}, {at} WHERE n % 2 = 0",
        ),
        (
            "messages",
            "id, account, provider_id, recipient, sender, outbox_id, status, provider_status, code, error_text, parts, "
            "first_at, status_at",
            f"{_ID}, 'twilio', 'SM' || {{hex}}, {_PERSON}, '+14155550199', {_ID}, 'queued', '', '', '', '', {{at}}, {{at}} "
            "WHERE n % 2 = 0",
        ),
    ),
    "receipts": (
        ("seen", "key, at", f"'r|twilio|SM' || {{hex}} || '|' || {_PERSON} || '|delivered||', {{at}}"),
        (
            "messages",
            "id, account, provider_id, recipient, sender, status, provider_status, code, error_text, parts, first_at, "
            "status_at",
            f"{_ID}, 'twilio', 'SM' || {{hex}}, {_PERSON}, '+14155550199', 'delivered', 'delivered', '', '', '', {{at}}, "
            "{at}",
        ),
        (
            "receipts",
            "id, message_id, webhook, status, provider_status, code, error_text, part, received_at, raised",
            f"{_ID}, {_ID}, 'before', 'delivered', 'delivered', '', '', '', {{at}}, {{yes}}",
        ),
    ),
}
_POSTGRESQL = {
    "hex": "lpad(to_hex(n * 2654435761 % 4294967296), 8, '0') || lpad(to_hex(n), 24, '0')",
    "at": "to_timestamp({start} + n * {seconds})",
    "yes": "true",
    "no": "false",
    "series": "generate_series(1::bigint, {count}) AS n",
}
_SQLITE = {
    "hex": "printf('%08x%024x', n * 2654435761 % 4294967296, n)",
    "at": "strftime('%Y-%m-%dT%H:%M:%S+00:00', {start} + n * {seconds}, 'unixepoch')",
    "yes": "1",
    "no": "0",
    "series": "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) SELECT n FROM s)",
}


def statements(kind: str, count: int, spelt: dict[str, str]) -> Iterator[str]:
    """The INSERTs that make `count` events of `kind`, spread over three months that end with the last one."""
    end = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    first = first_id_at(end - _SPAN)
    given = {
        "first": first,
        "step": max(1, (first_id_at(end) - first) // (count + 1)),
        "start": int((end - _SPAN).timestamp()),
        "seconds": f"{_SPAN.total_seconds() / (count + 1):.9f}",
        "people": max(1, count // MESSAGES_OF_A_PERSON),
        "count": count,
    }
    words = given | {name: text.format(**given) for name, text in spelt.items()}
    for table, columns, values in _ROWS[kind]:
        row, _, condition = values.format(**words).partition(" WHERE ")
        yield f"INSERT INTO {table} ({columns}) SELECT {row} FROM {words['series']} WHERE {condition or 'true'}"


@contextmanager
def filled(kind: str, database: str, count: int, folder: Path, server: str) -> Iterator[str]:
    """A database with `count` events of `kind` in it, to be copied: the name of one on the server, or a file's path."""
    if database == "postgresql":
        name = f"bench_filled_{kind}_{time.time_ns()}"
        _on(server, f"CREATE DATABASE {name}")
        try:
            _migrate(f"{server}/{name}")
            fill(f"{server}/{name}", kind, count)
            yield name
        finally:
            _on(server, f"DROP DATABASE {name} WITH (FORCE)")
        return
    file = folder / f"filled-{kind}-{time.time_ns()}.db"
    try:
        _migrate(f"sqlite:///{file}")
        fill(f"sqlite:///{file}", kind, count)
        yield str(file)
    finally:
        for path in folder.glob(f"{file.name}*"):
            path.unlink()


def fill(url: str, kind: str, count: int) -> None:
    """Put `count` events of `kind` into a migrated database."""
    if url.startswith("sqlite:///"):
        _fill_sqlite(Path(url.removeprefix("sqlite:///")), kind, count)
    else:
        _fill_postgresql(url, kind, count)


def _on(server: str, statement: str) -> None:
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(statement)


def _migrate(url: str) -> None:
    database = Database(url)
    schema.upgrade(database)
    database.close()


def _fill_postgresql(url: str, kind: str, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for statement in statements(kind, count, _POSTGRESQL):
            connection.execute(statement)
        connection.execute("VACUUM (ANALYZE)")  # as autovacuum would have done over the months
        connection.execute("CHECKPOINT")


def _fill_sqlite(file: Path, kind: str, count: int) -> None:
    connection = pysqlite3.connect(file, isolation_level=None)
    try:
        # the keys come scattered, so all of an index is written to at once: it must stand in memory
        for pragma in ("synchronous=OFF", "journal_mode=MEMORY", "cache_size=-4000000"):
            connection.execute(f"PRAGMA {pragma}")
        for statement in statements(kind, count, _SQLITE):
            connection.execute(statement)
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
