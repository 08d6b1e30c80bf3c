"""A PostgreSQL that does not answer, though its machine does: all its processes are stopped, as a hanging disk would.

Only for a server that the test has started itself.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg


@contextmanager
def frozen(server_url: str) -> Iterator[None]:
    """While the block runs, nobody gets an answer from this server."""
    with psycopg.connect(f"{server_url}/postgres") as conn:
        row = conn.execute("SHOW data_directory").fetchone()
    assert row
    postmaster = int((Path(row[0]) / "postmaster.pid").read_text().split()[0])
    stopped = [postmaster]
    os.kill(postmaster, signal.SIGSTOP)  # first, so that it makes no more children
    try:
        for child in _children(postmaster):
            os.kill(child, signal.SIGSTOP)
            stopped.append(child)
        yield
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)


def _children(parent: int) -> list[int]:
    return list(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))
