"""Who is measured: the bare server, the hand-written baseline, and textback, each on its databases."""

import json
import secrets
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.load import SECRET
from tests.bench.processes import BenchError, run, started, tail, wait_for_port
from tests.postgres import free_port

BIN = Path(sys.executable).parent
UVICORN = [BIN / "uvicorn", "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
KINDS = ("inbound", "receipts")
REGISTRY = """
[[credentials]]
name = "bench"
provider = "twilio"
url = "{sink}"
auth = {{ type = "basic", username = "AC0123456789abcdef0123456789abcdef", password = "{secret}" }}

[[webhooks]]
name = "bench-inbound"
provider = "twilio"
type = "inbound"
credential = "bench"
sender = "+14155550199"
region = "US"
packs = ["us"]
secret = "{secret}"

[[webhooks]]
name = "bench-receipts"
provider = "twilio"
type = "feedback"
secret = "{secret}"
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """A server on a database: `sqlite`, `postgresql`, or none."""

    family: str
    database: str = ""
    #: events that the database holds before it is measured
    stored: int = 0

    @property
    def name(self) -> str:
        name = f"{self.family}, {self.database}" if self.database else self.family
        return f"{name}, {self.stored:,} stored" if self.stored else name


@dataclass(frozen=True, slots=True)
class Options:
    """How textback is started."""

    #: the sender as a second process, `textback send`
    own_sender: bool
    access_log: bool
    #: `textback serve` processes on PostgreSQL
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class Running:
    """A contender that listens."""

    #: its processes, one that answers first
    pids: tuple[int, ...]
    #: by kind of event, inbound or receipts: a URL of each node
    urls: dict[str, list[str]]
    #: where its provider is; empty when it sends nothing
    sink: str = ""

    def arrived(self) -> int:
        """Messages that its provider has taken so far."""
        if not self.sink:
            return 0
        with urllib.request.urlopen(f"{self.sink}/count", timeout=5) as answer:
            return int(answer.read())


@contextmanager
def running(contender: Contender, database_url: str, folder: Path, options: Options) -> Iterator[Running]:
    """Start a contender on an empty database, and end it. Logs and the like go to `folder`."""
    with ExitStack() as stack:
        if contender.family == "bare":
            yield _uvicorn(stack, "tests.bench.bare:app", folder, database_url="")
        elif contender.family == "baseline":
            yield _uvicorn(stack, "tests.bench.baseline:app", folder, database_url)
        else:
            yield _textback(
                stack, database_url, folder, options, options.nodes if contender.database != "sqlite" else 1
            )


def _uvicorn(stack: ExitStack, app: str, folder: Path, database_url: str) -> Running:
    port, log = free_port(), folder / "server.log"
    url = f"http://127.0.0.1:{port}"
    environment = {
        "BASELINE_DATABASE_URL": database_url.replace("sqlite:", "sqlite+aiosqlite:").replace("ql:", "ql+asyncpg:"),
        "BASELINE_PUBLIC_URL": url,
        "BASELINE_SECRET": SECRET,
    }
    pid = stack.enter_context(started([*UVICORN, "--port", str(port), app], log, environment))
    wait_for_port(port, pid, log)
    return Running((pid,), {kind: [f"{url}/in/{kind}"] for kind in KINDS})


def _textback(stack: ExitStack, database_url: str, folder: Path, options: Options, nodes: int) -> Running:
    sink = _sink(stack, folder)
    environment = {
        "TEXTBACK_DATABASE_URL": database_url,
        "TEXTBACK_SECRET_KEY": secrets.token_hex(32),
        "TEXTBACK_ADMIN_TOKEN": secrets.token_hex(24),
        "TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS": "127.0.0.1",
        "TEXTBACK_ACCESS_LOG": str(options.access_log).lower(),
    }
    paths = {kind: urlsplit(url).path for kind, url in registered(environment, sink, folder).items()}
    serve = [BIN / "textback", "serve", *(["--no-send"] if options.own_sender else [])]
    ports, pids = [free_port() for _ in range(nodes)], []
    for port in ports:
        # each node believes to be the one that the provider calls, so that signatures fit its port
        own = {"TEXTBACK_PORT": str(port), "TEXTBACK_PUBLIC_URL": f"http://127.0.0.1:{port}"}
        pids.append(stack.enter_context(started(serve, folder / f"server-{port}.log", environment | own)))
    if options.own_sender:
        pids.append(stack.enter_context(started([BIN / "textback", "send"], folder / "sender.log", environment)))
    for port, pid in zip(ports, pids, strict=False):
        log = folder / f"server-{port}.log"
        wait_for_port(port, pid, log)
        _wait_until_ready(port, log)
    urls = {kind: [f"http://127.0.0.1:{port}{paths[kind]}" for port in ports] for kind in KINDS}
    return Running(tuple(pids), urls, sink)


def _sink(stack: ExitStack, folder: Path) -> str:
    port, log = free_port(), folder / "sink.log"
    pid = stack.enter_context(started([sys.executable, "-m", "tests.bench.sink", str(port)], log, {}))
    wait_for_port(port, pid, log)
    return f"http://127.0.0.1:{port}"


def registered(environment: dict[str, str], sink: str, folder: Path) -> dict[str, str]:
    if not (BIN / "textback").exists():
        raise BenchError(f"{BIN / 'textback'} is missing; make it with: make install")
    file = folder / "registry.toml"
    file.write_text(REGISTRY.format(sink=f"{sink}/2010-04-01/Accounts/AC/Messages.json", secret=SECRET))
    run([BIN / "textback", "migrate"], environment)
    listed = json.loads(run([BIN / "textback", "apply", file, "--json"], environment))
    urls = {webhook["name"].removeprefix("bench-"): webhook["url"] for webhook in listed if "url" in webhook}
    return {kind: urls[kind] for kind in KINDS}


def _wait_until_ready(port: int, log: Path) -> None:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5).close()
    except OSError as error:
        raise BenchError(f"textback listens but is not ready: {error}; {tail(log.read_text())}") from None
