"""The database: one engine that reads, with a few threads, and one connection that writes.

SQLite runs in WAL mode with synchronous=FULL: a commit is on the disk before anybody is told. It comes from pysqlite3,
because SQLite before 3.51.3 can lose a WAL on reset (https://sqlite.org/wal.html#walresetbug). How PostgreSQL's
sessions are set stands in `sessions`; how a thread is freed whose server does not answer, in `wires`.
"""

import asyncio
import fcntl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

import pysqlite3.dbapi2 as sqlite
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from app.errors import BadInput, StoreUnavailable
from app.record import people, sessions
from app.record.wires import Wires
from app.settings import Settings

T = TypeVar("T")

READER_THREADS = 4
#: seconds that a question may take; statements of PostgreSQL end before, by themselves
READ_WITHIN = 10.0
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


class Database:
    """Readers and the connection source of the one writer, for SQLite and PostgreSQL alike.

    `direct_url`: where migrations and LISTEN go, when `url` names a pooling proxy in transaction mode. `evidence_key`:
    by which erased people stay suppressed; None will do until somebody was erased.
    """

    def __init__(self, url: str, *, direct_url: str | None = None, evidence_key: str | None = None) -> None:
        self.url = _parse(url)
        self.direct_url = _parse_direct(direct_url, self.url) if direct_url else self.url
        self.dialect = self.url.get_backend_name()
        session = sessions.pooled if direct_url else sessions.direct
        #: never begins a write; SQLite readers see the last commit and block nobody
        self.readers: Engine = _engine(self.url, session(sessions.READER), size=READER_THREADS, begin="BEGIN")
        self.writers: Engine = _engine(self.url, session(sessions.WRITER), size=1, begin="BEGIN IMMEDIATE")
        self._reading, self._writing = Wires(self.readers), Wires(self.writers)
        for engine in (self.readers, self.writers):
            people.introduce(engine, evidence_key)
        self._threads = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="read")
        self._closed = False

    async def read(self, question: Callable[[sa.Connection], T], *, within: float = READ_WITHIN) -> T:
        """The answer of `question`, run in a reader thread.

        StoreUnavailable after `within` seconds, waiting for a free thread included; the thread is freed.
        """
        loop, call = asyncio.get_running_loop(), _Call(self._reading)
        try:
            async with asyncio.timeout(within):
                return await loop.run_in_executor(self._threads, partial(self._ask, question, call))
        except TimeoutError:
            call.cut()
            raise StoreUnavailable(f"the database did not answer within {within:g} s") from None
        except asyncio.CancelledError:
            loop.call_later(within, call.cut)  # nobody waits any more, but the thread may hang
            raise

    async def apart(self, act: Callable[[sa.Connection], T], *, within: float = READ_WITHIN) -> T:
        """Run `act` like a question, in a transaction of its own, and commit it.

        For what must not share a transaction with events: changes of PostgreSQL's partitions. Never in SQLite, which
        has one writer.
        """
        assert self.dialect == "postgresql", "SQLite has one writer"
        return await self.read(act, within=within)

    def read_now(self, question: Callable[[sa.Connection], T]) -> T:
        """The answer of `question`, in this thread and however long it takes; for the command line."""
        return self._ask(partial(unhurried, act=question), _Call(self._reading))

    def write_now(self, act: Callable[[sa.Connection], T]) -> T:
        """Run `act` in a transaction of its own, in this thread; for the command line. A server uses its writer."""
        with self.writers.begin() as conn:
            return unhurried(conn, act)

    def direct_now(self, act: Callable[[sa.Connection], T]) -> T:
        """Run `act` in a transaction of its own, past a pooling proxy and with no time-out at all; for migrations."""
        if self.dialect == "sqlite":
            return self.write_now(act)
        engine = _engine(self.direct_url, sessions.direct(sessions.DIRECT), size=1, begin="")
        try:
            with engine.begin() as conn:
                return act(conn)
        finally:
            engine.dispose()

    def interrupt(self) -> int:
        """Cut the writers' connections, from any thread; how many.

        Whoever waits for a PostgreSQL that does not answer gets an OperationalError. SQLite needs none of it.
        """
        return self._writing.cut()

    def interrupt_readers(self) -> int:
        """The same for the readers."""
        return self._reading.cut()

    def close(self) -> None:
        """Let go of threads and connections."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._reading.cut()
        self._threads.shutdown(wait=True)
        self.readers.dispose()
        self.writers.dispose()

    def _ask(self, question: Callable[[sa.Connection], T], call: "_Call") -> T:
        """BEGIN tells whether the connection still lives: a server that was restarted has dropped it."""
        with self.readers.connect() as conn, call.holding(conn):
            if _begun(conn):
                return _answered(conn, question)
        if self._closed or call.too_late:
            raise StoreUnavailable("nobody waits for the answer any more")
        with self.readers.connect() as conn, call.holding(conn):
            return _answered(conn, question)


class _Call:
    """A question under way, and the connection that it holds."""

    def __init__(self, wires: Wires) -> None:
        self._wires = wires
        self._lock = threading.Lock()
        self._connection: Any = None
        #: whether nobody waits for the answer any more
        self.too_late = False

    @contextmanager
    def holding(self, conn: sa.Connection) -> Iterator[None]:
        """While it has this connection. Raises StoreUnavailable where nobody waits any more."""
        with self._lock:
            if self.too_late:
                raise StoreUnavailable("the database was reached too late")
            self._connection = conn.connection.dbapi_connection
        try:
            yield
        finally:
            with self._lock:
                self._connection = None

    def cut(self) -> None:
        """Nobody waits any more: free its thread."""
        with self._lock:
            self.too_late = True
            if self._connection is not None:
                self._wires.cut_one(self._connection)


def opened(settings: Settings) -> Database:
    """The database of these settings."""
    direct = settings.database_direct_url
    url = settings.database_url.get_secret_value()
    return Database(
        url,
        direct_url=direct.get_secret_value() if direct else None,
        evidence_key=settings.evidence_secret,
    )


@contextmanager
def served_alone(url: str) -> Iterator[None]:
    """Refuse a second server on one SQLite file: two writers would wait for each other's locks for seconds."""
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite":
        yield
        return
    with _lock_file(Path(f"{parsed.database}.lock")) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(
                f"another textback serves {parsed.database}; SQLite takes one server, PostgreSQL takes many"
            ) from None
        yield


