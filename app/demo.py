"""The demo: a provider of our own on loopback, so that `make run` shows a STOP heard, recorded, answered and delivered.

It takes our replies over HTTP, shows them as the phone would, and answers with receipts a moment later. It is
registered like any provider of an operator's own: a payload, two inverse templates and a signature, no shortcut. Beside
it stands a shop, which a custom action asks for an order.

    python -m app.demo STOP          a phone sends STOP
    python -m app.demo ORDER         an action asks the shop, and the reply tells its answer
    python -m app.demo --again       the provider repeats its last request, to the byte
"""

import asyncio
import hmac
import os
import secrets
import sys
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from pydantic import SecretStr

from app.address import mask
from app.changes import Changes
from app.events import Heard
from app.record import registry
from app.serve import apply, apply_file
from app.serve.parts import Parts
from app.settings import Settings

FOLDER = Path("data")
KEYS, LAST, ENVIRONMENT = FOLDER / "demo-keys.json", FOLDER / "demo-last.json", FOLDER / "demo.env"
PHONE, COMPANY = "+14155550100", "+14155550199"
_SIGNATURE = "x-demo-signature"
_ORDERS, _ORDER = "/orders", {"order": "A-1001", "state": "on its way"}
_LOOPBACK = "127.0.0.1"


def prepare(settings: Settings) -> Settings:
    """Settings for a first run: keys made once and kept in data/, and loopback as an allowed destination."""
    keys = _keys()
    secret_key = settings.secret_key or SecretStr(keys["secret_key"])
    admin_token = settings.admin_token or SecretStr(keys["admin_token"])
    evidence_key = settings.evidence_key or SecretStr(keys["evidence_key"])
    told = (each.get_secret_value() for each in (secret_key, admin_token, evidence_key))
    _write(ENVIRONMENT, _ENVIRONMENT.format(*told).encode())
    return settings.model_copy(
        update={
            "secret_key": secret_key,
            "admin_token": admin_token,
            "evidence_key": evidence_key,
            "allowed_private_destinations": [*settings.allowed_private_destinations, _LOOPBACK],
        }
    )


_ENVIRONMENT = (
    "export TEXTBACK_SECRET_KEY='{}'\nexport TEXTBACK_ADMIN_TOKEN='{}'\nexport TEXTBACK_EVIDENCE_KEY='{}'\n"
    f"export TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS='{_LOOPBACK}'\n"
)


async def serve_beside(server: uvicorn.Server, parts: Parts) -> None:
    """Run the server with the demo provider beside it, and say what to do once both listen."""
    phone = _Phone()
    provider = uvicorn.Server(
        uvicorn.Config(phone, host=_LOOPBACK, port=0, log_config=None, access_log=False, lifespan="off", ws="none")
    )
    # its public serve() would take the signals from the real server
    beside = asyncio.create_task(provider._serve())  # noqa: SLF001
    await _started(provider, beside)
    urls = _register(parts, provider.servers[0].sockets[0].getsockname()[1])
    phone.feedback_url = urls["demo-feedback"]
    serving = asyncio.create_task(server.serve())
    if await _started(server, serving):
        _welcome(parts.settings, urls)
    try:
        await serving
    finally:
        provider.should_exit = True
        await beside


async def _started(server: uvicorn.Server, task: "asyncio.Task[None]") -> bool:
    while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    return server.started


# --- registration -------------------------------------------------------------------------------------------------


def _register(parts: Parts, port: int) -> dict[str, str]:
    """Register the provider as `textback apply` would; the webhooks' URLs by name."""
    keys, vault = _keys(), parts.vault
    wanted = apply_file.parse(_apply_file(port, keys["secret"]))
    parts.database.write_now(lambda conn: apply.apply(conn, vault, parts.catalogue, wanted, datetime.now(UTC)))
    registered = parts.database.read_now(lambda conn: registry.load(conn, vault))
    base = parts.settings.base_url
    urls = {entry.webhook.name: f"{base}/in/{entry.token}" for entry in registered.webhooks}
    _write(KEYS, orjson.dumps(keys | {"inbound_url": urls["demo-inbound"]}))
    return urls


def _welcome(settings: Settings, urls: dict[str, str]) -> None:
    token = settings.admin_token.get_secret_value() if settings.admin_token else ""
    inbound, feedback = urls["demo-inbound"], urls["demo-feedback"]
    print(_WELCOME.format(inbound=inbound, feedback=feedback, base=settings.base_url, token=token), flush=True)


_WELCOME = """
textback is listening.

  webhook (inbound)    {inbound}
  webhook (feedback)   {feedback}
  API document         {base}/openapi.json
  admin token          {token}

Now be a person who texts. In another terminal:

  .venv/bin/python -m app.demo STOP        and what happens is told here
  .venv/bin/python -m app.demo --again     the same request once more, as providers do
  .venv/bin/python -m app.demo START       a change of mind
  .venv/bin/python -m app.demo ORDER       an action asks a shop, and the reply tells what it said

The command line beside it wants the same keys:   . data/demo.env && .venv/bin/textback doctor
Ctrl-C ends it.
"""


