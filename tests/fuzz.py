"""Samples spoilt at random against every provider file: `python -m tests.fuzz --seconds 300 [--seed N]`.

Each mutant is proved by its sample's scheme and read without one, in this process; a part of them also goes over a real
socket to the running application, so that what is read is written too. Anything but a refusal, an event or an entry on
the work list is a finding: it is printed with the seed that makes it again, and the exit code is 1.
"""

import argparse
import http.client
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from app.accept.answers import rendered
from app.authenticate import verifier
from app.decode import decoder, handshaker
from app.errors import NotReady, Refused
from app.record.database import Database
from app.record.schema import upgrade
from app.request import Request
from app.scheme import TokenScheme
from app.webhook import Webhook
from tests.decoding import NOON, PROVIDERS, load_sample, sample_names
from tests.public_keys import the_internet
from tests.serving import Served, serving

#: one mutant in so many also goes over the socket
SOCKET_EVERY = 20
#: pieces that parsers stumble over
TOKENS = (
    b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"%", b"%00", b"%zz", b"&", b"=", b"[]", b"{}", b"[[[[", b'"', b"\\u0000", b"\\ud800",
    b"1e999", b"-0", b"99999999999999999999999", b"null", b"true", b"NaN", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"<a>", b"&#0;",
    b"\r\n", b"STOP", b"+", b"T", b":", b".", b"=" * 4, b"A" * 3000, "\u202e\u0130".encode(), b"$", b"{{x}}",
)  # fmt: skip


def mutated(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """The bytes with one to four things wrong."""
    for _ in range(chance.randint(1, 4)):
        place = chance.randint(0, len(data))
        end = min(len(data), place + chance.choice((1, 1, 2, 8, 64)))
        other = chance.choice(others) if others else b""
        data = chance.choice((
            lambda d, p=place, e=end: d[:p] + d[e:],
            lambda d, p=place, e=end: d[:p] + d[p:e] * 2 + d[e:],
            lambda d, p=place: d[:p] + chance.choice(TOKENS) + d[p:],
            lambda d, p=place, e=end: d[:p] + bytes(chance.randrange(256) for _ in range(e - p)) + d[e:],
            lambda d, p=place, o=other: d[:p] + o[chance.randint(0, len(o)) :],
            lambda d, p=place: d[:p],
        ))(data)  # fmt: skip
    return data[:20_000]


class Target:
    """A sample, and what hears it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.request, webhook, _ = load_sample(name)
        provider = PROVIDERS[webhook.provider]
        scheme = webhook.scheme or provider.signature or TokenScheme()
        self.webhook: Webhook = webhook
        self.verify = verifier(scheme, webhook.secrets)
        self.decode = decoder(provider, webhook)
        self.shake = handshaker(provider, webhook)

    def mutant(self, chance: random.Random, others: Sequence[bytes]) -> Request:
        sample = self.request
        query, body, headers = sample.query, sample.body, dict(sample.headers)
        part = chance.choice(("body", "body", "query", "header") if body else ("query", "header"))
        if part == "body":
            body = mutated(chance, body, others)
        elif part == "query":
            query = mutated(chance, query.encode(), ()).decode("latin-1")
        else:
            name = chance.choice([*headers, "content-type"])
            headers[name] = mutated(chance, headers.get(name, "").encode("latin-1"), ()).decode("latin-1")
        method = chance.choice((sample.method,) * 9 + ("GET", "POST", "PUT", "OPTIONS"))
        return Request(
            method, sample.url.partition("?")[0] + "?" + query, headers, body, NOON, query=query, via_proxy=True
        )


def tried(target: Target, request: Request) -> str:
    """What became of it; whatever else is raised is a finding."""
    try:
        target.verify(request)
        proved = "proved"
    except (Refused, NotReady):
        proved = "refused"
    shaken = target.shake(request) if target.shake else None
    if shaken is not None:
        rendered(shaken)
        return f"{proved}, handshake"
    return f"{proved}, {target.decode(request).reading}"


def over_the_socket(served: Served, token: str, request: Request) -> int:
    connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=20)
    try:
        target = "/in/" + token + ("?" + "".join(c for c in request.query if "!" <= c <= "~") if request.query else "")
        connection.putrequest(request.method, target, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name not in ("content-length", "host", "transfer-encoding", "expect", "upgrade", "connection"):
                connection.putheader(name, "".join(c for c in value if c.isprintable() and c < "\x7f"))
        connection.putheader("content-length", str(len(request.body)))
        connection.endheaders(request.body)
        return connection.getresponse().status
    finally:
        connection.close()


def registered(served: Served) -> dict[str, str]:
    """A webhook without proof for each provider: its token by name."""
    tokens = {}
    for slug in dict.fromkeys(name.partition("/")[0] for name in sample_names()):
        samples = [name for name in sample_names(slug) if load_sample(name)[1].type == "both"] or sample_names(slug)
        webhook = load_sample(samples[0])[1]
        plain = {"name": slug, "provider": slug, "type": webhook.type, "scheme": {"type": "token"}}
        custom = webhook.model_dump(include={"payload", "feedback_payload", "statuses"}, exclude_none=True)
        answer = served.ask("POST", "/v1/webhooks", plain | custom)
        assert answer.status == 201, (slug, answer.json)
        tokens[slug] = answer.json["url"].rpartition("/")[2]
    return tokens


def rounds(seconds: float, first: int) -> Iterator[int]:
    end = time.monotonic() + seconds
    seed = first
    while time.monotonic() < end:
        yield seed
        seed += 1


def fuzz(seconds: float, first: int, tell: Callable[[str], object]) -> int:
    """How many findings."""
    targets = [Target(name) for name in sample_names()]
    bodies = [target.request.body for target in targets]
    outcomes: Counter[str] = Counter()
    findings = 0
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'textback.db'}"
        upgrade(database := Database(url))
        database.close()
        with serving(url) as served:
            served.parts.client.request = the_internet  # type: ignore[method-assign]
            tokens = registered(served)
            for seed in rounds(seconds, first):
                chance = random.Random(seed)
                target = chance.choice(targets)
                request = target.mutant(chance, bodies)
                try:
                    outcomes[tried(target, request)] += 1
                    if seed % SOCKET_EVERY == 0:
                        status = over_the_socket(served, tokens[target.webhook.provider], request)
                        outcomes[f"answered {status}"] += 1
                        assert status != 500, "the application answered 500"
                except Exception as error:  # noqa: BLE001 - that is what is looked for
                    findings += 1
                    tell(f"seed {seed}, {target.name}: {type(error).__name__}: {error}")
    tell(
        f"{sum(n for what, n in outcomes.items() if ',' in what)} mutants of {len(targets)} samples, {findings} findings"
    )
    for what, count in outcomes.most_common():
        tell(f"  {count:9,}  {what}")
    return findings


if __name__ == "__main__":
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Samples spoilt at random.")
    options.add_argument("--seconds", type=float, default=300)
    options.add_argument("--seed", type=int, default=int(time.time()) * 1_000_000)
    given = options.parse_args()
    sys.exit(1 if fuzz(given.seconds, given.seed, print) else 0)
