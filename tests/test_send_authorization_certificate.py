"""mTLS against a real TLS server that asks who we are."""

import asyncio
import os
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from pydantic import SecretStr

from app.credential import BearerAuth, ClientCertificate, Credential, OAuthAuth
from app.errors import BadInput, SendFailed
from app.send import Client, Courier, Destinations, Message, courier, deliver
from tests import fake_provider
from tests.certificates import Authority, Identity, authority, demanding
from tests.fake_provider import FakeProvider

HOST = "provider.example"
MESSAGE = Message("+14155550199", "+14155550100", "Hi", "4711")


@pytest.fixture(scope="module")
def ours() -> Authority:
    """Signs our client certificate, and the provider knows it."""
    return authority("Our authority")


@pytest.fixture(scope="module")
def theirs() -> Authority:
    """Signs the provider's certificate; no public list has it."""
    return authority("The provider's authority")


@pytest.fixture
def provider(ours: Authority, theirs: Authority, tmp_path: Path) -> Iterator[FakeProvider]:
    with fake_provider.running(tls=demanding(theirs.issue(HOST), ours, tmp_path)) as running:
        yield running


class TlsDoor:
    """A server whose refusal of a certificate reaches the other side, as asyncio's does not."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.refusals = 0

    def refuse(self, callers: int) -> None:
        for _ in range(callers):
            plain, _ = self._socket.accept()
            self._refuse(self._tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False))
        self._socket.close()

    def _refuse(self, secure: ssl.SSLSocket) -> None:
        with pytest.raises(ssl.SSLError):
            secure.do_handshake()
        self.refusals += 1
        # what is left unread would reset the connection, and the refusal be lost on its way
        with socket.socket(fileno=secure.detach()) as plain:
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(65_536):
                pass


@pytest.fixture
def door(ours: Authority, theirs: Authority, tmp_path: Path) -> Iterator[TlsDoor]:
    """Refuses two callers."""
    waiting = TlsDoor(demanding(theirs.issue(HOST), ours, tmp_path))
    thread = threading.Thread(target=waiting.refuse, args=(2,), name="TLS door")
    thread.start()
    yield waiting
    thread.join(10)


def shown(identity: Identity, trusted: Authority | None) -> ClientCertificate:
    return ClientCertificate(
        certificate=identity.certificate,
        key=SecretStr(identity.key),
        authority=trusted.certificate if trusted else "",
    )


def carrier(provider: FakeProvider | TlsDoor, client: Client | None = None, **given: Any) -> Courier:
    url = f"https://{HOST}:{provider.port}/send"
    return courier(Credential(name="acme", provider="custom", url=url, payload="{}", **given), None, client)


async def _to_loopback(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


def sent(*carriers: Courier, tls: ssl.SSLContext | None = None) -> list[str | SendFailed]:
    """What became of one message by each courier, one after the other and through one client."""

    async def run() -> list[str | SendFailed]:
        client = Client(Destinations(["127.0.0.1"], resolve=_to_loopback), tls=tls)
        found: list[str | SendFailed] = []
        for each in carriers:
            try:
                found.append(await deliver(each, client, MESSAGE, timeout=5))
            except SendFailed as failure:
                found.append(failure)
        client.close()
        await asyncio.sleep(0.05)
        return found

    return uvloop.run(run())


def test_a_certificate_alone_is_a_proof(provider: FakeProvider, ours: Authority, theirs: Authority) -> None:
    found = sent(carrier(provider, client_certificate=shown(ours.issue("textback"), theirs)))

    assert found == ["4711"]
    assert "authorization" not in provider.requests[0].headers


def test_a_certificate_stands_beside_another_proof(provider: FakeProvider, ours: Authority, theirs: Authority) -> None:
    given = shown(ours.issue("textback"), theirs)

    found = sent(carrier(provider, client_certificate=given, auth=BearerAuth(token=SecretStr("t"))))

    assert found == ["4711"]
    assert provider.requests[0].headers["authorization"] == "Bearer t"


def test_who_shows_no_certificate_of_our_authority_is_refused_by_the_provider(
    door: TlsDoor, ours: Authority, theirs: Authority
) -> None:
    stranger = shown(authority("Mallory").issue("textback"), theirs)
    trusting = ssl.create_default_context(cadata=theirs.certificate)

    failures = [*sent(carrier(door, client_certificate=stranger)), *sent(carrier(door), tls=trusting)]

    assert [vars(failure) | {"reason": str(failure)} for failure in failures] == [
        {
            "reason": f"provider.example refused the client certificate: {alert}",
            "departed": False,
            "permanent": False,
            "blocked": False,
            "retry_after": None,
        }
        for alert in ("TLSV1_ALERT_UNKNOWN_CA", "TLSV13_ALERT_CERTIFICATE_REQUIRED")
    ]
    assert door.refusals == 2


def test_a_provider_whose_authority_we_do_not_know_is_told_nothing(provider: FakeProvider, ours: Authority) -> None:
    (failure,) = sent(carrier(provider, client_certificate=shown(ours.issue("textback"), None)))

    assert isinstance(failure, SendFailed)
    assert "certificate verify failed" in str(failure)
    assert (failure.departed, provider.requests) == (False, [])


def test_a_connection_proved_with_one_certificate_serves_no_other(
    provider: FakeProvider, ours: Authority, theirs: Authority
) -> None:
    right = carrier(provider, client_certificate=shown(ours.issue("textback"), theirs))
    wrong = carrier(provider, client_certificate=shown(authority("Mallory").issue("textback"), theirs))

    first, second, third = sent(right, wrong, right)

    assert (first, third) == ("4711", "4711")
    assert isinstance(second, SendFailed)
    assert (provider.connections, len(provider.requests)) == (1, 2)  # the first one waited for its own


def test_a_token_call_shows_no_certificate_and_trusts_nobody_more(
    provider: FakeProvider, ours: Authority, theirs: Authority
) -> None:
    given = shown(ours.issue("textback"), theirs)
    auth = OAuthAuth(url=f"https://{HOST}:{provider.port}/token")

    async def run() -> None:
        client = Client(Destinations(["127.0.0.1"], resolve=_to_loopback))
        await deliver(carrier(provider, client, client_certificate=given, auth=auth), client, MESSAGE, timeout=5)

    with pytest.raises(SendFailed, match=r"no access token: .*certificate verify failed"):
        uvloop.run(run())
    assert provider.requests == []


def made_ready(ours: Authority) -> Courier:
    given = shown(ours.issue("textback"), None)
    return courier(
        Credential(name="a", provider="custom", url="https://a.example", payload="{}", client_certificate=given), None
    )


def test_the_key_touches_no_disk(ours: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))

    assert made_ready(ours).tls is not None


def test_where_files_are_on_disks_alone_the_key_is_gone_afterwards(
    ours: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    assert made_ready(ours).tls is not None
    assert list(tmp_path.iterdir()) == []

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match="cannot be handed to the TLS library: No such file or directory"):
        made_ready(ours)


def spoilt(**given: Any) -> dict[str, Any]:
    identity = authority("Our authority").issue("textback")
    return {"certificate": identity.certificate, "key": SecretStr(identity.key), **given}


@pytest.mark.parametrize(
    ("url", "given", "reason"),
    [
        pytest.param("https://a.example", spoilt(certificate="x"), "must both be PEM", id="no certificate"),
        pytest.param("https://a.example", spoilt(key=SecretStr("x")), "must both be PEM", id="no key"),
        pytest.param(
            "https://a.example",
            spoilt(key=SecretStr(authority("b").issue("b").key)),
            "belong together",
            id="another's key",
        ),
        pytest.param(
            "https://a.example",
            authority("c").issue("c", password=b"secret")._asdict(),
            "have no password",
            id="key with a password",
        ),
        pytest.param("https://a.example", spoilt(authority="x"), "authority is not a", id="no authority"),
        pytest.param("https://a.example", spoilt(authority="für"), "beyond ASCII", id="authority with a remark"),
        pytest.param("https://a.example", spoilt(certificate="\ud800"), "must both be PEM", id="half a character"),
        pytest.param("http://a.example", spoilt(), "must begin with https", id="plain http"),
    ],
)
def test_a_certificate_that_could_never_be_shown_is_refused(url: str, given: dict[str, Any], reason: str) -> None:
    one = Credential(
        name="acme", provider="custom", url=url, payload="{}", client_certificate=ClientCertificate(**given)
    )

    with pytest.raises(BadInput) as caught:
        courier(one, None)

    assert reason in str(caught.value)
    assert "PRIVATE" not in str(caught.value)
