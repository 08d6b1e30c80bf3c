"""`textback drift`: compare a provider's block list with the consent kept here, and opt out whom it alone has."""

import asyncio
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import click

from app import settings as configured
from app.errors import BadInput
from app.record import drift, facts
from app.record.database import Database
from app.record.drift import BlockList
from app.record.facts import Listening
from app.serve.block_list import Listed, Reading, read
from app.serve.commands.consent import login
from app.serve.consent_file import RefusedLine, checked_program
from app.serve.drift import Asked, Compared, Tell, compare
from app.serve.drift_report import JsonReport, Report, TextReport, refusing, told_to
from app.serve.terminal import open_database, write

_AT_ONCE = 5_000


class _Whose(NamedTuple):
    """Whose list it is."""

    credential: str | None
    program: str


@click.command("drift")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--credential", help="Whose block list it is; its webhooks say for which program.")
@click.option("--program", help="Instead of --credential: the program that the list holds for; * is all of them.")
@click.option("--region", help="ISO 3166, such as US, for numbers in national form.")
@click.option("--international", is_flag=True, help="The numbers have the country code and no plus.")
@click.option("--column", help="Heading or number (from 1) of the column of the numbers.")
@click.option("--as-of", help="When the provider made the list, such as 2026-11-22T17:18:00Z; else now.")
@click.option("--apply", "applies", is_flag=True, help="Opt out here whom the list has and we do not.")
@click.option("--blocked-only", is_flag=True, help="Do not look for opt-outs that the list does not have.")
@click.option("--missing", type=click.Path(dir_okay=False, path_type=Path), help="Write those to this CSV file.")
@click.option("--accept", is_flag=True, help="Without FILE: tell consent again after a restore, whatever differs.")
@click.option("--reason", help="Why; for --accept.")
@click.option("--actor", default=login, help="Who; your login name unless said otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare_lists(
    *, file: Path | None, credential: str | None, program: str | None, region: str | None, international: bool,
    column: str | None, as_of: str | None, applies: bool, blocked_only: bool, missing: Path | None, accept: bool,
    reason: str | None, actor: str, as_json: bool,
) -> None:  # fmt: skip
    """Compare a provider's block list with the consent kept here, in both directions.

    FILE is CSV, or has one number a line. Nobody is ever opted in by it: whoever is opted out here and not on the list
    is shown, to be added at the provider. After a restore, a list that was applied, or that does not differ, ends the
    time in which may_send is false for everybody.

    \b
    Example: textback drift blocked.csv --credential acme --apply
    """
    if accept:
        _accept(file, actor, reason)
        return
    if file is None or (credential is None) == (program is None):
        raise BadInput("Say which FILE, and whose block list it is: --credential NAME or --program NAME.")
    now = datetime.now(UTC)
    reading = Reading(column, region, international)
    report: Report = JsonReport() if as_json else TextReport(applies=applies)
    with open_database(configured.load()) as database, drift.block_list() as listed:
        listening = database.read_now(drift.listening)
        whose = _whose(credential, program, listening)
        lines_refused = _take_in(file, reading, listed)
        asked = Asked(whose.program, _moment(as_of, now), now, actor, f"drift: {file.name}", blocked_only)
        with told_to(report, missing) as tell:
            found = _compare(listed, database, asked, tell, applies=applies)
        settled = not lines_refused and not found.failed and (applies or not found.differ.total())
        withheld, left = _check_off(database, listening, whose, f"{actor}: drift: {file.name}", settled=settled)
    report.end(whose.program, found, lines_refused, withheld=withheld, left=left)
    if lines_refused or found.failed:
        raise SystemExit(1)


def _whose(credential: str | None, program: str | None, listening: list[Listening]) -> _Whose:
    if credential is None:
        return _Whose(None, checked_program(program or ""))
    programs = sorted({each.program for each in listening if each.credential == credential})
    if not programs:
        raise BadInput(f"No webhook hears messages for credential '{credential}'; say --program instead.")
    if len(programs) > 1:
        raise BadInput(f"Credential '{credential}' serves {', '.join(programs)}; say --program for each list.")
    return _Whose(credential, programs[0])


def _moment(text: str | None, now: datetime) -> datetime:
    if text is None:
        return now
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadInput(f"--as-of '{text}' is no time with its zone, such as 2026-11-22T17:18:00Z.")
    return moment.astimezone(UTC)


# --- the list -----------------------------------------------------------------------------------------------------


def _take_in(file: Path, reading: Reading, listed: BlockList) -> int:
    """Read the file; how many lines were refused, which are told one by one."""
    count = 0
    with _opened(file, reading) as lines, refusing() as refuse:
        while some := list(islice(lines, _AT_ONCE)):
            listed.add((line.address, line.line) for line in some if isinstance(line, Listed))
            count = refuse([line for line in some if isinstance(line, RefusedLine)])
    if not len(listed):
        raise BadInput(f"{file.name} has no number that can be read. An empty list is compared with nothing.")
    return count


@contextmanager
def _opened(file: Path, reading: Reading) -> Iterator[Iterator[Listed | RefusedLine]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            yield read(opened, reading)
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{file.name} is not a CSV file in UTF-8: {error}") from None


# --- what follows -------------------------------------------------------------------------------------------------


def _compare(listed: BlockList, database: Database, asked: Asked, tell: Tell, *, applies: bool) -> Compared:
    if applies:
        return write(database, lambda writer: compare(listed, database, writer, asked, tell))
    return asyncio.run(compare(listed, database, None, asked, tell))


def _check_off(
    database: Database, listening: list[Listening], whose: _Whose, word: str, *, settled: bool
) -> tuple[bool, list[Listening]]:
    """Whether consent is still withheld after a restore, and for want of which lists."""
    if not settled:
        return database.read_now(facts.restored) is not None, []
    now = datetime.now(UTC)
    left = database.write_now(lambda conn: facts.check_off(conn, listening, *whose, word=word, now=now))
    return bool(left), left or []


def _accept(file: Path | None, actor: str, reason: str | None) -> None:
    if file is not None:
        raise BadInput("--accept looks at no file; leave FILE out, or say --apply.")
    if not (reason or "").strip() or not actor.strip():
        raise BadInput("To accept needs a --reason and an --actor; say both in a few words.")
    with open_database(configured.load()) as database:
        word = f"{actor.strip()}: {(reason or '').strip()}"
        ended = database.write_now(lambda conn: facts.end(conn, word, datetime.now(UTC)))
    click.echo(
        "Accepted, and kept with your reason: consent is told again as it is recorded."
        if ended
        else "Nothing to accept: no restored database waits for a comparison."
    )
