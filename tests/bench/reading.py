"""`python -m tests.bench.reading`: microseconds to prove and to read a request, by provider, over all of its samples.

One core, no socket, no database. A request is proved by its sample's scheme at the time of its signature.
"""

import asyncio
import time
from collections.abc import Callable
from statistics import median

from rich.console import Console
from rich.table import Table

from app.authenticate import Keyring, verifier
from app.decode import decoder
from app.errors import KeyWanted
from app.request import Request
from app.scheme import TokenScheme
from tests.decoding import PROVIDERS, load_sample, sample_names
from tests.public_keys import the_internet

ROUNDS, REPEATS = 15, 40


def fresh(sample: Request) -> Request:
    """The request as it comes from the door: nothing of it has been read."""
    return Request(sample.method, sample.url, sample.headers, sample.body, sample.received_at, query=sample.query)


def microseconds(act: Callable[[Request], object], sample: Request) -> float:
    """The median of some rounds."""
    rounds = []
    for _ in range(ROUNDS):
        requests = [fresh(sample) for _ in range(REPEATS)]
        began = time.perf_counter()
        for request in requests:
            act(request)
        rounds.append((time.perf_counter() - began) / REPEATS * 1e6)
    return median(rounds)


def measured(slug: str) -> tuple[list[float], list[float]]:
    """Microseconds of each sample that tells an event: to prove it, and to read it."""
    proving, reading, keyring = [], [], Keyring(_fetch)
    for name in sample_names(slug):
        request, webhook, expect = load_sample(name)
        if not expect.get("events"):
            continue
        verify = verifier(webhook.scheme or PROVIDERS[slug].signature or TokenScheme(), webhook.secrets, keyring)
        try:
            verify(fresh(request))
        except KeyWanted as wanted:
            asyncio.run(keyring.fill(wanted.url))
        proving.append(microseconds(verify, request))
        reading.append(microseconds(decoder(PROVIDERS[slug], webhook), request))
    return proving, reading


async def _fetch(url: str) -> bytes:
    return (await the_internet("GET", url)).body


def shown(values: list[float]) -> str:
    return f"{median(values):.1f} ({min(values):.1f}-{max(values):.1f})" if values else "-"


def main() -> None:
    table = Table("provider", "samples", "proved, us", "read, us", title="median (lowest-highest) of its samples")
    for slug in PROVIDERS:
        proving, reading = measured(slug)
        table.add_row(slug, str(len(reading)), shown(proving), shown(reading))
    Console().print(table)


if __name__ == "__main__":
    main()
