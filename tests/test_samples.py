"""Every sample of every provider through the real door: answered as the provider wants, recorded once, and every spoilt
copy refused without a trace."""

import http.client
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
import sqlalchemy as sa
import time_machine

from app.record import registry, tables
from app.record.database import Database
from app.scheme import (
    BasicScheme,
    BearerScheme,
    ClientCertificateScheme,
    HmacScheme,
    ParameterScheme,
    Scheme,
    SecretScheme,
    SnsScheme,
    TokenScheme,
    schemes_of,
)
from app.serve.pasted import read_pasted
from app.serve.takeover import take_over
from app.webhook import Webhook
from tests.conftest import KINDS, fresh_database
from tests.decoding import PROVIDERS, SAMPLES, expectation, sample_names
from tests.kannel import wait_for
from tests.public_keys import the_internet
from tests.serving import Served, serving

#: of the URLs that the samples are sent to, and signed for
ORIGIN = "https://hooks.example.com"
#: what a refused request must leave as it was
TRACES = (tables.inbound_messages, tables.receipts, tables.messages, tables.consent, tables.ledger, tables.evidence,
          tables.outbox, tables.work_list, tables.raw_requests, tables.seen, tables.inbound_parts, tables.decided_parts)  # fmt: skip
COUNTS = sa.union_all(*(sa.select(sa.literal(t.name), sa.func.count()).select_from(t) for t in TRACES))
#: they prove the caller, and neither body nor parameters
CALLER_ONLY = (BasicScheme, SecretScheme, BearerScheme, ClientCertificateScheme)


@pytest.fixture(scope="module", params=KINDS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with fresh_database(request.param, request, tmp_path_factory.mktemp("samples")) as url:
        add_an_old_key(url)
        with serving(url, public_url=ORIGIN) as server:
            # what is old goes at the start: the keys of some samples are old, too, and must not go in the midst of one
            wait_for(lambda: rows(server)["seen"] == 0)
            server.parts.client.request = the_internet  # type: ignore[method-assign]
            yield server


def add_an_old_key(url: str) -> None:
    old = {"key": "old", "at": datetime(2020, 1, 1, tzinfo=UTC), "repeats_until": datetime(2020, 1, 2, tzinfo=UTC)}
    database = Database(url)
    database.write_now(lambda conn: conn.execute(tables.seen.insert(), old))
    database.close()


class Sample:
    """A `.http` file and what is expected of it."""

    def __init__(self, name: str) -> None:
        self.slug = name.partition("/")[0]
        pasted, told = read_pasted((SAMPLES / f"{name}.http").read_bytes()), expectation(name)
        self.method, self.headers, self.body = pasted.method, pasted.headers, pasted.body
        self.expect: Mapping[str, Any] = told["expect"]
        # samples may tell of one message in two ways; an account of its own keeps each to itself
        self.webhook = Webhook(**{"name": self.slug, "provider": self.slug, "account": name} | told["webhook"])
        self.url: str = told["url"]
        self.target = self.url.removeprefix(ORIGIN)
        self.now = datetime.fromisoformat(told["now"]) if "now" in told else None

    @property
    def schemes(self) -> list[Scheme]:
        scheme = self.webhook.scheme or PROVIDERS[self.slug].signature
        return list(schemes_of(scheme)) if scheme else []

    @property
    def signed(self) -> bool:
        unproved = self.expect.get("handshake", {}).get("unproved")
        return not unproved and not any(isinstance(one, TokenScheme) for one in self.schemes)

    def clock(self, *, late: timedelta = timedelta()) -> AbstractContextManager[Any]:
        """The time at which the sample was signed, where its proof has a window."""
        return time_machine.travel(self.now + late, tick=True) if self.now else nullcontext()


@dataclass(frozen=True)
class Sent:
    """A request as it goes over the wire."""

    target: str
    body: bytes
    headers: Mapping[str, str]


def register(served: Served, sample: Sample) -> None:
    """The sample's webhook and no other, under the token that its signed URL names."""
    token = urlsplit(sample.url).path.rpartition("/")[2]

    def save(conn: sa.Connection) -> None:
        conn.execute(sa.delete(tables.webhooks))  # each one that stays is made ready anew for every sample
        registry.save_webhook(conn, served.parts.vault, sample.webhook, datetime.now(UTC))
        found = tables.webhooks.c.name == sample.webhook.name
        conn.execute(sa.update(tables.webhooks).where(found).values(token_hash=registry.token_hash(token)))

    served.write(save)
    served.run(take_over(served.parts))


def send(served: Served, sample: Sample, sent: Sent | None = None) -> Any:
    """The sample's request as it stands, or another: (status, headers, body)."""
    sent = sent or Sent(sample.target, sample.body, sample.headers)
    connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=20)
    try:
        headers = {name: value for name, value in sent.headers.items() if name.lower() != "content-length"}
        connection.request(sample.method, sent.target, sent.body, headers)
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read().decode()
    finally:
        connection.close()


def rows(served: Served) -> dict[str, int]:
    return served.parts.database.read_now(lambda conn: dict(conn.execute(COUNTS).all()))


# --- spoilt copies ------------------------------------------------------------------------------------------------


def spoilt(sample: Sample) -> Iterator[tuple[str, Sent]]:
    """The sample's proof broken, in every way that it can be."""
    if not any(isinstance(one, CALLER_ONLY) for one in sample.schemes):
        yield from changed(sample)
    yield from without_proof(sample)
    for name in proofs(sample):
        value = sample.headers[name]
        wrong = value[:-3] + ("0" if value[-3] != "0" else "1") + value[-2:]
        yield f"{name} changed", Sent(sample.target, sample.body, {**sample.headers, name: wrong})


