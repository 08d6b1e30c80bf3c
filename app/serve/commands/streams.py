"""`textback streams`: what is sent to whom, how far each stream is, replay, and what was refused."""

from datetime import UTC, datetime
from functools import partial

import click
import orjson
import sqlalchemy as sa

from app import settings as configured
from app.errors import BadInput
from app.record import refusals, registry
from app.record.database import Database
from app.record.ids import first_id_at
from app.record.registry import Registered
from app.serve.fields import Moment
from app.serve.stream_preview import Preview, previews, ready_stream
from app.serve.streams import StreamStatus, replay_from, status, stream_of
from app.serve.terminal import open_database, open_vault, printable, show, shown_age
from app.settings import Settings
from app.stream import SOURCES, Source

_name = click.argument("name")
_event = click.option("--event", "events", type=click.Choice(SOURCES), multiple=True, help="Of this kind alone.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("streams")
def streams() -> None:
    """Streams tell a company's own systems of consent, inbound messages and receipts.

    \b
    Example: textback streams list
    """


def _load(database: Database, settings: Settings) -> Registered:
    vault = open_vault(settings)
    return database.read_now(lambda conn: registry.load(conn, vault))


@streams.command("list")
@_json
def every(*, as_json: bool) -> None:
    """How far each of them is, and why it stands still.

    \b
    Example: textback streams list
    """
    settings = configured.load()
    with open_database(settings) as database:
        registered = _load(database, settings)
        wanted = list(registered.others.streams.values())
        found = database.read_now(lambda conn: [status(conn, stream) for stream in wanted])
    if as_json:
        click.echo(orjson.dumps([each.model_dump(mode="json") for each in found]).decode())
        return
    columns = ("stream", "event", "behind", "oldest", "told", "left out", "refused", "problem")
    show("streams", columns, (row for each in found for row in _rows(each)))
    for (kind, name), reason in registered.others.broken.items():
        if kind == "stream":
            click.echo(f"stream {name}: {reason}", err=True)


def _rows(found: StreamStatus) -> list[tuple[object, ...]]:
    now = datetime.now(UTC)
    problem = found.problem or ("" if found.telling_until else "nobody tells of it; does a sender run?")
    return [
        (found.stream, each.event, each.lag_rows, each.lag_since and shown_age(now - each.lag_since), each.told,
         each.left_out, found.refused, printable(problem))
        for each in found.sources
    ]  # fmt: skip


@streams.command()
@_name
@_event
@_json
def preview(*, name: str, events: tuple[Source, ...], as_json: bool) -> None:
    """What the receiver is sent, ready to be copied: the newest event of each kind, else a sample. Nothing is sent.

    \b
    Example: textback streams preview crm --event consent
    """
    settings = configured.load()
    with open_database(settings) as database:
        registered = _load(database, settings)
        told_to = ready_stream(registered, stream_of(registered, name), settings.unknown_consent)
        found = database.read_now(partial(previews, registered=registered, told_to=told_to))
    wanted = [each for each in found if not events or each.event in events]
    if as_json:
        click.echo(orjson.dumps([each.model_dump(mode="json") for each in wanted]).decode())
        return
    click.echo("\n".join(_as_text(each) for each in wanted))


def _as_text(found: Preview) -> str:
    origin = "a sample, for there is none yet" if found.sample else "the newest"
    head = "\n".join(f"{header}: {text}" for header, text in found.headers.items())
    body = orjson.dumps(found.payload, option=orjson.OPT_INDENT_2).decode()
    return f"# {found.event}: {origin}\nPOST {found.url}\n{head}\n\n{printable(body)}\n"


@streams.command()
@_name
@click.option("--since", metavar="TIME", help="What was recorded from then on: 2026-11-22T17:18:00Z.")
@click.option("--from-id", type=click.IntRange(0), help="What was recorded from the row of this id on.")
@_event
def replay(*, name: str, since: str | None, from_id: int | None, events: tuple[Source, ...]) -> None:
    """Have everything told again from a time or a row on. Ids stay the same, so a receiver knows what it has.

    \b
    Example: textback streams replay crm --since 2026-11-22T17:18:00Z
    """
    if (since is None) == (from_id is None):
        raise BadInput("Say since when (--since) or from which row on (--from-id).")
    first_id = first_id_at(_moment(since)) if since is not None else from_id or 0
    settings = configured.load()
    with open_database(settings) as database:
        stream = stream_of(_load(database, settings), name)
        act = partial(replay_from, stream=stream, events=list(events) or None, first_id=first_id)
        found = database.write_now(act)
    for each in found.sources:
        click.echo(f"{each.event}: {_counted(each.lag_rows)} to be told")


def _moment(text: str) -> datetime:
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - beside its only use

    try:
        return TypeAdapter(Moment).validate_python(text)
    except ValidationError:
        raise BadInput(f"--since: '{text}' is not a time with its zone, such as 2026-11-22T17:18:00Z") from None


def _counted(rows: int) -> str:
    return f"{rows:,} rows" if rows < 10_000 else "10,000 rows or more"


@streams.command("refusals")
@_name
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The newest so many.")
@_json
def refused(*, name: str, limit: int, as_json: bool) -> None:
    """Events that the receiver refused for good, newest first.

    \b
    Example: textback streams refusals crm
    """
    settings = configured.load()
    with open_database(settings) as database:
        stream = stream_of(_load(database, settings), name)
        found = database.read_now(partial(refusals.page, stream=stream.name, limit=limit))
    if as_json:
        listed = [each._asdict() | {"id": str(each.id), "row_id": str(each.row_id)} for each in found]
        click.echo(orjson.dumps(listed, option=orjson.OPT_UTC_Z).decode())
        return
    now = datetime.now(UTC)
    rows = ((each.id, each.source, shown_age(now - each.refused_at), each.event_id, printable(each.reason))
            for each in found)  # fmt: skip
    show("refusals", ("id", "event", "age", "event id", "reason"), rows)


@streams.command()
@_name
@click.argument("ids", metavar="ID…", type=int, nargs=-1)
@click.option("--all", "whole", is_flag=True, help="All there are.")
def retry(*, name: str, ids: tuple[int, ...], whole: bool) -> None:
    """Send refused events again, once their receiver was mended.

    \b
    Example: textback streams retry crm --all
    """
    if bool(ids) == whole:
        raise BadInput("Say which: --all, or one ID after the other (textback streams refusals shows them).")
    settings = configured.load()
    with open_database(settings) as database:
        stream = stream_of(_load(database, settings), name)

        def act(conn: sa.Connection) -> int:
            return refusals.ask_again(conn, stream.name, None if whole else ids, datetime.now(UTC))

        count = database.write_now(act)
    click.echo(f"{count} are sent again")
