"""The way of a request to a disk: into the database; while PostgreSQL is away, into the spool, and from there later.

1. The writer takes it. Fails the database, or does no commit come for about a second, PostgreSQL counts as away:
   whatever waits, and all that comes, goes into the spool and is acknowledged from there.
2. Twice a second it is asked whether it is back. Then the spool drains in its order, through the writer.
3. Meanwhile new requests go straight to the database, but for those about somebody who still waits in the spool: they
   queue up behind, so that each person's events are recorded in the order in which they came. Other nodes are told (see
   `draining`): none of them says yes before this one's STOPs are in the database.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Literal

import sqlalchemy as sa
import structlog

from app import metrics
from app.errors import Overloaded, StoreUnavailable
from app.events import Heard, Recorded
from app.record import draining
from app.record.away import DATABASE_ERRORS
from app.record.database import Database
from app.record.drain import Drain
from app.record.job import Job
from app.record.known import Concerned
from app.record.shelter import Shelter
from app.record.writer import Writer

log = structlog.get_logger()

State = Literal["serving", "spooling", "draining"]

_LOOK_EVERY = 0.1
_ASK_EVERY = 0.5
#: seconds after its return in which every node that was without it has noticed, and has said that it drains
_SETTLING = 2 * _ASK_EVERY
#: a transaction that hangs so many times as long as it takes to count as away has its connection cut
_CUT_AFTER = 5.0


class Intake:
    """Keeps what is heard, somewhere safe.

    `shelter` and `drain` are None for SQLite: where its disk fails, another file on it would be no better.
    """

    def __init__(
        self,
        writer: Writer,
        database: Database,
        opts_out: Callable[[Heard], bool],
        *,
        shelter: Shelter | None,
        drain: Drain | None,
        after: float,
    ) -> None:
        """`after`: seconds without a commit after which the database counts as away. `opts_out`: of a request."""
        self._writer = writer
        self._database = database
        self._opts_out = opts_out
        self._shelter = shelter
        self._drain = drain
        self._after = after
        #: since when PostgreSQL is away; None: it is there
        self.away_since: datetime | None = None
        #: what this process is called among those that drain
        self.node = secrets.token_hex(8)
        self._quiet_until = 0.0
        self._said_at = 0.0
        self._asked: asyncio.Future[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # --- what others ask ---

    @property
    def has_spool(self) -> bool:
        """Whether this process keeps what it hears while the database is away."""
        return self._shelter is not None

    @property
    def state(self) -> State:
        """Where requests go: into the database, into the spool, or some into this and some into that."""
        if self.away_since:
            return "spooling"
        return "draining" if self.waiting or self.just_back else "serving"

    @property
    def just_back(self) -> bool:
        """PostgreSQL came back a moment ago, so another node may not have said yet that it drains its spool."""
        return time.monotonic() < self._quiet_until

    @property
    def waiting(self) -> int:
        """How many requests wait in the spool."""
        return self._shelter.held.items if self._shelter else 0

    @property
    def aside(self) -> int:
        """How many items of the spool wait for a person."""
        return self._shelter.aside if self._shelter else 0

    @property
    def refused(self) -> str:
        """Why the spool takes nothing at present; empty: it does."""
        return self._shelter.refused if self._shelter else ""

    def opted_out(self, program: str, address: str) -> datetime | None:
        """When a person who waits in the spool said STOP, where that is the person's latest word there."""
        return self._shelter.held.opted_out(program, address) if self._shelter else None

    async def bytes(self) -> int:
        """What waits in the spool takes so much of the disk."""
        return await self._shelter.bytes() if self._shelter else 0

    def record(self, heard: Heard) -> "asyncio.Future[Recorded]":
        """Keep a request; the future is done when it is on a disk, or fails with StoreUnavailable.

        Raises Overloaded where too much waits already. Opt-outs find more room than anything else.
        """
        if self._shelter and (self.away_since or self._shelter.held) and self._must_queue_up(heard):
            return self._shelter.keep(heard)
        try:
            return self._writer.record(heard)
        except Overloaded:
            if not self._opts_out(heard):
                raise
            return self._writer.record(heard, urgent=True)

    def _must_queue_up(self, heard: Heard) -> bool:
        assert self._shelter is not None
        return bool(self.away_since) or self._shelter.held.holds(Concerned([heard]).names())

    # --- beginning and end ---

    async def start(self, *, away: bool = False) -> None:
        """Begin. `away`: the database could not be reached at start."""
        if self._shelter is None:
            return
        await self._shelter.start()
        self._writer.take_refuge(self._take_in)
        if away:
            self._leave("it could not be reached at start")
        self._tasks = [asyncio.create_task(story) for story in (self._watch(), self._return_on())]

    async def stop(self) -> None:
        """Write what waits for the spool, then end. What waits in it is drained after the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._shelter:
            await self._shelter.stop()

    # --- away ---

    def _take_in(self, jobs: Sequence[Job]) -> None:
        """Requests that found no database; behind them whatever waits for it, before anything newer."""
        self._leave("it does not take what is written")
        self._keep([*jobs, *self._writer.surrender()])

    def _keep(self, jobs: Sequence[Job]) -> None:
        assert self._shelter is not None
        for job in jobs:
            assert isinstance(job.payload, Heard)
            self._shelter.keep(job.payload, job.future)

    async def _watch(self) -> None:
        """Notice a transaction that hangs, and keep what waits for it."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            stalled = self._writer.stalled
            if stalled > self._after:
                self._leave(f"no commit for {stalled:.1f} s")
                self._keep(self._writer.surrender())
            if stalled > self._after * _CUT_AFTER:
                self._database.interrupt()

    def _leave(self, why: str) -> None:
        if self.away_since is None:
            self.away_since = datetime.now(UTC)
            metrics.STORE_AWAY.set(1)
            log.error("PostgreSQL is away; requests are kept in the spool", reason=why)

    # --- back ---

    async def _return_on(self) -> None:
        while True:
            await asyncio.sleep(_ASK_EVERY)
            try:
                if await self._answers():
                    await self._drain_on()
            except (StoreUnavailable, *DATABASE_ERRORS) as error:
                log.warning("the spool could not be drained; it is tried again", error=type(error).__name__)

    async def _answers(self) -> bool:
        """Whether the database answers within the time; asked also while it serves, for a quiet node must know too."""
        if self._asked is None:
            self._asked = self._writer.run(_ask)
        done, _ = await asyncio.wait({self._asked}, timeout=self._after)
        if not done:
            return False
        asked, self._asked = self._asked, None
        if asked.exception() is not None:
            self._leave("it does not answer")
        return asked.exception() is None

    async def _drain_on(self) -> None:
        assert self._shelter is not None
        assert self._drain is not None
        await self._shelter.absorb()
        await self._announce()
        while (taken := await self._drain.some()) is not None:
            if not taken:
                self._leave("it does not take what waits in the spool")
                return
            self._come_back()
            await self._announce()
        self._come_back()
        if self._said_at:
            await self._writer.run(partial(draining.withdraw, node=self.node))
            self._said_at = 0.0

    async def _announce(self) -> None:
        """Tell the other nodes that something still waits here, before the first of it is brought in."""
        if self.waiting and time.monotonic() > self._said_at + draining.SAID_EVERY:
            await self._writer.run(partial(draining.announce, node=self.node))
            self._said_at = time.monotonic()

    def _come_back(self) -> None:
        if self.away_since is not None:
            seconds = (datetime.now(UTC) - self.away_since).total_seconds()
            self.away_since = None
            self._quiet_until = time.monotonic() + self._after + _SETTLING
            metrics.STORE_AWAY.set(0)
            log.info("PostgreSQL is back", away_seconds=round(seconds, 1), waiting=self.waiting)


def _ask(conn: sa.Connection) -> None:
    conn.exec_driver_sql("SELECT 1")
