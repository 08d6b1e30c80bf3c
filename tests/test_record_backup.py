"""Backups of a database that is being written, and their return: nothing torn, nothing missing, nothing that can be read
before it is known to be restored."""

import asyncio
import shutil
import sqlite3
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pysqlite3.dbapi2 as sqlite
import pytest
import sqlalchemy as sa

from app.errors import BadInput
from app.record import backup, facts, queries, schema, tables
from app.record.backup import back_up, restore
from app.record.database import Database, served_alone
from tests import postgres
from tests.commands import Run, runner
from tests.heard import BOB, NOON, heard, inbound
from tests.serving import Served, serving

BIN = postgres.BINARIES


@pytest.fixture
def empty_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of the same kind with nothing in it."""
    with empty_database(database_kind, request, tmp_path) as url:
        yield url


@contextmanager
def empty_database(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder}/new/textback.db"
        return
    server: str = request.getfixturevalue("postgres_server")
    name = f"r{uuid.uuid4().hex}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
        yield f"{server}/{name}"
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        database.close()


def rows(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that is kept, but for what a restore writes."""
    with opened(url) as database:
        kept = [table for table in tables.metadata.sorted_tables if table.name != "facts"]
        return database.read_now(
            lambda conn: {t.name: sorted(map(tuple, conn.execute(sa.select(t))), key=repr) for t in kept}
        )


def shape(url: str) -> set[tuple[str, str]]:
    """Views and triggers, by name."""
    with opened(url) as database:
        query = (
            "SELECT type, name FROM sqlite_schema WHERE type IN ('view', 'trigger')"
            if database.dialect == "sqlite"
            else "SELECT 'view', viewname FROM pg_views WHERE schemaname = 'public' UNION ALL "
            "SELECT 'trigger', tgname FROM pg_trigger WHERE NOT tgisinternal"
        )
        return {tuple(row) for row in database.read_now(lambda conn: conn.execute(sa.text(query)).all())}


