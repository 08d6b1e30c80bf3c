"""What a web process holds in memory after few and after many requests: it shall not grow with what it has heard."""

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench import databases, load
from tests.bench.contenders import Contender, Running, running
from tests.bench.measure import Plan
from tests.bench.processes import resident_kilobytes
from tests.bench.report import Demand, spread

#: seconds of one load, and of the calm before memory is read
_SECONDS, _CALM = 5, 2
#: resident memory is counted in pages that an allocator may or may not have given back: so much is no growth
TOLERANCE = 1.05


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident kilobytes of a web process."""

    database: str
    kind: str
    few: int
    many: int
    after_few: int
    after_many: int

    def demand(self) -> Demand:
        """No more after many requests than after few."""
        what = (
            f"memory on {self.database} after {self.many:,} {self.kind} ({self.after_many / 1024:.0f} MiB), × after "
            f"{self.few:,} ({self.after_few / 1024:.0f} MiB)"
        )
        return Demand(what, spread([self.after_many / self.after_few]), TOLERANCE, at_most=True)


def measured(database: str, kind: str, few: int, many: int, plan: Plan) -> Memory:
    """Load textback until it has acknowledged `few` requests, then until `many`."""
    folder = Path(tempfile.mkdtemp(prefix="textback-bench-", dir=plan.folder))
    try:
        with (
            databases.fresh(database, folder, plan.postgres) as url,
            running(Contender("textback", database), url, folder, plan.options) as server,
        ):
            done = _load(server, kind, few, plan)
            after_few = resident_kilobytes(server.pids[0])
            _load(server, kind, many - done, plan)
            return Memory(database, kind, few, many, after_few, resident_kilobytes(server.pids[0]))
    finally:
        shutil.rmtree(folder)


def _load(server: Running, kind: str, count: int, plan: Plan) -> int:
    done = 0
    while done < count:
        loads = load.post_all(server.urls[kind], kind, connections=plan.connections, seconds=_SECONDS)
        done += sum(each.acknowledged for each in loads)
    time.sleep(_CALM)
    return done
