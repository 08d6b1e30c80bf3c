"""`python -m tests.bench.lookups`: profile look-ups per second on SQLite, against the bare server in the same run.

Every round asks the bare server and textback by turns, with the same requests. Before it is measured, textback's answers
for some subscribers are compared with the audiences that they are in.
"""

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench import subscribers
from tests.bench.contenders import BIN, UVICORN
from tests.bench.load import wrk
from tests.bench.processes import BenchError, cpu_seconds, started, wait_for_port
from tests.postgres import free_port

SCRIPT = Path(__file__).with_name("lookups.lua")
#: what textback shall reach of the bare server's rate
SHARE = 0.25
_CHECKED = (1, 2, 7, 30, 5_040)


class Round(NamedTuple):
    """What one run of wrk did; milliseconds, and microseconds of the server's CPU per request."""

    rate: float
    p50: float
    p99: float
    cpu: float


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.lookups", description=__doc__)
    parser.add_argument("--subscribers", type=int, default=1_000_000, help="default 1,000,000")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--seconds", type=int, default=5, help="length of one measurement; default 5")
    parser.add_argument("--connections", type=int, default=64, help="keep-alive connections; default 64")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="disk for SQLite's file")
    return parser.parse_args()


@contextmanager
def bare(folder: Path) -> Iterator[tuple[str, int]]:
    """URL and process of the bare server."""
    port, log = free_port(), folder / "bare.log"
    with started([*UVICORN, "--port", str(port), "tests.bench.bare:app"], log, {}) as pid:
        wait_for_port(port, pid, log)
        yield f"http://127.0.0.1:{port}/in/lookups", pid


@contextmanager
def textback(folder: Path, file: Path, secret_key: str) -> Iterator[tuple[str, int]]:
    """The same of textback."""
    port, log = free_port(), folder / "textback.log"
    environment = {
        "TEXTBACK_DATABASE_URL": f"sqlite:///{file}", "TEXTBACK_SECRET_KEY": secret_key, "TEXTBACK_PORT": str(port),
        "TEXTBACK_ADMIN_TOKEN": secrets.token_hex(24), "TEXTBACK_ACCESS_LOG": "false",
    }  # fmt: skip
    with started([BIN / "textback", "serve"], log, environment) as pid:
        wait_for_port(port, pid, log)
        yield f"http://127.0.0.1:{port}/ee/v1/interact?configId={subscribers.DATASTREAM}&requestId=bench", pid


def check(url: str, count: int) -> None:
    """Raise BenchError where somebody is told other audiences than those that they are in."""
    ids = {audience.name: audience.segment_id for audience in subscribers.AUDIENCES}
    for n in (each for each in _CHECKED if each <= count):
        asked = urllib.request.Request(url, subscribers.question(n), {"Content-Type": "text/plain"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            handles = {handle["type"]: handle["payload"] for handle in json.load(answer)["handle"]}
        told = [[segment["id"] for segment in each["segments"]] for each in handles["activation:pull"]]
        if told != [[ids[name] for name in subscribers.audiences_of(n)]] * len(subscribers.ALIASES):
            raise BenchError(f"subscriber {n} is told other audiences than those that they are in")


def load(url: str, pid: int, given: argparse.Namespace, seconds: int) -> Round:
    """A closed loop over keep-alive connections. Raises BenchError where a request was refused or broken."""
    command = [wrk(), "-t1", f"-c{given.connections}", f"-d{seconds}s", "--timeout", "10s", "-s", SCRIPT, url, "--"]
    before = cpu_seconds(pid)
    seed = str(secrets.randbelow(2**31))
    done = subprocess.run([*command, str(given.subscribers), seed], capture_output=True, text=True, check=False)
    result = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if not result:
        raise BenchError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    answered, refused, broken, microseconds, p50, p99 = result[1].split()
    if int(refused) + int(broken):
        raise BenchError(f"{refused} requests were refused, {broken} broken")
    cpu = 1e6 * (cpu_seconds(pid) - before) / max(1, int(answered))
    return Round(1e6 * int(answered) / int(microseconds), float(p50), float(p99), cpu)


def shown(name: str, rounds: list[Round]) -> str:
    rates, p50, p99, cpu = zip(*rounds, strict=True)
    return (
        f"{name:9} {median(rates):8,.0f}/s ({min(rates):,.0f}-{max(rates):,.0f})  p50 {median(p50):.1f} ms  "
        f"p99 {median(p99):.1f} ms  CPU {median(cpu):.0f} us"
    )


def main() -> int:
    """Exit status: 0, or 2 where an answer is wrong, a request was refused, or it could not run."""
    given = arguments()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="textback-bench-", dir=given.folder)))
        key = secrets.token_hex(32)
        print(f"filling SQLite with {given.subscribers:,} subscribers in {len(subscribers.AUDIENCES)} audiences")
        subscribers.fill(folder / "bench.db", given.subscribers, key)
        try:
            servers = {
                "bare": stack.enter_context(bare(folder)),
                "textback": stack.enter_context(textback(folder, folder / "bench.db", key)),
            }
            check(servers["textback"][0], given.subscribers)
            rounds: dict[str, list[Round]] = {name: [] for name in servers}
            for server in servers.values():
                load(*server, given, 1)
            for turn in range(given.rounds):
                for name in servers if turn % 2 == 0 else reversed(servers):
                    rounds[name].append(load(*servers[name], given, given.seconds))
        except BenchError as error:
            print(error)
            return 2
    share = median(ours.rate / theirs.rate for ours, theirs in zip(rounds["textback"], rounds["bare"], strict=True))
    print(f"{given.rounds} rounds of {given.seconds} s, {given.connections} connections, {os.cpu_count()} cores, load "
          f"{os.getloadavg()[0]:.1f}")  # fmt: skip
    print("\n".join(shown(name, its) for name, its in rounds.items()))
    print(f"{'met' if share >= SHARE else 'NOT MET'}: {share:.2f} x bare, wanted {SHARE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
