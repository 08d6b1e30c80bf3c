"""What an import tells while it goes on and in the end: how far it is, which lines it refused, what became of all."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from app.serve.profile_file import RefusedLine
from app.serve.profile_import import Imported

#: refused lines that are told one by one
_TOLD = 50
#: lines between two words of progress, where there is no terminal
_NEWS = 100_000


def summary(result: Imported) -> str:
    """One line."""
    again = f", {result.again:,} about somebody who had one before (the last counts)" if result.again else ""
    return f"{result.lines:,} lines, {result.recorded:,} attributes recorded, {result.refused:,} refused{again}"


@contextmanager
def refusals(path: Path | None, heading: str) -> Iterator[Callable[[RefusedLine], None]]:
    """The function that tells of refused lines, never what is in them; the file gets all, so that it can be mended."""
    told = 0
    with ExitStack() as stack:
        file = stack.enter_context(_private(path)) if path else None

        def refuse(line: RefusedLine) -> None:
            nonlocal told
            if file:
                file.write((heading if told == 0 else "") + line.text.rstrip("\r\n") + "\n")
            told += 1
            if told <= _TOLD:
                click.echo(f"line {line.number}: {line.reason}", err=True)

        yield refuse
    if told > _TOLD:
        where = f"{path} has them all" if path else "--refused FILE keeps them all"
        click.echo(f"… and {told - _TOLD:,} more; {where}", err=True)


def _private(path: Path) -> TextIO:
    """A file for its owner alone, which takes the very bytes that were read."""
    path.touch(0o600)
    return path.open("w", encoding="utf-8", errors="surrogateescape", newline="")


@contextmanager
def progress(file: BinaryIO) -> Iterator[Callable[[int], None]]:
    """The function that is told of lines as they are done: a bar on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _now_and_then()
        return
    size = os.fstat(file.fileno()).st_size if file.seekable() else None
    columns = (BarColumn(), TextColumn("{task.fields[lines]:,} lines"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task("", total=size, lines=0)
        yield lambda lines: shown.update(task, completed=file.tell() if size else 0, lines=lines)


def _now_and_then() -> Callable[[int], None]:
    due = _NEWS

    def tell(lines: int) -> None:
        nonlocal due
        if lines >= due:
            click.echo(f"{lines:,} lines", err=True)
            due += _NEWS

    return tell
