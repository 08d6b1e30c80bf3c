"""Behind the real nginx and the real Caddy, with the files of config/: what a provider sends through them still counts."""

import asyncio
import hashlib
import json
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from twilio.request_validator import RequestValidator

from app.record.database import Database
from app.record.tables import inbound_messages, raw_requests
from app.serve.documents import words
from tests import proxies
from tests.lookups import SHOP, STREAM, datastream, register
from tests.postgres import free_port
from tests.proxies import NAME, OUTSIDE, Front
from tests.registering import registered
from tests.serving import ADMIN, SECRET_KEY, Answer, Served, serving
from tests.steady import Load
from tests.test_story import is_ready, running, wait_for

AUTH_TOKEN = "the-auth-token-of-twilio"
#: seconds that a busy machine may take for anything
PATIENCE = 90.0
URL = f"https://{NAME}"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
WEBHOOK = f'[[webhooks]]\nname = "acme"\nprovider = "twilio"\nsecret = "{AUTH_TOKEN}"\n'


def sid(message: str) -> str:
    """As Twilio writes ids."""
    return f"SM{hashlib.md5(message.encode(), usedforsecurity=False).hexdigest()}"


def parameters(message: str, **more: str) -> dict[str, str]:
    usual = {"MessageSid": sid(message), "AccountSid": "AC1", "From": "+14155550100", "To": "+14155550199"}
    return usual | {"Body": "STOP", "NumMedia": "0", "SmsStatus": "received", "ApiVersion": "2010-04-01"} | more


def signature(url: str, form: dict[str, str]) -> dict[str, str]:
    return {"X-Twilio-Signature": RequestValidator(AUTH_TOKEN).compute_signature(url, form)}


class Behind(NamedTuple):
    """textback, what stands before it, and the path of its webhook."""

    textback: Served
    front: Front
    path: str

    def texts(
        self, message: str, *, path: str | None = None, called: str = URL, headers: Mapping[str, str] = {}, **more: str
    ) -> Answer:
        """Twilio posts a message to a URL that it has `called`, and signed."""
        path, form = path or self.path, parameters(message, **more)
        sent = {**FORM, **signature(called + path, form), **headers}
        return self.front.ask("POST", path, urlencode(form).encode(), sent)

    @property
    def heard(self) -> list[tuple[str, str]]:
        """Who sent which message, as it was stored."""
        raw = raw_requests.c
        joined = inbound_messages.join(raw_requests, raw.id == inbound_messages.c.raw_id)
        query = sa.select(raw.client, inbound_messages.c.provider_id).select_from(joined)
        found = self.textback.parts.database.read_now(lambda conn: conn.execute(query).all())
        return sorted((row.client, row.provider_id) for row in found)


def standing(
    stack: ExitStack,
    proxy: str,
    template: Path,
    folder: Path,
    *,
    trusted: str = "127.0.0.1",
    public_url: str | None = None,
) -> Behind:
    url = f"sqlite:///{shutil.copy(template, folder / 'textback.db')}"
    path = registered(url, WEBHOOK, SECRET_KEY)
    textback = stack.enter_context(serving(url, trusted_proxies=trusted, public_url=public_url))
    port = int(textback.url.rpartition(":")[2])
    start = proxies.PROXIES[proxy](folder / proxy, (port, port))
    return Behind(textback, stack.enter_context(start), path)


@pytest.fixture(scope="module", params=sorted(proxies.PROXIES))
def behind(
    request: pytest.FixtureRequest, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Behind]:
    with ExitStack() as stack:
        yield standing(stack, request.param, sqlite_template, tmp_path_factory.mktemp("behind"))


def test_a_signature_verifies_behind_tls_and_the_callers_address_is_the_real_one(behind: Behind) -> None:
    answer = behind.texts("plain")
    queried = behind.texts("query", path=f"{behind.path}?a=b%20c&d=%C3%A9&e=;&a=2")

    assert (answer.status, queried.status) == (200, 200)
    assert {(OUTSIDE, sid("plain")), (OUTSIDE, sid("query"))} <= set(behind.heard)


def test_what_a_caller_forwards_about_himself_is_not_believed(behind: Behind) -> None:
    forged = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "other.example.com",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Prefix": "/elsewhere",
        "Forwarded": "for=203.0.113.9;host=other.example.com",
    }

    assert behind.texts("forged", headers=forged).status == 200
    assert (OUTSIDE, sid("forged")) in behind.heard
    elsewhere = behind.texts("elsewhere", called="http://other.example.com/elsewhere", headers=forged)
    assert elsewhere.status == 401


