"""Backups of a running server's database, and their return. A backup is what the database's own tools know.

SQLite: a database file, one snapshot of the running one. PostgreSQL: an archive of pg_dump. Each tells its kind and its
revision itself, so that nothing beside it can be lost. A restored database bears the fact `restored` from its first
moment (see `facts`).
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

import sqlalchemy as sa

from app.errors import BadInput
from app.record import backup_postgresql, backup_sqlite, schema, tables
from app.record.backup_postgresql import Archive
from app.record.database import Database
from app.record.programs import Tools

Kind = Literal["sqlite", "postgresql"]
_KINDS: dict[bytes, Kind] = {b"SQLite format 3\0": "sqlite", b"PGDMP": "postgresql"}


class Backup(NamedTuple):
    """A file that can be restored."""

    file: Path
    kind: Kind
    revision: str
    size: int
    """Bytes."""


class Restored(NamedTuple):
    """A database that came back."""

    backup: Backup
    newest: datetime | None
    """The newest entry of its ledger: what came after it is missing."""
    aside: Path | None
    """Where the replaced SQLite file lies now."""


def back_up(url: str, file: Path, tools: Path | None = None) -> Backup:
    """Write the database into a new file, while it is being written; on the disk and checked when this returns.

    `tools`: the folder of PostgreSQL's programs. Raises BadInput.
    """
    kind, name = _named(url)
    with _new_file(file) as part:
        if kind == "sqlite":
            backup_sqlite.back_up(Path(name), part)
        else:
            backup_postgresql.back_up(url, part, Tools(tools))
        kind, revision = _look_into(part, tools)
    return Backup(file, kind, revision, file.stat().st_size)


def inspect(file: Path, tools: Path | None = None) -> Backup:
    """What a file is. Raises BadInput where it is no backup."""
    kind, revision = _look_into(file, tools)
    return Backup(file, kind, revision, file.stat().st_size)


def restore(url: str, file: Path, *, replace: bool, tools: Path | None = None) -> Restored:
    """Bring a backup into the database of the URL, and up to this code's revision. Raises BadInput, also where the
    database has something in it and `replace` is not said."""
    backup, (kind, name) = inspect(file, tools), _named(url)
    if backup.kind != kind:
        raise BadInput(f"{file} is a backup of {backup.kind}, and TEXTBACK_DATABASE_URL names {kind}.")
    if not schema.knows(backup.revision):
        raise BadInput(f"{file} is of a newer textback (revision {backup.revision}); restore it with that one.")
    now = datetime.now(UTC)
    source = f"{file.name}, revision {backup.revision}"
    aside = None
    if kind == "sqlite":
        aside = backup_sqlite.restore(file, Path(name), source, now, replace=replace)
    else:
        backup_postgresql.restore(file, url, Tools(tools), source, now, replace=replace)
    return Restored(backup, _newest(url), aside)


def _named(url: str) -> tuple[Kind, str]:
    """Which database a URL names: its kind, and its name or file."""
    database = Database(url)
    database.close()
    return "sqlite" if database.dialect == "sqlite" else "postgresql", database.url.database or ""


def _look_into(file: Path, tools: Path | None) -> tuple[Kind, str]:
    try:
        with file.open("rb") as opened:
            head = opened.read(16)
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}") from None
    kind = next((kind for magic, kind in _KINDS.items() if head.startswith(magic)), None)
    if kind is None:
        raise BadInput(f"{file} is no backup of textback: it is neither a SQLite file nor an archive of pg_dump.")
    revision = backup_sqlite.revision(file) if kind == "sqlite" else Archive(file, Tools(tools)).revision
    if not revision:
        raise BadInput(f"{file} holds no database of textback.")
    return kind, revision


def _newest(url: str) -> datetime | None:
    database = Database(url)
    try:
        newest = sa.select(tables.ledger.c.received_at).order_by(tables.ledger.c.id.desc()).limit(1)
        return database.read_now(lambda conn: conn.execute(newest).scalar())
    finally:
        database.close()


@contextlib.contextmanager
def _new_file(file: Path) -> Iterator[Path]:
    """A file for its owner alone, written under another name, which gets its own when all of it is on the disk."""
    _refuse_taken(file)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".part", dir=file.parent)
        os.close(handle)
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error.strerror}") from None
    part = Path(name)
    try:
        yield part
        backup_sqlite.sync(part)
        _refuse_taken(file)
        part.rename(file)
        backup_sqlite.sync(file.parent)
    finally:
        part.unlink(missing_ok=True)


def _refuse_taken(file: Path) -> None:
    if file.exists():
        raise BadInput(f"{file} is there already; a backup overwrites nothing, so choose another name.")
