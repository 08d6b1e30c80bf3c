"""What all commands share: how they open the database, how a fault is told, how a table is shown."""

import asyncio
import re
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import click
import sqlalchemy as sa
import structlog
from rich.console import Console
from rich.table import Table

from app.errors import BadInput, TextbackError
from app.interpret import decide
from app.provider import load_providers
from app.record import ids, registry, schema
from app.record.database import Database, opened
from app.record.settled import floor
from app.record.vault import Vault
from app.record.writer import Writer
from app.settings import CONFIG_DIR, Settings
from app.switchboard import Switchboard
from app.webhook import load_packs

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

T = TypeVar("T")
Row = Sequence[object]


class Commands(click.Group):
    """A group whose commands tell faults in sentences and exit with 1; never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        # stdout is for answers alone; asked for at each line, for it may be another by then
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
        try:
            return super().invoke(ctx)
        except TextbackError as error:
            raise click.ClickException(str(error)) from None
        except sa.exc.OperationalError as error:
            raise click.ClickException(_unusable(error)) from None


def _unusable(error: sa.exc.OperationalError) -> str:
    # the driver's text names host and cause, never the password
    told = f"The database of TEXTBACK_DATABASE_URL cannot be used: {error.orig}"
    if "startup parameter" in told:
        told += "\nIf this is a pooling proxy, set TEXTBACK_DATABASE_DIRECT_URL to the server behind it."
    return told


@contextmanager
def any_database(settings: Settings) -> Iterator[Database]:
    """The database, whatever its revision."""
    database = opened(settings)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database. Raises BadInput where its revision is older than this code."""
    with any_database(settings) as database:
        if not schema.is_usable(database):
            raise BadInput("The database is empty or older than this textback; run: textback migrate")
        yield database


def open_vault(settings: Settings) -> Vault:
    """The vault. Raises BadInput without a key."""
    return Vault(settings.secret_key.get_secret_value() if settings.secret_key else "")


def connect(settings: Settings, database: Database) -> Switchboard:
    """The lines of all registered webhooks, as a server would have them."""
    switchboard = Switchboard(load_providers(CONFIG_DIR), load_packs(CONFIG_DIR), settings)
    vault = open_vault(settings)
    switchboard.connect(database.read_now(lambda conn: registry.load(conn, vault)))
    return switchboard


def write(database: Database, story: Callable[[Writer], Coroutine[Any, Any, T]]) -> T:
    """Run `story` with a writer that decides like the server's, and wait until everything is committed."""

    # whatever this machine's clock says, nothing is added below what is sealed
    ids.not_below(database.read_now(floor))

    async def run() -> T:
        writer = Writer(database, decide)
        writer.start()
        try:
            return await story(writer)
        finally:
            await writer.stop()

    return asyncio.run(run())


def printable(text: str) -> str:
    """The text without control characters: what others have sent must not steer somebody's terminal."""
    return _CONTROL.sub("\ufffd", text)


def shown_age(age: timedelta) -> str:
    """How long ago, in the largest unit that tells: 40 s, 5 min, 3 h, 12 days."""
    seconds = max(age.total_seconds(), 0)
    for unit, its_seconds in (("days", 172_800), ("h", 7_200), ("min", 120)):
        if seconds >= its_seconds:
            return f"{seconds / (its_seconds / 2):.0f} {unit}"
    return f"{seconds:.0f} s"


def show(title: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """A table to stdout; as wide as the terminal, and never cut where there is none."""
    table = Table(title=title, title_justify="left", title_style="bold", show_edge=False, box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 1000
    console.print(table)


def show_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line."""
    listed = [(name, "" if value is None else str(value)) for name, value in facts]
    width = max((len(name) for name, _ in listed), default=0)
    for name, value in listed:
        click.echo(f"{name:<{width}}  {value}".rstrip())
