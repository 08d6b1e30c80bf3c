"""Tells one stream's receiver what is recorded, as long as this process holds the stream's lease.

In turns: keep the lease, look for rows that were not told of, send them, remember which were taken. What is remembered
is written down once a second, and at once where an event was refused or the receiver does not answer. A process that
dies has told at most what it told in its last second without saying so, and that is told again.
"""

import random
import time
from collections.abc import Mapping, Sequence
from functools import partial

from app.record import refusals, stream_events
from app.record.database import Database
from app.record.refusals import Refusal
from app.record.stream_events import Happened
from app.record.writer import Writer
from app.send.complaint import complain
from app.send.streams.answer import Judged
from app.send.streams.courier import ReadyStream, deliver, event_of, requests_of
from app.send.streams.envelope import Event
from app.send.streams.hold import Hold
from app.send.waking import Waking
from app.stream import Source

#: seconds between looks when nobody nudges, and the least between two
POLL, _BREATH = 0.5, 0.03
#: seconds between two looks at everything that is not settled, and between two savings
_KEEP = 1.0
#: seconds until the next look where another process tells, or an error of ours came between
_AFTER_CONTENTION, _AFTER_FAILURE = 1.0, 2.0
#: seconds that a receiver which fails is left alone: at first and at most, and however long it asks for
_FIRST_PAUSE, _LONGEST_PAUSE, _ASKED_AT_MOST = 1.0, 300.0, 3_600.0
REFUSALS_AT_ONCE = 100


