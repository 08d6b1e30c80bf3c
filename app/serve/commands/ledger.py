"""`textback ledger`: was it tampered with, and what proves that later."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import orjson
from pydantic import ValidationError

from app import settings as configured
from app.errors import BadInput
from app.record import evidence_key, seals
from app.record.database import Database
from app.record.ids import moment_of
from app.record.settled import open_since
from app.serve.door import as_json
from app.serve.ledger_check import Report, check_ledger
from app.serve.ledger_head import LedgerHead, head_of
from app.serve.terminal import open_database

#: what lies unsealed for longer is told of with what may hold it back
_LONG = timedelta(minutes=10)


@click.group()
def ledger() -> None:
    """Show whether the ledger was tampered with, and export its head.

    \b
    Example: textback ledger verify
    """


@ledger.command("head")
def head() -> None:
    """Print the last seal as JSON: number, last entry, head, time.

    Keep it where nobody who can write the database can write too: whatever changes below it afterwards, or is cut off,
    `textback ledger verify --head FILE` finds out.

    \b
    Example: textback ledger head >> /mnt/elsewhere/heads.jsonl
    """
    with open_database(configured.load()) as database:
        found = database.read_now(seals.latest)
    if found is None:
        raise BadInput(f"There is no seal yet: a running server makes them. {_no_key()}".rstrip())
    click.echo(as_json(head_of(found)).decode())


def _no_key() -> str:
    return "" if configured.load().evidence_key else evidence_key.MISSING


@ledger.command("verify")
@click.option(
    "--head",
    "files",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="What `textback ledger head` printed, one or more lines; repeatable.",
)
@click.option("--json", "as_report", is_flag=True, help="Print the report as JSON.")
def verify(files: tuple[Path, ...], *, as_report: bool) -> None:
    """Recompute every seal, and hold the ledger against its evidence and against consent.

    Exit 1 with a sentence for each thing that was changed, removed or slipped in. Who holds the key and can write the
    database can do both without a trace; only a head that was exported before tells of that, and of seals cut off.

    \b
    Example: textback ledger verify --head /mnt/elsewhere/heads.jsonl
    """
    settings = configured.load()
    if settings.evidence_key is None:
        raise BadInput(evidence_key.MISSING)
    exported = [head for file in files for head in _heads(file)]
    with open_database(settings) as database:
        report = check_ledger(database, settings.evidence_key.get_secret_value(), exported)
        notes = list(_notes(report, database))
    click.echo(_json(report, notes) if as_report else _text(report, notes, exported))
    if report.found:
        raise SystemExit(1)


def _heads(file: Path) -> Iterator[LedgerHead]:
    lines = [line for line in file.read_bytes().splitlines() if line.strip()]
    if not lines:
        raise BadInput(f"{file} is empty; it must hold what `textback ledger head` printed.")
    for number, line in enumerate(lines, 1):
        try:
            yield LedgerHead.model_validate_json(line)
        except ValidationError:
            told = f"{file}, line {number}, is not what `textback ledger head` prints, one head a line."
            raise BadInput(told) from None


# --- what is told -------------------------------------------------------------------------------------------------


def _text(report: Report, notes: Sequence[str], exported: Sequence[LedgerHead]) -> str:
    lines = [each.sentence for each in report.found]
    if report.untold:
        lines.append(f"{report.untold:,} more of the same kinds.")
    if not report.found:
        sealed = report.entries - report.unsealed
        lines.append(
            f"Nothing was changed, removed or slipped in: {sealed:,} entries under {report.seals:,} seals,"
            f" {report.entries - report.without_evidence:,} of all {report.entries:,} with their evidence."
        )
        lines += [f"All {len(exported):,} exported heads are in the chain."] * bool(exported)
    return "\n".join([*lines, *notes])


def _json(report: Report, notes: Sequence[str]) -> str:
    told: dict[str, Any] = {
        "ok": not report.found,
        "entries": report.entries,
        "seals": report.seals,
        "unsealed": report.unsealed,
        "without_evidence": report.without_evidence,
        "head": head_of(report.head).model_dump() if report.head else None,
        "found": [each._asdict() | {"ledger_id": each.ledger_id and str(each.ledger_id)} for each in report.found],
        "untold": report.untold,
        "notes": notes,
    }
    return orjson.dumps(told, option=orjson.OPT_UTC_Z).decode()


def _notes(report: Report, database: Database) -> Iterator[str]:
    if report.unfit and report.unfit == report.seals:
        yield "No seal fits at all: is TEXTBACK_EVIDENCE_KEY the key that they were made with?"
    if report.without_evidence and not any(each.kind == "evidence_gone" for each in report.found):
        yield f"Note: {report.without_evidence:,} entries have no evidence any more: their people were erased."
    if report.half_erased:
        some = "1 person is" if report.half_erased == 1 else f"{report.half_erased:,} people are"
        yield f"Note: {some} being erased, or the erasure was broken off: then ask for it again."
    if report.oldest_unsealed is not None:
        since = moment_of(report.oldest_unsealed)
        some = "1 entry is" if report.unsealed == 1 else f"{report.unsealed:,} entries are"
        yield f"Note: {some} not sealed yet, the oldest of {since:%Y-%m-%d %H:%M:%S} UTC."
        yield from _held_back(since, database)


def _held_back(since: datetime, database: Database) -> Iterator[str]:
    now = datetime.now(UTC)
    if since > now + timedelta(minutes=1):
        yield "  It is of the future: some machine's clock was ahead. It is sealed when its time has come."
    elif now - since > _LONG:
        opened = database.read_now(open_since)
        if opened and now - opened > _LONG:
            yield f"  A transaction that is open since {opened:%Y-%m-%d %H:%M:%S} UTC holds the seals back; end it."
        else:
            yield "  Is a server running, with TEXTBACK_EVIDENCE_KEY set? Its log tells what keeps it from sealing."
