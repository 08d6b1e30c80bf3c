"""One claimed reply: looked at again for consent and deadline, sent, and judged by what the provider answered."""

import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from app import metrics, steps
from app.address import mask
from app.errors import SendFailed, StoreUnavailable
from app.events import Category, Cause, Change, ConsentState, Heard
from app.interpret import effective, may_leave
from app.record import profiles
from app.record.outbox import Due, Outcome, State
from app.record.writer import Writer
from app.send.complaint import complain, error_of_ours
from app.send.courier import Courier, deliver
from app.send.http import Client
from app.send.outcome import Patience, after_failure
from app.send.render import Message
from app.send.wording import is_personal, message_of

#: seconds that one provider's Retry-After may hold the other replies of its credential back
_LONGEST_HOLD = 300.0

Couriers = Callable[[str], Courier | None]
Draw = Callable[[], float]


def _now() -> datetime:
    return datetime.now(UTC)


class Delivery:
    """Takes claimed replies to their providers, many at once. `timeout`: seconds for one request."""

    def __init__(
        self,
        writer: Writer,
        client: Client,
        couriers: Couriers,
        *,
        patience: Patience,
        timeout: float,
        draw: Draw = random.random,
    ) -> None:
        self._writer = writer
        self._client = client
        self._couriers = couriers
        self._patience = patience
        self._timeout = timeout
        self._draw = draw
        self._held: dict[str, datetime] = {}

    async def attempt(self, row: Due) -> Outcome | None:
        """What became of the reply. None: its lease is about to lapse, so it is left to the next claim."""
        now = _now()
        if now + timedelta(seconds=self._timeout) > row.claimed_until:
            return None
        if reason := may_leave(row.category, effective(row.own, row.every), now, row.deadline):
            return Outcome(row, State.CANCELLED, reason)
        if row.attempts > self._patience.attempts:
            return Outcome(
                row, State.FAILED, f"given up after {row.attempts - 1} tries; the last ended with its process"
            )
        held_until = self._held.get(row.credential)
        if held_until and held_until > now:
            return self._give_back(row, held_until)
        return await self._send(row, now)

    def interrupted(self, row: Due, reason: str) -> Outcome:
        """The outcome of a reply whose sending was broken off: it may have left."""
        carrier = self._couriers(row.credential)
        return self._after(row, SendFailed(reason, departed=True), idempotent=bool(carrier and carrier.idempotent))

    async def _send(self, row: Due, now: datetime) -> Outcome:
        carrier = self._couriers(row.credential)
        if carrier is None:
            missing = SendFailed(f"there is no credential named {row.credential}; apply it again")
            return self._after(row, missing, idempotent=False)
        began = time.perf_counter()
        try:
            message = await self._message(row, carrier)
            steps.reached("leaving")
            provider_id = await deliver(carrier, self._client, message, timeout=self._timeout)
            steps.reached("answered")
        except SendFailed as failure:
            return await self._failed(row, carrier, failure, now)
        finally:
            metrics.SEND_SECONDS.observe(time.perf_counter() - began)
        return Outcome(row, State.SENT, account=carrier.account, provider_id=provider_id, sent_at=now)

    async def _message(self, row: Due, carrier: Courier) -> Message:
        try:
            profile = await self._profile(row.address) if carrier.needs_profile or is_personal(row) else {}
            return message_of(row, profile)
        except SendFailed:
            raise
        except Exception as error:
            raise error_of_ours(error) from error

    async def _profile(self, address: str) -> Mapping[str, str]:
        try:
            found = await self._writer.run(partial(profiles.read, addresses=[address]))
        except StoreUnavailable:
            raise SendFailed("the person's attributes could not be read") from None
        return found[address]

    async def _failed(self, row: Due, carrier: Courier, failure: SendFailed, sent_at: datetime) -> Outcome:
        if failure.__cause__ is not None:
            complain("a reply met an error of ours", failure.__cause__, reply=row.id, to=mask(row.address))
        if failure.retry_after and not failure.permanent:
            hold = min(failure.retry_after, _LONGEST_HOLD)
            self._held[row.credential] = _now() + timedelta(seconds=hold)
        if failure.blocked and row.category != Category.OPT_OUT:
            await self._writer.record(_opt_out(row, carrier, str(failure), sent_at))
        return self._after(row, failure, idempotent=carrier.idempotent)

    def _after(self, row: Due, failure: SendFailed, *, idempotent: bool) -> Outcome:
        return after_failure(row, failure, _now(), idempotent=idempotent, patience=self._patience, draw=self._draw)

    def _give_back(self, row: Due, held_until: datetime) -> Outcome:
        """Not tried: its provider has asked for quiet. They come back spread out, and none later than its deadline."""
        again = held_until + timedelta(seconds=self._patience.first_wait * self._draw())
        return Outcome(row, State.PENDING, "the provider asked to wait", next_at=min(again, row.deadline), counts=False)


def _opt_out(row: Due, carrier: Courier, reason: str, sent_at: datetime) -> Heard:
    """The provider knows of an opt-out that we have not heard. It counts at the time the message was sent."""
    change = Change(
        key=f"b|{carrier.account}|{row.id}",
        address=row.address,
        state=ConsentState.OPTED_OUT,
        cause=Cause.BLOCK_ERROR,
        program=row.program,
        provider_time=sent_at,
        reason=reason,
    )
    return Heard(row.webhook, carrier.provider, carrier.account, row.program, _now(), (change,))
