"""A real SMS gateway on loopback: Kannel as Debian packs it, bearerbox and smsbox, with a phone and an operator beside it.

The phone is Kannel's own fake SMSC (`fakesmsc`, typed into as a person would): bearerbox reports of it "8, the SMSC has
it" and "1, delivered", and nothing else. The operator is a second SMSC connection (Kannel's `http` to another Kannel),
through which any receipt can come; the other end of it is a server of the test's.
"""

import http.client
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import quote_plus, unquote_to_bytes, urlencode

import pytest

from tests.postgres import free_port

T = TypeVar("T")

#: Debian's package kannel-extras puts it there
FAKESMSC = Path("/usr/lib/kannel/test/fakesmsc")
#: daemons are not on the path of an ordinary user
SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin"
#: set, a machine without Kannel fails the tests instead of leaving them out
REQUIRED = "TEXTBACK_REQUIRE_KANNEL"
USERNAME, PASSWORD = "textback", "a password & more"
HEARD = re.compile(r"Got message \d+: <(\S+) (\S+) (text|ucs-2) (.*)>$", re.MULTILINE)

CONFIG = """\
group = core
admin-port = {admin}
admin-interface = 127.0.0.1
admin-password = {password}
smsbox-port = {box}
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1
log-file = "{folder}/bearerbox.log"

group = smsc
smsc = fake
smsc-id = phone
port = {phone}
connect-allow-ip = 127.0.0.1
denied-smsc-id = operator

group = smsc
smsc = http
system-type = kannel
smsc-id = operator
port = {operator}
connect-allow-ip = 127.0.0.1
smsc-username = kannel
smsc-password = kannel
send-url = "{operator_url}/cgi-bin/sendsms"
dlr-url = "http://127.0.0.1:{operator}/receipt"
allowed-smsc-id = operator

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {sendsms}
sendsms-interface = 127.0.0.1
mo-recode = true
http-request-retry = 20
http-queue-delay = 1
log-file = "{folder}/smsbox.log"

group = sendsms-user
username = {username}
password = "{password}"
max-messages = 10
concatenation = true

group = sms-service
keyword = default
get-url = "{get_url}?sender=%p&to=%P&message=%b&ts=%T&id=%I&smsc=%i&coding=%c&charset=%C"
max-messages = 0

group = sms-service
keyword-regex = .*
accepted-smsc = operator
post-url = "{post_url}?id=%I"
send-sender = true
max-messages = 0
"""


class Ports(NamedTuple):
    """All on loopback."""

    admin: int
    box: int
    phone: int
    operator: int
    sendsms: int


class Text(NamedTuple):
    """What a phone has received. `alphabet`: text (GSM's own) or ucs-2."""

    sender: str
    alphabet: str
    words: str


def need_kannel() -> None:
    """Skips the test, or fails it where Kannel is required, on a machine that has not got it."""
    daemons = all(shutil.which(name, path=SBIN) for name in ("bearerbox", "smsbox"))
    if daemons and FAKESMSC.exists():
        return
    reason = "Kannel is not installed: apt-get install kannel kannel-extras"
    if os.environ.get(REQUIRED):
        pytest.fail(reason)
    pytest.skip(reason)


def wait_for(what: Callable[[], T], seconds: float = 30.0) -> T:
    """The first result that is something."""
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end:
            raise AssertionError("it did not happen in time")
        time.sleep(0.05)
    return found


def becomes(what: Callable[[], T], wanted: T, seconds: float = 30.0) -> None:
    """Asserts that the result is as wanted, sooner or later."""
    end = time.monotonic() + seconds
    while (found := what()) != wanted and time.monotonic() < end:
        time.sleep(0.05)
    assert found == wanted


def free_ports() -> Ports:
    """Some that nobody listens on now."""
    return Ports(*[free_port() for _ in Ports._fields])


