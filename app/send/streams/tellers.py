"""All streams of this process: one teller for each that is registered. With none registered it does nothing."""

import asyncio
from collections.abc import Iterable, Mapping

import structlog

from app.errors import BadInput
from app.interpret.governance import governed_by
from app.record.database import Database
from app.record.registry import Registered
from app.record.writer import Writer
from app.registration import Registrations
from app.send.http import Client
from app.send.streams.courier import ReadyStream, ready
from app.send.streams.teller import Teller
from app.stream import Stream

log = structlog.get_logger()

#: seconds that those broken off get to say how far they have come
_LETTING_GO = 2.0

_MadeOf = tuple[Stream, Registrations]


class Streams:
    """Tells of what is recorded. Start it in the event loop of its writer, and stop it before the writer."""

    def __init__(self, writer: Writer, database: Database, client: Client, unknown_consent: str) -> None:
        self._writer, self._database, self._client = writer, database, client
        self._unknown_consent = unknown_consent
        self._tellers: dict[str, Teller] = {}
        self._made_of: dict[str, _MadeOf] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._running = False

    @property
    def busy(self) -> bool:
        """Whether there is anybody to be told. May be asked from every thread."""
        return bool(self._tellers)

    def start(self) -> None:
        """Begin to tell."""
        self._running = True
        self._begin()

    def nudge(self) -> None:
        """Something was recorded: look for it now. In the event loop's thread."""
        for teller in self._tellers.values():
            teller.nudge()

    async def stop(self, *, within: float = 10.0) -> None:
        """Finish the requests under way, for at most `within` seconds, and let others tell."""
        self._running = False
        for name in list(self._tellers):
            self._end(name)
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks.values(), timeout=within)
        for task in late:
            task.cancel()
        await asyncio.wait(self._tasks.values(), timeout=_LETTING_GO)  # a database that hangs keeps nobody

    # --- the registry ---

    def follow(self, registered: Registered) -> None:
        """Tell the streams that are registered now, as labels and policies want it now.

        A stream that could not be made ready is told nothing, which the log says; it waits and loses nothing.
        """
        others, governing = registered.others, _governing(registered.others)
        programs = {entry.webhook.name: entry.webhook.program for entry in registered.webhooks}
        for name in self._tellers.keys() - others.streams.keys():
            self._end(name)
        for name, stream in others.streams.items():
            made_of = (stream, governing)
            if self._made_of.get(name) != made_of:
                self._made_of[name] = made_of
                self._change(name, self._ready(made_of), programs)
            elif name in self._tellers:
                self._tellers[name].become(self._tellers[name].told_to, programs)
        if self._running:
            self._begin()

    def _ready(self, made_of: _MadeOf) -> ReadyStream | None:
        stream, governing = made_of
        try:
            return ready(stream, governed_by(governing), self._client, self._unknown_consent)
        except BadInput as error:
            log.warning("a stream cannot tell; its events wait", stream=stream.name, reason=str(error))
            return None

    def _change(self, name: str, found: ReadyStream | None, programs: Mapping[str, str]) -> None:
        if found is None:
            self._end(name, forget=False)
        elif name in self._tellers:
            self._tellers[name].become(found, programs)
        else:
            self._tellers[name] = Teller(self._writer, self._database, found, programs)

    def _end(self, name: str, *, forget: bool = True) -> None:
        if forget:
            self._made_of.pop(name, None)
        if teller := self._tellers.pop(name, None):
            teller.stop()

    def _begin(self) -> None:
        for name, teller in self._tellers.items():
            task = self._tasks.get(name)
            if task is None or task.get_name() != _task_name(teller):
                self._tasks[name] = asyncio.create_task(_after(task, teller), name=_task_name(teller))
        self._drop_done(self._tellers)

    def _drop_done(self, kept: Iterable[str]) -> None:
        for name in [name for name, task in self._tasks.items() if task.done() and name not in kept]:
            del self._tasks[name]


def _task_name(teller: Teller) -> str:
    return f"stream {teller.name} {id(teller)}"


async def _after(former: asyncio.Task[None] | None, teller: Teller) -> None:
    """Run the teller once the former one of its name has ended; broken off, it still says how far it has come."""
    if former is not None:
        await asyncio.wait({former})
    try:
        await teller.run()
    except asyncio.CancelledError:
        await teller.let_go()
        raise


def _governing(others: Registrations) -> Registrations:
    """Those that say what may leave, broken ones too, which forbid."""
    broken = {key: why for key, why in others.broken.items() if key[0] in ("labels", "policy")}
    return Registrations(labels=others.labels, policies=others.policies, broken=broken)