def test_a_forged_signature_is_refused(behind: Behind) -> None:
    before = behind.heard

    assert behind.texts("wrong", headers={"X-Twilio-Signature": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="}).status == 401
    assert behind.texts("unsigned", called="https://other.example.com").status == 401
    assert behind.heard == before


def test_an_upgrade_does_not_cost_a_request_its_body(behind: Behind) -> None:
    asks = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}

    assert behind.texts("upgrade", headers=asks).status == 200
    assert (OUTSIDE, sid("upgrade")) in behind.heard


def test_a_body_over_the_limit_is_too_large_and_one_within_it_comes_through(behind: Behind) -> None:
    limit = behind.textback.parts.settings.body_limit
    room = limit - len(urlencode(parameters("long", Body="")))

    assert behind.texts("long", Body="x" * room).status == 200
    assert behind.texts("longer", Body="x" * (room + 1)).status == 413
    assert behind.front.ask("POST", behind.path, b"x" * (3 * limit), FORM).status == 413


@pytest.mark.parametrize(
    "path",
    [
        "/v1/webhooks", "/metrics", "/health/live", "/openapi.json", "/admin/", "/", "/in", "/serviceInfo/../v1/webhooks",
        "/in/../v1/webhooks", "/in/%2e%2e/v1/webhooks", "/in/..%2fv1%2fwebhooks", "//v1/webhooks", "/v1/webhooks?/in/",
        "/v1/webhooks#/in/", "/v1/../in/x", "/metrics/../in/x", "/V1/webhooks", "/webhooks", "/webhooks/other",
        "/webhooks/../v1/webhooks", "/webhooks/serviceInfo/../../v1/webhooks",
    ],
)  # fmt: skip
def test_nothing_but_what_providers_call_is_let_out(behind: Behind, path: str) -> None:
    token = {"Authorization": f"Bearer {ADMIN}"}
    assert behind.textback.ask("GET", "/v1/webhooks").status == 200

    answer = behind.front.ask("GET", path, headers=token)

    assert answer.status in (400, 404)
    assert not answer.body.startswith(b"{")  # the proxy's own; textback tells problems in JSON


def test_the_document_systems_paths_come_through_with_its_key_at_either_base(behind: Behind) -> None:
    asked = "name=other&documentId=1&documentVersionId=1"
    key = {"apiKey": ADMIN, "username": "becky@example.com"}

    listed = [behind.front.ask("GET", f"{base}/serviceInfo").json["customActions"] for base in ("", "/webhooks")]
    paths = ("/customAction", "/webhooks/customAction", "/webhooks/customName")
    told = [behind.front.ask("GET", f"{path}?{asked}", headers=key) for path in paths]
    refused = behind.front.ask("GET", f"/customAction?{asked}&apiKey={ADMIN}")
    head = behind.front.ask("HEAD", f"/customAction?{asked}", headers=key)

    assert listed == [[], []]
    assert [(each.status, each.json["error"]) for each in told] == [(200, words.UNKNOWN)] * 3
    assert (refused.status, refused.json["error"], head.status) == (403, words.FORBIDDEN, 405)


def test_a_page_asks_through_the_proxy_and_may_read_the_answer(behind: Behind) -> None:
    register(behind.textback, "datastreams", datastream())
    path, page = f"/ee/v1/interact?configId={STREAM}&requestId=r-1", {"Origin": SHOP, "Content-Type": "text/plain"}
    before = page | {"Access-Control-Request-Method": "POST"}

    answer = behind.front.ask("POST", path, json.dumps({"events": []}).encode(), page)
    preflight = behind.front.ask("OPTIONS", path, headers=before)
    stranger = behind.front.ask("POST", path, b"{}", page | {"Origin": "https://evil.example.org"})
    region = behind.front.ask("POST", path.replace("/v1", "/va6/v1"), b"{}", page)

    assert (answer.status, preflight.status, stranger.status, region.status) == (200, 204, 403, 200)
    for each in (answer, preflight, region):
        assert each.headers["access-control-allow-origin"] == SHOP
        assert each.headers["access-control-allow-credentials"] == "true"
        assert each.headers["vary"] == "Origin"
    assert "access-control-allow-origin" not in stranger.headers
    assert behind.front.ask("POST", path, b"x" * 70_000, page).headers["content-type"] == "application/problem+json"


def test_no_log_of_the_proxy_tells_a_webhooks_path(behind: Behind) -> None:
    behind.texts("logged")
    behind.texts("logged", headers={"X-Twilio-Signature": "no"})
    behind.front.ask("POST", behind.path, b"x" * 2_000_000, FORM)
    behind.front.ask("GET", f"/V1{behind.path}")

    assert wait_for(lambda: any(OUTSIDE in text for text in behind.front.logs.values()))
    told = {name for name, text in behind.front.logs.items() if behind.path.removeprefix("/in/") in text}
    assert told == set()


@pytest.mark.parametrize("proxy", sorted(proxies.PROXIES))
def test_where_no_node_runs_the_provider_is_told_to_come_again_and_no_log_tells_the_path(
    proxy: str, tmp_path: Path
) -> None:
    token = "a-token-that-nobody-should-read"
    start = proxies.PROXIES[proxy](tmp_path / proxy, (free_port(), free_port()))
    with start as front:
        assert front.ask("POST", f"/in/{token}", b"a=b", FORM).status in (502, 503)
        document = front.ask("GET", f"/customAction?name={token}")
        assert (document.status, b"<" in document.body) in ((500, False), (503, False))
        assert wait_for(lambda: any(OUTSIDE in text for text in front.logs.values()))

    assert {name for name, text in front.logs.items() if token in text} == set()


@pytest.mark.parametrize("proxy", sorted(proxies.PROXIES))
def test_a_public_url_counts_before_what_the_proxy_forwards(proxy: str, sqlite_template: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        behind = standing(stack, proxy, sqlite_template, tmp_path, trusted="", public_url=URL)

        assert behind.texts("public", headers={"Host": f"{NAME}:8443"}).status == 200
        assert behind.texts("other", called=f"{URL}:8443", headers={"Host": f"{NAME}:8443"}).status == 401
        assert [message for _, message in behind.heard] == [sid("public")]


# --- a rolling restart --------------------------------------------------------------------------------------------


class Node:
    """A `textback serve` of two, that can be stopped and started anew."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._settings = {
            "TEXTBACK_DATABASE_URL": database_url,
            "TEXTBACK_SECRET_KEY": SECRET_KEY,
            "TEXTBACK_PORT": str(self.port),
            "TEXTBACK_TRUSTED_PROXIES": "127.0.0.1",
            "TEXTBACK_SHUTDOWN_DELAY": "3",  # as the Caddyfile says
        }
        self._running = ExitStack()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._folder.mkdir(exist_ok=True)
        self._process = self._running.enter_context(running(self._folder, "serve", **self._settings))

    def wait(self) -> None:
        wait_for(lambda: is_ready(self.port), PATIENCE)

    def stop(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(PATIENCE) == 0

    def kill(self) -> None:
        self._running.close()


def steady(front: Front, path: str, name: str) -> Load:
    """Twilio sends, without a pause."""

    def make(message: str) -> bytes:
        form = parameters(f"{name}-{message}", Body="Hello")
        body = urlencode(form).encode()
        told = {"Host": NAME, "Content-Length": str(len(body))} | FORM | signature(URL + path, form)
        head = "".join(f"{header}: {value}\r\n" for header, value in told.items())
        return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body

    return Load(front.port, make, connections=8, pause=0.03, tls=front.tls, server_name=NAME, source=OUTSIDE)


def stored(database: Database) -> list[str]:
    return list(database.read_now(lambda conn: conn.execute(sa.select(inbound_messages.c.provider_id)).scalars()))


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_a_rolling_restart_under_load_fails_no_request_and_records_each_once(
    database: Database, tmp_path: Path
) -> None:
    """Both proxies at once before the same two nodes; in the end a node is killed, which nginx bears as well."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    path, nodes = registered(url, WEBHOOK, SECRET_KEY), (Node(tmp_path / "one", url), Node(tmp_path / "two", url))
    with ExitStack() as stack:
        for node in nodes:
            stack.callback(node.kill)
            node.start()
        for node in nodes:
            node.wait()
        ports = (nodes[0].port, nodes[1].port)
        loads = {
            name: steady(stack.enter_context(start(tmp_path / name, ports)), path, name)
            for name, start in proxies.PROXIES.items()
        }

        async def restart() -> None:
            for node in nodes:
                await asyncio.gather(*[load.more(50) for load in loads.values()])
                await asyncio.to_thread(node.stop)
                node.start()
                await asyncio.to_thread(node.wait)
            await asyncio.gather(*[load.more(50) for load in loads.values()])

        asyncio.run(loads["nginx"].during(loads["caddy"].during(restart())))
        asyncio.run(loads["nginx"].during(kill(nodes[0], loads["nginx"])))

    for name, load in loads.items():
        print(f"{name}: {load.sent} sent, {len(load.failures)} failed")
        assert load.failures == []
        assert load.sent == len(load.acknowledged)
    acknowledged = [sid(f"{name}-{message}") for name, load in loads.items() for message in load.acknowledged]
    assert sorted(stored(database)) == sorted(acknowledged)


async def kill(node: Node, load: Load) -> None:
    await load.more(50)
    await asyncio.to_thread(node.kill)
    await load.more(100)