async def _many(served: Served, count: int, prefix: str) -> None:
    events = [
        heard(inbound(word, address=f"+1415555{number:04}", provider_id=f"{prefix}{number}"), at=NOON)
        for number, word in enumerate(["STOP", "START", "Hello"] * (count // 3))
    ]
    await asyncio.gather(*(served.parts.writer.record(event) for event in events))


async def _forever(served: Served) -> None:
    turn = 0
    while True:
        await _many(served, 150, f"L{turn}-")
        turn += 1


@contextmanager
def load(served: Served) -> Iterator[None]:
    task = asyncio.run_coroutine_threadsafe(_forever(served), served.loop)
    try:
        yield
    finally:
        task.cancel()


def ledger_of(url: str) -> Sequence[Any]:
    with opened(url) as database:
        return database.read_now(lambda conn: conn.execute(sa.select(tables.ledger).order_by(tables.ledger.c.id)).all())


def test_a_backup_under_load_is_one_moment_of_the_database(database_url: str, empty_url: str, tmp_path: Path) -> None:
    with serving(database_url) as served:
        served.run(_many(served, 300, "before-"))
        with load(served):
            made = back_up(database_url, tmp_path / "one.backup", BIN)
        restored = restore(empty_url, made.file, replace=False, tools=BIN)

    whole, kept, all_rows = ledger_of(database_url), ledger_of(empty_url), rows(empty_url)
    assert 200 <= len(kept) <= len(whole)
    assert set(kept) <= set(whole)
    # one moment: every message of it with its request, every entry with its evidence and its person's row
    assert len(all_rows["evidence"]) == len(kept)
    assert len(all_rows["inbound_messages"]) == len(all_rows["raw_requests"]) == len(all_rows["seen"])
    assert {row.ledger_id for row in _consent(empty_url)} <= {entry.id for entry in kept}
    assert restored.newest == max(entry.received_at for entry in kept)
    assert (made.revision, stat.S_IMODE(made.file.stat().st_mode)) == (schema.head(), 0o600)


def _consent(url: str) -> Sequence[Any]:
    with opened(url) as database:
        return database.read_now(lambda conn: conn.execute(sa.select(tables.consent)).all())


def test_everything_comes_back_and_the_ledger_still_refuses_changes(
    database_url: str, empty_url: str, tmp_path: Path
) -> None:
    with serving(database_url) as served:
        served.run(_many(served, 90, "a-"))
        made = back_up(database_url, tmp_path / "all.backup", BIN)
        before = rows(database_url)
    restore(empty_url, made.file, replace=False, tools=BIN)

    after = rows(empty_url)
    waited = [row for row in before["outbox"] if "pending" in row]
    assert {name: found for name, found in after.items() if name != "outbox"} == {
        name: found for name, found in before.items() if name != "outbox"
    }
    # a reply that waited may have left since the backup
    assert len(waited) > 0
    assert len([row for row in after["outbox"] if "doubtful" in row]) == len(waited)
    assert shape(empty_url) == shape(database_url) != set()
    with opened(empty_url) as database:
        schema.check(database)
        assert schema.is_current(database)
        for statement in ("UPDATE ledger SET new_state = 'opted_in'", "DELETE FROM ledger"):
            with pytest.raises(sa.exc.DBAPIError, match=r"append-only|stays as it is"):
                database.write_now(lambda conn, s=statement: conn.execute(sa.text(s)))  # type: ignore[misc]


def test_a_restored_database_takes_events_and_withholds_consent(
    database_url: str, empty_url: str, tmp_path: Path
) -> None:
    made = back_up(database_url, tmp_path / "x.backup", BIN)
    restore(empty_url, made.file, replace=False, tools=BIN)

    with serving(empty_url) as served:
        fresh = served.record(heard(inbound("START")))
        answer = served.ask("GET", f"/v1/consent/{BOB}").json
        gauge = served.ask("GET", "/metrics").body.decode()

    assert fresh.new == 1
    assert (answer["state"], answer["may_send"]) == ("opted_in", False)
    assert "textback drift" in answer["note"]
    assert "textback_restored 1.0" in gauge


def test_a_backup_of_an_older_revision_is_brought_to_the_present_one(
    database_url: str, empty_url: str, tmp_path: Path
) -> None:
    with opened(database_url) as database:
        schema.downgrade(database, "0007")  # it has no table of facts
    made = back_up(database_url, tmp_path / "old.backup", BIN)

    restore(empty_url, made.file, replace=False, tools=BIN)

    assert made.revision == "0007"
    with opened(empty_url) as database:
        assert schema.is_current(database)
        fact = database.read_now(facts.restored)
    assert fact is not None
    assert fact.value == "old.backup, revision 0007"


def test_a_backup_of_a_newer_textback_is_refused(database_url: str, empty_url: str, tmp_path: Path) -> None:
    with opened(database_url) as database:
        database.write_now(lambda conn: conn.execute(sa.text("UPDATE alembic_version SET version_num = '9999'")))
    made = back_up(database_url, tmp_path / "new.backup", BIN)

    with pytest.raises(BadInput, match="of a newer textback"):
        restore(empty_url, made.file, replace=False, tools=BIN)


def test_what_is_there_is_replaced_only_when_it_is_said(database_url: str, tmp_path: Path) -> None:
    made = back_up(database_url, tmp_path / "empty.backup", BIN)
    with serving(database_url) as served:
        served.record(heard(inbound("STOP")))
        before = rows(database_url)

    with pytest.raises(BadInput, match="--replace"):
        restore(database_url, made.file, replace=False, tools=BIN)
    untouched = rows(database_url)
    restored = restore(database_url, made.file, replace=True, tools=BIN)

    assert untouched == before
    assert rows(database_url)["ledger"] == []
    if restored.aside:  # SQLite: the old file is kept
        assert rows(f"sqlite:///{restored.aside}") == before
        assert not (tmp_path / "textback.db-wal").exists()


def test_a_database_that_is_served_is_not_replaced(database_url: str, tmp_path: Path) -> None:
    made = back_up(database_url, tmp_path / "x.backup", BIN)

    with served_alone(database_url), opened(database_url) as other:
        other.read_now(lambda conn: conn.execute(sa.text("SELECT 1")).scalar())
        with pytest.raises(BadInput, match=r"is being served|is connected to this database"):
            restore(database_url, made.file, replace=True, tools=BIN)


def test_a_sqlite_file_that_another_program_has_open_is_not_replaced(sqlite_template: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'textback.db')}"
    made = back_up(url, tmp_path / "x.backup")

    with closing(sqlite.connect(tmp_path / "textback.db")) as other:
        other.execute("SELECT count(*) FROM ledger").fetchall()
        with pytest.raises(BadInput, match="is in use"):
            restore(url, made.file, replace=True)


def test_tables_of_something_else_are_never_dropped(postgres_server: str, tmp_path: Path) -> None:
    made = back_up(f"{postgres_server}/template_textback", tmp_path / "x.backup", BIN)
    name = f"r{uuid.uuid4().hex}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
    with psycopg.connect(f"{postgres_server}/{name}", autocommit=True) as conn:
        conn.execute("CREATE TABLE messages AS SELECT 'precious' AS text")

        with pytest.raises(BadInput, match="tables of something else"):
            restore(f"{postgres_server}/{name}", made.file, replace=True, tools=BIN)

        assert conn.execute("SELECT text FROM messages").fetchall() == [("precious",)]


def test_a_restore_that_postgresql_breaks_off_leaves_what_was_there(postgres_server: str, tmp_path: Path) -> None:
    """A server that takes no new table: everything had been dropped in that transaction, and is there again."""
    name = f"r{uuid.uuid4().hex}"
    url = f"{postgres_server}/{name}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE template_textback STRATEGY file_copy")
    made = back_up(url, tmp_path / "x.backup", BIN)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("INSERT INTO facts VALUES ('mine', 'precious +14155550100', now())")
        conn.execute(
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'no new view, says 14155550100'; END $$"
        )
        conn.execute(
            "CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION refuse()"
        )

    with pytest.raises(BadInput, match=r"not restored, and the database is as it was: .*no new view, says •••"):
        restore(url, made.file, replace=True, tools=BIN)

    with psycopg.connect(url) as conn:
        assert conn.execute("SELECT name FROM facts").fetchall() == [("mine",)]
        assert conn.execute("SELECT count(*) FROM current_consent").fetchone() == (0,)


