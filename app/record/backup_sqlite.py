"""Backup and restore of a SQLite file, by SQLite's online backup (https://sqlite.org/backup.html)."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pysqlite3.dbapi2 as sqlite
import sqlalchemy as sa

from app.errors import BadInput
from app.record import facts, schema
from app.record.database import Database, served_alone

#: pages of 4 KiB that are copied at a time; between two of them the copying can be broken off
_PAGES = 4_096


def back_up(source: Path, target: Path) -> None:
    """Copy a database that may be written meanwhile, and check the copy. Raises BadInput."""
    if not source.is_file():
        raise BadInput(f"There is no {source} to back up; look at TEXTBACK_DATABASE_URL.")
    with _told(source):
        _copy(source, target)
        _check(target)


def _copy(source: Path, target: Path) -> None:
    with closing(_connect(source, "ro")) as theirs, closing(_connect(target, "rw")) as ours:
        # One snapshot for the whole copy. In WAL mode it blocks no writer, and without it every commit of the server
        # would have the copying begin anew.
        theirs.execute("BEGIN")
        theirs.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        theirs.backup(ours, pages=_PAGES)
        # not WAL: the copy is one file, also after somebody has looked into it
        ours.execute("PRAGMA journal_mode=DELETE")


def _check(file: Path) -> None:
    with closing(_connect(file, "ro")) as conn:
        found = conn.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise BadInput(f"The copy is damaged, as the database itself may be: {found}. Do not delete older backups.")


def revision(file: Path) -> str | None:
    """The schema's revision in a file; None where textback has nothing in it. Raises BadInput."""
    with _told(file), closing(_connect(file, "ro")) as conn:
        if not conn.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'").fetchone():
            return None
        row = conn.execute("SELECT version_num FROM alembic_version").fetchone()
    return row and str(row[0])


def restore(file: Path, target: Path, source: str, now: datetime, *, replace: bool) -> Path | None:
    """Put a backup in the place of a database; where the replaced file lies now. Raises BadInput."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    with ExitStack() as stack:
        _hold(stack, target)
        _refuse_full(target, replace=replace)
        stack.callback(part.unlink, missing_ok=True)
        stack.enter_context(_told(file))
        part.touch(0o600)
        if target.exists():
            _own_like(target, part)
        _copy(file, part)
        _finish(part, source, now)
        return _put_in_place(part, target, now)


def _hold(stack: ExitStack, target: Path) -> None:
    try:
        stack.enter_context(served_alone(f"sqlite:///{target}"))
    except BadInput:
        raise BadInput(f"{target} is being served; stop textback, restore, and start it again.") from None
    if target.exists():
        _refuse_open(target)
    elif leftover := next((p for p in _companions(target) if p.exists()), None):
        raise BadInput(f"{leftover} lies there without its database; move it away, for it would be read into this one.")


def _refuse_open(target: Path) -> None:
    """Whoever else has the file open would go on writing into the old one. And its WAL goes into it."""
    try:
        with closing(_connect(target, "rw", timeout=1)) as conn:
            conn.execute("PRAGMA journal_mode=DELETE")
    except sqlite.OperationalError as error:
        raise BadInput(f"{target} is in use, by `textback send` or another program; stop it first ({error}).") from None
    except sqlite.DatabaseError:
        return  # damaged: that is what a restore is for


def _own_like(target: Path, part: Path) -> None:
    """The server shall be able to open it, also where somebody else restores."""
    found = target.stat()
    part.chmod(found.st_mode & 0o777)
    with suppress(PermissionError):
        os.chown(part, found.st_uid, found.st_gid)


def _companions(target: Path) -> tuple[Path, ...]:
    return tuple(target.with_name(target.name + ending) for ending in ("-wal", "-shm", "-journal"))


def _refuse_full(target: Path, *, replace: bool) -> None:
    if replace or not target.exists() or not target.stat().st_size:
        return
    with _told(target), closing(_connect(target, "ro")) as conn:
        if not conn.execute("SELECT 1 FROM sqlite_schema").fetchone():
            return
    raise BadInput(
        f"{target} is not empty; restore into a new database, or say --replace: the present file is then moved aside."
    )


def _finish(part: Path, source: str, now: datetime) -> None:
    """Bring the copy to this code's revision, with the fact in it, before it has a name that anybody knows."""
    database = Database(f"sqlite:///{part}")
    try:
        database.direct_now(lambda conn: _migrate_and_mark(conn, source, now))
    finally:
        database.close()
    with closing(_connect(part, "rw")) as conn:
        conn.execute("PRAGMA journal_mode=DELETE")
    _check(part)


def _migrate_and_mark(conn: sa.Connection, source: str, now: datetime) -> None:
    schema.upgrade_in(conn)
    for statement in (*facts.of_restore(source, now, "sqlite"), facts.of_restored_calls(now)):
        conn.execute(statement)


def _put_in_place(part: Path, target: Path, now: datetime) -> Path | None:
    sync(part)
    aside = None
    if target.exists():
        aside = target.with_name(f"{target.name}.replaced-{now:%Y%m%dT%H%M%S%fZ}")
        for name in (target, *(path for path in _companions(target) if path.exists())):
            name.rename(name.with_name(name.name.replace(target.name, aside.name, 1)))
    part.rename(target)
    sync(target.parent)
    return aside


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _connect(file: Path, mode: str, timeout: float = 10) -> Any:
    uri = f"{file.resolve().as_uri()}?mode={mode}"
    return sqlite.connect(uri, uri=True, timeout=timeout, isolation_level=None)


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """SQLite's own words (a full disk, no permission, a damaged file), as a sentence."""
    try:
        yield
    except sqlite.DatabaseError as error:
        raise BadInput(f"{file}: {error}") from None
