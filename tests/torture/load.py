"""The load: many connections that tell stories, repeat some, come again when they are refused, and note what was acknowledged."""

import asyncio
import random
import threading
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.torture.events import Event
from tests.torture.wire import Wire

#: seconds that a provider waits for an answer, and before it comes again
PATIENCE = 15.0
AGAIN_AFTER = (0.05, 0.4)
#: shares of the events that are sent once more although they were acknowledged, and that are given up when refused
REPEATED, GIVEN_UP = 0.05, 0.03


class Tried(NamedTuple):
    """One request; seconds since 1970, and until the answer. status 0: the connection was lost."""

    at: float
    seconds: float
    status: int

    @property
    def good(self) -> bool:
        """Whether it was acknowledged."""
        return 200 <= self.status < 300


class Load:
    """Tells `stories` to the ports, in a thread of its own, until it is told to finish."""

    def __init__(self, ports: list[int], stories: Iterable[list[Event]], seed: random.Random, *, rate: float,
                 connections: int = 16) -> None:  # fmt: skip
        self.events: list[Event] = []
        self.tries: list[Tried] = []
        self.ports = ports
        self._stories: Iterator[list[Event]] = iter(stories)
        self._seed = seed
        self._pause = connections / rate
        self._connections = connections
        self._finishing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self, within: float = 90.0) -> None:
        """Begin nothing new, and wait until what is open was acknowledged or given up."""
        self._finishing.set()
        self._thread.join(within)
        if self._thread.is_alive():
            raise TimeoutError(f"{within:.0f} s after the last blow a request is still not acknowledged")

    @property
    def open(self) -> int:
        """How many of its events are not acknowledged."""
        return sum(not event.acknowledged for event in self.events)

    def tell(self, events: Iterable[Event], port: int) -> list[Tried]:
        """Send events to one node now, each once, in this thread; they count as the load's own."""
        return asyncio.run(self._tell_once(list(events), port))

    async def _tell_once(self, events: list[Event], port: int) -> list[Tried]:
        wires = {port: Wire(port)}
        tries = []
        for event in events:
            event.at = time.time()
            self.events.append(event)
            tries.append(await self._try(event, wires))
        wires[port].close()
        return tries

    def _run(self) -> None:
        asyncio.run(self._tell_all())

    async def _tell_all(self) -> None:
        await asyncio.gather(*(self._tell_on() for _ in range(self._connections)))

    async def _tell_on(self) -> None:
        wires = {port: Wire(port) for port in self.ports}
        while not self._finishing.is_set() and (story := next(self._stories, None)):
            for event in story:
                began = time.monotonic()
                await self._tell(event, wires)
                await asyncio.sleep(max(0.0, self._pause * self._seed.uniform(0.5, 1.5) - (time.monotonic() - began)))
        for wire in wires.values():
            wire.close()

    async def _tell(self, event: Event, wires: dict[int, Wire]) -> None:
        event.at = time.time()
        self.events.append(event)
        stubborn = self._seed.random() >= GIVEN_UP
        tried = await self._try(event, wires)
        while stubborn and not tried.good:
            await asyncio.sleep(self._seed.uniform(*AGAIN_AFTER))
            tried = await self._try(event, wires)
        if self._seed.random() < REPEATED:
            await self._try(event, wires)

    async def _try(self, event: Event, wires: dict[int, Wire]) -> Tried:
        at = time.time()
        answered = await wires[self._seed.choice([*wires])].ask(event.request, PATIENCE)
        tried = Tried(at, answered.seconds, answered.status) if answered else Tried(at, time.time() - at, 0)
        self.tries.append(tried)
        if tried.good and not event.acknowledged:
            event.acknowledged = time.time()
        return tried
