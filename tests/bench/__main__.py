"""`python -m tests.bench`, or `make bench`: measure, print, and say which demands are met."""

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from tests import postgres
from tests.bench import memory, report, samples
from tests.bench.contenders import KINDS, Contender, Options
from tests.bench.databases import postgres_pid
from tests.bench.filling import filled
from tests.bench.load import wrk
from tests.bench.measure import Measurement, Plan, measure
from tests.bench.processes import BenchError

FAMILIES = ("bare", "baseline", "textback")
DATABASES = ("sqlite", "postgresql")


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="each server is measured so often; default 3")
    parser.add_argument("--seconds", type=int, default=5, help="length of one measurement; default 5")
    parser.add_argument("--connections", type=int, default=64, help="keep-alive connections; default 64")
    parser.add_argument("--only", default=",".join(FAMILIES), help="servers, of: bare,baseline,textback")
    parser.add_argument("--kind", choices=[*KINDS, "both"], default="both", help="events; default both")
    parser.add_argument("--database", choices=[*DATABASES, "both"], default="both", help="default both")
    parser.add_argument("--own-sender", action="store_true", help="send from a second process, `textback send`")
    parser.add_argument("--access-log", action="store_true", help="with textback's access log, which the others lack")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="disk for SQLite's file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there")
    parser.add_argument("--profile", action="store_true", help="where textback's time goes; needs py-spy on the PATH")
    parser.add_argument("--stored", type=int, default=0, metavar="N", help="also with N events stored before")
    parser.add_argument("--nodes", type=int, default=1, help="textback's web processes on PostgreSQL; default 1")
    parser.add_argument("--memory", nargs="?", const="100000,1000000", metavar="FEW,MANY",
                        help="instead: memory after so many requests; default 100000,1000000")  # fmt: skip
    given = parser.parse_args()
    given.memory = [int(count) for count in given.memory.split(",")] if given.memory else []
    given.only = given.only.split(",")
    if unknown := set(given.only) - set(FAMILIES):
        parser.error(f"--only knows bare, baseline and textback, not {', '.join(sorted(unknown))}")
    if given.profile and not shutil.which("py-spy"):
        parser.error("--profile needs py-spy, which is not on the PATH; install it: pipx install py-spy")
    return given


def contenders(given: argparse.Namespace) -> list[Contender]:
    """Who is measured, in the order of the first round."""
    found = [report.BARE]
    for database in databases(given):
        found += [Contender(family, database) for family in FAMILIES[1:]]
        found += [Contender("textback", database, given.stored)] if given.stored else []
    return [contender for contender in found if contender.family in given.only]


def databases(given: argparse.Namespace) -> tuple[str, ...]:
    return DATABASES if given.database == "both" else (given.database,)


def kinds(given: argparse.Namespace) -> tuple[str, ...]:
    return KINDS if given.kind == "both" else (given.kind,)


def templates(given: argparse.Namespace, server: str, stack: ExitStack, console: Console) -> dict[tuple[str, str], str]:
    """Filled databases to copy, where some are wanted; gone at the end."""
    found = {}
    wanted = [(database, kind) for database in databases(given) for kind in kinds(given)] if given.stored else []
    for database, kind in wanted:
        console.print(f"filling {database} with {given.stored:,} {kind}", style="dim")
        found[database, kind] = stack.enter_context(filled(kind, database, given.stored, given.folder, server))
    return found


def measured(given: argparse.Namespace, plan: Plan, console: Console) -> report.Results:
    """All rounds. Every second round goes backwards, so that a machine that gets slower is unfair to nobody."""
    turns = [(contender, kind) for kind in kinds(given) for contender in contenders(given)]
    results: dict[tuple[Contender, str], list[Measurement]] = {turn: [] for turn in turns}
    for number in range(given.rounds):
        for contender, kind in turns if number % 2 == 0 else reversed(turns):
            done = measure(contender, kind, plan)
            results[contender, kind].append(done)
            console.print(
                f"round {number + 1}, {kind}, {contender.name}: {done.load.rate:,.0f}/s {done.problem}", style="dim"
            )
    return results


def conditions(given: argparse.Namespace) -> str:
    """What the figures depend on, in a line or two."""
    text = (
        f"{given.rounds} rounds of {given.seconds} s, {given.connections} connections, closed loop; {given.nodes} web "
        f"process{'es' if given.nodes > 1 else ''} of textback on PostgreSQL; {os.cpu_count()} cores "
        f"shared by load, server, database and sink; Python {platform.python_version()}, {platform.system()} {platform.release()}"
    )
    if (load := os.getloadavg()[0]) > 0.7:
        text += f"\nthe machine is not idle (load {load:.1f}): expect wide spreads"
    if _filesystem(given.folder) in ("tmpfs", "ramfs"):
        text += f"\n{given.folder} is {_filesystem(given.folder)}: SQLite's fsync may cost nothing; choose a disk with --folder"
    return text


def _filesystem(folder: Path) -> str:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    around = [(len(point), kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(around)[1]


def say(results: report.Results, given: argparse.Namespace, console: Console) -> None:
    """The tables, the demands, the profile."""
    for kind in KINDS:
        if any(its_kind == kind for _, its_kind in results):
            console.print(report.table(results, kind))
    say_demands([demand for database in DATABASES for demand in report.demands(results, database)], console)
    for (contender, kind), rounds in results.items():
        if any(done.profile for done in rounds):
            stacks = samples.report(done.profile for done in rounds)
            console.print(f"\n{contender.name}, {kind}: share of samples, {stacks}", highlight=False, markup=False)


def say_demands(demands: Iterable[report.Demand], console: Console) -> None:
    """Each in a line."""
    for demand in demands:
        console.print(demand.text(), style="green" if demand.met else "red", highlight=False)


def main() -> int:
    """Exit status: 0; 1 when an acknowledged event is not stored exactly once, or a request was refused; 2 when it could not run."""
    given, console = arguments(), Console(width=None if sys.stdout.isatty() else 180)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an interrupt: ends the children, removes the databases
    with ExitStack() as stack:
        try:
            wrk()
            server = stack.enter_context(postgres.running(durable=True)) if given.database != "sqlite" else ""
            pid = postgres_pid(server) if server else 0
            options = Options(own_sender=given.own_sender, access_log=given.access_log, nodes=given.nodes)
            plan = Plan(given.seconds, given.connections, given.folder, server, pid, options, given.profile)
            under = conditions(given)
            console.print(under, highlight=False)
            if given.memory:
                for database in databases(given):
                    say_demands([memory.measured(database, kinds(given)[0], *given.memory, plan).demand()], console)
                return 0
            plan = replace(plan, templates=templates(given, server, stack, console))
            results = measured(given, plan, console)
        except BenchError as error:
            console.print(str(error), style="red", markup=False)
            return 2
    say(results, given, console)
    if given.json:
        record = {"at": datetime.now(UTC).isoformat(), "conditions": under, "measurements": report.as_json(results)}
        given.json.write_text(json.dumps(record, indent=1))
    return 1 if any(done.problem for rounds in results.values() for done in rounds) else 0


if __name__ == "__main__":
    sys.exit(main())
