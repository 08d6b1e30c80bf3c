"""A process dies at every step of `app.steps.STEPS`, one after the other, under load.

Each STOP calls an action, whose third party is a provider of its own: every call has reached it, and none was made up.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.steps import STEPS, Step
from tests.bench.processes import run, started, wait_for_port
from tests.postgres import free_port
from tests.torture import records
from tests.torture.nodes import TEXTBACK, Node, environment
from tests.torture.site import Plan, Result, Site, site, wait_until
from tests.torture.verdict import Blow

#: seconds until a step must have been reached
REACHED_WITHIN = 60.0
#: how often the step is passed before; the first batches of a server are its own chores, and no requests
TIMES = {"writer": (20, 60), "spool": (1, 3), "send": (1, 3), "call": (1, 3)}
#: seconds that PostgreSQL is away for the steps of the spool
AWAY = 4.0
SENDERS = ("send", "call")
ACTION = """
[[actions]]
name = "third-party"
url = "http://127.0.0.1:{port}/stops"
payload = {{ reference = "{{{{event._id}}}}", to = "{{{{event.address}}}}", text = "{{{{event.provider_id}}}}" }}
"""
_STOPS = "[webhooks.keywords.opt_out]\n"
_CALLS = "SELECT c.inbound_id, c.state, c.outcome, i.provider_id FROM action_calls c JOIN inbound_messages i ON i.id = c.inbound_id"
_UNCALLED = (
    "SELECT count(*) FROM inbound_messages i WHERE i.category = 'opt_out' "
    "AND NOT EXISTS (SELECT 1 FROM action_calls c WHERE c.inbound_id = i.id)"
)


def on_sqlite(plan: Plan) -> Result:
    """The writer's and the sender's steps; SQLite has no spool."""
    return _at_every_step(plan, "sqlite", [step for step in STEPS if step.room != "spool"])


def on_postgresql(plan: Plan) -> Result:
    """All steps; for those of the spool PostgreSQL goes away."""
    return _at_every_step(plan, "postgresql", [*STEPS])


def _at_every_step(plan: Plan, database: str, wanted: list[Step]) -> Result:
    with (
        site(plan, f"every step, {database}", database, proxied=database == "postgresql") as there,
        _third_party(there) as log,
    ):
        for node in there.nodes:
            there.restart(node)
        there.load.start()
        for step in wanted:
            _fall(there, step)
        there.settle()
        _judge_calls(there, log)
        return there.judge(rounds=len(wanted))


@contextmanager
def _third_party(there: Site) -> Iterator[Path]:
    """Its log; everybody's STOP is told to it."""
    port, log = free_port(), there.folder / "stops"
    with started(
        [sys.executable, "-m", "tests.torture.provider", str(port), str(log)], there.folder / "third-party.log", {}
    ) as process:
        wait_for_port(port, process, there.folder / "third-party.log")
        file = there.folder / "registry.toml"
        file.write_text(
            file.read_text().replace(_STOPS, f'{_STOPS}action = "third-party"\n') + ACTION.format(port=port)
        )
        run([*TEXTBACK, "apply", file], environment(there.store.direct_url))
        yield log


def _judge_calls(there: Site, log: Path) -> None:
    """Every STOP was told, and what was told is a STOP of ours."""
    try:
        wait_until(lambda: all(row[1] == "done" for row in records.rows(there.store.direct_url, _CALLS)), "")
    except TimeoutError:
        there.problems.append("calls still wait")
    rows = records.rows(there.store.direct_url, _CALLS)
    calls = {str(row[0]): row[2:] for row in rows}
    if len(rows) > len(calls):
        there.problems.append(f"{len(rows) - len(calls)} STOPs have called twice")
    told = Counter((line["reference"], line["text"]) for line in map(json.loads, log.read_text().splitlines()))
    if failed := [number for number, (outcome, _) in calls.items() if outcome != "success"]:
        there.problems.append(f"{len(failed)} calls have failed: {', '.join(failed[:5])}")
    if missing := {(number, text) for number, (_, text) in calls.items()} - told.keys():
        there.problems.append(f"{len(missing)} calls never reached the third party")
    if strange := {reference for reference, _ in told} - calls.keys():
        there.problems.append(f"{len(strange)} calls are not recorded")
    if uncalled := records.rows(there.store.direct_url, _UNCALLED)[0][0]:
        there.problems.append(f"{uncalled} STOPs have called nobody")
    there.notes.append(f"{len(calls)} calls were made; {told.total() - len(told)} of them once more")


def _fall(there: Site, step: Step) -> None:
    """Run the process that passes the step until it dies there; the next step, or the settling, starts it again."""
    node = (there.senders if step.room in SENDERS else there.servers)[0]
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
