"""What the provider's door keeps of a request: nothing that a reader of the database could use against us."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import sqlalchemy as sa

from app.record import tables
from app.scheme import SecretScheme
from tests.conftest import fresh_database
from tests.serving import Served, serving
from tests.test_door import path, post, register

MINE = {"provider": "infobip", "type": "both"}
WEBHOOKS: list[dict[str, Any]] = [
    {"name": "open", **MINE, "scheme": {"type": "token"}},
    {"name": "mistaken", **MINE, "secret": "ours", "scheme": {"type": "hmac", "header": "x-signature"}},
    {"name": "rbm", "provider": "google-rbm", "type": "both", "secret": "mistyped"},
    {"name": "meta", "provider": "whatsapp", "type": "both", "secret": "ours", "verify_token": "mistyped"},
]
#: headers in which proxies repeat the URL that was called
REPEATED = ["x-original-url", "x-original-uri", "x-forwarded-uri", "x-rewrite-url", "x-envoy-original-path", "referer"]


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with (
        fresh_database("sqlite", request, tmp_path_factory.mktemp("secrets")) as url,
        serving(url, public_url="https://hooks.example.com") as server,
    ):
        file = server.parts.providers["infobip"]
        server.parts.providers["infobip"] = file.model_copy(update={"signature": SecretScheme(name="X-Proof")})  # type: ignore[index]
        register(server, WEBHOOKS)
        yield server


def kept(served: Served, table: sa.Table, webhook: str) -> list[tuple[dict[str, str], bytes]]:
    """Headers and body of each row, once there is one: refusals are written a moment later."""

    def read(conn: sa.Connection) -> list[tuple[dict[str, str], bytes]]:
        rows = conn.execute(sa.select(table.c.headers, table.c.body).where(table.c.webhook == webhook))
        return [(json.loads(headers), body) for headers, body in rows]

    while not (found := served.parts.database.read_now(read)):
        time.sleep(0.05)
    return found


def added(headers: Mapping[str, str]) -> dict[str, str]:
    """Without those of the client."""
    return {n: v for n, v in headers.items() if n not in ("host", "accept-encoding", "content-length")}


def test_a_url_that_a_proxy_repeats_is_not_kept(served: Served) -> None:
    target = path(served, "open")
    headers = dict.fromkeys([*REPEATED, "x-some-proxy"], f"https://hooks.example.com{target}?code=s")

    status = post(served, target, b'{"unheard":"of"}', {**headers, "X-Harmless": "kept", "User-Agent": "them"})[0]

    found = kept(served, tables.raw_requests, "open")
    assert status == 200
    assert [added(headers) for headers, _ in found] == [{"x-harmless": "kept", "user-agent": "them"}]


def test_a_refused_request_shows_no_secret_of_the_provider_where_our_setting_is_wrong(served: Served) -> None:
    target = path(served, "mistaken")
    real = dict.fromkeys(
        ["Authorization", "X-Proof", "X-Api-Key", "ApiKey", "X-Textback-Code", "X-Acme-Token", "X-Secret-2",
         "X-Password", "X-Original-Url"],
        "real",
    )  # fmt: skip

    status = post(served, target, b"{}", {**real, "X-Some-Proxy": target, "X-Signature": "0", "X-Encoder": "kept"})[0]

    found = kept(served, tables.quarantine, "mistaken")
    assert status == 401
    assert [(added(headers), body) for headers, body in found] == [({"x-signature": "0", "x-encoder": "kept"}, b"{}")]


def test_the_word_of_a_refused_handshake_is_not_kept(served: Served) -> None:
    """It may be the provider's real one, and ours mistyped."""
    body = b'{"clientToken":"real","secret":"s1"}'

    statuses = [
        post(served, path(served, "rbm"), body, {"content-type": "application/json"})[0],
        post(
            served, path(served, "meta") + "?hub.mode=subscribe&hub.challenge=1&hub.verify_token=real", b"", {}, "GET"
        )[0],
    ]

    refused = [kept(served, tables.quarantine, name) for name in ("rbm", "meta")]
    assert statuses == [401, 401]
    assert [body for rows in refused for _, body in rows] == [b"", b""]
    assert "real" not in str(refused)
