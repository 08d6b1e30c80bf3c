"""A row of the spool is broken while its process is down: it is set aside, and its neighbours are recorded."""

import time
from pathlib import Path

import pysqlite3

from tests.torture.events import Event
from tests.torture.outages import away
from tests.torture.site import Plan, Result, Site, site

_GARBAGE = b"\x00\xffbroken"


def broken_row(plan: Plan) -> Result:
    """PostgreSQL away, the server killed with a full spool, one row overwritten, everything started again."""
    with site(plan, "broken row in the spool", "postgresql") as there:
        for node in there.nodes:
            there.restart(node)
        there.load.start()
        time.sleep(2.0)
        with there.blow("postgresql refused"), away(there, "refused"):
            time.sleep(5.0)
            server = there.servers[0]
            there.kill(server)
            broken = _break_one(there, Path(server.settings["TEXTBACK_SPOOL_FOLDER"]))
        there.restart(server)
        there.settle()
        return _judged(there, broken)


def _judged(there: Site, broken: Event | None) -> Result:
    """The one that was broken may be missing, if it is told; nothing else may."""
    if broken is None:
        there.problems.append("there was no row in the spool to break")
        return there.judge(rounds=1)
    broken.acknowledged = 0.0
    log = there.servers[0].log.read_text(errors="replace")
    told = [line for line in log.splitlines() if "spool" in line]
    there.notes.append(f"{broken.id} was broken; {told[-1][:200] if told else 'the log does not tell of it'}")
    there.problems += [] if told else ["a broken row of the spool is not told in the log"]
    found = there.judge(rounds=1)
    aside = [p for p in found.problems if p.startswith("1 requests were set aside")]
    return found.without(aside)


def _break_one(there: Site, folder: Path) -> Event | None:
    """Overwrite what one row holds; which event it was."""
    by_id = {event.id.split()[0]: event for event in there.load.events}
    for file in sorted(folder.glob("spool-*.db")):
        connection = pysqlite3.connect(str(file), isolation_level=None)
        try:
            if found := _middle_row(connection):
                row_id, column, value = found
                connection.execute(f"UPDATE spool SET {column} = ? WHERE rowid = ?", (_GARBAGE, row_id))
                there.tell(f"row {row_id} of {file.name} broken, in {column}")
                return next((event for sid, event in by_id.items() if sid.encode() in value), None)
        finally:
            connection.close()
    return None


def _middle_row(connection: pysqlite3.Connection) -> tuple[int, str, bytes] | None:
    """Rowid, column and value of the longest value of the row in the middle."""
    count = connection.execute("SELECT count(*) FROM spool").fetchone()[0]
    if not count:
        return None
    cursor = connection.execute("SELECT rowid, * FROM spool ORDER BY rowid LIMIT 1 OFFSET ?", (count // 2,))
    row, names = cursor.fetchone(), [column[0] for column in cursor.description]
    values = {name: v if isinstance(v, bytes) else str(v).encode() for name, v in zip(names[1:], row[1:], strict=True)}
    longest = max(values, key=lambda name: len(values[name]))
    return row[0], longest, values[longest]