@dataclass(frozen=True)
class Phone:
    """Any number of people, who all text through one fake SMSC."""

    process: "subprocess.Popen[str]"
    log: Path
    typing: threading.Lock = field(default_factory=threading.Lock)

    def texts(self, sender: str, receiver: str, words: str) -> None:
        """A person sends a message; in UTF-16 where it has characters that the GSM alphabet has not."""
        kind, typed = "text", words
        if any(ord(character) > 0xFF for character in words):
            kind, typed = "ucs2", quote_plus(words.encode("utf-16-be"))
        self._type(f"{sender} {receiver} {kind} {typed}")

    def received(self, receiver: str) -> list[Text]:
        """What has come for a person so far."""
        found = HEARD.findall(self.log.read_text("utf-8", "replace"))
        return [Text(sender, kind, _read(kind, words)) for sender, to, kind, words in found if to == receiver]

    def _type(self, line: str) -> None:
        assert self.process.stdin
        with self.typing:
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()

    @contextmanager
    def fidgets(self) -> Iterator[None]:
        """Until the block ends, an empty line is typed again and again.

        fakesmsc looks for news only when something is typed, and of two lines that come at once it reads one: the other
        lies in its buffer until more is typed.
        """
        over = threading.Event()

        def fidget() -> None:
            while not over.wait(0.05):
                self._type("")

        thread = threading.Thread(target=fidget, name="phone")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _read(kind: str, words: str) -> str:
    return words if kind == "text" else unquote_to_bytes(words.replace("+", " ")).decode("utf-16-be")


@dataclass(frozen=True)
class Gateway:
    """A gateway that runs."""

    folder: Path
    ports: Ports
    phone: Phone

    @property
    def log(self) -> str:
        """What the process that calls URLs has noted."""
        return (self.folder / "smsbox.log").read_text("utf-8", "replace")

    def operator_texts(self, sender: str, receiver: str, words: str) -> None:
        """A message comes in through the operator."""
        self._operator(
            dict.fromkeys(("username", "password"), "kannel") | {"from": sender, "to": receiver, "text": words}
        )

    def operator_reports(self, message: str, bits: int, answer: str) -> None:
        """The operator says what became of a message, which it was given as `message`."""
        said = {"dlr-mid": message, "dlr-mask": str(bits), "text": answer, "dlr-url": "none"}
        self._operator(dict.fromkeys(("username", "password"), "kannel") | said)

    def _operator(self, parameters: dict[str, str]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports.operator, timeout=10)
        try:
            connection.request("GET", f"/receipt?{urlencode(parameters)}")
            response = connection.getresponse()
            assert (response.status, response.read()) == (202, b"Sent.")
        finally:
            connection.close()


@contextmanager
def running(folder: Path, ports: Ports, *, get_url: str, post_url: str, operator_url: str) -> Iterator[Gateway]:
    """Kannel, until the block ends. It passes messages on to the two URLs, and sends through phone or operator."""
    urls = {"get_url": get_url, "post_url": post_url, "operator_url": operator_url}
    given = {**ports._asdict(), **urls, "folder": folder, "username": USERNAME, "password": PASSWORD}
    config = folder / "kannel.conf"
    config.write_text(CONFIG.format(**given))
    with ExitStack() as stack:
        stack.enter_context(_process(folder, "bearerbox", [_daemon("bearerbox"), str(config)]))
        _wait_for_ports(ports.box, ports.phone, ports.operator)
        stack.enter_context(_process(folder, "smsbox", [_daemon("smsbox"), str(config)]))
        _wait_for_ports(ports.sendsms)
        words = [str(FAKESMSC), "-H", "127.0.0.1", "-r", str(ports.phone), "-i", "0.01"]
        process = stack.enter_context(_process(folder, "phone", words))
        phone = Phone(process, folder / "phone.console")
        stack.enter_context(phone.fidgets())
        yield Gateway(folder, ports, phone)


def _daemon(name: str) -> str:
    found = shutil.which(name, path=SBIN)
    assert found
    return found


@contextmanager
def _process(folder: Path, name: str, words: Sequence[str]) -> "Iterator[subprocess.Popen[str]]":
    with (folder / f"{name}.console").open("w") as console:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=console, stderr=console, text=True, cwd=folder)
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)
            assert process.stdin
            process.stdin.close()


def _wait_for_ports(*ports: int) -> None:
    for port in ports:
        wait_for(partial(listens, port))


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
