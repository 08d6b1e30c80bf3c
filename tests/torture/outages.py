"""PostgreSQL away under load: frozen, refusing, or in a black hole. Every request is acknowledged, and nobody may send."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.torture import databases
from tests.torture.nodes import Node
from tests.torture.site import Plan, Result, Site, site

#: seconds, in the full form and in the short one
AWAY = {True: 60.0, False: 8.0}
#: seconds of load after it is back
BACK = 2.0
#: seconds that a STOP of the outage may take to be seen in the consent
SEEN_WITHIN = 0.05
#: seconds of an outage until the nodes must have noticed (the setting outage_after, and a little)
NOTICED_AFTER = 2.5


def outage(plan: Plan, kind: str, nodes: int) -> Result:
    """PostgreSQL goes away (frozen | refused | black hole) under the load of `nodes` servers, and comes back."""
    seconds = AWAY[plan.full]
    name = f"{kind} {seconds:.0f} s, {nodes} node{'s' if nodes > 1 else ''}"
    with site(plan, name, "postgresql", servers=nodes, senders=nodes, proxied=kind == "black hole") as there:
        for node in there.nodes:
            there.restart(node)
        there.load.start()
        time.sleep(3.0)
        watch = Watch(there)
        with there.blow(f"postgresql {kind}"):
            began = time.time()
            with away(there, kind):
                watch.begin()
                time.sleep(seconds)
                watch.end()
        ended = time.time()
        time.sleep(BACK)  # what comes now queues up behind those who wait in the spool
        there.settle()
        there.problems += [*_unacknowledged(there, began, ended), *watch.problems()]
        there.notes += watch.notes()
        return there.judge(rounds=1, in_order=nodes == 1)


def deaths(plan: Plan) -> Result:
    """While PostgreSQL is away, and while the spools are emptied, servers are killed and start again without it."""
    with site(plan, "kill -9 while spooling", "postgresql", servers=2, senders=1) as there:
        for node in there.nodes:
            there.restart(node)
        there.load.start()
        time.sleep(2.0)
        rounds = 6 if plan.full else 2
        for _ in range(rounds):
            with there.blow("postgresql refused"), away(there, "refused"):
                _kill_one(there, after=3.0)
                _kill_one(there, after=4.0)
            _kill_one(there, after=0.3)  # it had most likely begun to empty its spool
            time.sleep(2.0)
        there.settle()
        return there.judge(rounds=3 * rounds, in_order=False)


def _kill_one(there: Site, after: float) -> None:
    time.sleep(after * there.plan.seed.uniform(0.5, 1.5))
    server = there.plan.seed.choice(there.servers)
    there.kill(server)
    there.restart(server, wait=False)


@contextmanager
def away(there: Site, kind: str) -> Iterator[None]:
    """PostgreSQL is away in the block."""
    server, proxy = there.store.server, there.store.proxy
    assert server is not None
    if kind == "frozen":
        databases.freeze(server)
        yield
        databases.thaw(server)
    elif kind == "refused":
        databases.stop_at_once(server)
        yield
        databases.start_again(server)
    else:
        assert proxy is not None
        proxy.swallow()
        yield
        proxy.let_pass()


def _unacknowledged(there: Site, began: float, ended: float) -> list[str]:
    """Requests of the outage that were refused."""
    refused = [t.status for t in there.load.tries if began <= t.at <= ended and not t.good]
    return [f"{len(refused)} requests of the outage were not acknowledged"] if refused else []


class Watch:
    """Asks all nodes during an outage: a STOP is seen at once where it was heard, and nobody is said to be free to send to."""

    def __init__(self, there: Site) -> None:
        self._there = there
        self._author = there.second_author()
        # whom the nodes know as opted in; they may not be written to while nobody can look
        self._willing = [e.address for e in there.load.events if e.what == "start" and e.acknowledged][-20:]
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._times: list[float] = []
        self._wrong: list[str] = []
        self._asked = 0

    def begin(self) -> None:
        """PostgreSQL is away."""
        self._thread.start()

    def end(self) -> None:
        """It is about to come back."""
        self._ending.set()
        self._thread.join(60)

    def problems(self) -> list[str]:
        """What was answered that may not be."""
        slow = sorted(self._times)[len(self._times) // 2] if self._times else 0.0
        return [
            *([f"{len(self._wrong)} wrong answers in the outage: {', '.join(self._wrong[:5])}"] if self._wrong else []),
            *([f"a STOP of the outage is seen after {slow * 1000:.0f} ms (median)"] if slow > SEEN_WITHIN else []),
            *(["no STOP of the outage was seen"] if not self._times else []),
        ]

    def notes(self) -> list[str]:
        """How fast a STOP was seen."""
        times = sorted(self._times) or [0.0]
        middle, high = times[len(times) // 2] * 1000, times[int(len(times) * 0.99)] * 1000
        return [
            f"consent asked {self._asked} times; {len(self._times)} STOPs seen within {middle:.0f} ms (median), {high:.0f} ms (p99)"
        ]

    def _run(self) -> None:
        time.sleep(NOTICED_AFTER)
        self._look_at_health()
        while not self._ending.is_set():
            for node in self._there.servers:
                self._stop_is_seen(node)
            for node in self._there.servers:
                self._nobody_may_send(node)

    def _look_at_health(self) -> None:
        for node in self._there.servers:
            state = _asked(node, "/health/ready").get("state")
            if state != "spooling":
                self._wrong.append(f"{node.name} is {state or 'silent'} and not spooling")
            if node.metric("textback_store_away") != 1.0:
                self._wrong.append(f"{node.name} does not count PostgreSQL as away")

    def _stop_is_seen(self, node: Node) -> None:
        event = self._author.message("stop")
        (tried,) = self._there.load.tell([event], node.port)
        if not tried.good:
            self._wrong.append(f"a STOP was answered {tried.status}")
            return
        began = time.perf_counter()
        answer = _asked(node, f"/v1/consent/{event.address}?program=default")
        if answer.get("may_send") is False:
            self._times.append(time.perf_counter() - began)
        else:
            self._wrong.append(f"after a STOP {node.name} answered {answer.get('status', 'nothing')}")
        others = [other for other in self._there.servers if other is not node]
        for other in others:
            self._may_not_send(other, event.address)

    def _nobody_may_send(self, node: Node) -> None:
        for address in [*self._willing[:1], self._author.message("text").address]:
            self._may_not_send(node, address)
        self._willing = [*self._willing[1:], *self._willing[:1]]

    def _may_not_send(self, node: Node, address: str) -> None:
        self._asked += 1
        if not self._ending.is_set() and _asked(node, f"/v1/consent/{address}?program=default").get("may_send") is True:
            self._wrong.append(f"{node.name} says may_send")


def _asked(node: Node, path: str) -> dict[str, object]:
    """The JSON answer; empty when there was none in time."""
    try:
        return dict(json.loads(node.ask(path, seconds=3.0)[1]))
    except (OSError, ValueError):
        return {}
