"""`textback consent`: look up, change, import and export consent."""

import csv
import getpass
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import click
import orjson
import sqlalchemy as sa

from app import settings as configured
from app.address import mask
from app.errors import BadInput
from app.events import ConsentState
from app.flow import change_by_hand
from app.record.database import Database
from app.record.export import ConsentEntry, consent_entries
from app.record.standings import suppressed_people
from app.serve.consent import look
from app.serve.consent_file import Import, checked_program, read_lines, take_in
from app.serve.fields import person
from app.serve.terminal import open_database, show_facts, write


def login() -> str:
    """Who runs the command. Raises BadInput where nobody knows."""
    try:
        return getpass.getuser()
    except KeyError:  # a container's number without a name
        raise BadInput("Nobody knows who you are; say it with --actor.") from None


_STATES = click.Choice([state.value for state in ConsentState if state is not ConsentState.UNKNOWN])
_program = click.option("--program", default="default", show_default=True, help="The program; * is all of them.")
_region = click.option("--region", help="ISO 3166, such as US, for numbers in national form.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def consent() -> None:
    """Look up, change, import and export consent.

    \b
    Example: textback consent get +14155550100
    """


@consent.command("get")
@click.argument("address")
@_program
@_region
@_json
def get(address: str, program: str, region: str | None, as_json: bool) -> None:
    """Where a person stands, and whether they may be written to.

    \b
    Example: textback consent get +14155550100 --program news
    """
    settings = configured.load()
    with open_database(settings) as database:
        found = _standing(database, person(address, region), checked_program(program), settings.unknown_consent)
    _print(found, as_json=as_json)


@consent.command("set")
@click.argument("address")
@click.argument("state", type=_STATES)
@click.option("--reason", required=True, help="Why; the ledger keeps it.")
@click.option("--actor", default=login, help="Who; your login name unless said otherwise.")
@_program
@_region
@_json
def change(
    *, address: str, state: str, reason: str, actor: str, program: str, region: str | None, as_json: bool
) -> None:
    """Change a person's consent, with a reason.

    \b
    Example: textback consent set +14155550100 opted_out --reason "asked by phone" --actor dora
    """
    if not reason.strip() or not actor.strip():
        raise BadInput("A change needs a --reason and an --actor; say both in a few words.")
    settings, wanted, whose = configured.load(), ConsentState(state), person(address, region)
    heard = change_by_hand(
        address=whose,
        program=checked_program(program),
        state=wanted,
        actor=actor.strip(),
        reason=reason.strip(),
        at=datetime.now(UTC),
    )
    with open_database(settings) as database:
        recorded = write(database, lambda writer: _record(writer, heard))
        found = _standing(database, whose, program, settings.unknown_consent)
    _print(found, as_json=as_json)
    if not recorded.new or found["state"] != wanted:
        raise BadInput(f"{mask(whose)} stays {found['state']}; the ledger and the work list say why.")


@consent.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
@click.option("--actor", default=login, help="Who imports; your login name unless said otherwise.")
@_program
@_region
def take(file: TextIO, actor: str, program: str, region: str | None) -> None:
    """Take in a CSV file of address,state[,program]; it ends nobody's opt-out.

    Refused lines are told with their numbers, and the exit code is then 1; all other lines are recorded.

    \b
    Example: textback consent import opt-outs.csv --program news
    """
    try:
        lines = list(read_lines(file, region, checked_program(program)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{file.name} is not a CSV file in UTF-8: {error}") from None
    given = Import(actor, f"import of {file.name}", datetime.now(UTC))
    with open_database(configured.load()) as database:
        result = write(database, lambda writer: take_in(lines, database, writer, given))
    click.echo(f"{result.changed} changed, {result.unchanged} were so already, {len(result.refused)} refused")
    for refused in result.refused:
        click.echo(f"line {refused.line}: {refused.reason}", err=True)
    if result.refused:
        raise SystemExit(1)


@consent.command("export")
@click.option("--program", help="This program's rows and those of all programs (*), which hold for it too.")
def export(program: str | None) -> None:
    """Print everybody's consent as CSV, which `import` reads.

    \b
    Example: textback consent export --program news > consent.csv
    """
    with open_database(configured.load()) as database:
        database.read_now(lambda conn: _write_csv(conn, checked_program(program) if program else None))
        suppressed = database.read_now(suppressed_people)
    if suppressed:
        click.echo(
            f"{suppressed} erased people stay suppressed and are not in this list, for their numbers are not known;"
            " ask textback consent get, or the API, before you write to anybody.",
            err=True,
        )


def _write_csv(conn: sa.Connection, program: str | None) -> None:
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(ConsentEntry._fields)
    for entry in consent_entries(conn, program):
        rows.writerow(entry._replace(since=entry.since.isoformat()))  # type: ignore[arg-type]


async def _record(writer: Any, heard: Any) -> Any:
    return await writer.record(heard)


def _standing(
    database: Database, address: str, program: str, unknown_consent: Literal["allow", "deny"]
) -> dict[str, Any]:
    return asdict(database.read_now(lambda conn: look(conn, program, [address], unknown_consent))[address])


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_UTC_Z).decode())
    else:
        show_facts(found.items())
