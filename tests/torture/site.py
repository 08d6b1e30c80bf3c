"""One place under torture: a database, its nodes, a provider, a load; and the verdict on it in the end."""

import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.processes import started, wait_for_port
from tests.postgres import free_port
from tests.torture import records, verdict
from tests.torture.databases import Store, store
from tests.torture.events import Author, forever
from tests.torture.load import Load
from tests.torture.nodes import Node, environment, register
from tests.torture.verdict import Blow

#: seconds that the last replies may take: the lease of a killed sender's must lapse first
DRAINED_WITHIN = 90.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a scenario is run."""

    full: bool
    #: logs and what was found are kept here
    folder: Path
    seed: random.Random
    #: where databases stand
    disk: Path


@dataclass(frozen=True, slots=True)
class Result:
    """A row of the summary."""

    name: str
    rounds: int
    verdict: verdict.Verdict
    #: milliseconds of the acknowledged requests
    p50: float
    p99: float
    #: answers that were no 2xx, and connections that were lost
    refused: int
    broken: int
    problems: tuple[str, ...]
    #: what was seen and is no problem
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Site:
    """What runs."""

    plan: Plan
    name: str
    folder: Path
    store: Store
    servers: list[Node]
    senders: list[Node]
    author: Author
    load: Load
    arrivals_log: Path
    blows: list[Blow] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def tell(self, what: str) -> None:
        """A line in the story of this scenario, with the seconds since it began."""
        with (self.folder / "story").open("a") as story:
            story.write(f"{time.monotonic() - self.began:8.2f} {what}\n")

    def second_author(self) -> Author:
        """For what is told beside the load, in another thread; its people are others."""
        return Author(self.author.paths, random.Random(self.plan.seed.getrandbits(64)), people=6_000_000)

    @property
    def nodes(self) -> list[Node]:
        """Servers and senders."""
        return [*self.servers, *self.senders]

    @contextmanager
    def blow(self, what: str) -> Iterator[None]:
        """What happens in the block may explain a reply that left twice."""
        began = time.time()
        self.tell(what)
        try:
            yield
        finally:
            self.blows.append(Blow(what, began, time.time()))
            self.tell(f"{what}: over")

    def kill(self, node: Node) -> None:
        """`kill -9` now, if it still runs."""
        if node in self.senders or not self.senders:
            with self.blow(f"{node.name} killed"):
                node.kill()
        else:
            self.tell(f"{node.name} killed")
            node.kill()

    def restart(self, node: Node, *, wait: bool = True) -> None:
        """Start a node that is gone."""
        if not node.runs:
            node.start()
        if wait:
            node.wait_until_ready()

    def settle(self) -> None:
        """Everything runs; finish the load, wait until the spools and the outbox are empty."""
        self.tell("settling")
        for node in self.nodes:
            self.restart(node)
        self.tell("all nodes are ready")
        self.load.finish()
        self.tell("the load has finished")
        wait_until(
            lambda: not any(node.metric("textback_spool_items") for node in self.servers), "the spools are not empty"
        )
        self._send_out()
        self.tell("the outbox is empty")

    def _send_out(self) -> None:
        try:
            wait_until(lambda: not records.waiting(self.store.direct_url), "")
        except TimeoutError:
            left = records.waiting(self.store.direct_url)
            self.problems.append(f"{left} replies still wait {DRAINED_WITHIN:.0f} s after the load")

    def judge(
        self, *, rounds: int, in_order: bool = True, may_answer: tuple[int, ...] = (503,), forgiven: str = ""
    ) -> Result:
        """The verdict. `may_answer`: what may be answered besides 2xx."""
        arrivals = records.arrivals(self.arrivals_log)
        sent = [event.sent() for event in self.load.events]
        kept = records.stored(self.store.direct_url)
        found = verdict.judge(sent, kept, arrivals, self.blows, in_order=in_order, forgiven=forgiven)
        tries = self.load.tries
        good = sorted(t.seconds * 1000 for t in tries if t.good) or [0.0]
        odd = sorted({t.status for t in tries if not t.good} - {0, *may_answer})
        strange = [f"answers of status {', '.join(map(str, odd))}"] if odd else []
        return Result(
            name=self.name,
            rounds=rounds,
            verdict=found,
            p50=good[len(good) // 2],
            p99=good[int(len(good) * 0.99)],
            refused=sum(t.status >= 300 for t in tries),
            broken=sum(not t.status for t in tries),
            problems=(*found.problems, *strange, *self.problems),
            notes=tuple(self.notes),
        )


def wait_until(done: Callable[[], bool], what: str, seconds: float = DRAINED_WITHIN) -> None:
    """Until it is so. Raises TimeoutError with `what`."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.2)


@contextmanager
def site(
    plan: Plan,
    name: str,
    database: str,
    *,
    servers: int = 1,
    senders: int = 1,
    rate: float = 150,
    proxied: bool = False,
    stories: bool = True,
    disk: Path | None = None,
    settings: dict[str, str] | None = None,
) -> Iterator[Site]:
    """Everything registered and nothing of textback started yet. `senders` 0: the servers send as well.

    `rate`: requests per second of the load; `stories` False: it has nothing to say by itself.
    """
    folder = plan.folder / name.replace(" ", "-").replace(",", "")
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="textback-torture-", dir=disk or plan.disk))
        home.chmod(0o755)
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        kept = stack.enter_context(store(database, home, proxied=proxied))
        port, log = free_port(), folder / "arrivals"
        command = [sys.executable, "-m", "tests.torture.provider", str(port), str(log)]
        wait_for_port(port, stack.enter_context(started(command, folder / "provider.log", {})), folder / "provider.log")
        paths = register(environment(kept.direct_url), folder, port)
        given = environment(kept.url, **(settings or {}))
        serve = ["serve", "--no-send"] if senders else ["serve"]
        hearing = [_node(f"server-{n + 1}", serve, home, folder, given) for n in range(servers)]
        sending = [_node(f"sender-{n + 1}", ["send"], home, folder, given) for n in range(senders)]
        author = Author(paths, random.Random(plan.seed.getrandbits(64)))
        told = forever(author, log, random.Random(plan.seed.getrandbits(64))) if stories else iter(())
        load = Load([node.port for node in hearing], told, random.Random(plan.seed.getrandbits(64)), rate=rate)
        there = Site(plan, name, folder, kept, hearing, sending, author, load, log)
        for node in there.nodes:
            stack.callback(node.kill)
        yield there


def _node(name: str, arguments: list[str], home: Path, logs: Path, settings: dict[str, str]) -> Node:
    """A node with a folder of its own for what it keeps, which is its spool."""
    own = home / name
    own.mkdir()
    return Node(name, arguments, {**settings, "TEXTBACK_SPOOL_FOLDER": str(own / "spool")}, logs)
