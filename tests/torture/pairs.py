"""Two nodes hear the same request in the same millisecond, thousands of times: recorded once, answered once."""

import asyncio
import time

from tests.torture.events import Event
from tests.torture.load import PATIENCE, Tried
from tests.torture.site import Plan, Result, Site, site
from tests.torture.wire import Wire

#: requests in the full form and in the short one
PAIRS = {True: 10_000, False: 2_000}
#: pairs under way at once
AT_ONCE = 12


def twins(plan: Plan) -> Result:
    """The same STOP to both nodes at once."""
    with site(plan, "twins, two nodes", "postgresql", servers=2, senders=2, stories=False) as there:
        for node in there.nodes:
            there.restart(node)
        there.load.start()
        events = [there.author.message("stop") for _ in range(PAIRS[plan.full])]
        began = time.monotonic()
        apart = asyncio.run(_send_all(there, events))
        there.tell(f"{len(events)} pairs in {time.monotonic() - began:.1f} s")
        there.settle()
        apart.sort()
        there.notes.append(f"half of the pairs were written within {apart[len(apart) // 2] * 1e6:.0f} µs of each other")
        once = sum(not event.acknowledged for event in events)
        there.problems += [f"{once} pairs were not acknowledged"] if once else []
        return there.judge(rounds=len(events), may_answer=())


async def _send_all(there: Site, events: list[Event]) -> list[float]:
    left = iter(events)
    apart: list[float] = []

    async def send_on() -> None:
        wires = [Wire(port) for port in there.load.ports]
        for wire in wires:
            await wire.open()
        for event in left:
            await _send(there, event, wires, apart)
        for wire in wires:
            wire.close()

    await asyncio.gather(*(send_on() for _ in range(AT_ONCE)))
    return apart


async def _send(there: Site, event: Event, wires: list[Wire], apart: list[float]) -> None:
    """Both are written before either is answered: the loop begins one after the other without a pause between."""
    event.at = time.time()
    there.load.events.append(event)
    begun: list[float] = []

    async def ask(wire: Wire) -> Tried:
        begun.append(time.perf_counter())
        answered = await wire.ask(event.request, PATIENCE)
        return Tried(event.at, answered.seconds, answered.status) if answered else Tried(event.at, PATIENCE, 0)

    tries = await asyncio.gather(*(ask(wire) for wire in wires))
    apart.append(begun[-1] - begun[0])
    there.load.tries += tries
    if all(tried.good for tried in tries):
        event.acknowledged = time.time()
