"""From the spool into the database: in order, a few hundred at a time, each exactly once.

An event may have been committed in the moment the database went away, and a crash may fall between the commit and the
deletion from the spool. So everything may be there already, and its key tells.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from app.errors import StoreUnavailable, Unreadable
from app.events import Heard, Inbound, Recorded
from app.record.shelter import Shelter
from app.record.spool import Item
from app.record.spooled import load
from app.record.tables import raw_requests
from app.record.writer import Writer

#: tries of an item that the database neither records nor parks, while it takes others
_TRIES = 3

RulesOf = Callable[[str], Any]
"""The rules of the webhook of this name, for `Heard.rules`; None where there is no such webhook (any more)."""


class Drain:
    """Records what waits in the spool. Poison is set aside, and the rest goes on."""

    def __init__(self, shelter: Shelter, writer: Writer, rules_of: RulesOf) -> None:
        self._shelter = shelter
        self._writer = writer
        self._rules_of = rules_of
        self._tries: dict[int, int] = {}

    async def some(self) -> bool | None:
        """Record the items that wait longest. None: none waits; False: the database takes none of them."""
        items = await self._shelter.first()
        if not items:
            self._tries.clear()
            return None
        readable = [(item, heard) for item in items if (heard := await self._read(item))]
        results = await self._record_all([heard for _, heard in readable])
        taken = [item for (item, _), result in zip(readable, results, strict=True) if isinstance(result, Recorded)]
        await self._shelter.forget(taken)
        if readable and not taken and len(readable) > 1:
            return False
        failed = [(item, result) for (item, _), result in zip(readable, results, strict=True) if item not in taken]
        return await self._try_again(failed, others_taken=bool(taken))

    async def _read(self, item: Item) -> Heard | None:
        try:
            heard = load(item.heard, item.body)
        except Unreadable as error:
            await self._shelter.set_aside(item, str(error))
            return None
        heard.rules = self._rules_of(heard.webhook)
        if heard.rules is None and any(isinstance(event, Inbound) for event in heard.events):
            reason = f"there is no webhook '{heard.webhook}' that could hear it; mend that, then take the item back"
            await self._shelter.set_aside(item, reason)
            return None
        return heard

    async def _record_all(self, heards: Sequence[Heard]) -> list[Recorded | BaseException]:
        there = await self._writer.run(partial(_there, heards=heards))
        return list(await asyncio.gather(*(self._record(heard, there) for heard in heards), return_exceptions=True))

    async def _record(self, heard: Heard, there: set[int]) -> Recorded:
        if heard.raw and heard.raw.id in there:
            return Recorded(0, 0)
        return await self._writer.record(heard, urgent=True, refuge=False)

    async def _try_again(self, failed: Sequence[tuple[Item, object]], *, others_taken: bool) -> bool:
        """What is refused while others are taken is set aside after a few tries."""
        for item, error in failed:
            self._tries[item.id] = self._tries.get(item.id, 0) + 1
            final = not isinstance(error, StoreUnavailable)
            if final or (others_taken and self._tries[item.id] >= _TRIES):
                await self._shelter.set_aside(item, f"the database refused it: {type(error).__name__}")
        return others_taken or not failed


def _there(conn: sa.Connection, heards: Sequence[Heard]) -> set[int]:
    """The raw requests without any event that are stored already: they have no key that would tell."""
    ids = [heard.raw.id for heard in heards if heard.raw and not heard.events and not heard.troubles]
    if not ids:
        return set()
    return set(conn.execute(sa.select(raw_requests.c.id).where(raw_requests.c.id.in_(ids))).scalars())
