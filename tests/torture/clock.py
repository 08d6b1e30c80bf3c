"""The clock of a node jumps an hour, ahead or back, under load: ids and receive times stay sane, and a later STOP still wins."""

import time
from datetime import UTC, datetime, timedelta

from tests.torture import records
from tests.torture.nodes import Node
from tests.torture.site import Plan, Result, Site, site

JUMP = 3600.0
#: what becomes of a reply that waits when the clock jumps beyond its deadline
TOO_LATE = "deadline passed"
#: people who say START before the jump, and STOP after it
UNDECIDED = 20


def ahead(plan: Plan) -> Result:
    """An hour forward: leases and deadlines of what is under way are over at once."""
    return _jump(plan, "clock an hour ahead", JUMP)


def back(plan: Plan) -> Result:
    """An hour back: what is heard now seems to be from before what was heard already."""
    return _jump(plan, "clock an hour back", -JUMP)


def _jump(plan: Plan, name: str, seconds: float) -> Result:
    with site(plan, name, "sqlite", senders=0) as there:
        server, told = there.servers[0], there.folder / "jump"
        server.start(failing=f"clock:{told}")
        server.wait_until_ready()
        there.load.start()
        author = there.second_author()
        people = [author.message("start") for _ in range(UNDECIDED)]
        there.load.tell(people, server.port)
        time.sleep(2.0)
        with there.blow(name):
            told.write_text(str(seconds))
            time.sleep(0.5)
        there.load.tell([author.message("stop", person.address) for person in people], server.port)
        time.sleep(2.0)
        _settle(there, server)
        there.problems += _insane(there, seconds)
        late = records.rows(there.store.direct_url, "SELECT count(*) FROM outbox WHERE reason = ?", TOO_LATE)[0][0]
        there.notes.append(f"{late} replies that waited were cancelled: {TOO_LATE}")
        # set back, the clock gives receive times that go back with it
        return there.judge(rounds=1, forgiven=TOO_LATE, in_order=seconds > 0)


def _settle(there: Site, server: Node) -> None:
    """As it is, without a start: a new process would have the machine's clock again."""
    there.load.finish()
    there.settle()
    if b"Traceback" in server.log.read_bytes():
        there.problems.append("there is a traceback in the log")


def _insane(there: Site, seconds: float) -> list[str]:
    """Receive times that are neither of the clock before nor of the clock after; ids that fall."""
    found = records.rows(there.store.direct_url, "SELECT id, received_at FROM inbound_messages ORDER BY id")
    times = [datetime.fromisoformat(row[1]) for row in found]
    now = datetime.now(UTC)
    around = [(now + timedelta(seconds=shift), timedelta(minutes=5)) for shift in (0.0, seconds)]
    strange = [at for at in times if all(abs(at - there_and_then) > width for there_and_then, width in around)]
    return [f"{len(strange)} receive times are of no clock, such as {strange[0]}"] if strange else []
