"""Backup and restore by PostgreSQL's own programs: pg_dump, pg_restore and psql.

They are told where the server is, and the password, by the environment: arguments are seen by everybody on the machine.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

import psycopg
import sqlalchemy as sa
from psycopg.sql import SQL, Identifier
from sqlalchemy.dialects import postgresql

from app.errors import BadInput
from app.record import facts, schema, tables
from app.record.database import Database
from app.record.programs import Tools, complaint_in, run

_REVISION = re.compile(r"^COPY (\S+)\.alembic_version \(version_num\) FROM stdin;\n(\S+)$", re.MULTILINE)
_DUMP = ("--format=custom", "--no-owner", "--no-privileges", "--no-password")


class Archive(NamedTuple):
    """A file of pg_dump."""

    file: Path
    tools: Tools

    @property
    def revision(self) -> str | None:
        """The schema's revision; None where textback has nothing in it."""
        found = self._revision()
        return found and found[1]

    @property
    def namespace(self) -> str:
        """PostgreSQL's schema that the tables were in, as it stands in SQL."""
        found = self._revision()
        return found[0] if found else ""

    def _revision(self) -> tuple[str, str] | None:
        told = run([self.tools.named("pg_restore"), "-a", "-t", "alembic_version", "-f", "-", str(self.file)])
        found = _REVISION.search(told)
        return (found[1], found[2]) if found else None

    def holds(self, table: str) -> bool:
        """Whether the table is in it."""
        listed = run([self.tools.named("pg_restore"), "--list", str(self.file)])
        return any(f" TABLE {self.namespace} {table} " in line for line in listed.splitlines())


class _Server(NamedTuple):
    """What is to know of the server before anything is done to it."""

    major: int
    namespace: str
    #: as it stands in SQL
    quoted: str
    revision: str | None
    tables: Sequence[str]
    #: connections of other textbacks
    others: int


# --- backup -------------------------------------------------------------------------------------------------------


def back_up(url: str, target: Path, tools: Tools) -> None:
    """Write an archive of one snapshot, which blocks no writer; and read it once. Raises BadInput."""
    with _opened(url) as database:
        server = database.read_now(_server)
        environment = _environment(database)
    if server.revision is None:
        raise BadInput("The database has no tables of textback, so there is nothing to back up.")
    dump, check = tools.fitting("pg_dump", server.major), tools.fitting("pg_restore", server.major)
    run([dump, *_DUMP, f"--schema={server.quoted}", f"--file={target}"], environment)
    run([check, f"--file={os.devnull}", str(target)])


_OTHERS = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND application_name LIKE 'textback%'"
)


