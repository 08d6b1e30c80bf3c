"""A real pgbouncer in transaction mode before the tests' PostgreSQL, as Debian packs it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import postgres
from tests.kannel import SBIN, listens, wait_for

#: set, a machine without pgbouncer fails the tests instead of leaving them out
REQUIRED = "TEXTBACK_REQUIRE_PGBOUNCER"
CONFIG = """\
[databases]
* = host={host} port={server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 50
logfile = {folder}/pgbouncer.log
pidfile = {folder}/pgbouncer.pid
"""


def need_pgbouncer() -> str:
    """Where it is. Skips the test, or fails it where it is required, on a machine that has not got it."""
    if found := shutil.which("pgbouncer", path=SBIN):
        return found
    reason = "pgbouncer is not installed: apt-get install pgbouncer"
    if os.environ.get(REQUIRED):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def pooling(server_url: str) -> Iterator[str]:
    """The URL of the proxy before this server, without a database's name: `postgresql://postgres@127.0.0.1:PORT`."""
    program = need_pgbouncer()
    folder, port, account = Path(tempfile.mkdtemp(prefix="textback-pool-")), postgres.free_port(), postgres._account()
    server = urlsplit(server_url)
    config = folder / "pgbouncer.ini"
    # auth_type any: everybody comes in as one user, which is named with the server
    named = CONFIG.replace("port={server}", "port={server} user=postgres")
    config.write_text(named.format(host=server.hostname, server=server.port, port=port, folder=folder))
    if account:
        os.chown(folder, account["user"], account["group"])
    with (folder / "console").open("wb") as console:
        process = subprocess.Popen([program, config], stdout=console, stderr=console, cwd=folder, **account)
    try:
        wait_for(partial(listens, port))
        yield f"postgresql://postgres@127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)
