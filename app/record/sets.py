"""Set-based statements: one statement for all rows of a batch, which travel as one JSON parameter.

Both databases take rows apart faster than a driver can bind them. Measured on a batch of 32 inbound rows, PostgreSQL's
`unnest` over one array per column cost 20 us of our own time a row (psycopg renders each element in Python), JSON 3.5.
In SQLite a statement run row by row is as quick, but it gives up the interpreter's lock at every row, and beside a busy
event loop each time costs a wait.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
import sqlalchemy as sa

from app.record.tables import iso

Row = Sequence[Any]

_POSTGRESQL_TYPES = {
    "BIGINT": "bigint",
    "INTEGER": "integer",
    "TEXT": "text",
    "BLOB": "bytea",
    "BOOLEAN": "boolean",
    "DATETIME": "timestamptz",
}
# One request has one receive time in several rows, so a small cache pays.
_iso = lru_cache(maxsize=4096)(iso)


def _type_of(column: "sa.Column[Any]") -> str:
    return _POSTGRESQL_TYPES[str(column.type).partition("(")[0].upper()]


def _given(types: Sequence[str], dialect: str) -> str:
    """A row source with columns c0, c1, … out of the one parameter, an array of arrays."""
    if dialect == "sqlite":
        picked = (f"unhex(value ->> {i})" if kind == "bytea" else f"value ->> {i}" for i, kind in enumerate(types))
        source = "json_each(?)"
    else:
        picked = (
            f"decode(value ->> {i}, 'hex')" if kind == "bytea" else f"(value ->> {i})::{kind}"
            for i, kind in enumerate(types)
        )
        source = "jsonb_array_elements(%s::jsonb)"
    return f"(SELECT {', '.join(f'{value} AS c{i}' for i, value in enumerate(picked))} FROM {source}) AS given"


def as_json(rows: Sequence[Row]) -> str:
    """The rows as one parameter: times in our ISO form, bytes as hex."""
    return orjson.dumps(rows, default=_plain, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return _iso(value)
    return list(value) if isinstance(value, tuple) else value.hex()


class Insert:
    """`INSERT` of many rows, whose values stand in the order of `columns`; `conflict` is the clause after it."""

    def __init__(self, table: sa.Table, columns: Sequence[str], conflict: str = "") -> None:
        types = [_type_of(table.c[name]) for name in columns]
        # "WHERE true" keeps SQLite from reading ON CONFLICT as a join (https://sqlite.org/lang_upsert.html)
        insert = f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM {{}} WHERE true {conflict}"
        self.sqlite = insert.format(_given(types, "sqlite"))
        self.postgresql = insert.format(_given(types, "postgresql"))


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
                    conn.exec_driver_sql(insert.sqlite, (as_json(rows),))
        elif any(listed):
            conn.exec_driver_sql(self._postgresql, tuple(as_json(rows) for rows in listed))


class Ask:
    """A statement over many given rows, which it names `given`, with columns c0, c1, … of PostgreSQL's `types`."""

    def __init__(self, sql: str, types: Sequence[str]) -> None:
        self._sqlite = sql.replace("given", _given(types, "sqlite"), 1)
        self._postgresql = sql.replace("given", _given(types, "postgresql"), 1)

    def run(self, conn: sa.Connection, rows: Sequence[Row]) -> Sequence[Row]:
        """The answer; nothing given, nothing asked."""
        if not rows:
            return []
        sql = self._sqlite if conn.dialect.name == "sqlite" else self._postgresql
        return conn.exec_driver_sql(sql, (as_json(rows),)).fetchall()


class Look:
    """`SELECT columns rest`, a question over many given rows; like Ask it names them `given`.

    In SQLite the whole answer comes as one JSON value: each row that is fetched gives up the interpreter's lock.
    """

    def __init__(self, columns: str, rest: str, types: Sequence[str]) -> None:
        self._sqlite = (
            f"SELECT json_group_array(json_array({columns})) {rest.replace('given', _given(types, 'sqlite'), 1)}"
        )
        self._postgresql = f"SELECT {columns} {rest.replace('given', _given(types, 'postgresql'), 1)}"

    def run(self, conn: sa.Connection, rows: Sequence[Row]) -> Sequence[Row]:
        """The answer; nothing given, nothing asked."""
        if not rows:
            return []
        if conn.dialect.name == "sqlite":
            found: list[Row] = orjson.loads(conn.exec_driver_sql(self._sqlite, (as_json(rows),)).scalar_one())
            return found
        return conn.exec_driver_sql(self._postgresql, (as_json(rows),)).fetchall()