def _server(conn: sa.Connection) -> _Server:
    major = int(conn.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000
    namespace, quoted = conn.exec_driver_sql("SELECT current_schema, quote_ident(current_schema)").one()
    if namespace is None:
        raise BadInput("The database's user has no schema on its search_path; create one, or grant it.")
    others = conn.execute(_OTHERS).scalar_one()
    found = sa.inspect(conn).get_table_names()
    return _Server(major, namespace, quoted, schema.revision(conn), found, others)


def _environment(database: Database) -> dict[str, str]:
    """libpq's own variables, for what the URL says; a parameter that has none stays what the machine's settings say."""
    _, given = database.url.get_dialect()().create_connect_args(database.url)
    names = {
        option.keyword.decode(): option.envvar.decode()
        for option in psycopg.pq.Conninfo.get_defaults()
        if option.envvar is not None
    }
    told = {names[name]: str(value) for name, value in given.items() if name in names and value is not None}
    return {**os.environ, "PGAPPNAME": "textback backup", "LC_ALL": "C", **told}


# --- restore ------------------------------------------------------------------------------------------------------


def restore(file: Path, url: str, tools: Tools, source: str, now: datetime, *, replace: bool) -> None:
    """Bring an archive into the URL's database, in one transaction with the fact `restored`. Raises BadInput."""
    archive = Archive(file, tools)
    with _opened(url) as database:
        server = database.read_now(_server)
        _refuse(server, archive, replace=replace)
        with_fact = archive.holds("facts")
        marks = facts.of_restore(source, now, "postgresql")
        of_calls = [facts.of_restored_calls(now)] if archive.holds("action_calls") else []
        script = _Script(
            before=[*_drops(server), "SET check_function_bodies = off"] if server.tables else [],
            after=[
                f"SET search_path TO {server.quoted}",
                *map(_as_text, [*(marks if with_fact else ()), *of_calls]),
                "ANALYZE",
            ],
        )
        _play(script, archive, server, _environment(database))
        database.direct_now(lambda conn: _migrate_and_mark(conn, () if with_fact else marks))


def _refuse(server: _Server, archive: Archive, *, replace: bool) -> None:
    if server.quoted != archive.namespace:
        raise BadInput(
            f"The backup is of the schema {archive.namespace}, and the database's user works in {server.quoted};"
            " set its search_path to that schema."
        )
    if server.tables and server.revision is None:
        raise BadInput("The database holds tables of something else; give textback a database of its own.")
    if server.tables and not replace:
        raise BadInput(
            "The database is not empty; restore into a new one, or say --replace: what textback has in it is then"
            " dropped, so back it up before."
        )
    if server.revision is not None and not schema.knows(server.revision):
        raise BadInput("The database is of a newer textback; replace it with that one.")
    if server.tables and server.others:
        raise BadInput(
            f"textback is connected to this database ({server.others} connections); stop every node, restore, and start"
            " them again."
        )


class _Script(NamedTuple):
    """Statements around those of the archive."""

    before: Sequence[str]
    after: Sequence[str]


def _drops(server: _Server) -> Iterator[str]:
    """What textback has there; views and partitions go with their tables, and other people's tables stay."""
    ours = {*tables.metadata.tables, "alembic_version"} & set(server.tables)
    for name in sorted(ours):
        yield SQL("DROP TABLE {}.{} CASCADE").format(Identifier(server.namespace), Identifier(name)).as_string(None)
    yield (
        "DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT oid FROM pg_proc WHERE proname LIKE 'textback\\_%'"
        " AND pronamespace = current_schema::regnamespace LOOP EXECUTE 'DROP FUNCTION ' || f || ' CASCADE';"
        " END LOOP; END $$"
    )


def _as_text(statement: Any) -> str:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


def _play(script: _Script, archive: Archive, server: _Server, environment: Mapping[str, str]) -> None:
    """Run it all in one transaction. Whatever breaks off, also this process, leaves the database as it was: what ends
    the transaction is the last line, and only written when the archive was read to its end."""
    unpack = [archive.tools.fitting("pg_restore", server.major), "--no-owner", "--no-privileges",
              f"--schema={server.namespace}", "--file=-", str(archive.file)]  # fmt: skip
    play = [archive.tools.fitting("psql", server.major), "--no-psqlrc", "--quiet", "--no-password",
            "--set=ON_ERROR_STOP=1", "--file=-"]  # fmt: skip
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as complaint:
        player = subprocess.Popen(play, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=told, env=environment)  # noqa: S603
        assert player.stdin is not None
        try:
            _feed(player.stdin, script, unpack, complaint)
        except BrokenPipeError:
            pass  # it has ended, and said why
        finally:
            _stop(player)
        code = player.returncode
        if code:
            raise BadInput(f"The backup was not restored, and the database is as it was: {complaint_in(told)}")


def _stop(player: "subprocess.Popen[bytes]") -> None:
    """Wait for it where it has heard everything, else kill it: the server then undoes what it has begun."""
    assert player.stdin is not None
    if not player.stdin.closed:
        player.kill()
        with suppress(BrokenPipeError):
            player.stdin.close()
    player.wait()


def _feed(stdin: IO[bytes], script: _Script, unpack: Sequence[str], complaint: IO[bytes]) -> None:
    _say(stdin, "BEGIN", *script.before)
    with subprocess.Popen(unpack, stdout=subprocess.PIPE, stderr=complaint) as unpacker:  # noqa: S603
        assert unpacker.stdout is not None
        shutil.copyfileobj(unpacker.stdout, stdin, 1 << 20)
    if unpacker.returncode:
        raise BadInput(f"The backup could not be read to its end: {complaint_in(complaint)}")
    _say(stdin, *script.after, "COMMIT")
    stdin.close()


def _say(stdin: IO[bytes], *statements: str) -> None:
    stdin.write("".join(f"{statement};\n" for statement in statements).encode())


def _migrate_and_mark(conn: sa.Connection, marks: Sequence[Any]) -> None:
    schema.upgrade_in(conn)
    for statement in marks:
        conn.execute(statement)


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        database.close()
