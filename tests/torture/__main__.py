"""`python -m tests.torture`, or `make torture`: crashes and outages on purpose, and a table of what came of them."""

import argparse
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.torture import broken_spool, clock, killpoints, kills, outages, pairs, storage, streams
from tests.torture.site import Plan, Result


class Scenario(NamedTuple):
    """Something that is done to textback."""

    name: str
    run: Callable[[Plan], Result]
    short: bool = True
    """Whether it belongs to the short form."""


#: the longest first, so that the others fit beside them
SCENARIOS = (
    Scenario("steps-postgresql", killpoints.on_postgresql),
    Scenario("steps-sqlite", killpoints.on_sqlite),
    Scenario("kill-sqlite", kills.on_sqlite),
    Scenario("kill-one-node", kills.on_one_node),
    Scenario("kill-two-nodes", kills.on_two_nodes),
    *(
        Scenario(f"{kind.replace(' ', '-')}-{nodes}", partial(outages.outage, kind=kind, nodes=nodes), short)
        for kind, nodes, short in (
            ("frozen", 1, False), ("frozen", 2, True), ("refused", 1, True),
            ("refused", 2, False), ("black hole", 1, True), ("black hole", 2, False),
        )
    ),
    Scenario("killed-while-spooling", outages.deaths),
    Scenario("disk-full-sqlite", storage.full_sqlite),
    Scenario("disk-full-postgresql", storage.full_postgresql, short=False),
    Scenario("read-only-sqlite", storage.read_only_sqlite, short=False),
    Scenario("read-only-postgresql", storage.read_only_postgresql, short=False),
    Scenario("locked-sqlite", storage.locked_sqlite, short=False),
    Scenario("spool-full", storage.full_spool, short=False),
    Scenario("spool-broken", broken_spool.broken_rows),
    Scenario("clock-ahead", clock.ahead, short=False),
    Scenario("clock-back", clock.back),
    Scenario("twins", pairs.twins),
    Scenario("streams-sqlite", streams.on_sqlite),
    Scenario("streams-postgresql", streams.on_postgresql),
)  # fmt: skip
#: scenarios at once in the short form
JOBS = 3
NAMES = [scenario.name for scenario in SCENARIOS]


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--short", action="store_true", help="a few minutes; the usual")
    form.add_argument("--full", action="store_true", help="200 kills, outages of a minute, 10,000 twins")
    parser.add_argument("--only", metavar="NAMES", help=f"of: {', '.join(NAMES)}")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(10**6), help="as printed by the run to be repeated"
    )
    parser.add_argument("--jobs", type=int, help=f"scenarios at once, as they mostly wait; {JOBS}, in the full form 1")
    parser.add_argument(
        "--folder", type=Path, help="keep logs and findings there; usually only those of a failure are kept"
    )
    parser.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()), help="where databases stand")
    given = parser.parse_args()
    given.only = given.only.split(",") if given.only else None
    given.jobs = given.jobs or (1 if given.full else JOBS)
    if unknown := set(given.only or ()) - {*NAMES}:
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}")
    return given


def chosen(given: argparse.Namespace) -> list[Scenario]:
    """The named ones, or those of the form."""
    return [s for s in SCENARIOS if (s.name in given.only if given.only else s.short or given.full)]


def carried_out(scenario: Scenario, given: argparse.Namespace, folder: Path, console: Console) -> Result | str:
    """What came of it; a sentence where it could not be carried out."""
    began = time.monotonic()
    # the seed of a scenario does not depend on which others are run
    seed = random.Random(f"{given.seed} {scenario.name}")
    try:
        done = scenario.run(Plan(given.full, folder, seed, given.disk))
    except storage.NotHere as reason:
        console.print(f"{scenario.name} is left out: {reason}", highlight=False)
        return ""
    except Exception as error:  # noqa: BLE001 - the others are still to be carried out
        console.print_exception()
        return f"{scenario.name} broke off: {type(error).__name__}: {error}"
    _say(done, time.monotonic() - began, console)
    return done


def _say(done: Result, seconds: float, console: Console) -> None:
    lines = [Text(f"{done.name}: {seconds:.0f} s")]
    lines += [Text(f"  {note}", "dim") for note in done.notes]
    lines += [Text(f"  {problem}", "red") for problem in done.problems]
    console.print(*lines, sep="\n")


def table(results: Sequence[Result]) -> Table:
    """The summary."""
    names = (
        "rounds", "acknow-\nledged", "not", "recorded", "missing", "doubled", "invented", "replies\nexpected", "left",
        "lost", "doubled", "by a\ncrash", "503", "no\nanswer", "p50 ms", "p99 ms", "",
    )  # fmt: skip
    made = Table("scenario", title="torture", title_justify="left")
    for name in names:
        made.add_column(name, justify="right")
    for done in results:
        v = done.verdict
        counts = (
            done.rounds, v.acknowledged, v.unacknowledged, v.recorded, v.missing, v.doubled, v.invented,
            v.replies_expected, v.replies_left, v.replies_lost, v.replies_doubled, v.doubled_by_crash, done.refused,
            done.broken, round(done.p50), round(done.p99),
        )  # fmt: skip
        made.add_row(done.name, *map(str, counts), "[red]BROKEN[/]" if done.problems else "ok")
    return made


def main() -> int:
    """Exit status: 0; 1 when an invariant does not hold or a scenario could not be carried out."""
    given, console = arguments(), Console(width=None if sys.stdout.isatty() else 180)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an interrupt: ends the children, removes the databases
    folder = Path(tempfile.mkdtemp(prefix="textback-torture-run-", dir=given.folder))
    folder.chmod(0o755)  # PostgreSQL, as somebody else, may stand on a small disk in it
    console.print(f"--seed {given.seed}{' --full' if given.full else ''}", highlight=False)
    began = time.monotonic()
    with ThreadPoolExecutor(given.jobs) as threads:
        outcomes = [*threads.map(lambda scenario: carried_out(scenario, given, folder, console), chosen(given))]
    results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
    failures = [outcome for outcome in outcomes if outcome and isinstance(outcome, str)]
    console.print(table(results))
    console.print(f"{time.monotonic() - began:.0f} s", highlight=False)
    broken = bool(failures) or any(done.problems for done in results)
    for sentence in failures:
        console.print(sentence, style="red", markup=False)
    if broken or given.folder:
        console.print(f"logs, stories and the provider's arrivals: {folder}", highlight=False)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
