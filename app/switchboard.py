"""The lines: everything about each webhook made ready once, so that a request only walks through."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256

from app.address import normalise
from app.authenticate import Keyring, verifier
from app.decode import Shaken, check_sample, decoder, handshaker
from app.errors import BadAddress, BadInput, NotReady
from app.events import Decoded
from app.interpret import Policy, Rules, rules
from app.provider import Answer, Provider
from app.record.registry import Registered, RegisteredWebhook
from app.reply import Reply
from app.request import Request
from app.scheme import Scheme, SecretScheme, lacking_secret, needs_secret, schemes_of
from app.settings import Settings
from app.webhook import Pack, Webhook

#: headers that carry a credential; a signature proves one request only and is kept as evidence
_CREDENTIAL_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})
#: headers in which a proxy repeats our URL, with the webhook's token in it and whatever secret its query has
_URL_HEADERS = frozenset(
    {"x-original-url", "x-original-uri", "x-forwarded-uri", "x-rewrite-url", "x-envoy-original-path", "referer"}
)
#: where the provider file wants nothing special; making one anew costs a microsecond a request
_PLAIN = Answer()


@dataclass(frozen=True, slots=True)
class Line:
    """One webhook, ready to hear."""

    webhook: Webhook
    provider: Provider
    verify: Callable[[Request], str]
    #: what answers requests by which the provider only tries the URL; None: this one never does
    shake: Callable[[Request], Shaken | None] | None
    decode: Callable[[Request], Decoded]
    rules: Rules
    #: the program of each of our numbers, for block errors
    programs: Mapping[str, str]
    #: lower-case names of headers and query parameters that never reach the database
    hidden: frozenset[str]
    #: of the webhook's URL; no header that holds it reaches the database either
    token: str = field(repr=False)

    def answer(self, decoded: Decoded) -> Answer:
        """What the provider wants to hear after this."""
        return self.provider.answers.get(decoded.answer, _PLAIN)


def policy(settings: Settings) -> Policy:
    """The reply guard and deadlines as set."""
    return Policy(
        default_every=timedelta(hours=settings.default_reply_hours),
        per_hour=settings.replies_per_hour,
        confirmation_deadline=timedelta(minutes=settings.confirmation_deadline_minutes),
        reply_deadline=timedelta(minutes=settings.reply_deadline_minutes),
        calls_per_hour=settings.calls_per_hour,
    )


def check_webhook(
    webhook: Webhook,
    provider: Provider,
    packs: Mapping[str, Pack],
    replies: Mapping[str, str | Reply],
    own_numbers: frozenset[str],
) -> list[str]:
    """Sentences for a person to think about: what it hears only in part.

    Raises BadInput where it could not hear: no scheme or a broken one, an unreadable template or sample, clashing
    keywords.
    """
    verifier(_scheme(webhook, provider), webhook.secrets)
    handshaker(provider, webhook)
    decoder(provider, webhook)
    if webhook.sample:
        check_sample(provider, webhook)
    rules(webhook, packs, replies, own_numbers, policy(Settings.model_construct()))
    return doubts(webhook, provider)


def doubts(webhook: Webhook, provider: Provider) -> list[str]:
    """What a webhook hears only in part: some of its schemes need a secret, and it has none. Raises BadInput."""
    scheme = _scheme(webhook, provider)
    lacking = [] if webhook.secrets or needs_secret(scheme) else lacking_secret(scheme)
    return [
        f"webhook '{webhook.name}' has no secret, which signature scheme {kind} needs; until it is set, what no other"
        " of its schemes proves is answered with 503"
        for kind in lacking
    ]


def _scheme(webhook: Webhook, provider: Provider) -> Scheme:
    scheme = webhook.scheme or provider.signature
    if scheme is None:
        raise BadInput(
            f"webhook '{webhook.name}': {provider.name} documents no signature that could be assumed; "
            'give the webhook a scheme, such as { type = "basic", username = "…" }'
        )
    return scheme


class Switchboard:
    """The lines by token. `connect` replaces them all at once when the registry has changed."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        packs: Mapping[str, Pack],
        settings: Settings,
        keyring: Keyring | None = None,
    ) -> None:
        self._providers = providers
        self._packs = packs
        self._keyring = keyring
        self._policy = policy(settings)
        self.version = -1
        self._lines: dict[bytes, Line | str] = {}
        self.by_name: dict[str, Line] = {}
        #: name -> why a registered webhook cannot hear
        self.broken: dict[str, str] = {}

    def rules_of(self, webhook: str) -> Rules | None:
        """The rules of a webhook by its name; None where there is none that can hear."""
        line = self.by_name.get(webhook)
        return line.rules if line else None

    def connect(self, registered: Registered) -> None:
        """Make a line of each webhook. One that cannot be made answers 503 and says why in `check` and the log."""
        programs = dict(self._senders(registered.webhooks))
        own_numbers = frozenset(programs)
        lines: dict[bytes, Line | str] = {}
        by_name, broken = {}, {}
        for entry in registered.webhooks:
            try:
                line = self._line(entry, registered.replies, own_numbers, programs)
                lines[bytes.fromhex(entry.token_hash)] = by_name[entry.webhook.name] = line
            except BadInput as error:
                lines[bytes.fromhex(entry.token_hash)] = broken[entry.webhook.name] = str(error)
        for token_hash, (name, reason) in registered.broken.items():
            lines[bytes.fromhex(token_hash)] = broken[name] = reason
        self._lines, self.by_name, self.broken = lines, by_name, broken
        self.version = registered.version

    def _line(
        self,
        entry: RegisteredWebhook,
        replies: Mapping[str, str | Reply],
        own_numbers: frozenset[str],
        programs: Mapping[str, str],
    ) -> Line:
        webhook = entry.webhook
        provider = self._providers.get(webhook.provider)
        if provider is None:
            raise BadInput(f"webhook '{webhook.name}': there is no provider file '{webhook.provider}'")
        scheme = _scheme(webhook, provider)
        return Line(
            webhook=webhook,
            provider=provider,
            verify=verifier(scheme, webhook.secrets, self._keyring),
            shake=handshaker(provider, webhook),
            decode=decoder(provider, webhook),
            rules=rules(webhook, self._packs, replies, own_numbers, self._policy),
            programs=programs,
            hidden=_CREDENTIAL_HEADERS | _URL_HEADERS | _hidden(scheme) | _hidden(provider.signature),
            token=entry.token,
        )

    def _senders(self, webhooks: Iterable[RegisteredWebhook]) -> Iterator[tuple[str, str]]:
        """(our number, its program) of each webhook, the number in the form that events carry it."""
        for webhook in (entry.webhook for entry in webhooks):
            provider = self._providers.get(webhook.provider)
            if webhook.sender and provider:
                yield (
                    _own_number(webhook, international=webhook.is_international(provider.international)),
                    webhook.program,
                )

    def find(self, token: str) -> Line | None:
        """The line of a token, by its hash, so that timing tells nothing about it. NotReady where it is broken."""
        found = self._lines.get(sha256(token.encode()).digest())
        if isinstance(found, str):
            raise NotReady(found)
        return found


def _hidden(scheme: Scheme | None) -> frozenset[str]:
    """Where a scheme has a secret stand; the provider file's own too, for a webhook may be set to the wrong one."""
    schemes = schemes_of(scheme) if scheme else ()
    return frozenset(one.name.lower() for one in schemes if isinstance(one, SecretScheme))


def _own_number(webhook: Webhook, *, international: bool) -> str:
    sender = webhook.sender or ""
    try:
        return normalise(sender, region=webhook.region, international=international)
    except BadAddress:
        return sender.strip()