def _apply_file(port: int, secret: str) -> dict[str, Any]:
    scheme = {"type": "hmac", "header": _SIGNATURE}
    return {
        "credentials": [
            {
                "name": "demo",
                "provider": "custom",
                "url": f"http://{_LOOPBACK}:{port}/messages",
                "payload": '{"from":"{{fromNumber}}","to":"{{toNumber}}","text":"{{message}}",'
                '"ref":"{{messageReference}}"}',
                "message_id": "messages.0.id",
                "idempotent": True,
            }
        ],
        "actions": [
            {
                "name": "demo-order",
                "url": f"http://{_LOOPBACK}:{port}{_ORDERS}",
                "payload": {"phone": "{{event.address}}", "event": "{{_id}}"},
                "nullable": ["payload.phone"],  # a document has none
                "response": _ORDER,
                "document": "Show the order",
            }
        ],
        "webhooks": [
            {
                "name": "demo-inbound",
                "provider": "custom",
                "credential": "demo",
                "sender": COMPANY,
                "packs": ["us"],
                "scheme": scheme,
                "secret": secret,
                "payload": '{"id":"{{requestId}}","from":"{{profileNumber}}","to":"{{inboundNumber}}",'
                '"text":"{{inboundMessage}}","at":"{{originTimestamp}}"}',
                "keywords": {
                    "default": {"reply": "Thanks! Reply HELP for help or STOP to end."},
                    "custom": [
                        {
                            "keywords": ["ORDER"],
                            "action": "demo-order",
                            "reply": "Your order {{action.order}} is {{action.state}}.",
                            "otherwise": {"error": "The shop cannot be asked at the moment; please try again."},
                        }
                    ],
                },
            },
            {
                "name": "demo-feedback",
                "provider": "custom",
                "type": "feedback",
                "scheme": scheme,
                "secret": secret,
                "payload": '{"receipts":[{"id":"{{messageId}}","to":"{{recipient}}","status":"{{feedbackStatus}}",'
                '"at":"{{timestamp}}"}]}',
            },
        ],
    }


def _keys() -> dict[str, str]:
    found: dict[str, str] = orjson.loads(KEYS.read_bytes()) if KEYS.exists() else {}
    made = {name: secrets.token_hex(32) for name in ("secret_key", "admin_token", "evidence_key", "secret")} | found
    if made != found:
        _write(KEYS, orjson.dumps(made))
    return made


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(content)


# --- what the console tells ---------------------------------------------------------------------------------------


def tell(_fresh: Sequence[Heard], changes: Changes) -> None:
    """Say in plain words what was heard, recorded and decided; a listener of the writer."""
    replies = {row.id: row.text for row in changes.outbox}
    for row in changes.inbound:
        print(f'  heard     "{row.text}" from {mask(row.address)}: {row.category} ({row.rule} "{row.keyword}")')
    for entry in changes.ledger:
        late = ", superseded by a later event" if entry.superseded else ""
        print(f"  recorded  {entry.old_state} -> {entry.new_state}, program {entry.program}, ledger {entry.id}{late}")
    for row in changes.inbound:
        reply = f'"{replies[row.outbox_id]}"' if row.outbox_id in replies else f"none: {row.reply}"
        print(f"  reply     {reply}")
    for receipt in changes.receipts:
        print(f"  receipt   {receipt.status} for message {receipt.message_id}")
    sys.stdout.flush()


# --- the provider and its phone -----------------------------------------------------------------------------------


class _Phone:
    """The provider's API as an ASGI application: takes a message, shows it, and sends its receipts."""

    def __init__(self) -> None:
        self.feedback_url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = await _json_of(receive)
        if scope["path"] == _ORDERS:
            print(f"  called    the shop, for the order of {mask(asked.get('phone') or 'nobody')}", flush=True)
            await _answer(send, 200, _ORDER)
            return
        number = f"demo-{secrets.token_hex(8)}"
        print(f'  sent      the phone {mask(asked["to"])} shows: "{asked["text"]}"', flush=True)
        await _answer(send, 202, {"messages": [{"id": number}]})
        task = asyncio.create_task(self._deliver(number, asked["to"]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, number: str, to: str) -> None:
        for status in ("sent", "delivered"):
            await asyncio.sleep(0.2)
            at = datetime.now(UTC).isoformat()
            body = orjson.dumps({"receipts": [{"id": number, "to": to, "status": status, "at": at}]})
            await asyncio.to_thread(_post, self.feedback_url, body)


async def _json_of(receive: Any) -> Any:
    body, more = b"", True
    while more:
        part = await receive()
        body, more = body + part.get("body", b""), part.get("more_body", False)
    return orjson.loads(body)


async def _answer(send: Any, status: int, body: Any) -> None:
    answer = orjson.dumps(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def _post(url: str, body: bytes) -> tuple[int, bytes]:
    proof = hmac.digest(_keys()["secret"].encode(), body, "sha256").hex()
    headers = {"content-type": "application/json", _SIGNATURE: proof}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - our own loopback URL
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return answer.status, answer.read()


def _text(words: list[str]) -> None:
    """Send what the words say from the demo's phone, signed, and print the answer."""
    if not KEYS.exists() or "inbound_url" not in _keys():
        sys.exit("the demo does not run yet; start it with: make run")
    if words == ["--again"]:
        body = LAST.read_bytes() if LAST.exists() else sys.exit("nothing was sent yet; send something first: STOP")
    else:
        message = {"id": secrets.token_hex(8), "from": PHONE, "to": COMPANY, "text": " ".join(words) or "STOP"}
        body = orjson.dumps(message | {"at": datetime.now(UTC).isoformat()})
        LAST.write_bytes(body)
    status, answer = _post(_keys()["inbound_url"], body)
    print(f"{body.decode()}\nanswered {status} {answer.decode()}")


if __name__ == "__main__":
    _text(sys.argv[1:])
