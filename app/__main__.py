"""The command line: `textback`, or `python -m app`. Its names are a contract, because scripts rely on them."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson

from app import __version__
from app import settings as configured
from app.provider import load_providers
from app.record import registry, schema
from app.serve.apply import Applied, Catalogue
from app.serve.apply import apply as apply_to
from app.serve.apply_file import ApplyFile, read_file
from app.serve.checkup import checkup
from app.serve.commands.actions import actions
from app.serve.commands.audiences import audiences, lookup
from app.serve.commands.backup import backup, restore
from app.serve.commands.calls import action_calls
from app.serve.commands.consent import consent
from app.serve.commands.dead_letters import dead_letters
from app.serve.commands.decode import decode
from app.serve.commands.diagnose import doctor, explain_text, replay_requests
from app.serve.commands.drift import compare_lists
from app.serve.commands.erasure import erase_person
from app.serve.commands.evidence import evidence
from app.serve.commands.ledger import ledger
from app.serve.commands.policies import policies
from app.serve.commands.profiles import subscribers
from app.serve.commands.providers import providers
from app.serve.commands.spool import spool
from app.serve.commands.streams import streams
from app.serve.commands.token import token
from app.serve.commands.verify import verify
from app.serve.terminal import Commands, any_database, open_database, open_vault
from app.settings import CONFIG_DIR
from app.webhook import load_packs


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="textback")
def cli() -> None:
    """Hears what recipients text back, and keeps it as consent with evidence in your own SQL database.

    Settings come from TEXTBACK_* and a file: $TEXTBACK_CONFIG, else config/settings.toml, or of an installed textback
    /etc/textback/settings.toml. config/settings.example.toml lists them.

    \b
    Example: textback serve --migrate
    """


for command in (
    consent, subscribers, policies, token, providers, verify, decode, explain_text, doctor, replay_requests, ledger,
    evidence, erase_person, dead_letters, spool, backup, restore, compare_lists, actions, action_calls, audiences,
    lookup, streams,
):  # fmt: skip
    cli.add_command(command)


@cli.command()
@click.option("--no-send", is_flag=True, help="Leave sending to another process (textback send).")
@click.option("--migrate", "migrates", is_flag=True, help="Bring the database to the newest revision first.")
@click.option("--demo", is_flag=True, help="Run a loopback provider beside it, and print what to try.")
@click.option("--host", help="Instead of TEXTBACK_HOST.")
@click.option("--port", type=int, help="Instead of TEXTBACK_PORT.")
def serve(*, no_send: bool, migrates: bool, demo: bool, host: str | None, port: int | None) -> None:
    """Run the web server, and the sender with it.

    \b
    Example: textback serve --host 0.0.0.0 --port 8080
    """
    from app import main  # noqa: PLC0415 - the web server's imports would slow every other command down

    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    main.serve(configured.load(**given), migrate=migrates, demo=demo, send=not no_send)


@cli.command()
def send() -> None:
    """Run the sender alone, beside `textback serve --no-send`.

    \b
    Example: textback send
    """
    from app import main  # noqa: PLC0415 - the web server's imports would slow every other command down

    main.send(configured.load())


@cli.command()
def migrate() -> None:
    """Bring the database to the newest revision. Safe to repeat.

    \b
    Example: textback migrate
    """
    with any_database(configured.load()) as database:
        schema.upgrade(database)
        found = database.read_now(schema.revision)
    click.echo(f"The database is at revision {found}.")


@cli.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the file's webhooks as a JSON list.")
def apply(file: Path, *, as_json: bool) -> None:
    """Create or change what a TOML file names: credentials, webhooks, replies, actions …; all of it or nothing.

    What the file does not name stays as it is. ${NAME} is filled in from the environment. A running server follows
    within a second.

    \b
    Example: textback apply acme.toml
    """
    settings, wanted = configured.load(), read_file(file, os.environ)
    catalogue, vault = Catalogue(load_providers(CONFIG_DIR), load_packs(CONFIG_DIR)), open_vault(settings)
    with open_database(settings) as database:
        applied = database.write_now(lambda conn: apply_to(conn, vault, catalogue, wanted, datetime.now(UTC)))
        found = database.read_now(lambda conn: registry.load(conn, vault))
    tokens = {entry.webhook.name: entry.token for entry in found.webhooks}
    webhooks = [
        {"name": name, "url": f"{settings.base_url}/in/{tokens[name]}", "outcome": outcome}
        for name, outcome in applied.webhooks.items()
    ]
    if as_json:
        click.echo(orjson.dumps(webhooks).decode())
    else:
        _tell(applied, webhooks)


def _tell(applied: Applied, webhooks: list[dict[str, Any]]) -> None:
    for kind, outcomes in (("credential", applied.credentials), ("reply", applied.replies)):
        for name, outcome in outcomes.items():
            click.echo(f"{kind} {name}: {outcome}")
    for (kind, name), outcome in applied.others.items():
        click.echo(f"{kind} {name}: {outcome}")
    for webhook in webhooks:
        click.echo(f"webhook {webhook['name']}: {webhook['outcome']}  {webhook['url']}")
    if applied == Applied({}, {}, {}):
        click.echo(f"The file names none of: {', '.join(ApplyFile.model_fields)}.")


@cli.command()
@click.option("--strict", is_flag=True, help="Warnings count as problems.")
def check(*, strict: bool) -> None:
    """Look at settings, provider files, database, registrations, keywords and clock; exit 1 with sentences on problems.

    Notes say what a provider's documentation leaves open, or which receipts never come, and fail nothing.

    \b
    Example: textback check --strict
    """
    settings = configured.load()
    with any_database(settings) as database:
        findings = list(checkup(settings, database))
    for finding in findings:
        click.echo(f"{finding.level}: {finding.sentence}", err=True)
    if any(finding.level == "problem" or (strict and finding.level == "warning") for finding in findings):
        raise SystemExit(1)
    calm = all(finding.level == "note" for finding in findings)
    click.echo("Everything is in order." if calm else "Nothing keeps textback from working.")


if __name__ == "__main__":
    cli()
