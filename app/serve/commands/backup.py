"""`textback backup` and `textback restore`."""

from pathlib import Path

import click

from app import settings as configured
from app.record.backup import Backup, back_up
from app.record.backup import restore as bring_back
from app.settings import Settings

_tools = click.option(
    "--bin",
    "tools",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder of pg_dump, pg_restore and psql; else the PATH.",
)


@click.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_tools
def backup(file: Path, tools: Path | None) -> None:
    """Write the database into a new FILE, while servers go on: one snapshot, checked, on the disk when this ends.

    It holds people's numbers and no key. Keep TEXTBACK_SECRET_KEY and TEXTBACK_EVIDENCE_KEY elsewhere.

    \b
    Example: textback backup nightly.backup
    """
    made = back_up(_url(configured.load()), file, tools)
    click.echo(f"{_shown(made)}, checked. It is of use with TEXTBACK_SECRET_KEY and TEXTBACK_EVIDENCE_KEY alone.")


@click.command("restore")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Although there is something in the database.")
@_tools
def restore(file: Path, tools: Path | None, *, replace: bool) -> None:
    """Bring a backup into the empty database of the settings, and up to this textback's revision.

    Until the provider's block list was compared (textback drift), nobody may be sent to: opt-outs after the backup
    are missing. With --replace a SQLite file is moved aside, and what textback has in PostgreSQL is dropped.

    \b
    Example: textback restore nightly.backup
    """
    restored = bring_back(_url(configured.load()), file, replace=replace, tools=tools)
    click.echo(f"{_shown(restored.backup)}, restored.")
    if restored.aside:
        click.echo(f"The database that was there is now {restored.aside}.")
    newest = f"of {restored.newest:%Y-%m-%d %H:%M:%S} UTC" if restored.newest else "not there: it is empty"
    click.echo(f"The newest entry of its ledger is {newest}. What came after the backup is missing.")
    click.echo(
        "Until drift is checked, may_send is false for everybody: export each provider's block list, then run\n"
        "  textback drift LIST.csv --credential NAME --apply"
    )


def _shown(backup: Backup) -> str:
    return f"{backup.file}: {backup.kind}, revision {backup.revision}, {backup.size / 2**20:,.1f} MiB"


def _url(settings: Settings) -> str:
    """Past a pooling proxy, which these programs cannot work through."""
    return (settings.database_direct_url or settings.database_url).get_secret_value()