def _lock_file(path: Path) -> IO[str]:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written ({error.strerror}), nor could the database beside it; textback needs a folder"
            " that it may write to"
        ) from None


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


def _parse_direct(text: str, url: URL) -> URL:
    direct = _parse(text)
    if direct.get_backend_name() != "postgresql" or url.get_backend_name() != "postgresql":
        raise BadInput(
            "TEXTBACK_DATABASE_DIRECT_URL is for PostgreSQL behind a pooling proxy; both it and TEXTBACK_DATABASE_URL"
            " must be like postgresql://user@host/name"
        )
    return direct


def _engine(url: URL, session: sessions.Session, *, size: int, begin: str) -> Engine:
    # hide_parameters: errors reach logs, and rows hold full numbers
    options: dict[str, Any] = {"pool_size": size, "max_overflow": 0, "hide_parameters": True}
    if url.get_backend_name() == "postgresql":
        engine, begin = sa.create_engine(url, connect_args=session.arguments, **options), session.begin
    else:
        engine = sa.create_engine(url, module=sqlite, connect_args={"check_same_thread": False}, **options)
        sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", lambda conn: conn.exec_driver_sql(begin))
    return engine


def _begun(conn: sa.Connection) -> bool:
    """Begin a transaction. False where the connection was dropped while nobody used it."""
    try:
        conn.begin()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        return False
    return True


def _answered(conn: sa.Connection, question: Callable[[sa.Connection], T]) -> T:
    answer = question(conn)
    conn.commit()  # a rollback would make psycopg forget what it has prepared
    return answer


def unhurried(conn: sa.Connection, act: Callable[[sa.Connection], T]) -> T:
    """Run `act` without the time-outs of statements: somebody waits for it, and knows that it takes long."""
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql(sessions.UNHURRIED).close()
    return act(conn)


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves; the driver's own guess begins too late
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
