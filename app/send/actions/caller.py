"""The caller: claims the calls of custom actions that are due, makes many at once, and has their ends written down.

At least once: a process that dies leaves its leases to lapse, and those calls are made again by whoever claims next.
Replies leave at once whatever a third party does, for calls have hands of their own; and one action gets about half of
these at most, so that a slow third party does not hold up the others.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson

from app import steps
from app.errors import StoreUnavailable
from app.interpret import effective
from app.interpret.governance import consent_fields
from app.record import calls
from app.record.away import is_away
from app.record.calls import DueCall, Ended, Person
from app.record.database import Database
from app.record.writer import Writer
from app.send.actions.awaited import awaited
from app.send.actions.ended_calls import EndedCalls
from app.send.actions.ready import Actions, Called
from app.send.complaint import complain
from app.send.gathering import AFTER_FAILURE
from app.send.waking import Waking
from app.settings import Settings

#: seconds between looks when nobody nudges
POLL = 1.0
#: seconds until the next look where another process was claiming, and between two looks that found little
_AFTER_CONTENTION, _BREATH = 0.02, 0.01
#: seconds that a call may take, whatever its action says; and of its lease
_LONGEST, LEASE = 40.0, timedelta(seconds=60)
#: seconds that writing the ends gets at shutdown, and again giving back what did not end
_WRITING = 2.0
#: seconds that a call waits for this process to hear of its action, which another one has heard of, and between looks
_HEARD_WITHIN, _LOOK = 10.0, 0.1
_TOO_LATE = "its deadline had passed before it could be made"
_ENDLESS = "it took longer than any action may"


class Caller:
    """Makes the calls that wait. Start it in the event loop of its writer, and stop it before sender and writer.

    `queued` is called when replies were queued that had waited for a call.
    """

    def __init__(
        self, writer: Writer, database: Database, actions: Actions, settings: Settings, *, queued: Callable[[], None]
    ) -> None:
        self._writer = writer
        self._database = database
        self._actions = actions
        self._unknown_consent = settings.unknown_consent
        self._hands = settings.call_concurrency
        self._share = max(1, settings.call_concurrency // 2)
        self._queued = queued
        self._ends = EndedCalls(writer, self._written)
        self._under_way: dict[DueCall, asyncio.Task[None]] = {}
        self._waking = Waking(_BREATH)
        self._nudged = True
        self._stopping = False
        self._claimer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to call."""
        self._ends.start()
        self._claimer = asyncio.create_task(self._claim_on(), name="call claims")

    def nudge(self) -> None:
        """A call was asked for: look now. To be called in the event loop's thread."""
        self._nudged = True
        self._waking.wake()

    @property
    def alive(self) -> bool:
        """Whether it calls."""
        return not self._stopping and self._claimer is not None and not self._claimer.done()

    async def stop(self, *, within: float = 10.0) -> None:
        """Let the calls under way end, for at most `within` seconds; those that do not are made again by others."""
        self._stopping = True
        self._waking.wake()
        if self._claimer is None:
            return
        end = time.monotonic() + within
        await asyncio.wait([self._claimer], timeout=within)
        self._claimer.cancel()
        late = await self._broken_off(max(0.0, end - time.monotonic()))
        await self._ends.stop(_WRITING)
        if late:
            await self._give_back(late)

    # --- claiming ---

    async def _claim_on(self) -> None:
        while not self._stopping:
            try:
                pause = await self._claim()
            except Exception as error:  # noqa: BLE001 - whatever it was, calls must go on
                complain("the calls that wait could not be read", error)
                pause = AFTER_FAILURE
            await self._waking.rest(pause)

    async def _claim(self) -> float:
        """Give the free hands something to do; seconds until the next look."""
        now, limit = datetime.now(UTC), min(self._hands - len(self._under_way), self._share)
        if limit <= 0 or not (self._nudged or await self._database.read(partial(calls.any_due, now=now))):
            return POLL
        self._nudged = False
        rows = await self._writer.run(
            partial(calls.claim, now=now, lease_until=now + LEASE, limit=limit, busy=self._busy())
        )
        if rows is None:
            self._nudged = True
            return _AFTER_CONTENTION
        for row in rows:
            self._under_way[row] = asyncio.create_task(self._make(row), name=f"call {row.id}")
        return 0 if len(rows) == limit else POLL

    def _busy(self) -> list[str]:
        """The actions that have their share of the hands."""
        return [action for action, count in Counter(row.action for row in self._under_way).items()
                if count >= self._share]  # fmt: skip

    # --- calling ---

    async def _make(self, row: DueCall) -> None:
        steps.reached("calling")
        try:
            end: Ended | None = await self._end_of(row)
        except Exception as error:  # noqa: BLE001 - the other calls have nothing to do with it
            end = _unmade(row, error)
        del self._under_way[row]
        self._waking.wake()
        if end is not None:
            steps.reached("called")
            self._ends.note(row, end)

    async def _end_of(self, row: DueCall) -> Ended:
        if datetime.now(UTC) > row.deadline:
            return _ended(row, Called("timedout", problem=_TOO_LATE), {})
        await self._heard_of(row.action)
        person = await self._database.read(partial(calls.person_of, row=row)) if row.address else None
        try:
            async with asyncio.timeout(_LONGEST):
                called = await self._actions.call(row.action, self._fields(row, person))
        except TimeoutError:
            called = Called("timedout", problem=_ENDLESS)
        return _ended(row, called, person.attributes if person else {})

    async def _heard_of(self, action: str) -> None:
        """Wait until this process follows a registry that has the action: whoever asked for the call may have heard of
        it before us. Raises StoreUnavailable where that takes too long; the call is made later then."""
        end = time.monotonic() + _HEARD_WITHIN
        while not self._actions.knows(action) and await self._database.read(partial(calls.is_registered, name=action)):
            if time.monotonic() > end:
                raise StoreUnavailable(f"this process has not heard of action {action} yet")
            await asyncio.sleep(_LOOK)

    def _fields(self, row: DueCall, person: Person | None) -> dict[str, Any]:
        """See the table in `app.action`; of a call that is about nobody, profile and consent are empty."""
        event = orjson.loads(row.fields)
        if person is None:
            return {"event": event, "profile": {}, "consent": {}}
        standing = effective(person.own, person.every)
        consent = consent_fields(standing, self._unknown_consent, withheld=person.restored)
        return {"event": event, "profile": person.attributes, "consent": consent}

    def _written(self, queued: bool) -> None:
        self.nudge()  # their people's next calls are free
        if queued:
            self._queued()

    # --- stopping ---

    async def _broken_off(self, within: float) -> list[DueCall]:
        if not self._under_way:
            return []
        await asyncio.wait(self._under_way.values(), timeout=within)
        late = dict(self._under_way)
        for task in late.values():
            task.cancel()
        await asyncio.gather(*late.values(), return_exceptions=True)
        return list(late)

    async def _give_back(self, late: list[DueCall]) -> None:
        try:
            async with asyncio.timeout(_WRITING):
                await self._writer.run(partial(calls.give_back, rows=late, now=datetime.now(UTC), begun=True))
        except (StoreUnavailable, TimeoutError) as error:
            complain("calls broken off at shutdown could not be given back; their leases lapse", error)


def _unmade(row: DueCall, error: Exception) -> Ended | None:
    """What an error of ours ends a call with. None: the database was away, and it is made when its lease has lapsed."""
    if is_away(error):
        return None
    complain("a call met an error of ours", error, call=row.id)
    return _ended(row, Called("internalError", problem=f"an error of ours: {type(error).__name__}"), {})


def _ended(row: DueCall, called: Called, profile: Mapping[str, str]) -> Ended:
    follows = awaited(row, called, profile, datetime.now(UTC))
    return Ended(
        row.id,
        called.outcome,
        called.response.replace("\0", ""),
        called.problem.replace("\0", ""),
        called.policy,
        called.tries,
        row.claimed_until,
        *follows,
    )
