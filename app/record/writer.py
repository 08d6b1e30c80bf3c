"""The writer: everything this process writes, in one thread, in as few transactions as there is waiting.

Callers wait for the commit. Whatever waits when a transaction ends goes into the next one together (group commit, no
lingering): a lone event is written at once, under load hundreds share one fsync. A batch that fails is split until the
culprit stands alone; that one is parked, its neighbours are written.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from app import metrics, steps
from app.errors import Overloaded, StoreUnavailable
from app.events import Decide, Heard, Recorded
from app.record.away import DATABASE_ERRORS, is_away, may_succeed_again, sqlstate
from app.record.batch import Committed, park, write
from app.record.database import Database
from app.record.job import Job, Refuge
from app.record.settled import lift_ids

T = TypeVar("T")
log = structlog.get_logger()

BATCH = 512
_TRIES = 4
#: seconds without a write after which the connection is tried before it is used
_PAUSE = 1.0
#: how much longer the queue may grow for what must not be shed
_URGENT_ROOM = 1.25
#: bytes that a request takes in memory beside its body, about
_REQUEST_SIZE = 2_048


class Writer:
    """The only hand that writes. Start it inside the event loop whose tasks wait for it."""

    def __init__(
        self, database: Database, decide: Decide, *, limit: int = 10_000, limit_bytes: int = 67_108_864
    ) -> None:
        self._database = database
        self._decide = decide
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._jobs: deque[Job] = deque()
        self._working: Sequence[Job] = ()
        self._since: float | None = None
        # each counted by one thread alone, so that neither needs a lock
        self._bytes_put = self._bytes_taken = 0
        self._refuge: Refuge | None = None
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

    @property
    def stalled(self) -> float:
        """Seconds since the transaction under way began; 0 while there is none."""
        since = self._since
        return time.monotonic() - since if since is not None else 0.0

    def take_refuge(self, refuge: Refuge) -> None:
        """From now on hand requests over to `refuge` when the database is away, instead of failing them."""
        self._refuge = refuge

    def record(self, heard: Heard, *, urgent: bool = False, refuge: bool = True) -> "asyncio.Future[Recorded]":
        """Record a request; the future is done after the commit. StoreUnavailable when it could not be written.

        Raises Overloaded beyond the queue's limits; `urgent` has a quarter more room. `refuge`: as `take_refuge`.
        """
        size = _REQUEST_SIZE + (len(heard.raw.body) if heard.raw else 0)
        room = _URGENT_ROOM if urgent else 1.0
        if len(self._jobs) >= self._limit * room:
            raise Overloaded(f"{self._limit} requests already wait for the database")
        if self._bytes_put - self._bytes_taken + size > self._limit_bytes * room:
            raise Overloaded(f"{self._limit_bytes:,} bytes of requests already wait for the database")
        return self._put(heard, size, refuge=refuge)

    def run(self, act: Callable[[sa.Connection], T]) -> "asyncio.Future[T]":
        """Run `act` inside the next transaction; its answer after the commit. What it raises undoes only itself."""
        return self._put(act, 0, refuge=False)

    def surrender(self) -> list[Job]:
        """Hand over the requests that wait or are under way, oldest first: the transaction hangs.

        Those under way may be written all the same; their keys tell then that they were seen.
        """
        waiting = [self._jobs.popleft() for _ in range(len(self._jobs))]
        self._jobs.extend(job for job in waiting if not job.refuge)
        self._bytes_put -= sum(job.size for job in waiting if job.refuge)
        return _sheltered(job for job in (*self._working, *waiting) if job.refuge)

    def _put(self, payload: Any, size: int, *, refuge: bool) -> "asyncio.Future[Any]":
        if self._stopping:
            raise StoreUnavailable("textback is stopping")
        loop = self._loop
        assert loop is not None, "the writer was not started"
        future: asyncio.Future[Any] = loop.create_future()
        self._bytes_put += size
        self._jobs.append(Job(payload, future, size=size, refuge=refuge and self._refuge is not None))
        if not self._wake.is_set():
            self._wake.set()
        return future

    # --- the thread ---

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while jobs := self._take():
                self._working = jobs
                steps.reached("taken")
                self._work(jobs)
                self._since = None
                self._resolve(jobs)
                steps.reached("told")
                self._working = ()
            if self._stopping and not self._jobs:
                self._disconnect()
                return

    def _take(self) -> list[Job]:
        jobs: list[Job] = []
        while self._jobs and len(jobs) < BATCH:
            try:
                job = self._jobs.popleft()
            except IndexError:  # surrendered in this moment
                break
            self._bytes_taken += job.size
            jobs.append(job)
        return jobs

    def _resolve(self, jobs: Sequence[Job]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._resolve_all, jobs)
        except RuntimeError:  # the loop was closed while we committed; nobody is left to be told
            log.warning("answers had nobody to go to", jobs=len(jobs))

    def _resolve_all(self, jobs: Sequence[Job]) -> None:
        """In the event loop."""
        homeless = []
        for job in jobs:
            if job.future.done() or job.sheltered:
                continue
            if job.error is None:
                job.future.set_result(job.answer)
            elif job.refuge and isinstance(job.error, StoreUnavailable):
                homeless.append(job)
            else:
                job.future.set_exception(job.error)
        if homeless and self._refuge is not None:
            self._refuge(_sheltered(homeless))

    def _work(self, jobs: Sequence[Job]) -> None:
        """Write the jobs; on failure split them until the culprit stands alone."""
        try:
            self._transact_with_patience(jobs)
        except Exception as error:  # noqa: BLE001 - whatever it was, each job must get its answer
            self._disconnect()
            if is_away(error):
                _fail(jobs, StoreUnavailable("the database did not take the write; nothing was acknowledged"), error)
            elif len(jobs) > 1:
                middle = len(jobs) // 2
                self._work(jobs[:middle])
                self._work(jobs[middle:])
            else:
                self._set_aside(jobs[0], error)

    def _transact_with_patience(self, jobs: Sequence[Job]) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                self._transact(jobs)
            except DATABASE_ERRORS as error:
                if attempt == _TRIES or not may_succeed_again(error):
                    raise
                self._disconnect()
                time.sleep(0.005 * attempt)
            else:
                return

    def _transact(self, jobs: Sequence[Job]) -> None:
        began = time.perf_counter()
        self._since = time.monotonic()
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
            steps.reached("written")
        steps.reached("committed")
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

    def _set_aside(self, job: Job, error: Exception) -> None:
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
            except DATABASE_ERRORS:
                self._disconnect()
        self._used = now
        if self._connection is None:
            self._connection = self._database.writers.connect()
            lift_ids(self._connection)
        return self._connection

    def _disconnect(self) -> None:
        """Let go of the connection: what an error left of it is not to be trusted."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def _fail(jobs: Sequence[Job], error: StoreUnavailable, cause: BaseException) -> None:
    log.error("the database did not take a batch", requests=len(jobs), error=type(cause).__name__,
              sqlstate=sqlstate(cause) or "-")  # fmt: skip
    for job in jobs:
        job.error = error


def _sheltered(jobs: Iterable[Job]) -> list[Job]:
    """Those whose callers still wait and that are not sheltered yet; from here on they are."""
    found = [job for job in jobs if not job.future.done() and not job.sheltered]
    for job in found:
        job.sheltered = True
    return found
