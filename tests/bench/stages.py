"""`python -m tests.bench.stages`: CPU microseconds of textback per request, without socket and load generator.

The bench's own figure depends on what else the machine does; CPU time of one process over the same requests hardly
does, so this is for comparing one commit with the next. Requests come straight to the application, 64 under way at once,
and its replies leave through a loopback sink. PostgreSQL's and the sink's time is not in it.
"""

import argparse
import asyncio
import base64
import hmac
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote_plus, urlsplit

import uvloop

from app.main import create_app
from app.record.database import Database
from app.settings import Settings
from tests import postgres
from tests.bench import databases
from tests.bench.contenders import registered
from tests.bench.load import SECRET
from tests.bench.processes import started, wait_for_port

AT_ONCE = 64
ACCOUNT, SENDER = "AC0123456789abcdef0123456789abcdef", "+14155550199"
#: as load.lua has them: 30 % STOP, 10 % START, 5 % HELP, else others
TEXTS = ("STOP",) * 30 + ("START",) * 10 + ("HELP",) * 5 + ("Yes see you tomorrow", "is the shop open on sunday?") * 28
PLACE = {"City": "WASHINGTON", "Country": "US", "State": "DC", "Zip": "20001"}


def inbound(number: int, draw: random.Random) -> dict[str, str]:
    """The fields of an inbound message, as Twilio sends them."""
    sid = f"SM{draw.randrange(2**64):016x}{number:016x}"
    ids = dict.fromkeys(("MessageSid", "SmsMessageSid", "SmsSid"), sid)
    places = {f"{who}{name}": value for who in ("From", "To") for name, value in PLACE.items()}
    return {"AccountSid": ACCOUNT, "ApiVersion": "2010-04-01", "Body": draw.choice(TEXTS), "NumMedia": "0",
            "From": f"+1202{2_000_000 + draw.randrange(100_000)}", "NumSegments": "1", "SmsStatus": "received",
            "To": SENDER} | ids | places  # fmt: skip


def receipt(number: int, draw: random.Random) -> dict[str, str]:
    """The fields of a receipt: odd ones are of the message before."""
    sid = f"SM{number // 2 * 2654435761 % 2**32:016x}{number // 2:016x}"
    status, to = ("sent", "delivered")[number % 2], f"+1202{2_000_000 + draw.randrange(100_000)}"
    return {"AccountSid": ACCOUNT, "ApiVersion": "2010-04-01", "From": SENDER, "MessageSid": sid, "SmsSid": sid,
            "MessageStatus": status, "SmsStatus": status, "To": to}  # fmt: skip


KINDS = {"inbound": inbound, "receipts": receipt}


def scope_and_body(url: str, fields: dict[str, str]) -> tuple[dict[str, object], bytes]:
    """A request as the HTTP server gives it to the application."""
    ordered = dict(sorted(fields.items()))
    body = "&".join(f"{name}={quote_plus(value)}" for name, value in ordered.items()).encode()
    signed = url + "".join(name + value for name, value in ordered.items())
    signature = base64.b64encode(hmac.digest(SECRET.encode(), signed.encode(), "sha1"))
    path = urlsplit(url).path
    headers = [(b"host", b"127.0.0.1:8080"), (b"content-type", b"application/x-www-form-urlencoded; charset=UTF-8"),
               (b"user-agent", b"TwilioProxy/1.1"), (b"accept", b"*/*"), (b"x-twilio-signature", signature),
               (b"content-length", str(len(body)).encode())]  # fmt: skip
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
             "headers": headers, "scheme": "http", "client": ("127.0.0.1", 50_000)}  # fmt: skip
    return scope, body


async def drive(app, requests: Iterator[tuple[dict[str, object], bytes]]) -> int:
    """One connection's requests, one after the other; how many were answered with a 2xx."""
    good = 0
    for scope, body in requests:

        async def receive(body: bytes = body) -> dict[str, object]:
            return {"type": "http.request", "body": body}

        async def send(message: dict[str, object]) -> None:
            nonlocal good
            good += message.get("status", 0) // 100 == 2

        await app(scope, receive, send)
    return good


async def measured(settings: Settings, urls: dict[str, str], kind: str, count: int, rounds: int) -> list[float]:
    """CPU microseconds per request of each round, its replies included."""
    app, draw, found = create_app(settings), random.Random(17), []
    async with app.router.lifespan_context(app):
        for turn in range(rounds + 1):
            made = [scope_and_body(urls[kind], KINDS[kind](turn * count + n, draw)) for n in range(count)]
            shared = iter(made)
            began = time.process_time()
            good = await asyncio.gather(*(drive(app.middleware_stack, shared) for _ in range(AT_ONCE)))
            await _until_sent(app.state.parts.database)
            found.append((time.process_time() - began) / count * 1e6)
            if sum(good) != count:
                raise SystemExit(f"{count - sum(good)} requests were refused")
    return found[1:]


async def _until_sent(database: Database) -> None:
    waiting = "SELECT count(*) FROM outbox WHERE state IN ('pending', 'sending')"
    while await database.read(lambda conn: conn.exec_driver_sql(waiting).scalar_one()):  # noqa: ASYNC110
        await asyncio.sleep(0.02)


@contextmanager
def sink(folder: Path) -> Iterator[str]:
    port, log = postgres.free_port(), folder / "sink.log"
    with started([sys.executable, "-m", "tests.bench.sink", str(port)], log, {}) as pid:
        wait_for_port(port, pid, log)
        yield f"http://127.0.0.1:{port}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stages", description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--kind", choices=[*KINDS], default="inbound")
    parser.add_argument("--count", type=int, default=4000, help="requests of a round; default 4000")
    parser.add_argument("--rounds", type=int, default=5, help="default 5, after one to warm")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(postgres.running(durable=True)) if given.database == "postgresql" else ""
        database_url = stack.enter_context(databases.fresh(given.database, folder, server))
        settings = Settings(database_url=database_url, public_url="http://127.0.0.1:8080", access_log=False,
                            secret_key=secrets.token_hex(32), admin_token=secrets.token_hex(24),
                            allowed_private_destinations=["127.0.0.1"])  # fmt: skip
        environment = {f"TEXTBACK_{name.upper()}": getattr(settings, name).get_secret_value()
                       for name in ("database_url", "secret_key", "admin_token")} | {
                           "TEXTBACK_PUBLIC_URL": "http://127.0.0.1:8080",
                           "TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS": "127.0.0.1"}  # fmt: skip
        urls = registered(environment, stack.enter_context(sink(folder)), folder)
        sys.setswitchinterval(1e-4)
        found = uvloop.run(measured(settings, urls, given.kind, given.count, given.rounds))
    print(f"{given.kind}, {given.database}: CPU us per request:", " ".join(f"{us:.0f}" for us in sorted(found)))


if __name__ == "__main__":
    main()
