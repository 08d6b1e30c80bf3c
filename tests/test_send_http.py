"""The HTTP client: what it keeps, what it refuses, and what it knows of a request that failed."""

import asyncio
import datetime as dt
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.errors import SendFailed
from app.send.connection import Answer, Connection
from app.send.destinations import Destinations
from app.send.fetch import fetch
from app.send.http import IDLE_SECONDS, Client
from tests import fake_provider
from tests.fake_provider import CUT, DROP, HANG, FakeProvider, Reply, answer, chunked, redirect
from tests.postgres import free_port


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        yield running


def calling(
    story: Callable[[Client], Awaitable[Any]], *, allowed: tuple[str, ...] = ("127.0.0.1",), **more: Any
) -> Any:
    async def run() -> Any:
        client = Client(Destinations(allowed), **more)
        try:
            return await story(client)
        finally:
            client.close()
            await asyncio.sleep(0)

    return uvloop.run(run())


def failure_of(provider: FakeProvider, *, timeout: float = 5, **more: Any) -> SendFailed:
    with pytest.raises(SendFailed) as caught:
        calling(lambda client: client.request("POST", provider.url, {}, b"x", timeout=timeout), **more)
    return caught.value


def test_a_request_arrives_as_it_was_given_and_its_answer_comes_back(provider: FakeProvider) -> None:
    provider.plan.append(answer(201, {"sid": "SM1"}, {"X-Limit": "7"}))

    found = calling(lambda client: client.request("POST", f"{provider.url}/a?b=c", {"X-Key": "k"}, b"To=1", timeout=5))

    assert found == Answer(201, {"x-limit": "7", "content-length": "14"}, b'{"sid": "SM1"}')
    (request,) = provider.requests
    assert (request.method, request.target, request.body) == ("POST", "/a?b=c", b"To=1")
    assert request.headers == {
        "host": f"127.0.0.1:{provider.port}",
        "user-agent": "textback/0.1.0",
        "accept": "*/*",
        "x-key": "k",
        "content-length": "4",
    }


def test_one_connection_serves_requests_that_follow_each_other(provider: FakeProvider) -> None:
    async def story(client: Client) -> list[int]:
        return [(await client.request("POST", provider.url, {}, b"x", timeout=5)).status for _ in range(20)]

    statuses = calling(story)

    assert statuses == [201] * 20
    assert provider.connections == 1


def test_requests_at_once_have_a_connection_each_and_keep_them(provider: FakeProvider) -> None:
    async def story(client: Client) -> None:
        for _ in range(3):
            await asyncio.gather(*(client.request("POST", provider.url, {}, b"x", timeout=5) for _ in range(8)))

    calling(story)

    assert len(provider.requests) == 24
    assert provider.connections == 8


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        pytest.param(chunked(b'{"sid":', b'"SM1"}'), b'{"sid":"SM1"}', id="chunked"),
        pytest.param(Reply(b"HTTP/1.1 201 X\r\n\r\nuntil the end", keep=False), b"until the end", id="ends by closing"),
        pytest.param(Reply(b"HTTP/1.0 201 X\r\nContent-Length: 2\r\n\r\nhi", keep=False), b"hi", id="HTTP/1.0"),
        pytest.param(
            Reply(b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 201 X\r\nContent-Length: 2\r\n\r\nhi"),
            b"hi",
            id="announced by a 103",
        ),
        pytest.param(Reply(b"HTTP/1.1 201 X\r\nContent-Length: 0\r\n\r\n"), b"", id="empty"),
    ],
)
def test_every_way_to_end_an_answer_is_understood(provider: FakeProvider, reply: Reply, body: bytes) -> None:
    provider.plan.append(reply)

    async def story(client: Client) -> list[Answer]:
        return [await client.request("POST", provider.url, {}, b"x", timeout=5) for _ in range(2)]

    first, second = calling(story)

    assert (first.status, first.body) == (201, body)
    assert second.body == b'{"sid": "SM2"}'


def test_a_204_has_no_body_and_keeps_its_connection(provider: FakeProvider) -> None:
    provider.plan.append(Reply(b"HTTP/1.1 204 X\r\n\r\n"))

    async def story(client: Client) -> list[int]:
        return [(await client.request("POST", provider.url, {}, b"x", timeout=5)).status for _ in range(2)]

    assert calling(story) == [204, 201]
    assert provider.connections == 1


