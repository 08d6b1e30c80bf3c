"""The one place where parts are joined: the web application, the sender, and what keeps both in order."""

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
import uvicorn
import uvloop
from starlette.applications import Starlette

from app import demo as demo_provider
from app import systemd
from app.accept import WebhookDoor
from app.accept.access_log import AccessLog
from app.accept.outside import Outside
from app.accept.quarantine import Quarantine
from app.authenticate import Keyring
from app.changes import Changes
from app.chores import decide_incomplete, forget_what_is_old, keep_refusals, seal_ledger, watch_registry
from app.errors import BadInput, StoreUnavailable
from app.events import Heard
from app.interpret import decide, opts_out, sayings
from app.provider import load_providers
from app.record import last_known, people, registry, schema
from app.record.away import DATABASE_ERRORS
from app.record.database import Database, opened, served_alone
from app.record.drain import Drain
from app.record.intake import Intake
from app.record.shelter import Shelter
from app.record.spool import Spool
from app.record.vault import Vault
from app.record.writer import Writer
from app.send import Caller, CallMaker, Client, Courier, Destinations, Handover, Sender, fetch
from app.serve import HANDLERS, routes
from app.serve.metrics import count_events
from app.serve.parts import Parts
from app.serve.takeover import hire, take_over, take_over_last_known
from app.server import Server, until_told
from app.settings import CONFIG_DIR, Settings
from app.switchboard import Switchboard, policy
from app.webhook import load_packs

log = structlog.get_logger()

#: seconds that an idle connection is kept: longer than a proxy keeps it (nginx: 60), so that it is the proxy who ends
#: it; the other way round a request can meet the closing of its connection
_KEEP_ALIVE = 75
#: seconds at the end in which the writer writes what waits
_WRITING = 3.0


def build(settings: Settings, *, send: bool = True, hear: bool = True, actions: CallMaker | None = None) -> Parts:
    """All parts, not yet running. `hear`: providers call this process. `actions`: what makes calls of custom actions.

    Raises BadInput where a setting is missing.
    """
    vault = Vault(_secret_key(settings))
    database = opened(settings)
    providers, packs = load_providers(CONFIG_DIR), load_packs(CONFIG_DIR)
    handover = Handover(decide, policy(settings).longest_deadline)
    writer = Writer(database, handover.decide, limit=settings.queue_limit, limit_bytes=settings.queue_bytes)
    couriers: dict[str, Courier] = {}
    client = Client(Destinations(settings.allowed_private_destinations))
    sender = Sender(writer, client, couriers.get, settings, handover=handover) if send else None
    caller = Caller(writer, database, actions, settings, queued=sender.nudge) if sender and actions else None
    keyring = Keyring(partial(fetch, client))
    switchboard = Switchboard(providers, packs, settings, keyring)
    intake = _intake(settings, database, writer, switchboard, hear=hear)
    parts = Parts(
        settings, database, writer, intake, vault, switchboard, sender, providers, packs, client, keyring, caller
    )
    parts.followers.append(partial(hire, parts, couriers))
    return parts


def _intake(settings: Settings, database: Database, writer: Writer, switchboard: Switchboard, *, hear: bool) -> Intake:
    """With a spool where providers call, and the database may be away while our disk is there."""
    shelter = drain = None
    if hear and database.dialect == "postgresql":
        shelter = Shelter(partial(Spool.own, Path(settings.spool_folder), settings.spool_limit), sayings)
        drain = Drain(shelter, writer, switchboard.rules_of)
    return Intake(writer, database, opts_out, shelter=shelter, drain=drain, after=settings.outage_after)


def create_app(
    settings: Settings, *, send: bool = True, watch: bool = False, actions: CallMaker | None = None
) -> Starlette:
    """The web application. `send`: the sender runs in this process too. `watch`: say on the console what happens."""
    parts = build(settings, send=send, actions=actions)
    quarantine, access_log = Quarantine(), AccessLog(enabled=settings.access_log)
    outside = Outside(parts.keyring.fill, partial(fetch, parts.client))
    door = WebhookDoor(
        settings, parts.switchboard, parts.intake, quarantine=quarantine, access_log=access_log, outside=outside
    )
    app = Starlette(
        routes=routes(),
        lifespan=partial(_lifespan, parts=parts, quarantine=quarantine, access_log=access_log, watch=watch),
        exception_handlers=HANDLERS,
    )
    app.state.parts = parts
    app.middleware_stack = door.before(app.build_middleware_stack())
    return app


@asynccontextmanager
async def _lifespan(
    _app: Starlette, parts: Parts, quarantine: Quarantine, access_log: AccessLog, watch: bool
) -> AsyncIterator[None]:
    chores = (keep_refusals(parts, quarantine), forget_what_is_old(parts), decide_incomplete(parts), seal_ledger(parts))
    async with _running(parts, *chores):
        if watch:
            parts.writer.listen(demo_provider.tell)
        _spare_the_collector()
        yield
        access_log.flush()


