"""The load: wrk with `load.lua`, and which events a run of it sent."""

import re
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.bench.processes import BenchError

SCRIPT = Path(__file__).with_name("load.lua")
SECRET = "a-signing-secret-of-the-bench"
#: the requests whose number modulo 100 is one of these repeat an earlier one (`REPEATS` in load.lua)
REPEATS = (33, 66, 99)
#: the delivered of a message comes so many requests after its sent (`DELIVERED_AFTER` in load.lua)
DELIVERED_AFTER = 400


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk did. Seconds, and milliseconds for the two percentiles."""

    kind: str
    #: 8 hex digits that stand in every id of this run
    run: str
    #: number of the last request that was made; the first one is wrk's own look at the script and is not sent
    last: int
    answered: int
    #: answered with a status that is not 2xx
    refused: int
    #: connections that failed, and time-outs
    broken: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Acknowledged requests per second."""
        return self.acknowledged / self.seconds

    @property
    def acknowledged(self) -> int:
        """Requests answered with a 2xx."""
        return self.answered - self.refused

    @property
    def unacknowledged(self) -> int:
        """Requests that were sent and not acknowledged: under way when wrk stopped, or refused."""
        return self.last - 1 - self.acknowledged

    def events(self) -> set[int]:
        """The numbers of the events that were sent, repetitions counted once."""
        return {n for n in range(2, self.last + 1) if n % 100 not in REPEATS}


def wrk() -> str:
    """Path of wrk. Raises BenchError that says how to get it."""
    found = shutil.which("wrk")
    if not found:
        raise BenchError("the load generator wrk is missing; install it: apt install wrk")
    return found


def post(url: str, kind: str, *, connections: int, seconds: int) -> Load:
    """Load `url` with events of `kind` (inbound | receipts) in a closed loop over keep-alive connections."""
    run = secrets.token_hex(4)
    command = [wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", SCRIPT, url]
    done = subprocess.run([*command, "--", kind, SECRET, run], capture_output=True, text=True, check=False)
    result = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if not result:
        raise BenchError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    last, answered, refused, broken, microseconds, p50, p99 = result[1].split()
    counts = int(last), int(answered), int(refused), int(broken)
    return Load(kind, run, *counts, int(microseconds) / 1e6, float(p50), float(p99))


def post_all(urls: Sequence[str], kind: str, *, connections: int, seconds: int) -> list[Load]:
    """Load all `urls` at once, the connections shared among them."""
    each = max(1, connections // len(urls))
    with ThreadPoolExecutor(len(urls)) as threads:
        return list(threads.map(lambda url: post(url, kind, connections=each, seconds=seconds), urls))


def together(loads: Sequence[Load]) -> Load:
    """Several loads that ran at the same time as one: counts added up, the slower node's latencies."""
    if len(loads) == 1:
        return loads[0]
    added = {name: sum(getattr(load, name) for load in loads) for name in ("last", "answered", "refused", "broken")}
    longest = {name: max(getattr(load, name) for load in loads) for name in ("seconds", "p50", "p99")}
    return Load(loads[0].kind, "+".join(load.run for load in loads), **added, **longest)


def event_number(kind: str, provider_id: str, status: str) -> tuple[str, int]:
    """Run and number of the event that a stored id, and for receipts its status, came from."""
    run, number = provider_id[10:18], int(provider_id[18:], 16)
    if kind == "receipts":
        number -= DELIVERED_AFTER if status == "sent" else 1
    return run, number
