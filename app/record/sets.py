"""Set-based statements: all rows of a batch in one statement, given as JSON, answered as JSON.

What counts is how seldom the writer's thread lets go of the interpreter's lock, because beside a busy event loop each
time costs it a wait. A driver lets go at every statement, and SQLite's at every row. So the questions of a batch are
one statement, and its writes, whatever the tables, are another: in SQLite through a view with a trigger, in PostgreSQL
with data-modifying CTEs. JSON is also the cheapest way to PostgreSQL: measured on a batch of 32 inbound rows, `unnest`
over one array per column cost 20 us of our own time a row (psycopg renders each element in Python), JSON 3.5.
"""

from collections.abc import Collection, Iterable, Sequence
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


def given(types: Sequence[str], dialect: str, parameter: str = "") -> str:
    """A row source with columns c0, c1, … out of one parameter, an array of arrays."""
    if dialect == "sqlite":
        picked, source = [_bytes_or_value(i, kind) for i, kind in enumerate(types)], f"json_each({parameter or '?'})"
    else:
        picked, source = [_cast(i, kind) for i, kind in enumerate(types)], "jsonb_array_elements(%s::jsonb)"
    return f"(SELECT {', '.join(f'{value} AS c{i}' for i, value in enumerate(picked))} FROM {source}) AS given"


def _bytes_or_value(index: int, kind: str) -> str:
    return f"unhex(value ->> {index})" if kind == "bytea" else f"value ->> {index}"


def _cast(index: int, kind: str) -> str:
    return f"decode(value ->> {index}, 'hex')" if kind == "bytea" else f"(value ->> {index})::{kind}"


def as_json(rows: Iterable[Row]) -> str:
    """The rows as one parameter; bytes as hex."""
    return orjson.dumps(list(rows), default=_plain).decode()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value.hex()


class Insert:
    """`INSERT` of many rows, whose values stand in the order of `columns`; `conflict` is the clause after it."""

    def __init__(self, table: sa.Table, columns: Sequence[str], conflict: str = "") -> None:
        self._types = [_type_of(table.c[name]) for name in columns]
        # "WHERE true" keeps SQLite from reading ON CONFLICT as a join (https://sqlite.org/lang_upsert.html)
        self._sql = f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM {{}} WHERE true {conflict}"

    def sql(self, dialect: str, parameter: str = "") -> str:
        """The statement; its rows come from `parameter`."""
        return self._sql.format(given(self._types, dialect, parameter))


class Inserts:
    """Inserts into several tables as one statement."""

    def __init__(self, name: str, *inserts: Insert) -> None:
        """`name`: of the view that SQLite writes through, unique among all Inserts."""
        columns = [f"rows{i}" for i in range(len(inserts))]
        nothing = ", ".join(f"NULL AS {column}" for column in columns)
        into = "; ".join(i.sql("sqlite", f"NEW.{column}") for i, column in zip(inserts, columns, strict=True))
        self._name = name
        self._sqlite_set_up = (
            f"CREATE TEMP VIEW {name} AS SELECT {nothing}",
            f"CREATE TEMP TRIGGER {name}_in INSTEAD OF INSERT ON {name} BEGIN {into}; END",
        )
        self._sqlite = f"INSERT INTO {name} VALUES ({', '.join('?' * len(columns))})"
        parts = (f"w{i} AS ({insert.sql('postgresql')})" for i, insert in enumerate(inserts))
        self._postgresql = f"WITH {', '.join(parts)} SELECT 1"

    def run(self, conn: sa.Connection, *tables: Collection[Row]) -> None:
        """Write the rows of each table, given in the order of the inserts; a table without rows is fine."""
        if not any(tables):
            return
        cursor, given = _cursor(conn), [as_json(rows) if rows else "[]" for rows in tables]
        if conn.dialect.name == "postgresql":
            cursor.execute(self._postgresql, given)
            return
        if self._name not in conn.info:
            for statement in self._sqlite_set_up:
                cursor.execute(statement)
            conn.info[self._name] = True
        cursor.execute(self._sqlite, given)


class Ask:
    """A statement over many given rows, which it names `given`, with columns c0, c1, … of PostgreSQL's `types`."""

    def __init__(self, sql: str, types: Sequence[str]) -> None:
        self._sql = {d: sql.replace("given", given(types, d), 1) for d in ("sqlite", "postgresql")}

    def run(self, conn: sa.Connection, rows: Collection[Row]) -> Sequence[Row]:
        """The answer; nothing given, nothing asked."""
        if not rows:
            return []
        cursor = _cursor(conn)
        cursor.execute(self._sql[conn.dialect.name], (as_json(rows),))
        answer: Sequence[Row] = cursor.fetchall()
        return answer


class Look:
    """`SELECT columns rest`, a question over many given rows; like Ask it names them `given`."""

    def __init__(self, columns: str, rest: str, types: Sequence[str]) -> None:
        self._columns, self._rest, self._types = columns, rest, types

    def sql(self, dialect: str) -> str:
        """The question as an expression whose value is a JSON array of rows."""
        rest = self._rest.replace("given", given(self._types, dialect), 1)
        if dialect == "sqlite":
            return f"(SELECT json_group_array(json_array({self._columns})) {rest})"
        return f"(SELECT coalesce(json_agg(json_build_array({self._columns})), '[]')::text {rest})"


class Looks:
    """Several questions as one statement."""

    def __init__(self, *looks: Look) -> None:
        self._sql = {d: f"SELECT {', '.join(look.sql(d) for look in looks)}" for d in ("sqlite", "postgresql")}

    def run(self, conn: sa.Connection, *given: Collection[Row]) -> list[list[Row]]:
        """The answers in the order of the questions. Times come as ISO text."""
        if not any(given):
            return [[] for _ in given]
        cursor = _cursor(conn)
        cursor.execute(self._sql[conn.dialect.name], [as_json(rows) if rows else "[]" for rows in given])
        return [orjson.loads(answer) for answer in cursor.fetchone()]


def ask_one(conn: sa.Connection, sql: str, parameters: Sequence[str]) -> Any:
    """The one value that a statement of PostgreSQL answers."""
    cursor = _cursor(conn)
    cursor.execute(sql, parameters)
    return cursor.fetchone()[0]


def _cursor(conn: sa.Connection) -> Any:
    """The driver's own cursor, inside the transaction: a tenth of the toolkit's cost per statement."""
    assert conn.connection.dbapi_connection is not None
    return conn.connection.dbapi_connection.cursor()