def _spare_the_collector() -> None:
    """What lives now lives on: the cyclic collector need not look at it again.

    Without this each full collection stopped every request for 60 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@asynccontextmanager
async def _running(parts: Parts, *chores: Any) -> AsyncIterator[None]:
    """Writer, intake, registry watch, sender and chores; ended in the order that loses nothing."""
    parts.writer.start()
    parts.writer.listen(count_events)
    await parts.intake.start(away=not await _taken_over(parts))
    tasks = [asyncio.create_task(chore) for chore in (watch_registry(parts), *chores)]
    if parts.sender:
        parts.writer.listen(partial(_hand_over, asyncio.get_running_loop(), parts.sender, parts.caller))
        parts.sender.start()
    if parts.caller:
        parts.caller.start()
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _stop_sending(parts)
        await _stop_writing(parts)
        await parts.intake.stop()
        parts.client.close()
        parts.database.close()


async def _stop_sending(parts: Parts) -> None:
    """First the caller, in half of the time there is: what it ends with may be a reply, which still leaves then."""
    if parts.caller:
        await parts.caller.stop(within=parts.stopping.left(spared=_WRITING) / 2)
    if parts.sender:
        await parts.sender.stop(within=parts.stopping.left(spared=_WRITING))


async def _taken_over(parts: Parts) -> bool:
    """Whether the registry could be read. Else it is as it was last read; without that, nothing could be heard."""
    try:
        await take_over(parts)
    except (StoreUnavailable, *DATABASE_ERRORS) as error:
        if not await take_over_last_known(parts):
            raise
        log.warning("PostgreSQL is away; the webhooks are those last known", error=type(error).__name__)
        return False
    return True


async def _stop_writing(parts: Parts) -> None:
    """Write what waits; a database that does not answer is not waited for, for nothing more depends on it."""
    stopping = asyncio.create_task(parts.writer.stop())
    _, late = await asyncio.wait({stopping}, timeout=_WRITING)
    while late:
        parts.database.interrupt()
        _, late = await asyncio.wait({stopping}, timeout=parts.settings.outage_after)


def _hand_over(
    loop: asyncio.AbstractEventLoop, sender: Sender, caller: Caller | None, _fresh: Sequence[Heard], changes: Changes
) -> None:
    if changes.outbox:
        loop.call_soon_threadsafe(sender.take, changes)
    if changes.calls and caller:
        loop.call_soon_threadsafe(caller.nudge)


# --- processes ----------------------------------------------------------------------------------------------------


def serve(settings: Settings, *, migrate: bool = False, demo: bool = False, send: bool = True) -> None:
    """Run the web server (and sender) until SIGTERM or SIGINT. Raises BadInput where it cannot start.

    It listens on the sockets that systemd passes, where it passes any, else on `host` and `port`.
    """
    configure_logs(settings)
    if demo:
        settings = demo_provider.prepare(settings)
    with served_alone(settings.database_url.get_secret_value()):
        _prepare_schema(settings, migrate=migrate)
        app = create_app(settings, send=send, watch=demo)
        server = Server(_config(app, settings), settings, app.state.parts.stopping, systemd.inherited())
        _run(demo_provider.serve_beside(server, app.state.parts) if demo else server.serve())


def send(settings: Settings) -> None:
    """Run the sender alone until SIGTERM or SIGINT."""
    configure_logs(settings)
    _prepare_schema(settings, migrate=False)
    _run(_send_until_told(build(settings, hear=False)))


async def _send_until_told(parts: Parts) -> None:
    async with _running(parts):
        log.info("sending")
        await until_told(parts.stopping, parts.settings.shutdown_deadline)


def _run(story: Coroutine[Any, Any, None]) -> None:
    # The writer's thread and the loop hand the interpreter's lock to each other many times a batch; at the usual 5 ms
    # each time the one that works makes the other wait. Measured on SQLite: 40 % more requests, half the p99.
    sys.setswitchinterval(1e-4)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story)


def _config(app: Starlette, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,  # it would write tokens and query strings; accept keeps our own
        log_config=None,
        server_header=False,
        proxy_headers=False,  # accept believes trusted proxies only, and says which
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, int(settings.shutdown_deadline / 2)),  # the rest is for sender and writer
    )


def _prepare_schema(settings: Settings, *, migrate: bool) -> None:
    database, vault = opened(settings), Vault(_secret_key(settings))
    try:
        if migrate:
            schema.upgrade(database)
        elif not schema.is_usable(database):
            raise BadInput(
                "the database is empty or older than this textback; run `textback migrate`, or `serve --migrate`"
            )
        # read once before anything starts: a wrong key is told in a sentence here
        database.read_now(people.require_key)
        database.read_now(partial(registry.load, vault=vault))
    except (StoreUnavailable, sa.exc.OperationalError):
        # a node that was here before may start all the same, and hear into its spool
        if database.dialect == "sqlite" or last_known.load(Path(settings.spool_folder), vault) is None:
            raise
    finally:
        database.close()


def _secret_key(settings: Settings) -> str:
    if settings.secret_key is None:
        raise BadInput("TEXTBACK_SECRET_KEY is not set; make one with: openssl rand -hex 32")
    return settings.secret_key.get_secret_value()


def configure_logs(settings: Settings) -> None:
    """Plain lines to stderr. Tracebacks without local variables, because those hold secrets and numbers."""
    level = getattr(logging, settings.log_level.upper())
    logging.basicConfig(level=max(level, logging.WARNING), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("iso", utc=True),
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
