"""What `textback drift` prints: for people the first of each kind, as JSON all; nothing grows with the list."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import click
import orjson

from app.record.facts import Listening
from app.serve.consent_file import RefusedLine
from app.serve.drift import Compared, Difference, Kind, Tell

#: people of a kind, and refused lines, that are told one by one
_TOLD = 20

_MEANING = {
    Kind.BLOCKED: "on the list, and not opted out here",
    Kind.CONTRADICTED: "on the list, and opted in here before it was made",
    Kind.SINCE: "on the list, and heard of here since it was made: they stay; have the provider lift the block",
    Kind.MISSING: "opted out here, and not on the list: add them at the provider",
}


class Report(Protocol):
    """Text or JSON."""

    def tell(self, difference: Difference) -> None:
        """One person."""

    def end(self, program: str, found: Compared, refused: int, *, withheld: bool, left: Sequence[Listening]) -> None:
        """Everything has been told."""


class TextReport:
    """For people."""

    def __init__(self, *, applies: bool) -> None:
        self._applies = applies
        self._first: dict[Kind, list[Difference]] = {kind: [] for kind in Kind}

    def tell(self, difference: Difference) -> None:
        """Keep the first of each kind."""
        if len(self._first[difference.kind]) < _TOLD:
            self._first[difference.kind].append(difference)

    def end(self, program: str, found: Compared, refused: int, *, withheld: bool, left: Sequence[Listening]) -> None:
        """Print it."""
        refusals = f", {refused:,} lines refused" if refused else ""
        click.echo(f"{program}: {found.listed:,} people on the list, {found.agree:,} opted out here too{refusals}")
        for kind in Kind:
            self._print(kind, found.differ[kind])
        if found.other_kinds:
            click.echo(f"{found.other_kinds:,} opted out here under another kind of address were not compared.")
        click.echo(_outcome(found, applies=self._applies))
        if withheld:
            click.echo(_withheld(left))

    def _print(self, kind: Kind, count: int) -> None:
        if not count:
            return
        click.echo(f"{count:,} {_MEANING[kind]}")
        for each in self._first[kind]:
            since = f" since {each.standing.since:%Y-%m-%d %H:%M}" if each.standing.since else ""
            line = f"  line {each.line}" if each.line else ""
            click.echo(f"  {each.address}  {each.standing.state}{since}{line}")
        if count > _TOLD:
            click.echo(f"  … and {count - _TOLD:,} more; --json prints all")


def _outcome(found: Compared, *, applies: bool) -> str:
    if not found.differ.total():
        return "No difference."
    if not applies:
        return f"{found.open:,} to opt out here; --apply does it." if found.open else "Nothing to opt out here."
    failed = f"; {found.failed:,} were not, and the ledger and the work list say why" if found.failed else ""
    return f"{found.applied:,} opted out here{failed}."


def _withheld(left: Sequence[Listening]) -> str:
    if not left:
        return (
            "may_send stays false for everybody: the database was restored. --apply ends that, or"
            ' textback drift --accept --reason "…" where you know better.'
        )
    names = ", ".join(f"--credential {each.credential}" if each.credential else f"--program {each.program}"
                      for each in left)  # fmt: skip
    return f"may_send stays false for everybody until the other lists are compared too: {names}"


class JsonReport:
    """For programs: one document, written as the people are met."""

    def __init__(self) -> None:
        self._separator = '{"differences":['

    def tell(self, difference: Difference) -> None:
        """Print it."""
        kind, address, line, standing = difference
        told = {"kind": kind, "address": address, "line": line, "state": standing.state, "since": standing.since,
                "cause": standing.cause or None}  # fmt: skip
        click.echo(self._separator + orjson.dumps(told, option=orjson.OPT_UTC_Z).decode(), nl=False)
        self._separator = ",\n"

    def end(self, program: str, found: Compared, refused: int, *, withheld: bool, left: Sequence[Listening]) -> None:
        """Print the numbers."""
        numbers = {
            "program": program, "listed": found.listed, "agree": found.agree, "refused": refused,
            **{kind.value: found.differ[kind] for kind in Kind}, "other_kinds": found.other_kinds,
            "applied": found.applied, "failed": found.failed, "withheld": withheld,
            "left": [each._asdict() for each in left],
        }  # fmt: skip
        head = self._separator if self._separator.startswith("{") else ""
        click.echo(f"{head}],{orjson.dumps(numbers).decode()[1:]}")


@contextmanager
def told_to(report: Report, missing: Path | None) -> Iterator[Tell]:
    """The function that is told of every difference; who is missing on the list goes into the file, too."""
    with ExitStack() as stack:
        if missing is None:
            yield report.tell
            return
        missing.touch(0o600)
        rows = csv.writer(stack.enter_context(missing.open("w", encoding="utf-8", newline="")), lineterminator="\n")
        rows.writerow(("address", "since", "cause"))

        def tell(difference: Difference) -> None:
            report.tell(difference)
            if difference.kind is Kind.MISSING:
                standing = difference.standing
                rows.writerow((difference.address, standing.since and standing.since.isoformat(), standing.cause))

        yield tell


@contextmanager
def refusing() -> Iterator[Callable[[Sequence[RefusedLine]], int]]:
    """The function that tells of refused lines, and says how many there were so far."""
    count = 0

    def refuse(lines: Sequence[RefusedLine]) -> int:
        nonlocal count
        for line in lines[: max(0, _TOLD - count)]:
            click.echo(f"line {line.line}: {line.reason}", err=True)
        count += len(lines)
        return count

    yield refuse
    if count > _TOLD:
        click.echo(f"… and {count - _TOLD:,} more lines refused", err=True)
