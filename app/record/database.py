"""The database: one engine that reads, with a few threads, and one connection that writes.

SQLite runs in WAL mode with synchronous=FULL: a commit is on the disk before anybody is told. It comes from pysqlite3,
because SQLite before 3.51.3 can lose a WAL on reset (https://sqlite.org/wal.html#walresetbug).
"""

import asyncio
import fcntl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pysqlite3.dbapi2 as sqlite
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError

from app.errors import BadInput
from app.record import people

T = TypeVar("T")

READER_THREADS = 4
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "busy_timeout=10000",
    "foreign_keys=ON",
    "temp_store=MEMORY",
    "cache_size=-65536",
    "wal_autocheckpoint=4000",
    # what is deleted within a page is overwritten; that costs nothing, for the page is written anyway
    "secure_delete=FAST",
)

# UTC in the session, so that what people see in views is UTC too.
_SESSION = "-c timezone=UTC -c application_name=textback"
# The writer asks for a handful of rows by their keys. The planner cannot know how few are given (it assumes a hundred)
# and would read and hash whole tables; a generic plan saves planning each batch anew.
_LOOK_UPS = " ".join(
    f"-c {setting}"
    for setting in (
        "plan_cache_mode=force_generic_plan",
        "enable_hashjoin=off",
        "enable_mergejoin=off",
        "enable_seqscan=off",
        "jit=off",
    )
)


class Database:
    """Readers and the connection source of the one writer, for SQLite and PostgreSQL alike."""

    def __init__(self, url: str, *, evidence_key: str | None = None) -> None:
        """`evidence_key`: by which erased people stay suppressed; None will do until somebody was erased."""
        self.url = _parse(url)
        self.dialect = self.url.get_backend_name()
        #: never begins a write; SQLite readers see the last commit and block nobody
        self.readers: Engine = _engine(self.url, size=READER_THREADS, begin="BEGIN")
        self.writers: Engine = _engine(self.url, size=1, begin="BEGIN IMMEDIATE", session=_LOOK_UPS)
        for engine in (self.readers, self.writers):
            people.introduce(engine, evidence_key)
        self._threads = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="read")

    async def read(self, question: Callable[[sa.Connection], T]) -> T:
        """The answer of `question`, run in a reader thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.read_now, question)

    def read_now(self, question: Callable[[sa.Connection], T]) -> T:
        """The answer of `question`, in this thread; for the command line."""
        with self.readers.connect() as conn:
            return question(conn)

    def write_now(self, act: Callable[[sa.Connection], T]) -> T:
        """Run `act` in a transaction of its own, in this thread; for the command line. A server uses its writer."""
        with self.writers.begin() as conn:
            return act(conn)

    def close(self) -> None:
        """Let go of threads and connections."""
        self._threads.shutdown(wait=True)
        self.readers.dispose()
        self.writers.dispose()


@contextmanager
def served_alone(url: str) -> Iterator[None]:
    """Refuse a second server on one SQLite file: two writers would wait for each other's locks for seconds."""
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite":
        yield
        return
    with Path(f"{parsed.database}.lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(
                f"another textback serves {parsed.database}; SQLite takes one server, PostgreSQL takes many"
            ) from None
        yield


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
    except ArgumentError:
        raise BadInput(
            "TEXTBACK_DATABASE_URL is not a URL such as sqlite:///data/textback.db or postgresql://user@host/name"
        ) from None
    backend = url.get_backend_name()
    if backend == "sqlite":
        return _sqlite_file(url)
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    raise BadInput(f"TEXTBACK_DATABASE_URL names {backend}; textback keeps its records in sqlite or postgresql")


def _sqlite_file(url: URL) -> URL:
    if not url.database or url.database == ":memory:":
        raise BadInput("TEXTBACK_DATABASE_URL must name a file: a memory database is lost with the process")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    return url


def _engine(url: URL, *, size: int, begin: str, session: str = "") -> Engine:
    # hide_parameters: errors reach logs, and rows hold full numbers
    options: dict[str, Any] = {"pool_size": size, "max_overflow": 0, "hide_parameters": True}
    if url.get_backend_name() == "postgresql":
        arguments = {"options": f"{_SESSION} {session}", "connect_timeout": 5}
        return sa.create_engine(url, connect_args=arguments, pool_pre_ping=size > 1, **options)
    engine = sa.create_engine(url, module=sqlite, connect_args={"check_same_thread": False}, **options)
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", lambda conn: conn.exec_driver_sql(begin))
    return engine


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves; the driver's own guess begins too late
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