def test_a_redirect_is_an_answer_and_is_not_followed(provider: FakeProvider) -> None:
    provider.plan.append(redirect(f"{provider.url}/elsewhere"))

    found = calling(lambda client: client.request("POST", provider.url, {}, b"x", timeout=5))

    assert found.status == 302
    assert [request.target for request in provider.requests] == ["/"]


def test_an_answer_beyond_the_limit_is_broken_off(provider: FakeProvider) -> None:
    provider.plan.append(answer(201, b"x" * 1_100_000))

    failure = failure_of(provider)

    assert str(failure) == "127.0.0.1 did not answer: the answer is larger than 1048576 bytes"
    assert failure.departed


def test_a_call_may_have_a_limit_of_its_own_on_a_connection_that_had_another(provider: FakeProvider) -> None:
    provider.plan.extend([answer(201, b"x" * 1000), answer(201, b"x" * 1000), answer(201, b"x" * 1000)])

    async def story(client: Client) -> None:
        await client.request("POST", provider.url, {}, b"x", timeout=5)
        await client.request("POST", provider.url, {}, b"x", timeout=5, limit=2000)
        await client.request("POST", provider.url, {}, b"x", timeout=5, limit=1000)

    with pytest.raises(SendFailed, match="larger than 1000 bytes"):
        calling(story)
    assert provider.connections == 1


def test_headers_without_end_are_broken_off(provider: FakeProvider) -> None:
    provider.plan.append(Reply(b"HTTP/1.1 200 X\r\n" + b"X-A: b\r\n" * 200_000))

    assert "larger than" in str(failure_of(provider))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        pytest.param(HANG, "did not answer within 0.2 s", id="hang"),
        pytest.param(DROP, "closed before the answer was complete", id="closed without an answer"),
        pytest.param(CUT, "closed before the answer was complete", id="closed within the answer"),
        pytest.param(Reply(b"220 mail.example.com ESMTP\r\n", keep=False), "not HTTP/1.1", id="another protocol"),
        pytest.param(
            Reply(b"HTTP/1.1 200 X\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi"),
            "not HTTP/1.1",
            id="two lengths",
        ),
        pytest.param(
            Reply(b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"), "not HTTP/1.1", id="upgrade"
        ),
    ],
)
def test_a_request_without_a_whole_answer_has_departed(provider: FakeProvider, reply: Reply, reason: str) -> None:
    provider.plan.append(reply)

    failure = failure_of(provider, timeout=0.2 if reply is HANG else 5)

    assert reason in str(failure)
    assert (failure.departed, failure.permanent) == (True, False)
    assert len(provider.requests) == 1  # never repeated: the provider may have acted on it


class Dawdling(Client):
    """Looks at what it has connected to only when that has hung up."""

    async def _open(self, *where: Any) -> Connection:
        connection = await super()._open(*where)
        while connection.free:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)
        return connection


def test_a_connection_that_is_closed_before_the_first_byte_has_not_departed() -> None:
    def hang_up() -> None:
        connected, _ = listening.accept()
        connected.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        closing = threading.Thread(target=hang_up, name="hangs up")
        closing.start()

        async def story() -> None:
            await Dawdling(Destinations(["127.0.0.1"])).request("POST", f"http://127.0.0.1:{port}", {}, b"x", timeout=5)

        with pytest.raises(SendFailed, match="could not be reached: it closes connections at once") as caught:
            uvloop.run(story())
        closing.join(5)

    assert (caught.value.departed, caught.value.permanent) == (False, False)


def test_an_error_of_ours_before_the_first_byte_has_not_departed() -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["no address"]

    async def story() -> None:
        await Client(Destinations(resolve=resolve)).request("POST", "https://a.example", {}, timeout=5)

    with pytest.raises(SendFailed, match="an error of ours: ValueError") as caught:
        uvloop.run(story())

    assert isinstance(caught.value.__cause__, ValueError)
    assert (caught.value.departed, caught.value.permanent) == (False, False)


