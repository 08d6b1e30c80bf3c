"""What databases stand on fails: the disk is full, the database is read-only, locked by somebody, or the spool is full."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg
import pysqlite3

from tests.torture import databases
from tests.torture.load import Tried
from tests.torture.outages import away
from tests.torture.site import Plan, Result, Site, site, wait_until

#: seconds that it lasts, in the full form and in the short one
LASTS = {True: 15.0, False: 5.0}
#: bytes of a small disk
ROOM = {"sqlite": 24 << 20, "postgresql": 220 << 20}

Trouble = Callable[[Site], AbstractContextManager[None]]


class NotHere(Exception):
    """This machine cannot show it; the sentence says why."""


def full_sqlite(plan: Plan) -> Result:
    """SQLite's file system has no room left for a while."""
    return _on_small_disk(plan, "sqlite")


def full_postgresql(plan: Plan) -> Result:
    """PostgreSQL's has none: it refuses, and where its log has no room it ends."""
    return _on_small_disk(plan, "postgresql")


def read_only_postgresql(plan: Plan) -> Result:
    """PostgreSQL takes no writes for a while, as a standby does."""
    return _in_trouble(plan, "read-only, postgresql", "postgresql", _read_only)


def read_only_sqlite(plan: Plan) -> Result:
    """SQLite's file cannot be written: textback does not start and says why; later it does."""
    with _small_disk(plan, 64 << 20) as disk, site(plan, "read-only, sqlite", "sqlite", disk=disk) as there:
        server, sender = there.servers[0], there.senders[0]
        there.restart(sender)
        there.restart(server)
        there.load.start()
        time.sleep(2.0)
        server.kill()
        there.kill(sender)
        _mount("-o", "remount,ro", disk)
        size = server.log.stat().st_size
        server.start()
        wait_until(lambda: not server.runs or server.log.stat().st_size > size, "it says nothing", 90.0)
        gone = server.wait_until_gone(5.0)
        if gone and b"Traceback" in server.log.read_bytes():
            there.problems.append("a read-only file ends the start with a traceback instead of a sentence")
        there.notes.append(f"started on a read-only file it {'ends' if gone else 'runs'}: {_last_line(server.log)}")
        server.kill()
        _mount("-o", "remount,rw", disk)
        there.settle()
        return there.judge(rounds=1)


def locked_sqlite(plan: Plan) -> Result:
    """Another program holds SQLite's file for longer than anybody waits."""
    return _in_trouble(plan, "locked, sqlite", "sqlite", _locked, lasts=14.0)


def full_spool(plan: Plan) -> Result:
    """PostgreSQL is away until the spool is full: from then on nothing is acknowledged, and nothing is lost."""
    more = {"SPOOL_LIMIT": str(1 << 20)}
    with site(plan, "spool full", "postgresql", settings=more, rate=400) as there:
        _begin(there)
        with there.blow("postgresql refused"), away(there, "refused"):
            wait_until(lambda: any(t.status == 503 for t in there.load.tries), "a spool of 1 MiB is never full", 60.0)
            time.sleep(2.0)
        _settle(there)
        return there.judge(rounds=1)


def _on_small_disk(plan: Plan, database: str) -> Result:
    with _small_disk(plan, ROOM[database]) as disk:
        return _in_trouble(plan, f"disk full, {database}", database, lambda there: _no_room(there, disk), disk=disk)


def _in_trouble(plan: Plan, name: str, database: str, trouble: Trouble, *, disk: Path | None = None,
                lasts: float = 0.0) -> Result:  # fmt: skip
    with site(plan, name, database, disk=disk) as there:
        _begin(there)
        began = time.time()
        with there.blow(name), trouble(there):
            time.sleep(lasts or LASTS[plan.full])
        ended = time.time()
        _settle(there)
        during = [t for t in there.load.tries if began <= t.at <= ended]
        good, refused, lost = (sum(map(of, during)) for of in (_good, _refused, _lost))
        there.notes.append(f"meanwhile {good} acknowledged, {refused} refused with 503, {lost} without an answer")
        if not refused and not good:
            there.problems.append("meanwhile nobody was answered")
        return there.judge(rounds=1)


def _good(tried: Tried) -> bool:
    return tried.good


def _refused(tried: Tried) -> bool:
    return tried.status == 503


def _lost(tried: Tried) -> bool:
    return tried.status == 0


def _begin(there: Site) -> None:
    for node in there.nodes:
        there.restart(node)
    there.load.start()
    time.sleep(2.0)


def _settle(there: Site) -> None:
    ended = [node.name for node in there.nodes if not node.runs]
    if ended:
        there.problems.append(f"{', '.join(ended)} ended")
    there.settle()


@contextmanager
def _small_disk(plan: Plan, room: int) -> Iterator[Path]:
    """A file system in memory of so many bytes. Raises NotHere where none can be mounted."""
    if os.geteuid() != 0:
        raise NotHere("only root can mount a small disk")
    disk = Path(tempfile.mkdtemp(prefix="textback-disk-"))
    try:
        _mount("-t", "tmpfs", "-o", f"size={room},mode=755", "tmpfs", disk)
    except subprocess.CalledProcessError as error:
        raise NotHere(f"this machine mounts no small disk: {error.stderr.decode().strip()}") from None
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=False)
        disk.rmdir()


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@contextmanager
def _no_room(there: Site, disk: Path) -> Iterator[None]:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    there.tell(f"{ballast.stat().st_size >> 10} KiB of ballast")
    yield
    ballast.unlink()
    server = there.store.server
    if server is not None and not server.runs:
        there.notes.append("PostgreSQL had ended for want of room, and was started again")
        databases.start_again(server)


@contextmanager
def _read_only(there: Site) -> Iterator[None]:
    for value in ("on", "off"):
        with psycopg.connect(
            there.store.direct_url, autocommit=True, options="-c default_transaction_read_only=off"
        ) as conn:
            conn.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
            conn.execute("SELECT pg_reload_conf()")
        if value == "on":
            yield


@contextmanager
def _locked(there: Site) -> Iterator[None]:
    connection = pysqlite3.connect(there.store.direct_url.removeprefix("sqlite:///"), isolation_level=None, timeout=20)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("ROLLBACK")
    connection.close()


def _last_line(log: Path) -> str:
    return log.read_text(errors="replace").strip().splitlines()[-1][:200]
