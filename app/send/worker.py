"""The sender: claims what is due, has it delivered by many hands at once, and has the outcomes written down.

Three kinds of task: one claims, `send_concurrency` deliver, one marks. Whatever happens to one reply, the loops go on.
What was recorded in this process comes to it already claimed, as far as there is room (see `handover`).
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from functools import partial

from app import steps
from app.address import mask
from app.changes import Changes
from app.record import outbox
from app.record.outbox import Due, Outcome, State
from app.record.writer import Writer
from app.send.complaint import complain
from app.send.delivery import Couriers, Delivery
from app.send.gathering import AFTER_FAILURE
from app.send.handover import Handover, handed_over
from app.send.http import Client
from app.send.marker import Marker
from app.send.outcome import Patience
from app.send.waking import Waking
from app.settings import Settings

#: replies per claim
CLAIM_LIMIT = 256
#: seconds between looks at the outbox when nobody nudges, and while a reply waits for its next try
POLL = 1.0
POLL_FOR_RETRIES = 0.25
#: seconds until the next look where another process was claiming
_AFTER_CONTENTION = 0.02
#: seconds between two looks that found less than they asked for. Every mark that is written frees addresses and nudges;
#: without a breath, a busy sender would look at the outbox hundreds of times a second, mostly in vain
_BREATH = 0.05
#: what shall end a hand that delivers; a panic of a library in Rust is no Exception either, and shall not
_ENDS = (asyncio.CancelledError, SystemExit, KeyboardInterrupt, GeneratorExit)
#: seconds of a lease beyond the longest that the last of a claim may wait for its turn
_LEASE_MARGIN = 15.0
#: seconds that marking what was sent gets at shutdown, even where the sending took all the time there was
_MARKING = 2.0


class Sender:
    """Sends what waits in the outbox. Start it in the event loop of its writer, and stop it before the writer.

    `couriers` gives the courier of a credential's name; it is asked for every reply, so changes show at once.
    `handover`: the writer's, where replies are recorded in this process.
    """

    def __init__(
        self,
        writer: Writer,
        client: Client,
        couriers: Couriers,
        settings: Settings,
        *,
        patience: Patience | None = None,
        handover: Handover | None = None,
    ) -> None:
        patience = patience or Patience(settings.send_attempts)
        self._writer = writer
        self._client = client
        self._delivery = Delivery(writer, client, couriers, patience=patience, timeout=settings.send_timeout)
        self._marker = Marker(writer, marked=self.nudge)  # its address is free for the next reply
        self._concurrency = settings.send_concurrency
        self._limit = min(CLAIM_LIMIT, self._concurrency)
        turns = 2 + self._limit / self._concurrency
        self._lease = timedelta(seconds=settings.send_timeout * turns + _LEASE_MARGIN)
        if handover:
            handover.serve(self._room, self._lease)
        self._queue: asyncio.Queue[Due | None] = asyncio.Queue()
        self._in_hand: dict[int, Due] = {}
        self._waking = Waking(_BREATH)
        self._retries_until = datetime.min.replace(tzinfo=UTC)
        self._stopping = False
        self._claimer: asyncio.Task[None] | None = None
        self._hands: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to send."""
        self._marker.start()
        self._claimer = asyncio.create_task(self._claim_on(), name="outbox claims")
        self._hands = [asyncio.create_task(self._deliver_on(), name="delivery") for _ in range(self._concurrency)]

    def nudge(self) -> None:
        """Something was queued: look at the outbox now. To be called in the event loop's thread."""
        self._waking.wake()

    def take(self, changes: Changes) -> None:
        """Take what was claimed for us as it was recorded, and claim the rest. In the event loop's thread."""
        for row in handed_over(changes):
            self._queue.put_nowait(row)
        if len(changes.claimed) < len(changes.outbox):
            self.nudge()

    def _room(self) -> int:
        """How many more replies may be claimed for us, so that the last one's turn comes well within its lease."""
        return 0 if self._stopping or self._claimer is None else self._concurrency + self._limit - self._queue.qsize()

    @property
    def alive(self) -> bool:
        """Whether it sends."""
        return not self._stopping and self._claimer is not None and not self._claimer.done()

    async def stop(self, *, within: float = 10.0) -> None:
        """Finish what is in hand, for at most `within` seconds, and give back what was not begun."""
        self._stopping = True
        self._waking.wake()
        if self._claimer is None:
            return
        end = time.monotonic() + within
        await asyncio.wait([self._claimer], timeout=within)
        self._claimer.cancel()
        self._give_back_queue()
        await self._finish_hands(max(0.0, end - time.monotonic()))
        await self._marker.stop(max(_MARKING, end - time.monotonic()))
        self._client.close()

    # --- claiming ---

    async def _claim_on(self) -> None:
        while not self._stopping:
            try:
                pause = await self._claim()
            except Exception as error:  # noqa: BLE001 - whatever it was, replies must go on leaving
                complain("the outbox could not be read", error)
                pause = AFTER_FAILURE
            await self._waking.rest(pause)

    async def _claim(self) -> float:
        """Fill the queue when it runs low; seconds until the next look."""
        if self._queue.qsize() >= self._concurrency:
            return POLL
        now = datetime.now(UTC)
        rows = await self._writer.run(partial(outbox.claim, now=now, lease_until=now + self._lease, limit=self._limit))
        if rows is None:
            return _AFTER_CONTENTION
        if rows:
            steps.reached("claimed")
        for row in rows:
            self._queue.put_nowait(row)
        if len(rows) == self._limit:
            return 0
        return POLL_FOR_RETRIES if now < self._retries_until else POLL

    # --- delivering ---

    async def _deliver_on(self) -> None:
        while (row := await self._queue.get()) is not None:
            if self._queue.qsize() == self._concurrency - 1:
                self._waking.wake()
            self._in_hand[row.id] = row
            outcome = await self._attempt(row)
            del self._in_hand[row.id]
            if outcome is not None:
                self._note(outcome)

    async def _attempt(self, row: Due) -> Outcome | None:
        try:
            return await self._delivery.attempt(row)
        except _ENDS:
            raise
        except BaseException as error:  # noqa: BLE001 - the other replies have nothing to do with it
            complain("a reply met an error of ours", error, reply=row.id, to=mask(row.address))
            return self._delivery.interrupted(row, f"an error of ours: {type(error).__name__}")

    def _note(self, outcome: Outcome) -> None:
        self._marker.note(outcome)
        if outcome.next_at:
            self._retries_until = max(self._retries_until, outcome.next_at + timedelta(seconds=POLL))

    # --- stopping ---

    def _give_back_queue(self) -> None:
        now = datetime.now(UTC)
        while not self._queue.empty():
            row = self._queue.get_nowait()
            if row is not None:
                self._note(Outcome(row, State.PENDING, "given back at shutdown", next_at=now, counts=False))
        for _ in self._hands:
            self._queue.put_nowait(None)

    async def _finish_hands(self, within: float) -> None:
        _, late = await asyncio.wait(self._hands, timeout=within)
        broken_off = list(self._in_hand.values())
        for hand in late:
            hand.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for row in broken_off:
            self._note(self._delivery.interrupted(row, "broken off at shutdown"))
