"""The spool: a SQLite file on a local disk for what is heard while PostgreSQL is away.

One file belongs to one process, held by a lock: `spool-1.db`, `spool-2.db`, … so that several processes share a folder.
What an ended process left behind is absorbed by the next that looks. A commit is on the disk before anybody is told.
Everything here blocks; `intake` runs it in a thread of its own.
"""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

import pysqlite3.dbapi2 as sqlite

from app import steps
from app.errors import BadInput, StoreUnavailable
from app.record.tables import iso

#: processes that may share a folder
_SLOTS = 64
_PAGE = 4096
_AT_ONCE = 256
#: pages of an emptied file that are worth giving back to the disk
_WORTH_SHRINKING = 4096
_SCHEMA = """
CREATE TABLE IF NOT EXISTS spool (
    id INTEGER PRIMARY KEY AUTOINCREMENT, received_at TEXT NOT NULL, webhook TEXT NOT NULL,
    names TEXT NOT NULL, sayings TEXT NOT NULL, heard BLOB NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS aside (
    id INTEGER PRIMARY KEY AUTOINCREMENT, received_at TEXT NOT NULL, webhook TEXT NOT NULL,
    names TEXT NOT NULL, sayings TEXT NOT NULL, heard BLOB NOT NULL, body BLOB NOT NULL,
    reason TEXT NOT NULL, set_aside_at TEXT NOT NULL);
"""
_COLUMNS = "received_at, webhook, names, sayings, heard, body"


class Item(NamedTuple):
    """A request that waits in the spool."""

    received_at: str
    webhook: str
    names: str
    """Whom and which messages it is about, as a JSON array."""
    sayings: str
    """What its events say of people's consent, as a JSON array (see `held`)."""
    heard: bytes
    body: bytes
    id: int = 0


class Aside(NamedTuple):
    """An item that could not be recorded; it waits for a person, and holds nobody up."""

    id: int
    received_at: str
    webhook: str
    reason: str
    set_aside_at: str


class Spool:
    """One file. Raises StoreUnavailable where the disk does not take what is written."""

    def __init__(self, path: Path, limit: int = 0, lock: IO[str] | None = None) -> None:
        """The file of any process, to look at it and to take back what was set aside; a process opens its `own`.

        `limit`: bytes that it may take; 0: as many as it takes now or later.
        """
        self.path = path
        self._lock = lock
        self._conn = _opened(path, limit)

    @classmethod
    def own(cls, folder: Path, limit: int) -> "Spool":
        """A file that no other process has. Raises BadInput where the folder cannot be used."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path, lock = _free_slot(folder)
            return cls(path, limit, lock)
        except (OSError, sqlite.Error) as error:
            raise BadInput(
                f"TEXTBACK_SPOOL_FOLDER: nothing can be kept in {folder} ({error}); name a folder on a local disk that"
                " textback may write to"
            ) from None

    def add(self, items: Sequence[Item]) -> None:
        """Keep them, in their order; on the disk when this returns."""
        rows = [item[:-1] for item in items]
        with _on_disk(self._conn):
            self._conn.executemany(f"INSERT INTO spool ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", rows)
            steps.reached("spool written")
        steps.reached("spool committed")

    def first(self, limit: int = _AT_ONCE) -> list[Item]:
        """The items that wait longest."""
        query = f"SELECT {_COLUMNS}, id FROM spool ORDER BY id LIMIT ?"
        return [_item(row) for row in self._conn.execute(query, (limit,))]

    def signs(self) -> list[tuple[str, str]]:
        """(names, sayings) of all items, oldest first. What was set aside holds nobody up, and says what it says."""
        query = "SELECT '[]', sayings FROM aside UNION ALL SELECT names, sayings FROM spool"
        return [(_text(names), _text(said)) for names, said in self._conn.execute(query)]

    def drop(self, ids: Sequence[int]) -> None:
        """Forget what is recorded by now."""
        steps.reached("drained")
        with _on_disk(self._conn):
            self._conn.executemany("DELETE FROM spool WHERE id = ?", [(number,) for number in ids])
        steps.reached("spool deleted")

    def set_aside(self, item: Item, reason: str) -> None:
        """Put an item where it holds nobody up."""
        row = (*item[:-1], reason, iso(datetime.now(UTC)))
        with _on_disk(self._conn):
            self._conn.execute(
                f"INSERT INTO aside ({_COLUMNS}, reason, set_aside_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row
            )
            self._conn.execute("DELETE FROM spool WHERE id = ?", (item.id,))

    def aside(self) -> list[Aside]:
        """What was set aside, oldest first."""
        query = "SELECT id, received_at, webhook, reason, set_aside_at FROM aside ORDER BY id"
        return [Aside(*row) for row in self._conn.execute(query)]

    def take_back(self, ids: Sequence[int] | None = None) -> int:
        """Put what was set aside (None: all of it) at the end of what waits; how many."""
        chosen = [entry.id for entry in self.aside() if ids is None or entry.id in ids]
        with _on_disk(self._conn):
            for number in chosen:
                self._conn.execute(
                    f"INSERT INTO spool ({_COLUMNS}) SELECT {_COLUMNS} FROM aside WHERE id = ?", (number,)
                )
                self._conn.execute("DELETE FROM aside WHERE id = ?", (number,))
        return len(chosen)

    def drop_aside(self, ids: Sequence[int]) -> list[str]:
        """Delete what was set aside for good; what it was, as text."""
        chosen = [entry.id for entry in self.aside() if entry.id in ids]
        with _on_disk(self._conn):
            rows = [self._conn.execute("SELECT heard FROM aside WHERE id = ?", (n,)).fetchone() for n in chosen]
            self._conn.executemany("DELETE FROM aside WHERE id = ?", [(number,) for number in chosen])
        return [_bytes(row[0]).decode("utf-8", "replace") for row in rows]

    def size(self) -> int:
        """Bytes of what waits."""
        pages = self._pragma("page_count") - self._pragma("freelist_count")
        return pages * _PAGE

    def count(self) -> tuple[int, int]:
        """(items that wait, items set aside)."""
        waiting: int = self._conn.execute("SELECT count(*) FROM spool").fetchone()[0]
        aside: int = self._conn.execute("SELECT count(*) FROM aside").fetchone()[0]
        return waiting, aside

    def absorb(self) -> int:
        """Take over what ended processes left in this folder; how many items.

        They are on our disk before they leave theirs: a crash in between leaves both, and their keys tell them again.
        """
        return sum(self._absorb_file(path) for path in spool_files(self.path.parent) if path != self.path)

    def _absorb_file(self, path: Path) -> int:
        lock = _locked(path)
        if lock is None:
            return 0
        taken = 0
        try:
            other = _opened(path, 0)
            while rows := other.execute(f"SELECT {_COLUMNS}, id FROM spool ORDER BY id LIMIT {_AT_ONCE}").fetchall():
                self.add([_item(row) for row in rows])
                with _on_disk(other):
                    other.executemany("DELETE FROM spool WHERE id = ?", [(row[-1],) for row in rows])
                taken += len(rows)
            self._absorb_aside(other)
            other.close()
        except sqlite.Error as error:
            raise StoreUnavailable(f"the spool {path.name} of an ended process cannot be read: {error}") from None
        finally:
            lock.close()
        return taken

    def _absorb_aside(self, other: Any) -> None:
        rows = other.execute(f"SELECT {_COLUMNS}, reason, set_aside_at FROM aside ORDER BY id").fetchall()
        if rows:
            with _on_disk(self._conn):
                self._conn.executemany(
                    f"INSERT INTO aside ({_COLUMNS}, reason, set_aside_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows
                )
            with _on_disk(other):
                other.execute("DELETE FROM aside")

    def shrink(self) -> None:
        """Give the disk back what an emptied file took."""
        if self._pragma("page_count") > _WORTH_SHRINKING:
            self._conn.execute("VACUUM")
        self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Let go of the file; what waits in it waits for the next process."""
        self._conn.close()
        if self._lock:
            self._lock.close()

    def _pragma(self, name: str) -> int:
        value: int = self._conn.execute(f"PRAGMA {name}").fetchone()[0]
        return value


