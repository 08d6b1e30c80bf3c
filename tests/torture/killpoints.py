"""A process dies at every step of `app.steps.STEPS`, one after the other, under load."""

import time

from app.steps import STEPS, Step
from tests.torture.nodes import Node
from tests.torture.site import Plan, Result, Site, site
from tests.torture.verdict import Blow

#: seconds until a step must have been reached
REACHED_WITHIN = 60.0
#: how often the step is passed before; the first batches of a server are its own chores, and no requests
TIMES = {"writer": (20, 60), "spool": (1, 3), "send": (1, 3)}
#: seconds that PostgreSQL is away for the steps of the spool
AWAY = 4.0


def on_sqlite(plan: Plan) -> Result:
    """The writer's and the sender's steps; SQLite has no spool."""
    return _at_every_step(plan, "sqlite", [step for step in STEPS if step.room != "spool"])


def on_postgresql(plan: Plan) -> Result:
    """All steps; for those of the spool PostgreSQL goes away."""
    return _at_every_step(plan, "postgresql", [*STEPS])


def _at_every_step(plan: Plan, database: str, wanted: list[Step]) -> Result:
    with site(plan, f"every step, {database}", database, proxied=database == "postgresql") as there:
        for node in there.nodes:
            there.restart(node)
        there.load.start()
        for step in wanted:
            _fall(there, step)
        there.settle()
        return there.judge(rounds=len(wanted))


def _fall(there: Site, step: Step) -> None:
    """Run the process that passes the step until it dies there; the next step, or the settling, starts it again."""
    node = (there.senders if step.room == "send" else there.servers)[0]
    node.stop()
    for other in there.nodes:
        if other is not node:
            there.restart(other, wait=False)
    there.tell(f"{node.name} will die at: {step.name}")
    node.start(failing=f"{step.name}:{there.plan.seed.randint(*TIMES[step.room])}")
    gone = _outage(there, node) if step.room == "spool" else node.wait_until_gone(REACHED_WITHIN)
    there.blows.append(Blow(step.name, time.time() - 0.1, time.time()))
    there.tell(f"{node.name} {'died' if gone else 'did not die'}")
    if not gone:
        there.problems.append(f"the step {step.name} was never reached")
        there.kill(node)


def _outage(there: Site, node: Node) -> bool:
    """PostgreSQL goes away and comes back; whether the node died on the way."""
    proxy = there.store.proxy
    assert proxy is not None
    try:
        node.wait_until_ready()
    except RuntimeError:
        if node.runs:
            raise
        return True  # what the step before left in the spool was drained at once, and it died on that way
    with there.blow("postgresql away"):
        proxy.swallow()
        died_early = node.wait_until_gone(AWAY)
        proxy.let_pass()
    return died_early or node.wait_until_gone(REACHED_WITHIN)
