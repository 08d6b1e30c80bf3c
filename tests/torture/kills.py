"""`kill -9` of server, sender and PostgreSQL at random moments, under load."""

import time
from collections.abc import Callable

from tests.torture import databases
from tests.torture.nodes import Node
from tests.torture.site import Plan, Result, Site, site

#: seconds from one blow to the next; the shortest ones meet a process that is still starting
BETWEEN = (0.4, 3.2)
#: rounds in the full form and in the short one
ROUNDS = {"sqlite": (60, 4), "postgresql, one node": (70, 4), "postgresql, two nodes": (70, 4)}


def on_sqlite(plan: Plan) -> Result:
    """One server and a sender of its own."""
    return _rounds(plan, "sqlite", "sqlite", nodes=1)


def on_one_node(plan: Plan) -> Result:
    """One server and a sender, and PostgreSQL is a target too."""
    return _rounds(plan, "postgresql, one node", "postgresql", nodes=1)


def on_two_nodes(plan: Plan) -> Result:
    """Two servers and two senders."""
    return _rounds(plan, "postgresql, two nodes", "postgresql", nodes=2)


def _rounds(plan: Plan, name: str, database: str, *, nodes: int) -> Result:
    count = ROUNDS[name][not plan.full]
    with site(plan, f"kill -9, {name}", database, servers=nodes, senders=nodes) as there:
        for node in there.nodes:
            there.restart(node)
        there.load.start()
        targets = _targets(there)
        for number in range(count):
            time.sleep(plan.seed.uniform(*BETWEEN))
            targets[number % len(targets)]() if number < len(targets) else plan.seed.choice(targets)()
        time.sleep(1.0)
        there.settle()
        return there.judge(rounds=count, in_order=nodes == 1)


def _targets(there: Site) -> list[Callable[[], None]]:
    """Who may be hit; the first rounds hit each once, the senders first, because their leases take longest to lapse."""
    nodes = [*there.senders, *there.servers]
    return [*([lambda: _hit_postgres(there)] if there.store.server else []), *(_hitting(there, node) for node in nodes)]


def _hitting(there: Site, node: Node) -> Callable[[], None]:
    def hit() -> None:
        there.kill(node)
        there.restart(node, wait=False)

    return hit


def _hit_postgres(there: Site) -> None:
    """The whole server, or one of its processes, which ends all connections as well."""
    assert there.store.server is not None
    whole = there.plan.seed.random() < 0.6
    with there.blow("postgresql killed"):
        (databases.kill if whole else databases.kill_backend)(there.store.server)
    there.notes.append("postmaster killed" if whole else "a backend killed")
    for node in there.nodes:
        there.restart(node, wait=False)
