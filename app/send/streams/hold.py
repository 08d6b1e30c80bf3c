"""What a process holds of a stream: its lease, a cursor for each source, and what became of events since a save."""

import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import sqlalchemy as sa

from app import metrics
from app.errors import BadInput
from app.record import refusals, streams
from app.record.database import Database
from app.record.refusals import Refused
from app.record.settled import settled
from app.record.streams import Lease, Progress
from app.record.writer import Writer
from app.send.streams.answer import Judged
from app.send.streams.cursor import Cursor
from app.stream import Source, Stream

#: seconds of a lease beyond two requests, so that none lapses under a request
_LEASE_MARGIN = 5.0
#: ids told early that are written down every second, at most
_AHEAD_SAVED = 5_000


@dataclass(slots=True)
class _Since:
    """What became of a source's events since it was saved."""

    told: int = 0
    left_out: int = 0
    refused: list[Refused] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)


class Hold:
    """Of one stream, by one process."""

    def __init__(self, writer: Writer, database: Database) -> None:
        self._writer, self._database = writer, database
        self._me = secrets.token_hex(8)
        self._name, self._lease = "", timedelta(0)
        self.cursors: dict[Source, Cursor] = {}
        """Empty: nothing is held."""
        self.mark = 0
        """Of this id or below nothing more comes."""
        self.problem = ""
        """Why the stream stands still."""
        self._held_back = ""
        self._since: dict[Source, _Since] = {}
        self._changed, self._saved_at = False, 0.0

    async def claim(self, stream: Stream) -> bool:
        """Claim the stream, and begin where it stands. False: another process tells, or there is no such stream."""
        self._name, self._lease = stream.name, timedelta(seconds=2 * stream.timeout + _LEASE_MARGIN)
        now = datetime.now(UTC)

        def act(conn: sa.Connection) -> list[streams.Position] | None:
            streams.begin(conn, stream.name, stream.events, now, from_the_beginning=stream.from_the_beginning)
            return streams.claim(conn, self._until(now), stream.events)

        try:
            found = await self._writer.run(act) or []
        except BadInput:  # it was just deleted; whoever follows the registry is about to end us
            found = []
        self.cursors = {each.source: Cursor(each.position, each.ahead) for each in found}
        self._since = {source: _Since() for source in self.cursors}
        self._changed, self._saved_at = any(each.problem for each in found), time.monotonic()
        return bool(self.cursors)

    def _until(self, now: datetime) -> Lease:
        return Lease(self._name, self._me, now, now + self._lease)

    async def keep(self) -> bool:
        """Learn what is settled, write down what was told. False: the lease was lost, and all begins anew."""
        old = time.monotonic() - self._saved_at > self._lease.total_seconds() / 4
        if self._changed or old or not self.mark or any(cursor.ahead for cursor in self.cursors.values()):
            found = await self._writer.run(settled)
            self.mark, self._held_back = found.last_id, found.problem
        if self._changed or old:
            return await self.save()
        held = partial(streams.holds, stream=self._name, sources=list(self.cursors), me=self._me)
        if not await self._database.read(held):
            self.drop()
        return bool(self.cursors)

    async def save(self, *, last: bool = False) -> bool:
        """Write down how far it has come; in the same transaction what was refused. False as in `keep`."""
        now, since = datetime.now(UTC), self._since
        progress = [self._progress(source, last=last) for source in self.cursors]
        problem = self.problem or self._held_back

        def act(conn: sa.Connection) -> bool:
            if not streams.save(conn, self._until(now), progress, problem=problem):
                return False
            for source, what in since.items():
                refusals.add(conn, self._name, what.refused, now)
                refusals.settle(conn, self._name, source, what.settled, now)
            return True

        mine = await self._writer.run(act)
        self._since = {source: _Since() for source in self.cursors}
        self._saved_at, self._changed = time.monotonic(), False
        if not mine:
            self.drop()
        return mine

    def _progress(self, source: Source, *, last: bool) -> Progress:
        cursor, since = self.cursors[source], self._since[source]
        # where it is much, only at the end, for it would be written every second
        ahead: Collection[int] = cursor.ahead if last or len(cursor.ahead) <= _AHEAD_SAVED else ()
        return Progress(source, cursor.position, ahead, since.told, since.left_out)

    async def let_go(self) -> None:
        """Write down how far, and let others tell."""
        if self.cursors:
            await self.save(last=True)
            await self._writer.run(partial(streams.release, stream=self._name, me=self._me))
            self.drop()

    def drop(self) -> None:
        """Nothing is held any more; what was not saved is told again."""
        self.cursors = {}

    # --- what became of events ---

    def settle(self, source: Source, seen: Sequence[int]) -> None:
        """Pass what is told and settled; `seen` as for `Cursor.settle`."""
        if cursor := self.cursors.get(source):
            before = cursor.position
            cursor.settle(self.mark, seen)
            self._changed = self._changed or cursor.position != before

    def leave_out(self, source: Source, row_ids: Collection[int], *, named: int) -> None:
        """Of these rows nothing is told: `named` of them are about people whom a policy leaves out, the others about
        nobody any more."""
        self.cursors[source].tell(row_ids)
        self._since[source].left_out += len(row_ids)
        self._count("excluded", named)
        self._count("erased", len(row_ids) - named)

    def note(self, source: Source, judged: Judged, *, again: bool = False) -> bool:
        """Remember what is done with; whether anything is. `again`: these had been refused before."""
        cursor, since = self.cursors[source], self._since[source]
        taken = [one.row_id for one in judged.taken]
        since.refused += [Refused(source, one.row_id, one.event_id, reason) for one, reason in judged.refused]
        since.told += len(taken)
        if again:
            since.settled += taken
        else:
            cursor.tell([*taken, *(one.row_id for one, _ in judged.refused)])
        self._count("told", len(taken))
        self._count("refused", len(judged.refused))
        self._count("failed", int(bool(judged.problem)))
        return bool(taken or judged.refused)

    def settle_refused(self, source: Source, row_ids: Collection[int]) -> None:
        """These had been refused, and nobody may be told of them any more."""
        self._since[source].settled += row_ids
        self._changed = True

    def _count(self, outcome: str, number: int) -> None:
        if number:
            self._changed = True
            metrics.STREAM_EVENTS.labels(self._name, outcome).inc(number)