def test_a_file_that_is_there_is_never_overwritten_and_nothing_half_written_stays(
    database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "mine").write_text("precious")

    with pytest.raises(BadInput, match="is there already"):
        back_up(database_url, folder / "mine", BIN)
    with pytest.raises(BadInput, match="cannot be written"):
        back_up(database_url, folder / "no such folder" / "x", BIN)

    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("mine", "precious")]


def test_a_database_without_textback_is_not_backed_up(empty_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()

    with pytest.raises(BadInput, match=r"no tables of textback|to back up"):
        back_up(empty_url, folder / "x", BIN)

    assert list(folder.iterdir()) == []


def test_a_cut_off_backup_changes_nothing(database_url: str, empty_url: str, tmp_path: Path) -> None:
    with serving(database_url) as served:
        served.run(_many(served, 900, "a-"))
    made = back_up(database_url, tmp_path / "whole.backup", BIN)
    cut = tmp_path / "cut.backup"
    cut.write_bytes(made.file.read_bytes()[: made.size * 2 // 3])

    with pytest.raises(BadInput):
        restore(empty_url, cut, replace=False, tools=BIN)

    with opened(empty_url) as database:
        assert database.read_now(lambda conn: sa.inspect(conn).get_table_names()) == []


def test_what_is_no_backup_and_a_backup_of_the_other_kind_are_refused(
    sqlite_template: Path, postgres_server: str, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("address,state")
    sqlite3.connect(tmp_path / "else.db").execute("CREATE TABLE t (a)").connection.close()
    made = back_up(f"sqlite:///{sqlite_template}", tmp_path / "x.backup")

    for file, sentence in (
        ("text", "is no backup"),
        ("else.db", "no database of textback"),
        ("none", "cannot be read"),
    ):
        with pytest.raises(BadInput, match=sentence):
            restore(f"sqlite:///{tmp_path}/y.db", tmp_path / file, replace=False)
    with pytest.raises(BadInput, match="is a backup of sqlite"):
        restore(f"{postgres_server}/template_textback", made.file, replace=False)


def test_a_leftover_wal_is_not_read_into_a_restored_file(sqlite_template: Path, tmp_path: Path) -> None:
    made = back_up(f"sqlite:///{sqlite_template}", tmp_path / "x.backup")
    (tmp_path / "textback.db-wal").write_bytes(b"of another database")

    with pytest.raises(BadInput, match=r"textback\.db-wal lies there"):
        restore(f"sqlite:///{tmp_path}/textback.db", made.file, replace=False)


def test_missing_and_older_programs_of_postgresql_are_told(postgres_server: str, tmp_path: Path) -> None:
    url, old = f"{postgres_server}/template_textback", tmp_path / "old"
    old.mkdir()
    with pytest.raises(BadInput, match=r"There is no pg_dump .* name its folder with --bin"):
        back_up(url, tmp_path / "x", old)
    (old / "pg_dump").write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 12.4'\n")
    (old / "pg_dump").chmod(0o755)

    with pytest.raises(BadInput, match="is of PostgreSQL 12 and the server of 18"):
        back_up(url, tmp_path / "x", old)


def test_a_password_is_told_by_the_environment_alone(postgres_server: str, tmp_path: Path) -> None:
    """A pg_dump that tells how it was called, before the real one does the work."""
    told = tmp_path / "told"
    for name in ("pg_dump", "pg_restore"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "$PGPASSWORD|$*" >> {told}\nexec {BIN / name} "$@"\n')
        program.chmod(0o755)
    url = f"{postgres_server}/template_textback".replace("postgres@", "postgres:s3cr3t-word@")

    back_up(url, tmp_path / "x.backup", tmp_path)

    dump = next(line for line in told.read_text().splitlines() if "--format=custom" in line)
    assert dump.startswith("s3cr3t-word|")
    assert "s3cr3t-word" not in dump.partition("|")[2]


# --- what a restore means for replies and for people --------------------------------------------------------------


def test_default_replies_wait_while_restored_and_a_stop_is_confirmed(database_url: str) -> None:
    from app.record import outbox

    with serving(database_url) as served:
        served.write(lambda conn: facts.put(conn, facts.RESTORED, "x.backup", NOON))
        served.record(heard(inbound("Hello", address="+14155550777"), at=NOON))
        served.record(heard(inbound("STOP"), at=NOON))
        now = NOON + timedelta(seconds=1)
        held = served.write(lambda conn: outbox.claim(conn, now, now + timedelta(minutes=1), 10))
        served.write(lambda conn: facts.end(conn, "dora: looked at", now))
        freed = served.write(lambda conn: outbox.claim(conn, now, now + timedelta(minutes=1), 10))

    assert [row.category for row in held or ()] == ["opt_out"]
    assert [row.category for row in freed or ()] == ["default"]


def test_a_reply_that_waits_too_long_while_restored_meets_its_deadline(database_url: str) -> None:
    from app.record import outbox

    with serving(database_url) as served:
        served.write(lambda conn: facts.put(conn, facts.RESTORED, "x.backup", NOON))
        served.record(heard(inbound("Hello"), at=NOON))
        late = NOON + timedelta(hours=2)
        claimed = served.write(lambda conn: outbox.claim(conn, late, late + timedelta(minutes=1), 10))

    assert [row.category for row in claimed or ()] == ["default"]


# --- the commands -------------------------------------------------------------------------------------------------


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(database_url, monkeypatch, tmp_path)


def test_the_commands_say_what_they_did_and_what_is_to_do(
    run: Run, database_url: str, empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("consent", "set", BOB, "opted_in", "--reason", "by phone", "--actor", "dora")

    made = run("backup", "nightly.backup", "--bin", str(BIN))
    again = run("backup", "nightly.backup", "--bin", str(BIN))
    monkeypatch.setenv("TEXTBACK_DATABASE_URL", empty_url)
    restored = run("restore", "nightly.backup", "--bin", str(BIN))
    asked = run("consent", "get", BOB)
    checked = run("check")

    assert (made.exit_code, again.exit_code, restored.exit_code) == (0, 1, 0), restored.output
    assert made.stdout.startswith("nightly.backup: ")
    assert "is there already" in again.stderr
    assert "textback drift" in restored.stdout
    assert "may_send  False\nnote      This database was restored" in asked.stdout
    assert "warning: This database was restored" in checked.stderr


def test_a_standing_read_through_the_queries_is_as_the_backup_had_it(
    run: Run, empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("consent", "set", BOB, "opted_out", "--reason", "by phone", "--actor", "dora")
    run("backup", "x.backup", "--bin", str(BIN))
    monkeypatch.setenv("TEXTBACK_DATABASE_URL", empty_url)
    run("restore", "x.backup", "--bin", str(BIN))

    with opened(empty_url) as database:
        own, _ = database.read_now(lambda conn: queries.standings(conn, "default", [BOB]))[BOB]
    assert own.state == "opted_out"


def test_inspect_tells_the_kind_and_revision_of_a_file(database_url: str, database_kind: str, tmp_path: Path) -> None:
    back_up(database_url, tmp_path / "x.backup", BIN)

    found = backup.inspect(tmp_path / "x.backup", BIN)

    assert (found.kind, found.revision) == (database_kind, schema.head())
