"""The provider's door over a real socket: the table of answers, the limits, the public URL, and what reaches a log."""

import base64
import hmac
import http.client
import io
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import sqlalchemy as sa
from twilio.request_validator import RequestValidator

from app.accept.access_log import AccessLog
from app.accept.origin import Origin
from app.record import registry, tables
from app.serve import apply, apply_file
from app.serve.takeover import take_over
from app.settings import Settings
from tests.conftest import fresh_database
from tests.heard import BOB, COMPANY
from tests.serving import Served, serving

PUBLIC = "https://hooks.example.com"
SECRET = "twilio_test_token"
TWILIO = {"name": "twilio", "provider": "twilio", "type": "both", "secret": SECRET, "sender": COMPANY}
WEBHOOKS: list[dict[str, Any]] = [
    TWILIO,
    {**TWILIO, "name": "rotating", "secret": [SECRET, "the next one"]},
    {"name": "infobip", "provider": "infobip", "type": "both", "scheme": {"type": "token"}},
    {"name": "sinch-without-secret", "provider": "sinch"},
]


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("door")
    with (
        fresh_database("sqlite", request, folder) as url,
        serving(url, public_url=PUBLIC, body_limit=2048, trusted_proxies=["10.0.0.0/8"]) as server,
    ):
        register(server, WEBHOOKS)
        yield server


def register(served: Served, webhooks: list[dict[str, Any]]) -> None:
    wanted = apply_file.parse({"webhooks": webhooks})
    parts = served.parts
    served.write(lambda conn: apply.apply(conn, parts.vault, parts.catalogue, wanted, datetime.now(UTC)))
    served.run(take_over(parts))


def path(served: Served, name: str = "twilio") -> str:
    parts = served.parts
    found = parts.database.read_now(lambda conn: registry.load(conn, parts.vault))
    return next(f"/in/{entry.token}" for entry in found.webhooks if entry.webhook.name == name)


def signature(url: str, form: Mapping[str, str], secret: str = SECRET) -> str:
    signed = url + "".join(name + form[name] for name in sorted(form))
    return base64.b64encode(hmac.digest(secret.encode(), signed.encode(), "sha1")).decode()


def stop(number: int, **more: str) -> dict[str, str]:
    sid = f"SM{number:032}"
    return {"MessageSid": sid, "From": BOB, "To": COMPANY, "Body": "STOP", "SmsStatus": "received", **more}


def post(served: Served, target: str, body: bytes, headers: Mapping[str, str], method: str = "POST") -> Any:
    connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=20)
    try:
        connection.request(method, target, body, dict(headers))
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def text(served: Served, form: Mapping[str, str], *, webhook: str = "twilio", secret: str = SECRET) -> Any:
    """A form signed as Twilio signs it."""
    target = path(served, webhook)
    headers = {
        "content-type": "application/x-www-form-urlencoded; charset=UTF-8",
        "x-twilio-signature": signature(PUBLIC + target, form, secret),
    }
    return post(served, target, urlencode(form).encode(), headers)


def stored(served: Served, table: sa.Table) -> int:
    return served.parts.database.read_now(
        lambda conn: conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    )


def test_a_stop_is_answered_with_an_empty_twiml_because_plain_text_would_reach_the_person(served: Served) -> None:
    status, headers, body = text(served, stop(1))

    assert (status, headers["content-type"]) == (200, "text/xml")
    assert body == b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


def test_a_request_signed_by_twilios_own_library_is_taken(served: Served) -> None:
    target, form = path(served), stop(2, Body="Arrêt ✋", ToCity="")
    signed = RequestValidator(SECRET).compute_signature(PUBLIC + target, form)

    status, _, _ = post(
        served,
        target,
        urlencode(form).encode(),
        {"content-type": "application/x-www-form-urlencoded", "x-twilio-signature": signed},
    )

    assert status == 200


def test_a_receipt_is_answered_without_content(served: Served) -> None:
    status, _, body = text(served, {**stop(9), "MessageStatus": "delivered", "To": BOB, "From": COMPANY})

    assert (status, body) == (204, b"")


def test_an_unknown_token_is_not_found(served: Served) -> None:
    before = stored(served, tables.raw_requests)

    assert post(served, "/in/not-a-token", b"Body=STOP", {})[0] == 404
    assert stored(served, tables.raw_requests) == before


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "HEAD"])
def test_other_methods_are_told_the_right_ones(served: Served, method: str) -> None:
    status, headers, _ = post(served, path(served), b"", {}, method)

    assert status == 405
    assert {"GET", "POST", "PUT", "OPTIONS"} <= {part.strip() for part in headers["allow"].split(",")}


