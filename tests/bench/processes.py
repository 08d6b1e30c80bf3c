"""Child processes: started with a log, waited for, measured, and ended by their own id."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The run can not go on; the sentence says why and what to do."""


@contextmanager
def started(command: Sequence[str | Path], log: Path, environment: Mapping[str, str]) -> Iterator[int]:
    """The id of a running process, which is ended with SIGTERM, and killed if it does not go within 20 s."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **environment}
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(command: Sequence[str | Path], environment: Mapping[str, str]) -> str:
    """What a command prints. Raises BenchError with its complaint."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    if done.returncode:
        words = " ".join(Path(word).name for word in map(str, command))
        raise BenchError(f"`{words}` failed: {tail(done.stderr or done.stdout)}")
    return done.stdout


def tail(text: str, lines: int = 15) -> str:
    """The last lines of a log."""
    return "\n".join(text.strip().splitlines()[-lines:])


def wait_for_port(port: int, pid: int, log: Path, seconds: float = 30) -> None:
    """Until something listens on the loopback port. Raises BenchError with the log when it does not, or the process ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and alive(pid):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise BenchError(f"the server of {log.name} does not listen on port {port}: {tail(log.read_text())}")


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    return _stat(pid)[0] not in ("", "Z")


def parent(pid: int) -> int:
    """The id of the process that started it."""
    return int(_stat(pid)[1])


def cpu_seconds(pid: int) -> float:
    """CPU time, user and system, of a process and all it started, the ended ones included."""
    fields = _stat(pid)
    own = sum(map(int, fields[11:15])) / TICKS if fields[0] else 0.0
    return own + sum(cpu_seconds(child) for child in children(pid))


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold blanks: state, parent, …"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return [""]


def children(pid: int) -> list[int]:
    """The ids of the processes that it started and that still run."""
    try:
        return [int(n) for task in Path(f"/proc/{pid}/task").iterdir() for n in (task / "children").read_text().split()]
    except OSError:
        return []


def resident_kilobytes(pid: int) -> int:
    """What a process holds in memory now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