def spool_files(folder: Path) -> list[Path]:
    """The spool files of all processes that share the folder."""
    return sorted(folder.glob("spool-*.db"))


@contextmanager
def _on_disk(conn: Any) -> Iterator[None]:
    """A transaction. What the disk refuses is told as StoreUnavailable, and nothing of it is kept."""
    try:
        conn.execute("BEGIN IMMEDIATE")
        yield
        conn.execute("COMMIT")
    except sqlite.Error as error:
        raise StoreUnavailable(f"the spool cannot be written ({error}); nothing was acknowledged") from None
    finally:
        if conn.in_transaction:
            conn.execute("ROLLBACK")


def _item(row: Sequence[Any]) -> Item:
    """Damaged rows too: what is no text or no bytes is read as such, and found out when it is recorded."""
    received_at, webhook, names, said, heard, body, number = row
    return Item(_text(received_at), _text(webhook), _text(names), _text(said), _bytes(heard), _bytes(body), int(number))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _bytes(value).decode("utf-8", "replace")


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def _free_slot(folder: Path) -> tuple[Path, IO[str]]:
    for number in range(1, _SLOTS + 1):
        path = folder / f"spool-{number}.db"
        lock = _locked(path)
        if lock is not None:
            return path, lock
    raise OSError(f"{_SLOTS} processes already use it")


def _locked(path: Path) -> IO[str] | None:
    """The lock of a spool's file; None: a running process has it."""
    lock = path.with_suffix(".lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _opened(path: Path, limit: int) -> Any:
    path.touch(mode=0o600)
    conn = sqlite.connect(str(path), isolation_level=None, check_same_thread=False, timeout=5)
    conn.execute(f"PRAGMA page_size={_PAGE}")
    conn.execute("PRAGMA journal_mode=WAL")
    conn.execute("PRAGMA synchronous=FULL")
    if limit:
        conn.execute(f"PRAGMA max_page_count={max(limit // _PAGE, 16)}")
    conn.executescript(_SCHEMA)
    return conn