def test_options_is_answered_without_a_proof(served: Served) -> None:
    status, headers, body = post(served, path(served), b"", {}, "OPTIONS")

    assert (status, headers["allow"], body) == (204, "GET, POST, PUT, OPTIONS", b"")


def test_a_wrong_signature_is_refused_empty_and_leaves_only_a_bounded_quarantine(served: Served) -> None:
    tracks = (tables.raw_requests, tables.seen, tables.inbound_messages)
    before = [stored(served, table) for table in tracks]

    for number in range(20):
        status, _, body = text(served, stop(100 + number), secret="somebody else's")
        assert (status, body) == (401, b"")

    assert [stored(served, table) for table in tracks] == before


def test_both_secrets_are_good_while_one_is_rotated(served: Served) -> None:
    answers = [
        text(served, stop(200 + n), webhook="rotating", secret=s)[0] for n, s in enumerate((SECRET, "the next one"))
    ]

    assert answers == [200, 200]


def test_a_webhook_without_its_secret_is_not_ready(served: Served) -> None:
    status, headers, body = post(served, path(served, "sinch-without-secret"), b"{}", {})

    assert (status, headers["retry-after"], body) == (503, "5", b"")


def test_a_body_over_the_limit_is_refused_by_its_length_and_by_its_bytes(served: Served) -> None:
    target, big = path(served), b"x" * 5000

    declared = post(served, target, big, {})[0]
    chunked = post(served, target, iter([big[:2500], big[2500:]]), {})[0]  # type: ignore[arg-type]

    assert (declared, chunked) == (413, 413)


def test_too_many_headers_are_refused(served: Served) -> None:
    headers = {f"x-{number}": "y" for number in range(120)}

    assert post(served, path(served), b"", headers)[0] == 431


def test_what_is_not_understood_is_kept_and_answered_as_taken(served: Served) -> None:
    """After authentication never a 4xx: most providers would not come again."""
    status, _, _ = post(served, path(served, "infobip"), b'{"unheard":"of"}', {"content-type": "application/json"})
    undecoded = served.parts.database.read_now(
        lambda conn: conn.execute(
            sa.select(tables.raw_requests.c.body, tables.raw_requests.c.problem).where(
                tables.raw_requests.c.reading == "undecoded", tables.raw_requests.c.webhook == "infobip"
            )
        ).all()
    )

    assert status == 200
    assert [row.body for row in undecoded] == [b'{"unheard":"of"}']
    assert undecoded[0].problem


def test_a_caller_that_hangs_up_in_the_middle_of_the_body_leaves_nothing(served: Served) -> None:
    before = stored(served, tables.raw_requests)
    address = urlsplit(served.url)

    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(f"POST {path(served)} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nBody=ST".encode())

    assert text(served, stop(300))[0] == 200
    assert stored(served, tables.raw_requests) == before + 1


