"""A stream is told while its senders are killed: every event at least once, and once by its `_id`."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.processes import run, started, wait_for_port
from tests.postgres import free_port
from tests.receivers import ORGANISATION
from tests.torture import records
from tests.torture.nodes import TEXTBACK, environment
from tests.torture.site import Plan, Result, Site, site, wait_until

#: kills of a sender in the full form and in the short one, and seconds between them: a lease lapses after seven
ROUNDS = {True: 40, False: 5}
BETWEEN = (1.0, 9.0)
STREAM = """
[[streams]]
name = "torture"
format = "xdm"
url = "http://127.0.0.1:{port}/collection/batch/torture"
organisation = "{organisation}"
schema_id = "https://ns.adobe.com/torture/schemas/1"
timeout = 1
batch = 50
from_the_beginning = true
"""
_SOURCES = {"consent": "ledger", "inbound": "inbound_messages", "receipt": "receipts"}


def on_sqlite(plan: Plan) -> Result:
    """One server and a sender of its own."""
    return _rounds(plan, "sqlite", nodes=1)


def on_postgresql(plan: Plan) -> Result:
    """Two servers and two senders, whose clocks are one, and whose transactions are not."""
    return _rounds(plan, "postgresql", nodes=2)


def _rounds(plan: Plan, database: str, *, nodes: int) -> Result:
    with site(plan, f"streams, {database}", database, servers=nodes, senders=nodes) as there, _inlet(there) as log:
        for node in there.nodes:
            there.restart(node)
        there.load.start()
        for _ in range(ROUNDS[plan.full]):
            time.sleep(plan.seed.uniform(*BETWEEN))
            sender = plan.seed.choice(there.senders)
            there.kill(sender)
            there.restart(sender, wait=False)
        time.sleep(1.0)
        there.settle()
        _judge(there, log)
        return there.judge(rounds=ROUNDS[plan.full], in_order=nodes == 1)


@contextmanager
def _inlet(there: Site) -> Iterator[Path]:
    """Its log; the stream is registered."""
    port, log = free_port(), there.folder / "inlet"
    command = [sys.executable, "-m", "tests.torture.inlet", str(port), str(log)]
    with started(command, there.folder / "inlet.log", {}) as process:
        wait_for_port(port, process, there.folder / "inlet.log")
        file = there.folder / "stream.toml"
        file.write_text(STREAM.format(port=port, organisation=ORGANISATION))
        run([*TEXTBACK, "apply", file], environment(there.store.direct_url))
        yield log


def _judge(there: Site, log: Path) -> None:
    """Everything recorded has reached the inlet, and nothing else has."""
    wanted = {(source, str(row[0])) for source, table in _SOURCES.items()
              for row in records.rows(there.store.direct_url, f"SELECT id FROM {table}")}  # fmt: skip
    try:
        wait_until(lambda: wanted <= _told(log).keys(), "")
    except TimeoutError:
        there.problems.append(_missing(there, wanted, wanted - _told(log).keys()))
    told, lines = _told(log), _lines(log)
    ids = {line["_id"] for line in lines if "_id" in line}
    if strange := told.keys() - wanted:
        there.problems.append(f"{len(strange)} events were told that are not recorded")
    if len(ids) != len(told):
        there.problems.append(f"{len(told)} events have {len(ids)} ids")
    there.problems += [f"the inlet was sent what it must refuse: {line['fault']}" for line in lines if "fault" in line][
        :5
    ]
    again = sum(told.values()) - len(told)
    there.tell(f"{len(told)} events told, {again} of them once more")
    there.notes.append(f"{len(told)} events reached the inlet, once each by their _id; {again} came more than once")


def _missing(there: Site, wanted: set[tuple[str, str]], missing: set[tuple[str, str]]) -> str:
    """Those that the stream has passed are lost; the others wait."""
    passed = dict(records.rows(there.store.direct_url, "SELECT source, position FROM stream_positions"))
    lost = sum(int(sequence) <= passed[source] for source, sequence in missing)
    return f"{len(missing)} of {len(wanted)} events were never told; {lost} of them were passed, the others still wait"


def _told(log: Path) -> Counter[tuple[str, str]]:
    return Counter((line["type"], line["sequence"]) for line in _lines(log) if "_id" in line)


def _lines(log: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
