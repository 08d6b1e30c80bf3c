"""Set-based statements: one statement for all rows of a batch, in the manner that each database takes fastest.

SQLite runs in our process, so a prepared statement run row by row (`executemany`) is quickest, and `json_each` where an
answer comes back. PostgreSQL gets the rows as one JSON parameter: measured on a batch of 32 inbound rows, `unnest` over
one array per column cost 20 us of our own time a row (psycopg renders each element in Python), one JSON text 3.5 us.
"""

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import sqlalchemy as sa

Row = Sequence[Any]

_POSTGRESQL_TYPES = {
    "BIGINT": "bigint",
    "INTEGER": "integer",
    "TEXT": "text",
    "BLOB": "bytea",
    "BOOLEAN": "boolean",
    "DATETIME": "timestamptz",
}


def _type_of(column: "sa.Column[Any]") -> str:
    return _POSTGRESQL_TYPES[str(column.type).partition("(")[0].upper()]


def _picked(types: Sequence[str]) -> str:
    """The columns c0, c1, … out of the JSON array `value`, in PostgreSQL."""
    return ", ".join(
        f"decode(value ->> {i}, 'base64') AS c{i}" if kind == "bytea" else f"(value ->> {i})::{kind} AS c{i}"
        for i, kind in enumerate(types)
    )


def as_json(rows: Sequence[Row]) -> str:
    """The rows as one parameter; bytes as base64."""
    return orjson.dumps(rows, default=_foreign_to_json).decode()


def _foreign_to_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else base64.b64encode(value).decode()


class Insert:
    """`INSERT` of many rows, whose values stand in the order of `columns`; `conflict` is the clause after it."""

    def __init__(self, table: sa.Table, columns: Sequence[str], conflict: str = "") -> None:
        into = f"INSERT INTO {table.name} ({', '.join(columns)})"
        picked = _picked([_type_of(table.c[name]) for name in columns])
        self.sqlite = f"{into} VALUES ({', '.join('?' * len(columns))}) {conflict}"
        self.postgresql = f"{into} SELECT {picked} FROM jsonb_array_elements(%s::jsonb) {conflict}"


class Inserts:
    """Several inserts: one round trip to PostgreSQL, however many tables; one statement a table in SQLite."""

    def __init__(self, *inserts: Insert) -> None:
        self._inserts = inserts
        parts = ", ".join(f"w{i} AS ({insert.postgresql})" for i, insert in enumerate(inserts))
        self._postgresql = f"WITH {parts} SELECT 1"

    def run(self, conn: sa.Connection, *tables: Iterable[Row]) -> None:
        """Write the rows of each table, given in the order of the inserts; a table without rows is fine."""
        listed = [rows if isinstance(rows, list) else list(rows) for rows in tables]
        if conn.dialect.name == "sqlite":
            for insert, rows in zip(self._inserts, listed, strict=True):
                if rows:
                    conn.exec_driver_sql(insert.sqlite, rows)
        elif any(listed):
            conn.exec_driver_sql(self._postgresql, tuple(as_json(rows) for rows in listed))


class Ask:
    """A statement over many given rows, which it names `given`, with columns c0, c1, … of PostgreSQL's `types`."""

    def __init__(self, sql: str, types: Sequence[str]) -> None:
        names = ", ".join(f"value ->> {i} AS c{i}" for i in range(len(types)))
        self._sqlite = sql.replace("given", f"(SELECT {names} FROM json_each(?)) AS given", 1)
        listed = f"(SELECT {_picked(types)} FROM jsonb_array_elements(%s::jsonb)) AS given"
        self._postgresql = sql.replace("given", listed, 1)

    def run(self, conn: sa.Connection, rows: Sequence[Row]) -> Sequence[Row]:
        """The answer; nothing given, nothing asked."""
        if not rows:
            return []
        sql = self._sqlite if conn.dialect.name == "sqlite" else self._postgresql
        return conn.exec_driver_sql(sql, (as_json(rows),)).fetchall()