def test_a_commit_slower_than_the_patience_is_not_acknowledged_and_the_repeat_is_seen(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The database is held by somebody else: 503 and come again; what was written meanwhile is written once."""
    with (
        fresh_database("sqlite", request, tmp_path) as url,
        serving(url, public_url=PUBLIC, commit_timeout=0.3) as server,
    ):
        register(server, [TWILIO])
        with server.parts.database.readers.connect() as holder:
            holder.exec_driver_sql("COMMIT")
            holder.exec_driver_sql("BEGIN IMMEDIATE")
            status, headers, body = text(server, stop(1))
            holder.exec_driver_sql("ROLLBACK")
            holder.exec_driver_sql("BEGIN")

        assert (status, headers["retry-after"], body) == (503, "5", b"")
        assert text(server, stop(1))[0] == 200
        assert stored(server, tables.inbound_messages) == 1


def test_a_body_that_trickles_in_is_hung_up_on(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with (
        fresh_database("sqlite", request, tmp_path) as url,
        serving(url, public_url=PUBLIC, request_timeout=0.2) as server,
    ):
        register(server, [TWILIO])
        address = urlsplit(server.url)

        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            connection.sendall(f"POST {path(server)} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nBody".encode())
            answer = connection.recv(1000)

        assert answer.startswith(b"HTTP/1.1 408 ")
        assert text(server, stop(1))[0] == 200


def test_a_request_that_asks_for_an_upgrade_is_never_acknowledged_without_its_body(served: Served) -> None:
    """The server's parser drops the body of such a request."""
    headers = {"content-type": "application/json", "connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c"}

    status, answered, _ = post(served, path(served, "infobip"), b'{"results":[]}', headers)

    assert (status, answered["retry-after"]) == (503, "5")


def test_a_secret_of_the_operators_own_scheme_reaches_neither_raw_requests_nor_quarantine(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    scheme = {"type": "secret", "place": "query", "name": "key"}
    mine = {
        "provider": "custom",
        "payload": '{"f":"{{profileNumber}}","t":"{{inboundMessage}}"}',
        "secret": "topsecret",
    }
    with (
        fresh_database("sqlite", request, tmp_path) as url,
        serving(url, public_url=PUBLIC) as server,
    ):
        register(server, [
            {"name": "query", "scheme": scheme, **mine},
            {"name": "header", "scheme": {**scheme, "place": "header", "name": "X-Api-Key"}, **mine},
        ])  # fmt: skip
        taken = post(server, f"{path(server, 'query')}?k%65y=topsecret", b'{"f":"+14155550101","t":"STOP"}', {})
        refused = post(server, path(server, "header"), b"{}", {"x-api-key": "what the provider really sends"})

        def kept() -> list[str]:
            return server.parts.database.read_now(
                lambda conn: [*conn.execute(sa.select(tables.quarantine.c.headers)).scalars()]
            )

        while not (quarantined := kept()):
            time.sleep(0.05)
        targets = server.parts.database.read_now(
            lambda conn: [*conn.execute(sa.select(tables.raw_requests.c.target)).scalars()]
        )

    assert (taken[0], refused[0]) == (200, 401)
    assert targets == ["/in/…?"]
    assert "really sends" not in quarantined[0]


# --- the public URL -----------------------------------------------------------------------------------------------


def scope(client: str, target: str = "/in/T?a=1") -> dict[str, Any]:
    raw, _, query = target.partition("?")
    return {"scheme": "http", "raw_path": raw.encode(), "query_string": query.encode(), "client": (client, 5)}


PROXIED = {
    "host": "textback:8080", "x-forwarded-proto": "https", "x-forwarded-host": "hooks.example.com",
    "x-forwarded-for": "203.0.113.9, 10.0.0.7", "x-forwarded-prefix": "/tb",
}  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "peer", "url", "client"),
    [
        # the setting counts before everything
        ({"public_url": PUBLIC}, "198.51.100.1", f"{PUBLIC}/in/T?a=1", "198.51.100.1"),
        # a trusted proxy is believed
        ({"trusted_proxies": ["10.0.0.0/8"]}, "10.0.0.7", "https://hooks.example.com/tb/in/T?a=1", "203.0.113.9"),
        # nobody else is
        ({"trusted_proxies": ["10.0.0.0/8"]}, "198.51.100.1", "http://textback:8080/in/T?a=1", "198.51.100.1"),
        ({}, "10.0.0.7", "http://textback:8080/in/T?a=1", "10.0.0.7"),
    ],
)
def test_the_public_url_is_what_the_provider_called(settings: dict[str, Any], peer: str, url: str, client: str) -> None:
    origin = Origin(Settings(**settings))

    assert origin.url(scope(peer), PROXIED, "a=1") == url
    assert origin.client(scope(peer), PROXIED) == client


# --- logs ---------------------------------------------------------------------------------------------------------


def test_no_token_secret_query_or_full_number_reaches_a_log(
    request: pytest.FixtureRequest, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        fresh_database("sqlite", request, tmp_path) as url,
        serving(url, public_url=PUBLIC, access_log=True, log_level="debug") as server,
    ):
        register(server, [{**TWILIO, "packs": ["us"]}])
        target = path(server)
        text(server, stop(1))
        text(server, stop(2, Body="😀 hello"))
        text(server, stop(3), secret="wrong")
        post(server, f"{target}?apikey=hidden-in-the-query", b"Body=STOP", {"authorization": "Basic c2VjcmV0"})
        post(server, "/in/some-unknown-token", b"", {})
        server.ask("GET", f"/v1/consent/{BOB}")

    written = "".join(capfd.readouterr())
    assert "twilio 200 recorded" in written
    assert "twilio 401 refused" in written
    for secret in (target.rpartition("/")[2], SECRET, BOB, BOB[1:], COMPANY[1:], "hidden-in-the-query", "c2VjcmV0",
                   "some-unknown-token"):  # fmt: skip
        assert secret not in written


def test_the_access_log_is_written_in_bunches() -> None:
    import asyncio

    stream = io.StringIO()

    async def story() -> str:
        log = AccessLog(enabled=True, stream=stream)
        for _ in range(3):
            log.note(datetime(2026, 11, 22, tzinfo=UTC), "POST", "acme", status=200, what="recorded", seconds=0.0031)
        held = stream.getvalue()
        log.flush()
        return held

    assert asyncio.run(story()) == ""
    assert stream.getvalue() == "2026-11-22T00:00:00Z POST acme 200 recorded 3.1ms\n" * 3
    assert sys.stderr is not stream