class Teller:
    """One stream in this process. `programs`: of each webhook."""

    def __init__(self, writer: Writer, database: Database, told_to: ReadyStream, programs: Mapping[str, str]) -> None:
        self._database, self._hold = database, Hold(writer, database)
        self.told_to, self._programs = told_to, programs
        self._waking, self._stopping, self._changed = Waking(_BREATH), False, False
        self._kept_at = 0.0
        self._looked_at: dict[Source, float] = {}
        self._failures, self._silent_until = 0, 0.0

    @property
    def name(self) -> str:
        """Of the stream."""
        return self.told_to.stream.name

    def nudge(self) -> None:
        """Something was recorded."""
        self._waking.wake()

    def become(self, told_to: ReadyStream, programs: Mapping[str, str]) -> None:
        """The stream, a policy or a webhook was changed: from the next request on."""
        if told_to is not self.told_to:
            self._failures, self._silent_until, self._changed = 0, 0.0, True
        self.told_to, self._programs = told_to, programs
        self.nudge()

    def stop(self) -> None:
        """End after the request under way."""
        self._stopping = True
        self.nudge()

    async def run(self) -> None:
        """Tell, until stopped; then say how far, and let others tell."""
        while not self._stopping:
            try:
                pause = await self._turn()
            except Exception as error:  # noqa: BLE001 - whatever it was, events must go on leaving
                complain("a stream could not go on", error, stream=self.name)
                self._hold.drop()
                pause = _AFTER_FAILURE
            await self._waking.rest(0 if self._stopping else pause)
        await self.let_go()

    async def let_go(self) -> None:
        """Say how far it has come, and let others tell; once it does not run any more."""
        try:
            await self._hold.let_go()
        except Exception as error:  # noqa: BLE001 - the lease lapses by itself
            complain("a stream's lease could not be given back", error, stream=self.name)
            self._hold.drop()

    # --- a turn ---

    async def _turn(self) -> float:
        """Seconds until the next one."""
        if self._changed:
            self._changed = False
            await self.let_go()
        if not self._hold.cursors and not await self._begun():
            return _AFTER_CONTENTION
        due = time.monotonic() - self._kept_at >= _KEEP
        if due and not await self._kept():
            return 0
        if self._silent:
            return min(_KEEP, self._silent)
        if due:
            await self._tell_refused()
        done = [await self._tell(source) for source in self.told_to.stream.events if self._may_tell(source)]
        return 0 if any(done) else POLL

    async def _begun(self) -> bool:
        self._looked_at, self._kept_at = {}, 0.0
        return await self._hold.claim(self.told_to.stream)

    async def _kept(self) -> bool:
        self._kept_at = time.monotonic()
        return await self._hold.keep()

    def _may_tell(self, source: Source) -> bool:
        return source in self._hold.cursors and not self._silent and not self._stopping

    @property
    def _silent(self) -> float:
        """Seconds that the receiver is still left alone."""
        return max(0.0, self._silent_until - time.monotonic())

    # --- telling ---

    async def _tell(self, source: Source) -> bool:
        """Tell of the next rows; whether there may be more.

        Usually of those above all that was told; once a second, and while far behind, of whatever was not told.
        """
        cursor, most = self._hold.cursors[source], self.told_to.stream.batch
        whole = cursor.highest <= self._hold.mark or time.monotonic() - self._looked_at.get(source, 0.0) >= _KEEP
        limit = most + (len(cursor.ahead) if whole else 0)
        above = cursor.position if whole else cursor.highest
        seen = await self._database.read(partial(stream_events.ids_above, source=source, above=above, limit=limit))
        if whole and len(seen) < limit:
            self._looked_at[source] = time.monotonic()
        untold = cursor.untold(seen, self._hold.mark, most)
        done = bool(untold) and await self._tell_of(source, untold)
        if whole:
            self._hold.settle(source, seen)
        return done

    async def _tell_of(self, source: Source, row_ids: Sequence[int]) -> bool:
        """Whether any of them is done with."""
        happened, events = await self._events(source, row_ids)
        left_out = set(row_ids) - {event.row_id for event in events}
        self._hold.leave_out(source, left_out, named=len(happened) - len(events))
        return await self._send(source, events) or bool(left_out)

    async def _events(self, source: Source, row_ids: Sequence[int]) -> tuple[list[Happened], list[Event]]:
        question = partial(stream_events.read, source=source, row_ids=row_ids, programs=self._programs)
        happened = await self._database.read(question)
        return happened, [event for each in happened if (event := event_of(self.told_to, each))]

    async def _send(self, source: Source, events: Sequence[Event], *, again: bool = False) -> bool:
        """Whether any of them is done with."""
        done = False
        for request in requests_of(self.told_to, events):
            judged = await deliver(self.told_to, request)
            done = self._hold.note(source, judged, again=again) or done
            await self._after(judged)
            if judged.problem or not self._may_tell(source):
                break
        return done

    async def _after(self, judged: Judged) -> None:
        """Leave a receiver that fails alone for a while, and have it known."""
        if judged.problem:
            self._failures = 1 if judged.taken else self._failures + 1
            self._silent_until = time.monotonic() + pause(self._failures, judged.retry_after)
        else:
            self._failures = 0
        if judged.problem != self._hold.problem or judged.refused:
            self._hold.problem = judged.problem
            await self._hold.save()

    # --- what was refused before ---

    async def _tell_refused(self) -> None:
        """Send again what somebody asked for, some of it."""
        due = await self._database.read(partial(refusals.due, stream=self.name, limit=REFUSALS_AT_ONCE))
        for source in self.told_to.stream.events:
            mine = [one for one in due if one.source == source]
            if mine and self._may_tell(source):
                await self._tell_again(source, mine)

    async def _tell_again(self, source: Source, due: Sequence[Refusal]) -> None:
        rows = [one.row_id for one in due]
        _, events = await self._events(source, rows)
        self._hold.settle_refused(source, set(rows) - {event.row_id for event in events})
        await self._send(source, events, again=True)
        if self._hold.cursors:
            await self._hold.save()


def pause(failures: int, asked: float | None) -> float:
    """Seconds to leave a receiver alone: exponential with jitter, at least what it asked for."""
    longest = min(_FIRST_PAUSE * 2.0 ** min(failures - 1, 20), _LONGEST_PAUSE)
    jitter = longest * random.uniform(0.5, 1.0)  # noqa: S311 - so that not all come back at once
    return min(asked, _ASKED_AT_MOST) + 0.1 * jitter if asked else jitter
