"""`textback profiles`: look up, change, import and export subscriber attributes."""

import csv
import io
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

import click
import orjson
import sqlalchemy as sa

from app import settings as configured
from app.errors import BadInput
from app.record import profiles
from app.record.database import Database
from app.serve.fields import person
from app.serve.profile_file import CsvFile, JsonLinesFile
from app.serve.profile_import import Import, take_in
from app.serve.profile_report import progress, refusals, summary
from app.serve.terminal import open_database, show_facts, write

#: people per page of an export
_PAGE = 1_000

_region = click.option("--region", help="ISO 3166, such as US, for numbers in national form.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_format = click.Choice(["csv", "jsonl"])


@click.group("profiles")
def subscribers() -> None:
    """Look up, change, import and export subscriber attributes.

    \b
    Example: textback profiles get +14155550100
    """


@subscribers.command("get")
@click.argument("address")
@_region
@_json
def get(address: str, region: str | None, as_json: bool) -> None:
    """Show a person's attributes.

    \b
    Example: textback profiles get +14155550100
    """
    whose = person(address, region)
    with open_database(configured.load()) as database:
        _print(database, whose, as_json=as_json)


@subscribers.command("set")
@click.argument("address")
@click.argument("attributes", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--replace", is_flag=True, help="Those that are not given go.")
@click.option("--source", default="command line", show_default=True, help="Which system tells them.")
@_region
@_json
def change(
    address: str, attributes: tuple[str, ...], source: str, region: str | None, *, replace: bool, as_json: bool
) -> None:
    """Set attributes of a person; NAME= deletes one.

    \b
    Example: textback profiles set +14155550100 firstName=Alice city=Basel
    """
    whose, wanted = person(address, region), dict(map(_attribute, attributes))
    if not wanted and not replace:
        raise BadInput("Say what to set: NAME=VALUE, or --replace alone to delete all.")
    with open_database(configured.load()) as database:
        database.write_now(partial(_set, address=whose, wanted=wanted, source=source, replace=replace))
        _print(database, whose, as_json=as_json)


def _set(conn: sa.Connection, address: str, wanted: Mapping[str, str], source: str, *, replace: bool) -> None:
    profiles.forget(conn, address, [name for name, value in wanted.items() if not value])
    told = {name: value for name, value in wanted.items() if value}
    profiles.put(conn, address, told, source, datetime.now(UTC), replace=replace)


def _attribute(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise BadInput("An attribute has no =; write NAME=VALUE, or NAME= to delete it.")
    profiles.check(name, value)
    return name, value


def _print(database: Database, address: str, *, as_json: bool) -> None:
    found = database.read_now(lambda conn: profiles.read(conn, [address]))[address]
    if as_json:
        click.echo(orjson.dumps({"address": address, "attributes": found}, option=orjson.OPT_SORT_KEYS).decode())
    else:
        show_facts([("address", address), *sorted(found.items())])


# --- import -------------------------------------------------------------------------------------------------------


@subscribers.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--format", "kind", type=_format, help="By the file's name unless said: .jsonl is JSON lines.")
@click.option("--refused", type=click.Path(dir_okay=False, path_type=Path), help="Write the refused lines there.")
@click.option("--replace", is_flag=True, help="What a person's line does not name goes.")
@click.option(
    "--as-of",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="When it was true, in UTC: what was told later stays. Now, unless said.",
)
@_region
def take(
    file: BinaryIO, kind: str | None, refused: Path | None, as_of: datetime | None, region: str | None, *, replace: bool
) -> None:
    """Take in attributes from CSV (heading: address,firstName,…) or JSON lines; - is the standard input.

    An empty value says nothing. Of two lines about one person the last counts. Refused lines are told with their
    numbers, and the exit code is then 1; all other lines are recorded.

    \b
    Example: textback profiles import people.csv --region CH --refused refused.csv
    """
    now = datetime.now(UTC)
    given = Import(f"import of {Path(file.name).name}, {now:%Y-%m-%dT%H:%M:%S.%fZ}", _moment(as_of, now), replace)
    is_json = (kind or Path(file.name).suffix.lower()) in ("jsonl", ".jsonl", ".ndjson", ".json")
    # bytes that are not UTF-8 come through, so that their line alone is refused
    with io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text:
        lines = (JsonLinesFile if is_json else CsvFile)(text, region)
        with (
            open_database(configured.load()) as database,
            refusals(refused, lines.heading) as refuse,
            progress(file) as tell,
        ):
            result = write(database, lambda writer: take_in(lines, writer, given, refuse=refuse, tell=tell))
    click.echo(summary(result))
    if result.refused:
        raise SystemExit(1)


def _moment(as_of: datetime | None, now: datetime) -> datetime:
    moment = as_of.replace(tzinfo=UTC) if as_of else now
    if moment > now:
        raise BadInput("--as-of is in the future; nothing that is told until then would count.")
    return moment


# --- export -------------------------------------------------------------------------------------------------------


@subscribers.command("export")
@click.option("--format", "kind", type=_format, default="csv", show_default=True, help="A person a line in both.")
def export(kind: str) -> None:
    """Print everybody's attributes, in a form that `import` reads.

    \b
    Example: textback profiles export > people.csv
    """
    with open_database(configured.load()) as database:
        database.read_now(_write_json_lines if kind == "jsonl" else _write_csv)


def _write_csv(conn: sa.Connection) -> None:
    columns = profiles.names(conn)
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["address", *columns])
    for address, attributes in _everybody(conn):
        rows.writerow([address, *(attributes.get(name, "") for name in columns)])


def _write_json_lines(conn: sa.Connection) -> None:
    for address, attributes in _everybody(conn):
        click.echo(orjson.dumps({"address": address, "attributes": attributes}))


def _everybody(conn: sa.Connection) -> Iterator[tuple[str, Mapping[str, str]]]:
    after = ""
    while page := profiles.listed(conn, limit=_PAGE, after=after):
        yield from ((each.address, each.attributes) for each in page)
        after = page[-1].address
