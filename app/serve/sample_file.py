"""What stands beside a sample of tests/samples: which webhook hears it, at which URL, and what is expected."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from app.decode.expected import expected
from app.provider import Provider
from app.request import Request
from app.scheme import Scheme, needs_secret, schemes_of, signs_url
from app.webhook import Webhook

#: where the tests' own server is called
ORIGIN = "https://hooks.example.com"
_OPEN = "…"
#: what a webhook says about how its requests are proved and read, besides its type; and no secret
_SAYS = frozenset(
    {"account", "region", "international", "scheme", "statuses", "blocked_codes", "payload", "feedback_payload"}
)


class SampleFile(NamedTuple):
    """The file, and what it lacks."""

    told: dict[str, Any]
    open: tuple[str, ...]
    """A sentence for each thing that a person must fill in."""


def sample_file(provider: Provider, webhook: Webhook, request: Request) -> SampleFile:
    """The file for a request. Raises BadInput where the provider file or the webhook's payload cannot be used."""
    scheme, becomes = webhook.scheme or provider.signature, expected(provider, webhook, request)
    query = f"?{request.query}" if request.query else ""
    told = {
        "webhook": _webhook(webhook, scheme, becomes.get("handshake", {}).get("token")),
        "url": f"{ORIGIN}/in/{provider.slug}{query}",
        "expect": becomes,
    }
    return SampleFile(told, tuple(_open(scheme)))


def _webhook(webhook: Webhook, scheme: Scheme | None, word: str | None) -> dict[str, Any]:
    said = webhook.model_dump(mode="json", include=set(_SAYS))
    return {
        "type": webhook.type,
        **({} if scheme else {"scheme": {"type": _OPEN}}),
        **({"secret": _OPEN} if scheme is None or needs_secret(scheme) else {}),
        **({"verify_token": word} if word else {}),
        **{name: value for name, value in said.items() if value not in (None, [], {})},
    }


def _open(scheme: Scheme | None) -> Iterator[str]:
    if scheme is None:
        yield "scheme: the provider offers several; say which one proves this sample, and its secret"
        return
    if needs_secret(scheme):
        yield "secret: the one that this sample is signed with"
    if signs_url(scheme):
        yield f"url: the signature covers it; write {ORIGIN}/… as it was signed, or sign the sample anew"
    if any(getattr(one, "window", None) for one in schemes_of(scheme)):
        yield 'now: when the sample was signed, "2026-01-01T12:00:00+00:00", for its proof ends'
