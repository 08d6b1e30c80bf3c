"""textback's processes: registered, started with a log each, killed at once, started again."""

import contextlib
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.processes import run, tail
from tests.postgres import free_port
from tests.torture import events
from tests.torture.verdict import CONFIRMATION

ADMIN = secrets.token_hex(24)
TEXTBACK = [sys.executable, "-m", "app"]
REGISTRY = """
[[credentials]]
name = "torture"
provider = "custom"
account = "torture"
url = "{provider}"
auth = {{ type = "none" }}
payload = '{{"reference":"{{{{messageReference}}}}","to":"{{{{toNumber}}}}","text":"{{{{message}}}}"}}'
message_id = "messages.0.id"

[[webhooks]]
name = "inbound"
provider = "twilio"
type = "inbound"
account = "torture"
credential = "torture"
sender = "{sender}"
region = "US"
secret = "{secret}"
[webhooks.keywords.opt_out]
reply = "{confirmation}"
[webhooks.keywords.default]
reply = "Thanks! Reply HELP for help or STOP to end."

[[webhooks]]
name = "receipts"
provider = "twilio"
type = "feedback"
account = "torture"
secret = "{secret}"
"""


def environment(database_url: str, **more: str) -> dict[str, str]:
    """The settings of a node; `more` of them."""
    usual = {
        "DATABASE_URL": database_url,
        "PUBLIC_URL": events.PUBLIC_URL,
        "SECRET_KEY": "a-secret-key-for-the-torture-of-textback",
        "EVIDENCE_KEY": "an-evidence-key-for-the-torture-of-textback",
        "ADMIN_TOKEN": ADMIN,
        "ALLOWED_PRIVATE_DESTINATIONS": "127.0.0.1",
        "ACCESS_LOG": "false",
        "SEND_TIMEOUT": "2",  # the lease of a reply whose sender was killed lapses sooner
    }
    return {f"TEXTBACK_{name}": value for name, value in {**usual, **more}.items()}


def register(settings: Mapping[str, str], folder: Path, provider_port: int) -> dict[str, str]:
    """`textback migrate` and `textback apply`: the path of each webhook's URL, by its name."""
    file = folder / "registry.toml"
    given = {"sender": events.SENDER, "secret": events.SECRET, "confirmation": CONFIRMATION}
    file.write_text(REGISTRY.format(provider=f"http://127.0.0.1:{provider_port}/send", **given))
    run([*TEXTBACK, "migrate"], settings)
    listed = json.loads(run([*TEXTBACK, "apply", file, "--json"], settings))
    return {webhook["name"]: webhook["url"].removeprefix(events.PUBLIC_URL) for webhook in listed}


class Node:
    """A process of textback, with its own log; a server has a port too."""

    def __init__(self, name: str, arguments: Sequence[str], settings: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.port = free_port() if arguments[0] == "serve" else 0
        self.log = folder / f"{name}.log"
        self.folder = folder
        self._arguments = [*arguments, *(["--port", str(self.port)] if self.port else [])]
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, failing: str = "") -> None:
        """Start it. `failing`: what shall happen to it (see `failing`)."""
        program = [sys.executable, "-m", "tests.torture.failing", failing] if failing else TEXTBACK
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*program, *self._arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.settings}, start_new_session=True,
            )  # fmt: skip

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self, seconds: float = 30.0) -> None:
        """As an operator would stop it."""
        if self._process is not None and self.runs:
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()

    def wait_until_gone(self, seconds: float) -> bool:
        """Whether it ends by itself within the time."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return not self.runs

    def wait_until_ready(self, seconds: float = 90.0) -> None:
        """Until it takes requests; a sender, until it sends. Raises RuntimeError with its log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.runs:
            if (self.port and self.answers("/health/ready")) or (not self.port and self._sends()):
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} is not ready: {tail(self.log.read_text(errors='replace'))}")

    def answers(self, path: str) -> bool:
        """Whether it says 200."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask(path)[0] == 200
        return False

    def ask(self, path: str, seconds: float = 5.0) -> tuple[int, bytes]:
        """What it answers to a GET by the administrator."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {ADMIN}"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def metric(self, name: str) -> float | None:
        """A gauge without labels; None where there is none, or nobody answers."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            lines = self.ask("/metrics")[1].decode().splitlines()
            return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)
        return None

    def _sends(self) -> bool:
        return b"sending" in self.log.read_bytes()