def changed(sample: Sample) -> Iterator[tuple[str, Sent]]:
    for place in covered(sample):
        body = bytearray(sample.body)
        body[place] ^= 1
        yield f"byte {place} of the body changed", Sent(sample.target, bytes(body), sample.headers)
    if not sample.body and "?" in sample.target:
        other = sample.target[:-1] + ("1" if sample.target[-1] != "1" else "2")
        yield "the query changed", Sent(other, b"", sample.headers)


def covered(sample: Sample) -> set[int]:
    """Places of the body that the proof covers; an envelope of SNS or Pub/Sub is signed in part."""
    within = {SnsScheme: b'"Message"', HmacScheme: b'"data"'}
    for one in sample.schemes:
        partly = isinstance(one, SnsScheme) or (isinstance(one, HmacScheme) and "{base64:" in one.signed)
        if partly:
            found = sample.body.find(within[type(one)])
            return {found + 20, found + 31}
    return {0, len(sample.body) // 2, len(sample.body) - 1} if sample.body else set()


def without_proof(sample: Sample) -> Iterator[tuple[str, Sent]]:
    gone = set(proofs(sample))
    if gone:
        kept = {name: value for name, value in sample.headers.items() if name not in gone}
        yield "the proof is gone", Sent(sample.target, sample.body, kept)
    for one in sample.schemes:
        name = one.name if isinstance(one, ParameterScheme | SecretScheme) else ""
        if name and not (isinstance(one, SecretScheme) and one.place == "header"):
            yield "the proof is gone", Sent(cut(sample.target, name), cut_body(sample, name), sample.headers)


def proofs(sample: Sample) -> list[str]:
    """The headers that a scheme reads."""
    told = " ".join(one.model_dump_json() for one in sample.schemes).lower()
    usual = {"authorization"} | {name for name in map(str.lower, sample.headers) if name.startswith("x-plivo-sig")}
    usual |= {name for name in map(str.lower, sample.headers) if name == "x-twilio-signature"}
    return [
        name
        for name in sample.headers
        if name.lower() in usual or f'{name.lower()}"' in told or f"{name.lower()}}}" in told
    ]


def cut(encoded: str, name: str) -> str:
    return re.sub(rf"(?<=[?&]){re.escape(name)}=[^&]*&?", "", encoded)


def cut_body(sample: Sample, name: str) -> bytes:
    if not sample.body.startswith(b"{"):
        return cut("&" + sample.body.decode(), name)[1:].encode()
    return json.dumps({key: value for key, value in json.loads(sample.body).items() if key != name}).encode()


# --- the samples --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sample_names())
def test_a_sample_is_answered_recorded_once_and_its_spoilt_copies_are_refused(served: Served, name: str) -> None:
    sample = Sample(name)
    register(served, sample)
    before = rows(served)

    # a copy is refused before any database is asked, so one database shows it
    if sample.signed and served.parts.database.dialect == "sqlite":
        with sample.clock():
            copies = {what: send(served, sample, sent) for what, sent in spoilt(sample)}
        assert {what: (status, body) for what, (status, _, body) in copies.items()} == dict.fromkeys(copies, (401, ""))
    if sample.signed and sample.now and windowed(sample):
        with sample.clock(late=timedelta(hours=1)):
            assert send(served, sample)[0] == 401, "an hour old"
    assert rows(served) == before

    with sample.clock():
        answered = answer_of(send(served, sample))
        first = rows(served)
        again = send(served, sample)
    assert answered == wanted(sample)
    assert {name: first[name] - before[name] for name in told(sample)} == told(sample)
    after = rows(served)
    assert again[0] == answered[0]
    assert after == first | {"raw_requests": after["raw_requests"]}, "the same request twice is recorded once"
    if told(sample)["inbound_parts"]:  # a minute later they would be decided, in the midst of another sample
        served.write(lambda conn: conn.execute(sa.delete(tables.inbound_parts)))


def windowed(sample: Sample) -> bool:
    """Whether its proof ends: by the scheme's window, or by what a token says itself."""
    if any(getattr(one, "window", None) for one in sample.schemes):
        return True
    tokens = [value.rpartition(" ")[2] for name, value in sample.headers.items() if "jwt" in name.lower()]
    return any("exp" in jwt.decode(token, options={"verify_signature": False}) for token in tokens)


def answer_of(response: tuple[int, Mapping[str, str], str]) -> tuple[int, str, str]:
    status, headers, body = response
    return status, headers.get("content-type", ""), body


def wanted(sample: Sample) -> tuple[int, str, str]:
    """(status, content type, body) that the provider shall hear."""
    if shaken := sample.expect.get("handshake"):
        return shaken["status"], shaken.get("content_type", ""), shaken.get("body", "")
    answer = PROVIDERS[sample.slug].answers.get(sample.expect.get("answer", "inbound"))
    return (answer.status, answer.content_type, answer.body) if answer else (200, "", "")


def told(sample: Sample) -> dict[str, int]:
    """How many rows of each kind the sample leaves behind."""
    events = sample.expect.get("events", ())
    parts = sum("piece" in event for event in events)
    kinds = [event["kind"] for event in events]
    return {
        "inbound_messages": kinds.count("inbound") - parts,
        "inbound_parts": parts,
        "receipts": kinds.count("receipt"),
        "work_list": len(sample.expect.get("troubles", ())),
        "raw_requests": 0 if sample.expect.get("handshake", {}).get("unproved") else 1,
    }