def test_a_refused_connection_has_not_departed() -> None:
    nobody = FakeProvider(url=f"http://127.0.0.1:{free_port()}")

    failure = failure_of(nobody)

    assert "could not be reached" in str(failure)
    assert (failure.departed, failure.permanent) == (False, False)


def test_a_server_that_takes_no_connection_in_time_has_been_sent_nothing() -> None:
    # the port of a TLS client that meets silence: connected, and the handshake never ends
    with fake_provider.running() as silent:
        silent.url = silent.url.replace("http:", "https:")

        failure = failure_of(silent, timeout=0.2)

    assert (failure.departed, silent.requests) == (False, [])


def test_a_kept_connection_that_the_provider_closed_is_not_used_again(provider: FakeProvider) -> None:
    async def story(client: Client) -> int:
        await client.request("POST", provider.url, {}, b"x", timeout=5)
        provider.hang_up()
        await asyncio.sleep(0.1)
        return (await client.request("POST", provider.url, {}, b"y", timeout=5)).status

    assert calling(story) == 201
    assert provider.connections == 2
    assert len(provider.requests) == 2


def test_a_connection_that_was_idle_for_long_is_not_trusted(provider: FakeProvider) -> None:
    async def story(client: Client) -> int:
        await client.request("POST", provider.url, {}, b"x", timeout=5)
        for kept in client._idle.values():
            kept[0].idle_since -= IDLE_SECONDS
        return (await client.request("POST", provider.url, {}, b"y", timeout=5)).status

    assert calling(story) == 201
    assert provider.connections == 2


def test_idle_connections_are_let_go(provider: FakeProvider) -> None:
    async def story(client: Client) -> int:
        await asyncio.gather(*(client.request("POST", provider.url, {}, b"x", timeout=5) for _ in range(3)))
        (kept,) = client._idle.values()
        for connection in kept[:2]:
            connection.idle_since -= IDLE_SECONDS
        client._drop_stale()
        return sum(map(len, client._idle.values()))

    assert calling(story) == 1


def test_of_several_addresses_the_first_that_takes_the_connection_is_used(provider: FakeProvider) -> None:
    async def two_addresses(_host: str, _port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    async def run() -> int:
        client = Client(Destinations(["127.0.0.0/8"], resolve=two_addresses))
        found = await client.request("POST", f"http://provider.example:{provider.port}/", {}, b"x", timeout=5)
        client.close()
        return found.status

    assert uvloop.run(run()) == 201
    assert provider.requests[0].headers["host"] == f"provider.example:{provider.port}"


def test_bytes_that_nobody_asked_for_are_not_taken_for_the_next_answer(provider: FakeProvider) -> None:
    stowaway = b'HTTP/1.1 201 X\r\nContent-Length: 15\r\n\r\n{"sid":"FORGED"}'
    provider.plan.append(Reply(answer(201, {"sid": "SM1"}).data + stowaway))

    async def story(client: Client) -> list[bytes]:
        return [(await client.request("POST", provider.url, {}, b"x", timeout=5)).body for _ in range(2)]

    assert calling(story) == [b'{"sid": "SM1"}', b'{"sid": "SM2"}']
    assert provider.connections == 2


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        pytest.param("POST", "/", {"X-A": "b\r\nX-Forged: 1"}, id="value"),
        pytest.param("POST", "/", {"X-A": "b\nX-Forged: 1"}, id="bare line feed"),
        pytest.param("POST", "/", {"X-A\r\nX-Forged": "1"}, id="name"),
        pytest.param("POST\r\nX-Forged: 1", "/", {}, id="method"),
        pytest.param("POST", "/\r\nX-Forged: 1", {}, id="URL"),
        pytest.param("POST", "/ HTTP/1.1\tX", {}, id="blank in the URL"),
        pytest.param("POST", "/", {"X-A": "b\0c"}, id="NUL"),
        pytest.param("POST", "/", {"X-A": "Zürich"}, id="beyond ASCII"),
        pytest.param("POST", "/", {"Host": "evil.example"}, id="a host of its own"),
        pytest.param("POST", "/", {"content-Length": "0"}, id="a length of its own"),
        pytest.param("POST", "/", {"Transfer-Encoding": "chunked"}, id="an encoding of its own"),
    ],
)
def test_nothing_can_break_out_of_its_header(
    provider: FakeProvider, method: str, target: str, headers: dict[str, str]
) -> None:
    with pytest.raises(SendFailed) as caught:
        calling(lambda client: client.request(method, provider.url + target, headers, b"x", timeout=5))

    assert (caught.value.permanent, caught.value.departed) == (True, False)
    assert provider.connections == 0


