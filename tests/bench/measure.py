"""One measurement: a contender started on an empty database, warmed, loaded, ended, and its database looked at."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import databases, load, samples, stored
from tests.bench.contenders import Contender, Options, Running, running
from tests.bench.processes import cpu_seconds

WARM_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """What a measurement is made with."""

    seconds: int
    connections: int
    #: an existing folder on the disk that SQLite's file is to stand on
    folder: Path
    #: URL of the PostgreSQL server and its process id; empty and 0 where it is not measured
    postgres: str
    postgres_pid: int
    options: Options
    profile: bool
    #: filled databases to copy, by database and kind
    templates: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What came out."""

    load: load.Load
    #: messages per second that the provider's sink took during the load
    replies: float
    #: microseconds of CPU per acknowledged request, of the server's processes and of PostgreSQL's
    cpu: float
    database_cpu: float
    #: None for the bare server, which stores nothing
    stored: stored.Verdict | None
    #: what is wrong with it; empty when all is well
    problem: str
    #: py-spy's collapsed stacks
    profile: str = ""


def measure(contender: Contender, kind: str, plan: Plan) -> Measurement:
    """Load a contender with events of `kind` (inbound | receipts)."""
    folder = Path(tempfile.mkdtemp(prefix="textback-bench-", dir=plan.folder))
    try:
        template = plan.templates[contender.database, kind] if contender.stored else ""
        with databases.fresh(contender.database, folder, plan.postgres, template) as url:
            with running(contender, url, folder, plan.options) as server:
                urls = server.urls[kind]
                warm = load.post_all(urls, kind, connections=plan.connections, seconds=WARM_SECONDS)
                loads, loaded = _load(
                    server, kind, plan, folder, profile=plan.profile and contender.family == "textback"
                )
            return _checked(loaded, [*warm, *loads], contender, url)
    finally:
        shutil.rmtree(folder)


def _load(
    server: Running, kind: str, plan: Plan, folder: Path, *, profile: bool
) -> tuple[list[load.Load], Measurement]:
    stacks = folder / "stacks"
    spy = samples.begin(server.pids[0], plan.seconds, stacks) if profile else None
    before = _cpu(server, plan), server.arrived()
    loads = load.post_all(server.urls[kind], kind, connections=plan.connections, seconds=plan.seconds)
    done = load.together(loads)
    after = _cpu(server, plan), server.arrived()
    per_request = [
        1e6 * (end - start) / max(1, done.acknowledged) for start, end in zip(before[0], after[0], strict=True)
    ]
    profiled = samples.end(spy, stacks) if spy else ""
    problem = f"{done.refused} refused, {done.broken} broken" if done.refused or done.broken else ""
    measured = Measurement(done, (after[1] - before[1]) / done.seconds, *per_request, None, problem, profiled)
    return loads, measured


def _cpu(server: Running, plan: Plan) -> tuple[float, float]:
    return sum(map(cpu_seconds, server.pids)), cpu_seconds(plan.postgres_pid) if plan.postgres_pid else 0.0


def _checked(done: Measurement, loads: list[load.Load], contender: Contender, url: str) -> Measurement:
    """The measurement with what the database of the ended server holds."""
    if not url:
        return done
    found = stored.verdict(loads, databases.stored_events(url, contender.family, done.load.kind))
    twice = databases.answered_twice(url) if contender.family == "textback" else 0
    problems = [done.problem, found.problem, f"{twice} replies too many" if twice else ""]
    return Measurement(
        done.load, done.replies, done.cpu, done.database_cpu, found, ", ".join(filter(None, problems)), done.profile
    )
