"""The writer: everything this process writes, in one thread, in as few transactions as there is waiting.

Callers wait for the commit. Whatever waits when a transaction ends goes into the next one together (group commit, no
lingering): a lone event is written at once, under load hundreds share one fsync. A batch that fails is split until the
culprit stands alone; that one is parked, its neighbours are written.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import pysqlite3.dbapi2 as sqlite
import sqlalchemy as sa
import structlog
from sqlalchemy import exc

from app import metrics
from app.errors import StoreUnavailable
from app.events import Decide, Heard, Recorded
from app.record.batch import Committed, park, write
from app.record.database import Database

T = TypeVar("T")
log = structlog.get_logger()

BATCH = 512
#: SQLSTATEs of serialisation failure and deadlock: the same transaction may well succeed the next time
_AGAIN = {"40001", "40P01"}
_TRIES = 4
#: seconds without a write after which the connection is tried before it is used
_PAUSE = 1.0
#: classes of SQLSTATE that say the server is not there or cannot serve, rather than that a row is wrong: connection,
#: conflict with other transactions, resources, locks, intervention, system, read-only, missing table or permission,
#: configuration, internal
_AWAY = ("08", "40", "53", "55", "57", "58", "25006", "42", "F0", "XX")

#: errors without a SQLSTATE that say the same
_CANNOT_SERVE = (
    psycopg.OperationalError, psycopg.InterfaceError, sqlite.OperationalError, sqlite.InterfaceError,
    exc.TimeoutError, StoreUnavailable,
)  # fmt: skip


@dataclass(slots=True)
class _Job:
    payload: Heard | Callable[[sa.Connection], Any]
    future: asyncio.Future[Any]
    answer: Any = None
    error: BaseException | None = None


class Writer:
    """The only hand that writes. Start it inside the event loop whose tasks wait for it."""

    def __init__(self, database: Database, decide: Decide, *, limit: int = 10_000) -> None:
        self._database = database
        self._decide = decide
        self._limit = limit
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._connection: sa.Connection | None = None
        self._used = 0.0
        self._listeners: list[Committed] = []
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to write."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Write what waits, then end."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def listen(self, listener: Committed) -> None:
        """Have `listener` told after each commit that recorded something, in the writer's thread."""
        self._listeners.append(listener)

    @property
    def alive(self) -> bool:
        """Whether it writes."""
        return self._thread.is_alive() and not self._stopping

    @property
    def waiting(self) -> int:
        """How many requests wait for a transaction."""
        return len(self._jobs)

    def record(self, heard: Heard) -> "asyncio.Future[Recorded]":
        """Record a request; the future is done after the commit. StoreUnavailable when it could not be written."""
        return self._put(heard)

    def run(self, act: Callable[[sa.Connection], T]) -> "asyncio.Future[T]":
        """Run `act` inside the next transaction; its answer after the commit. What it raises undoes only itself."""
        return self._put(act)

    def _put(self, payload: Any) -> "asyncio.Future[Any]":
        if self._stopping:
            raise StoreUnavailable("textback is stopping")
        if len(self._jobs) >= self._limit:
            raise StoreUnavailable(f"{self._limit} requests already wait for the database")
        loop = self._loop
        assert loop is not None, "the writer was not started"
        future: asyncio.Future[Any] = loop.create_future()
        self._jobs.append(_Job(payload, future))
        if not self._wake.is_set():
            self._wake.set()
        return future

    # --- the thread ---

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while jobs := self._take():
                self._work(jobs)
                self._resolve(jobs)
            if self._stopping and not self._jobs:
                self._disconnect()
                return

    def _take(self) -> list[_Job]:
        jobs: list[_Job] = []
        while self._jobs and len(jobs) < BATCH:
            jobs.append(self._jobs.popleft())
        return jobs

    def _resolve(self, jobs: Sequence[_Job]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(_resolve_all, jobs)
        except RuntimeError:  # the loop was closed while we committed; nobody is left to be told
            log.warning("answers had nobody to go to", jobs=len(jobs))

    def _work(self, jobs: Sequence[_Job]) -> None:
        """Write the jobs; on failure split them until the culprit stands alone."""
        try:
            self._transact_with_patience(jobs)
        except Exception as error:  # noqa: BLE001 - whatever it was, each job must get its answer
            self._disconnect()
            if _is_away(error):
                _fail(jobs, StoreUnavailable("the database did not take the write; nothing was acknowledged"), error)
            elif len(jobs) > 1:
                middle = len(jobs) // 2
                self._work(jobs[:middle])
                self._work(jobs[middle:])
            else:
                self._set_aside(jobs[0], error)

    def _transact_with_patience(self, jobs: Sequence[_Job]) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                self._transact(jobs)
            except (exc.DBAPIError, psycopg.Error) as error:
                if attempt == _TRIES or _sqlstate(error) not in _AGAIN:
                    raise
                self._disconnect()
                time.sleep(0.005 * attempt)
            else:
                return

    def _transact(self, jobs: Sequence[_Job]) -> None:
        began = time.perf_counter()
        heards = [job for job in jobs if isinstance(job.payload, Heard)]
        told: tuple[list[Heard], Any] | None = None
        conn = self._connect()
        with conn.begin():
            if heards:
                answers, fresh, changes = write(conn, [job.payload for job in heards], self._decide)  # type: ignore[misc]
                told = fresh, changes
                for job, answer in zip(heards, answers, strict=True):
                    job.answer = answer
            for job in jobs:
                if not isinstance(job.payload, Heard):
                    job.answer = job.payload(conn)
        metrics.BATCH_SIZE.observe(len(jobs))
        metrics.COMMIT_SECONDS.observe(time.perf_counter() - began)
        if told:
            self._tell(*told)

    def _tell(self, fresh: Sequence[Heard], changes: Any) -> None:
        for listener in self._listeners:
            try:
                listener(fresh, changes)
            except Exception:
                log.exception("a listener failed; what it was told about is committed")

    def _set_aside(self, job: _Job, error: Exception) -> None:
        if not isinstance(job.payload, Heard):
            job.error = error
            return
        heard = job.payload
        # The driver's text may quote the row, and rows hold full numbers: only its class goes to the log.
        log.error("the database refused a request; it is parked on the work list", webhook=heard.webhook,
                  error=type(error).__name__)  # fmt: skip
        try:
            with self._connect().begin():
                park(self._connect(), heard, f"the database refused it: {type(error).__name__}")
            job.answer = Recorded(new=0, seen=0)
        except Exception as second:  # noqa: BLE001 - parking failed as well: the provider must come again
            self._disconnect()
            _fail([job], StoreUnavailable("the request could be neither recorded nor parked"), second)

    def _connect(self) -> sa.Connection:
        """The open connection; after a pause it is tried first, for a server that was restarted has dropped it."""
        now = time.monotonic()
        if self._connection is not None and now - self._used > _PAUSE:
            try:
                with self._connection.begin():
                    self._connection.exec_driver_sql("SELECT 1")
            except (exc.SQLAlchemyError, psycopg.Error):
                self._disconnect()
        self._used = now
        if self._connection is None:
            self._connection = self._database.writers.connect()
        return self._connection

    def _disconnect(self) -> None:
        """Let go of the connection: what an error left of it is not to be trusted."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def _resolve_all(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.answer)


def _fail(jobs: Sequence[_Job], error: StoreUnavailable, cause: BaseException) -> None:
    log.error("the database did not take a batch", requests=len(jobs), error=type(cause).__name__,
              sqlstate=_sqlstate(cause) or "-")  # fmt: skip
    for job in jobs:
        job.error = error


def _driver(error: BaseException) -> BaseException:
    """The driver's own error, also where the toolkit has wrapped it."""
    return getattr(error, "orig", None) or error


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(_driver(error), "sqlstate", None)
    return state if isinstance(state, str) else None


def _is_away(error: BaseException) -> bool:
    """Whether the database could not serve, as opposed to having refused a row."""
    state = _sqlstate(error)
    if state is not None:
        return state.startswith(_AWAY)
    driver = _driver(error)
    # the bare class: SQLite says so of a damaged file, psycopg of what it cannot name
    return isinstance(driver, _CANNOT_SERVE) or type(driver) in (sqlite.DatabaseError, psycopg.DatabaseError)
