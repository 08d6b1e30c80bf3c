"""The vendor's Web SDK, as npm has it, in a real browser, with our server behind the name that it is configured with."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.chromium import Browser, browsing, missing, tls_before
from tests.lookups import ALICE, LOYAL, ORGANISATION, PRINTED, RECENT, SHOP, STREAM, furnish, is_in, payload, server
from tests.serving import ADMIN, Served, serving_copy

WEB = Path(__file__).parent / "web"
SDK = WEB / "node_modules" / "@adobe" / "alloy" / "dist" / "alloy.min.js"
#: of another site than the page, and of the page's own
ABROAD, AT_HOME = "edge.example.net", "edge.example.com"


class Shop(http.server.BaseHTTPRequestHandler):
    """The company's web site: a page, and the SDK."""

    def do_GET(self) -> None:
        file, kind = (SDK, "text/javascript") if self.path == "/alloy.js" else (WEB / "page.html", "text/html")
        body = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def shop() -> Iterator[int]:
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield httpd.server_address[1]
    finally:
        httpd.shutdown()
        thread.join(20)
        httpd.server_close()


@pytest.fixture(scope="module")
def world(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, int, int]]:
    """textback, and the ports of it and of the shop that speak TLS."""
    if not SDK.exists():
        missing("the Web SDK is not installed: npm ci --prefix tests/web")
    with ExitStack() as stack:
        served = stack.enter_context(serving_copy(sqlite_template, tmp_path_factory))
        furnish(served)
        is_in(served, ALICE, "loyal", "recent")
        port = int(served.url.rpartition(":")[2])
        edge = stack.enter_context(tls_before(port, ABROAD))
        page = stack.enter_context(tls_before(stack.enter_context(shop()), "www.example.com"))
        yield served, edge, page


@pytest.fixture
def browser(world: tuple[Served, int, int]) -> Iterator[Browser]:
    _, edge, page = world
    with browsing({ABROAD: edge, AT_HOME: edge, "www.example.com": page, "evil.example.org": page}) as running:
        yield running


def visit(browser: Browser, edge: str = ABROAD, site: str = SHOP) -> Any:
    """What the page of the document finds."""
    browser.visit(f"{site}/?{urlencode({'datastream': STREAM, 'org': ORGANISATION, 'edge': edge})}")
    return browser.value("told")


@pytest.mark.parametrize("edge", [ABROAD, AT_HOME])
def test_the_documents_page_finds_the_audiences_of_who_is_known_and_none_of_who_is_not(
    world: tuple[Served, int, int], browser: Browser, edge: str, tmp_path: Path
) -> None:
    served, _, _ = world
    stranger = visit(browser, edge)
    assert (stranger["personalization"], stranger["adServer"]) == ([], [])
    assert len(stranger["ecid"]) == 38

    # she logs in, so the company's own server knows who she is
    linked = server(served, {"ECID": [{"id": stranger["ecid"]}], "Phone": [{"id": ALICE}]}, ADMIN)
    assert len(payload(linked)) == 2
    known = visit(browser, edge)

    assert known["ecid"] == stranger["ecid"]
    assert known["personalization"] == [LOYAL, RECENT]
    assert known["adServer"] == [LOYAL]
    assert [each for each in known["destinations"] if each["alias"] == "personalizationAlias"] == PRINTED
    browser.screenshot(tmp_path / "page.png")


def test_a_page_of_another_origin_learns_nothing(browser: Browser) -> None:
    found = visit(browser, site="https://evil.example.org")

    assert "error" in found
    assert "destinations" not in found
