"""Requests, provider files and webhooks for the tests of decode; the samples, and what they expect.

A sample is `samples/<slug>/<event>__<variant>.http`, exact to the byte, and beside it `.json`; see tests/README.md.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.decode import decoder
from app.events import Decoded
from app.provider import Provider, load_providers
from app.request import Request
from app.serve.pasted import read_pasted
from app.webhook import Webhook

SAMPLES = Path(__file__).parent / "samples"
PROVIDERS = load_providers(Path(__file__).parent.parent / "config")
FORM = "application/x-www-form-urlencoded"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


# --- samples ------------------------------------------------------------------------------------------------------


def sample_names(slug: str = "*") -> list[str]:
    return sorted(str(path.relative_to(SAMPLES).with_suffix("")) for path in SAMPLES.glob(f"{slug}/*.http"))


def load_sample(name: str) -> tuple[Request, Webhook, dict[str, Any]]:
    """The request, the webhook that it came to, and what is expected."""
    pasted, told = read_pasted((SAMPLES / f"{name}.http").read_bytes()), expectation(name)
    signed_at = datetime.fromisoformat(told["now"]) if "now" in told else NOON
    headers = dict(pasted.headers)
    request = Request(pasted.method, told["url"], headers, pasted.body, signed_at, query=pasted.query)
    slug = name.partition("/")[0]
    return request, Webhook.model_validate({"name": slug, "provider": slug, **told["webhook"]}), told["expect"]


def expectation(name: str) -> dict[str, Any]:
    """What stands beside a sample."""
    path, slug = SAMPLES / f"{name}.json", name.partition("/")[0]
    if not path.exists():
        sample = f"tests/samples/{name}"
        command = f"textback decode {sample}.http --provider {slug} --expect"
        pytest.fail(f"{sample}.json is missing; this prints it: {command}", pytrace=False)
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


# --- what tests make themselves -----------------------------------------------------------------------------------

INBOUND = {"kind": "inbound", "id": "id", "address": "from", "sender": "to", "text": "text", "time": "at"}
RECEIPT = {"kind": "receipt", "id": "id", "address": "to", "status": "status", "code": "code", "reference": "ref"}


def request(
    body: bytes | str = b"",
    content_type: str = "",
    query: str = "",
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
) -> Request:
    raw = body if isinstance(body, bytes) else body.encode()
    told = {"content-type": content_type, **(headers or {})}
    return Request(method, "https://hooks.example.com/in/x", told, raw, NOON, query=query)


def made(*rules: Mapping[str, Any], **fields: Any) -> Provider:
    """A provider file of these rules."""
    return Provider.model_validate({"slug": "made", "name": "Made", "page": "-", "events": rules, **fields})


def webhook_for(provider: Provider, **told: Any) -> Webhook:
    return Webhook.model_validate({"name": "hook", "provider": provider.slug, **told})


def decode(provider: Provider, body: Any, **webhook: Any) -> Decoded:
    """What is made of a body, given as text, as a request, or as what is to be JSON."""
    came = body if isinstance(body, Request) else request(body if isinstance(body, str) else json.dumps(body))
    return decoder(provider, webhook_for(provider, **webhook))(came)


# --- parts of a tree ----------------------------------------------------------------------------------------------


def lines(tree: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value that is set, in lists and objects too."""
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inside:
        if value not in (None, "", [], {}) or (key, value) == ("join", ""):
            yield (*place, key)
            yield from lines(value, (*place, key))


def without(tree: Any, place: tuple[Any, ...]) -> Any:
    """A copy that lacks the value at a place."""
    key, *rest = place
    if isinstance(tree, list):
        kept = [without(value, tuple(rest)) if n == key and rest else value for n, value in enumerate(tree)]
        return kept if rest else kept[:key] + kept[key + 1 :]
    if rest:
        return {**tree, key: without(tree[key], tuple(rest))}
    return {name: value for name, value in tree.items() if name != key}


def replaced(tree: Any, place: tuple[Any, ...], other: Any) -> Any:
    """A copy with another value at a place."""
    if not place:
        return other
    copy = tree.copy()
    copy[place[0]] = replaced(tree[place[0]], place[1:], other)
    return copy
