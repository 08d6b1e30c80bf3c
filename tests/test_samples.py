"""Every sample of every provider through the real door: answered as the provider wants, recorded once, and every spoilt
copy refused without a trace."""

import http.client
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from app.provider import load_providers
from app.record import registry, tables
from app.scheme import TokenScheme
from app.serve.takeover import take_over
from app.settings import CONFIG_DIR
from app.webhook import Webhook
from tests.conftest import KINDS, fresh_database
from tests.serving import Served, serving
from tests.test_decode import SAMPLES, sample_names

PROVIDERS = load_providers(CONFIG_DIR)
#: what a refused request must leave as it was
TRACES = (tables.inbound_messages, tables.receipts, tables.messages, tables.consent, tables.ledger, tables.evidence,
          tables.outbox, tables.work_list, tables.raw_requests, tables.seen)  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with (
        fresh_database(request.param, request, tmp_path_factory.mktemp("samples")) as url,
        serving(url, public_url="https://hooks.example.com") as server,
    ):
        yield server


class Sample:
    """A `.http` file and what is expected of it."""

    def __init__(self, name: str) -> None:
        self.slug = name.partition("/")[0]
        head, _, self.body = (SAMPLES / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
        line, *headers = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = line.split(" ")
        self.headers = dict(header.split(": ", 1) for header in headers)
        told = json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))
        self.expect: Mapping[str, Any] = told["expect"]
        # samples may tell of one message in two ways; an account of its own keeps each to itself
        self.webhook = Webhook(**{"name": self.slug, "provider": self.slug, "account": name} | told["webhook"])
        self.url: str = told["url"]

    @property
    def signed(self) -> bool:
        scheme = self.webhook.scheme or PROVIDERS[self.slug].signature
        return scheme is not None and not isinstance(scheme, TokenScheme)


def register(served: Served, sample: Sample) -> None:
    """The sample's webhook, under the token that its signed URL names."""
    token = urlsplit(sample.url).path.rpartition("/")[2]

    def save(conn: sa.Connection) -> None:
        registry.save_webhook(conn, served.parts.vault, sample.webhook, datetime.now(UTC))
        found = tables.webhooks.c.name == sample.webhook.name
        conn.execute(sa.update(tables.webhooks).where(found).values(token_hash=registry.token_hash(token)))

    served.write(save)
    served.run(take_over(served.parts))


def send(served: Served, sample: Sample, *, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Any:
    """The sample's request as it stands, or spoilt: (status, content type, body)."""
    connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=20)
    try:
        connection.request(
            sample.method, sample.target, sample.body if body is None else body, dict(headers or sample.headers)
        )
        response = connection.getresponse()
        return response.status, response.getheader("content-type", ""), response.read().decode()
    finally:
        connection.close()


def rows(served: Served) -> dict[str, int]:
    def count(conn: sa.Connection) -> dict[str, int]:
        return {t.name: conn.execute(sa.select(sa.func.count()).select_from(t)).scalar_one() for t in TRACES}

    return served.parts.database.read_now(count)


def spoilt(sample: Sample) -> Iterator[tuple[str, bytes, Mapping[str, str]]]:
    """The sample's proof broken, in every way that it can be."""
    if sample.body:
        for place in {0, len(sample.body) // 2, len(sample.body) - 1}:
            changed = bytearray(sample.body)
            changed[place] ^= 1
            yield f"byte {place} of the body changed", bytes(changed), sample.headers
    proofs = [name for name in sample.headers if "signature" in name.lower() or name.lower() == "authorization"]
    yield "the proof is gone", sample.body, {k: v for k, v in sample.headers.items() if k not in proofs}
    for name in proofs:
        value = sample.headers[name]
        wrong = value[:-3] + ("A" if value[-3] != "A" else "B") + value[-2:]
        yield f"{name} changed", sample.body, {**sample.headers, name: wrong}


@pytest.mark.parametrize("name", sample_names())
def test_a_sample_is_answered_recorded_once_and_its_spoilt_copies_are_refused(served: Served, name: str) -> None:
    sample = Sample(name)
    register(served, sample)
    before = rows(served)

    if sample.signed:
        for what, body, headers in spoilt(sample):
            if what.startswith("byte") and "basic" in str(sample.webhook.scheme):
                continue  # Basic proves the caller, not the body
            assert send(served, sample, body=body, headers=headers) == (401, "", ""), what
    assert rows(served) == before

    wanted = PROVIDERS[sample.slug].answers.get(sample.expect.get("answer", "inbound"))
    status = wanted.status if wanted else 200
    assert send(served, sample) == (status, wanted.content_type if wanted else "", wanted.body if wanted else "")
    first = rows(served)
    kinds = [event["kind"] for event in sample.expect.get("events", ())]
    assert first["inbound_messages"] - before["inbound_messages"] == kinds.count("inbound")
    assert first["receipts"] - before["receipts"] == kinds.count("receipt")
    assert first["work_list"] - before["work_list"] == len(sample.expect.get("troubles", ()))
    assert first["raw_requests"] - before["raw_requests"] == 1

    assert send(served, sample)[0] == status
    again = rows(served)
    assert again == first | {"raw_requests": again["raw_requests"]}, "the same request twice is recorded once"
