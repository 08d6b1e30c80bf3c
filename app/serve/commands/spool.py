"""`textback spool`: what this machine keeps for a database that is away, and what of it waits for a person."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click

from app import settings as configured
from app.errors import BadInput
from app.record.spool import Aside, Spool, spool_files
from app.serve.terminal import printable, show


@click.group()
def spool() -> None:
    """Show what waits on this disk for the database, and take back what was set aside.

    \b
    Example: textback spool list
    """


@spool.command("list")
def listed() -> None:
    """Show how much waits in each spool file of this machine, and each item that was set aside.

    \b
    Example: textback spool list
    """
    for path, opened in _files():
        waiting, aside = opened.count()
        click.echo(f"{path.name}: {waiting} requests wait, {aside} were set aside, {opened.size():,} bytes")
        if aside:
            show("", ("item", "received", "webhook", "reason", "set aside"), map(_row, opened.aside()))


@spool.command()
@click.argument("ids", type=int, nargs=-1)
@click.option("--all", "every", is_flag=True, help="All items that were set aside.")
def retry(ids: tuple[int, ...], *, every: bool) -> None:
    """Have items recorded that were set aside, after what was wrong is mended.

    A running server takes them within seconds, at the end of what waits.

    \b
    Example: textback spool retry --all
    """
    if bool(ids) == every:
        raise BadInput("Name the items, as textback spool list shows them, or say --all.")
    taken = sum(opened.take_back(None if every else ids) for _, opened in _files())
    click.echo(f"{taken} items wait for the database again")


@spool.command()
@click.argument("ids", type=int, nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(ids: tuple[int, ...], *, yes: bool) -> None:
    """Delete items that were set aside, for a person has done what they say. They are printed before.

    \b
    Example: textback spool drop 17
    """
    if not yes:
        click.confirm(f"{len(ids)} items are deleted for good. Has somebody done what they say?", abort=True)
    for _, opened in _files():
        for text in opened.drop_aside(ids):
            click.echo(printable(text))


def _files() -> Iterator[tuple[Path, Spool]]:
    folder = Path(configured.load().spool_folder)
    for path in spool_files(folder):
        with closing(Spool(path)) as opened:
            yield path, opened


def _row(item: Aside) -> tuple[object, ...]:
    return item.id, item.received_at, item.webhook, printable(item.reason), item.set_aside_at
