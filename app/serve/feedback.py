"""The webhook URL that a credential tells its provider with each message, where it wants to know where receipts go."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from app.credential import Credential
from app.provider import Provider
from app.record.registry import Registered
from app.scheme import BasicScheme, Scheme, SecretScheme, TokenScheme, schemes_of
from app.settings import Settings
from app.webhook import Webhook


@dataclass(frozen=True, slots=True)
class Feedback:
    """Where a provider is told to send its receipts."""

    url: str = field(default="", repr=False)
    """For the provider's eyes alone: the webhook's token stands in it, and often its secret. Empty: it is told none."""
    problem: str = ""
    """Why it is told none, although the credential names a webhook; empty otherwise."""


def feedback(
    settings: Settings, registered: Registered, providers: Mapping[str, Provider], credential: Credential
) -> Feedback:
    """What the provider of a credential is told. A message leaves without it too: a receipt is worth less."""
    if credential.feedback is None:
        return Feedback()
    for entry in registered.webhooks:
        if entry.webhook.name == credential.feedback:
            provider = providers.get(entry.webhook.provider)
            scheme = entry.webhook.scheme or (provider.signature if provider else None)
            return Feedback(_with_proof(f"{settings.base_url}/in/{entry.token}", scheme, entry.webhook))
    broken = dict(registered.broken.values()).get(credential.feedback)
    return Feedback(problem=broken or f"there is no webhook '{credential.feedback}' for its feedback")


def _with_proof(url: str, scheme: Scheme | None, webhook: Webhook) -> str:
    """The URL with what the caller must show, by the first scheme that needs no more than the URL.

    Whatever else a caller must show, the provider is told of in its console.
    """
    if scheme is None or not webhook.secrets:
        return url
    secret = webhook.secrets[-1].decode()  # the one that replaces the other, which is soon gone
    for one in schemes_of(scheme):
        match one:
            case TokenScheme():
                return url
            case BasicScheme(username=username):
                return url.replace("://", f"://{quote(username, safe='')}:{quote(secret, safe='')}@", 1)
            case SecretScheme(place="query", name=name, prefix=prefix):
                return f"{url}?{quote(name, safe='')}={quote(prefix + secret, safe='')}"
    return url
