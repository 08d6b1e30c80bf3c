"""Rows of the spool are broken while their process is down: what cannot be read is set aside, its neighbours are recorded."""

import time
from pathlib import Path

import pysqlite3

from tests.torture import records
from tests.torture.events import Event
from tests.torture.outages import away
from tests.torture.site import Plan, Result, Site, site

#: what is overwritten, each in a row of its own
BROKEN = ("heard", "names", "sayings", "received_at")
_GARBAGE = b"\x00\xffbroken"


def broken_rows(plan: Plan) -> Result:
    """PostgreSQL away, the server killed with a full spool, some rows overwritten, everything started again."""
    with site(plan, "broken rows in the spool", "postgresql") as there:
        for node in there.nodes:
            there.restart(node)
        there.load.start()
        time.sleep(2.0)
        with there.blow("postgresql refused"), away(there, "refused"):
            time.sleep(5.0)
            server = there.servers[0]
            there.kill(server)
            broken = _break(there, Path(server.settings["TEXTBACK_SPOOL_FOLDER"]))
        there.restart(server)
        there.settle()
        return _judged(there, broken)


def _judged(there: Site, broken: list[Event]) -> Result:
    """Those that were broken may be missing, if they wait for a person; nothing else may."""
    if len(broken) < len(BROKEN):
        there.problems.append("there were too few rows in the spool to break")
    log = there.servers[0].log.read_text(errors="replace")
    told = [line for line in log.splitlines() if "spool" in line]
    aside = there.servers[0].metric("textback_spool_aside")
    there.notes.append(
        f"{len(broken)} rows broken, {aside} set aside; {told[-1][:200] if told else 'the log is silent'}"
    )
    for event in broken:
        event.acknowledged = 0.0
    stored = {*records.stored(there.store.direct_url).inbound}
    lost = [event.id for event in broken if event.id not in stored]
    if len(lost) != aside:
        there.problems.append(f"{len(lost)} broken rows are not recorded, and {aside} wait for a person")
    return there.judge(rounds=len(broken), in_order=False)


def _break(there: Site, folder: Path) -> list[Event]:
    """Overwrite a value in some rows of the spool of an ended process; which events they were."""
    found = []
    (file,) = sorted(folder.glob("spool-*.db"))
    connection = pysqlite3.connect(str(file), isolation_level=None)
    stops = {event.id: event for event in there.load.events if event.what == "help"}
    waiting = connection.execute("SELECT id, heard FROM spool ORDER BY id").fetchall()
    for row_id, heard in waiting:
        event = next((stops[sid] for sid in stops if sid.encode() in heard), None)
        if event and len(found) < len(BROKEN):
            column = BROKEN[len(found)]
            connection.execute(f"UPDATE spool SET {column} = ? WHERE id = ?", (_GARBAGE, row_id))
            there.tell(f"row {row_id} of {len(waiting)} in {file.name} broken, in {column}")
            found.append(event)
    connection.close()
    return found
