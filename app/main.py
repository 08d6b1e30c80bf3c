"""The one place where parts are joined: the web application, the sender, and what keeps both in order."""

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Coroutine
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
from app.chores import decide_incomplete, forget_what_is_old, keep_refusals, seal_ledger
from app.errors import BadInput, StoreUnavailable
from app.interpret import decide, opts_out, sayings
from app.provider import load_providers
from app.record import last_known, people, registry, schema
from app.record.database import Database, opened, served_alone
from app.record.drain import Drain
from app.record.intake import Intake
from app.record.shelter import Shelter
from app.record.spool import Spool
from app.record.vault import Vault
from app.record.writer import Writer
from app.running import running
from app.send import Actions, Caller, Client, Courier, Destinations, Handover, Sender, Streams, fetch
from app.serve import HANDLERS, routes
from app.serve.edge.door import LookupDoor
from app.serve.parts import Parts
from app.serve.takeover import hire
from app.serve.upkeep import Upkeep
from app.server import Server, until_told
from app.settings import CONFIG_DIR, Settings
from app.switchboard import Switchboard, policy
from app.webhook import load_packs

log = structlog.get_logger()

#: seconds that an idle connection is kept: longer than a proxy keeps it (nginx: 60), so that it is the proxy who ends
#: it; the other way round a request can meet the closing of its connection
_KEEP_ALIVE = 75


def build(settings: Settings, *, send: bool = True, hear: bool = True) -> Parts:
    """All parts, not yet running. `hear`: providers call this process. Raises BadInput where a setting is missing."""
    vault = Vault(_secret_key(settings))
    database = opened(settings)
    providers, packs = load_providers(CONFIG_DIR), load_packs(CONFIG_DIR)
    handover = Handover(decide, policy(settings).longest_deadline)
    writer = Writer(database, handover.decide, limit=settings.queue_limit, limit_bytes=settings.queue_bytes)
    couriers: dict[str, Courier] = {}
    client = Client(Destinations(settings.allowed_private_destinations))
    sender = Sender(writer, client, couriers.get, settings, handover=handover) if send else None
    actions = Actions(client)
    caller = Caller(writer, database, actions, settings, queued=sender.nudge) if sender else None
    keyring = Keyring(partial(fetch, client))
    switchboard = Switchboard(providers, packs, settings, keyring)
    intake = _intake(settings, database, writer, switchboard, hear=hear)
    parts = Parts(
        settings,
        database,
        writer,
        intake,
        vault,
        switchboard,
        sender,
        providers,
        packs,
        client,
        keyring,
        actions,
        caller,
        Streams(writer, database, client, settings.unknown_consent) if send else None,
    )
    parts.followers.extend((partial(hire, parts, couriers), actions.follow))
    if parts.streams:
        parts.followers.append(parts.streams.follow)
    return parts


def _intake(settings: Settings, database: Database, writer: Writer, switchboard: Switchboard, *, hear: bool) -> Intake:
    """With a spool where providers call, and the database may be away while our disk is there."""
    shelter = drain = None
    if hear and database.dialect == "postgresql":
        shelter = Shelter(partial(Spool.own, Path(settings.spool_folder), settings.spool_limit), sayings)
        drain = Drain(shelter, writer, switchboard.rules_of)
    return Intake(writer, database, opts_out, shelter=shelter, drain=drain, after=settings.outage_after)


def create_app(settings: Settings, *, send: bool = True, watch: bool = False) -> Starlette:
    """The web application. `send`: the sender runs in this process too. `watch`: say on the console what happens."""
    parts = build(settings, send=send)
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
    lookups = LookupDoor(parts)
    parts.followers.append(lookups.follow)
    app.state.parts = parts
    app.state.upkeep = Upkeep(parts)
    app.middleware_stack = door.before(lookups.before(app.build_middleware_stack()))
    return app


@asynccontextmanager
async def _lifespan(
    app: Starlette, parts: Parts, quarantine: Quarantine, access_log: AccessLog, watch: bool
) -> AsyncIterator[None]:
    chores = (
        keep_refusals(parts, quarantine), forget_what_is_old(parts), decide_incomplete(parts), seal_ledger(parts),
        app.state.upkeep.run(),
    )  # fmt: skip
    async with running(parts, *chores):
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
    async with running(parts):
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