def test_a_forbidden_destination_is_not_even_connected_to(provider: FakeProvider) -> None:
    failure = failure_of(provider, allowed=())

    assert str(failure) == (
        "127.0.0.1 is a private address; where that is meant, add it to TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS"
    )
    assert (failure.permanent, failure.departed) == (True, False)
    assert provider.connections == 0


# --- documents ----------------------------------------------------------------------------------------------------


def test_a_document_is_fetched(provider: FakeProvider) -> None:
    provider.plan.append(answer(200, b"-----BEGIN CERTIFICATE-----"))

    found = calling(lambda client: fetch(client, f"{provider.url}/key.pem"))

    assert found == b"-----BEGIN CERTIFICATE-----"
    assert [(request.method, request.target, request.body) for request in provider.requests] == [
        ("GET", "/key.pem", b"")
    ]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        pytest.param(answer(404, b"no"), "the answer was 404", id="not there"),
        pytest.param(redirect("http://127.0.0.1/elsewhere"), "the answer was 302", id="elsewhere"),
        pytest.param(answer(200, b"x" * 70_000), "larger than 65536 bytes", id="too large"),
        pytest.param(DROP, "closed before the answer was complete", id="no answer"),
    ],
)
def test_a_document_that_cannot_be_had_is_a_failure_without_its_url(
    provider: FakeProvider, reply: Reply, reason: str
) -> None:
    provider.plan.append(reply)

    with pytest.raises(SendFailed) as caught:
        calling(lambda client: fetch(client, f"{provider.url}/confirm?Token=s3cret"))

    assert reason in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_document_at_a_private_address_is_not_fetched(provider: FakeProvider) -> None:
    with pytest.raises(SendFailed, match="is a private address"):
        calling(lambda client: fetch(client, provider.url), allowed=())
    assert provider.connections == 0


# --- TLS ----------------------------------------------------------------------------------------------------------


def _certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate for a host, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(secret + certificate.public_bytes(pem))
    return file


@pytest.fixture
def tls_provider(tmp_path: Path) -> Iterator[FakeProvider]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path, "provider.example"))
    with fake_provider.running(tls=context) as running:
        yield running


async def _to_loopback(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


def _secure_call(provider: FakeProvider, host: str, tls: ssl.SSLContext | None) -> Answer:
    async def run() -> Answer:
        client = Client(Destinations(["127.0.0.1"], resolve=_to_loopback), tls=tls)
        try:
            return await client.request("POST", f"https://{host}:{provider.port}/x", {}, b"x", timeout=5)
        finally:
            client.close()
            await asyncio.sleep(0.05)

    return uvloop.run(run())


def test_the_checked_address_is_called_and_the_certificate_held_against_the_name(
    tls_provider: FakeProvider, tmp_path: Path
) -> None:
    trusting = ssl.create_default_context(cafile=str(tmp_path / "provider.example.pem"))

    found = _secure_call(tls_provider, "provider.example", trusting)

    assert found.status == 201
    assert tls_provider.requests[0].headers["host"] == f"provider.example:{tls_provider.port}"


@pytest.mark.parametrize(
    ("host", "trusts"),
    [
        pytest.param("other.example", True, id="certificate of another host"),
        pytest.param("provider.example", False, id="unknown authority"),
    ],
)
def test_a_certificate_that_proves_nothing_is_refused(
    tls_provider: FakeProvider, tmp_path: Path, host: str, trusts: bool
) -> None:
    trusting = ssl.create_default_context(cafile=str(tmp_path / "provider.example.pem"))

    with pytest.raises(SendFailed, match="certificate verify failed") as caught:
        _secure_call(tls_provider, host, trusting if trusts else None)

    assert (caught.value.departed, tls_provider.requests) == (False, [])
