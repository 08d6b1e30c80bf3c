"""What all commands share: how they open the database, how a fault is told, how a table is shown."""

import asyncio
import re
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
import sqlalchemy as sa
import structlog
from rich.console import Console
from rich.table import Table

from app.errors import BadInput, TextbackError
from app.interpret import decide
from app.provider import load_providers
from app.record import registry, schema
from app.record.database import Database
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
            # the driver's text names host and cause, never the password
            raise click.ClickException(f"The database of TEXTBACK_DATABASE_URL cannot be used: {error.orig}") from None


@contextmanager
def any_database(settings: Settings) -> Iterator[Database]:
    """The database, whatever its revision."""
    database = Database(settings.database_url.get_secret_value())
    try:
        yield database
    finally:
        database.close()


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database. Raises BadInput where it does not have the revision of this code."""
    with any_database(settings) as database:
        if not schema.is_current(database):
            raise BadInput("The database does not have the revision of this textback; run: textback migrate")
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


def show(title: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """A table to stdout; as wide as the terminal, and never cut where there is none."""
    table = Table(title=title, title_justify="left", title_style="bold", show_edge=False, box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console = Console(highlight=False, markup=False)
    console.print(table, width=None if console.is_terminal else 1000)


def show_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line."""
    listed = [(name, "" if value is None else str(value)) for name, value in facts]
    width = max((len(name) for name, _ in listed), default=0)
    for name, value in listed:
        click.echo(f"{name:<{width}}  {value}".rstrip())
