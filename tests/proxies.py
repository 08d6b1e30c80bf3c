"""nginx and Caddy as Debian packs them, with the files of config/, on loopback: ports, paths and names replaced, no more."""

import getpass
import http.client
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certificates import authority
from tests.kannel import SBIN, listens, wait_for
from tests.postgres import free_port
from tests.serving import Answer

CONFIG = Path(__file__).parent.parent / "config"
#: set, a machine without the proxies fails the tests instead of leaving them out
REQUIRED = "TEXTBACK_REQUIRE_PROXIES"
NAME = "hooks.example.com"
#: who calls from outside; the proxies themselves are 127.0.0.1
OUTSIDE = "127.0.0.7"


@dataclass(frozen=True)
class Front:
    """A proxy that runs."""

    port: int
    folder: Path
    tls: ssl.SSLContext

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> Answer:
        """One request from outside."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=60, source_address=(OUTSIDE, 0))
        with self.tls.wrap_socket(plain, server_hostname=NAME) as secured:
            connection = http.client.HTTPConnection(NAME)
            connection.sock = secured
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    @property
    def logs(self) -> dict[str, str]:
        """What the proxy has written anywhere, by file."""
        files = (path for path in self.folder.rglob("*") if path.is_file() and path.suffix in (".log", ".console"))
        return {path.name: path.read_text("utf-8", "replace") for path in files}


def need(program: str) -> str:
    """Where it is. Skips the test, or fails it where proxies are required, on a machine that has not got it."""
    found = shutil.which(program, path=SBIN)
    if found:
        return found
    reason = f"{program} is not installed: apt-get install nginx caddy"
    if os.environ.get(REQUIRED):
        pytest.fail(reason)
    pytest.skip(reason)


def _prepare(folder: Path) -> ssl.SSLContext:
    """Folders as the configurations name them, a certificate, and a caller's context that believes it."""
    for name in ("run", "log", "lib", "tls"):
        (folder / name).mkdir(parents=True)
    signer = authority("Tests")
    identity = signer.issue(NAME)
    (folder / "tls" / "fullchain.pem").write_text(identity.certificate)
    (folder / "tls" / "privkey.pem").write_text(identity.key)
    context = ssl.create_default_context(cadata=signer.certificate)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _replaced(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, f"config/ does not say {old} any more"
        text = text.replace(old, new)
    return text


def nginx_config(folder: Path, port: int, nodes: tuple[int, int]) -> str:
    """config/nginx.conf for a test's folder."""
    changes = {
        "user www-data;": f"user {getpass.getuser()};",
        "listen 443": f"listen 127.0.0.1:{port}",
        "server 127.0.0.1:8080": f"server 127.0.0.1:{nodes[0]}",
        "server 127.0.0.1:8081": f"server 127.0.0.1:{nodes[1]}",
        "/run/nginx.pid": f"{folder}/run/nginx.pid",
        "/var/log/nginx": f"{folder}/log",
        "/var/lib/nginx": f"{folder}/lib",
        "/etc/ssl/textback": f"{folder}/tls",
    }
    return _replaced((CONFIG / "nginx.conf").read_text("utf-8"), changes)


def caddy_config(folder: Path, port: int, nodes: tuple[int, int]) -> str:
    """config/Caddyfile for a test's folder; its site is bound to loopback, and nobody shall reload it."""
    changes = {
        f"{NAME} {{": f"{NAME} {{\n\tbind 127.0.0.1",
        "admin unix//var/lib/caddy/textback-admin.sock": f"admin off\n\thttps_port {port}",
        "127.0.0.1:8080 127.0.0.1:8081": f"127.0.0.1:{nodes[0]} 127.0.0.1:{nodes[1]}",
        "/var/log/caddy": f"{folder}/log",
        "/etc/ssl/textback": f"{folder}/tls",
    }
    return _replaced((CONFIG / "Caddyfile").read_text("utf-8"), changes)


@contextmanager
def _running(folder: Path, port: int, words: list[str]) -> Iterator[None]:
    environ = {"PATH": SBIN, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "proxy.console").open("w") as console:
        process = subprocess.Popen(words, cwd=folder, env=environ, stdout=console, stderr=console)
        try:
            wait_for(lambda: process.poll() is not None or listens(port), 60)
            assert process.poll() is None, (folder / "proxy.console").read_text()
            yield
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def nginx(folder: Path, nodes: tuple[int, int]) -> Iterator[Front]:
    """nginx in front of two nodes, until the block ends."""
    program, port, context = need("nginx"), free_port(), _prepare(folder)
    (folder / "nginx.conf").write_text(nginx_config(folder, port, nodes))
    words = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    with _running(folder, port, words):
        yield Front(port, folder, context)


@contextmanager
def caddy(folder: Path, nodes: tuple[int, int]) -> Iterator[Front]:
    """Caddy in front of two nodes, until the block ends."""
    program, port, context = need("caddy"), free_port(), _prepare(folder)
    (folder / "Caddyfile").write_text(caddy_config(folder, port, nodes))
    words = [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    with _running(folder, port, words):
        yield Front(port, folder, context)


#: by name: starts it in a folder, before the ports of two nodes
PROXIES: dict[str, Callable[[Path, tuple[int, int]], AbstractContextManager[Front]]] = {"nginx": nginx, "caddy": caddy}
