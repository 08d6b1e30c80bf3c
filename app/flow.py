"""The story on one screen: a request is proved, read, and handed to the writer with the rules to decide it by.

    authenticate -> decode -> (record: what is new, what is known) -> interpret -> record

`Switchboard` holds a `Line` per webhook: everything about it made ready once, so that a request only walks through.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from urllib.parse import unquote_plus

import orjson

from app.address import normalise
from app.authenticate import verifier
from app.decode import check_sample, decoder
from app.errors import BadAddress, BadInput, NotReady
from app.events import (
    EVERY_PROGRAM,
    Cause,
    Change,
    ConsentState,
    Decoded,
    Event,
    Heard,
    RawRequest,
    Reading,
    Receipt,
)
from app.interpret import Policy, Rules, rules
from app.provider import Answer, Provider
from app.record.ids import new_id
from app.record.registry import Registered, RegisteredWebhook
from app.request import Request
from app.scheme import Scheme, SecretScheme
from app.settings import Settings
from app.webhook import Pack, Webhook

#: headers that carry a credential; a signature proves one request only and is kept as evidence
_CREDENTIAL_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})


@dataclass(frozen=True, slots=True)
class Line:
    """One webhook, ready to hear."""

    webhook: Webhook
    provider: Provider
    verify: Callable[[Request], str]
    decode: Callable[[Request], Decoded]
    rules: Rules
    #: the program of each of our numbers, for block errors
    programs: Mapping[str, str]
    #: lower-case names of headers and query parameters that never reach the database
    hidden: frozenset[str]

    def answer(self, decoded: Decoded) -> Answer:
        """What the provider wants to hear after this."""
        return self.provider.answers.get(decoded.answer, Answer())


def hear(line: Line, request: Request) -> tuple[Heard, Answer]:
    """Prove and read a request: what shall be recorded, and how to answer once it is. Raises Refused or NotReady."""
    evidence = line.verify(request)
    decoded = line.decode(request)
    reading, problem = _stored_as(decoded)
    raw = RawRequest(
        id=new_id(),
        method=request.method,
        target=_target(line, request),
        headers=_headers(line, request),
        body=request.body,
        client=request.client,
        signature=evidence,
        reading=reading,
        problem=problem,
    )
    return _heard(line, decoded, request.received_at, raw), line.answer(decoded)


def hear_again(line: Line, request: Request) -> Heard | None:
    """Read a stored request once more, after its provider file was mended; None: still nothing in it is understood."""
    decoded = line.decode(request)
    return None if decoded.reading is Reading.UNDECODED else _heard(line, decoded, request.received_at, None)


def change_by_hand(
    *, address: str, program: str, state: ConsentState, actor: str, reason: str, at: datetime, cause: Cause = Cause.API
) -> Heard:
    """A change of consent by a person or a system of the company, ready for the writer."""
    key = f"h|{new_id()}"
    change = Change(key=key, address=address, state=state, cause=cause, program=program, actor=actor, reason=reason)
    return Heard("", "", "", program, at, (change,))


def _stored_as(decoded: Decoded) -> tuple[Reading, str]:
    """A request of which an item could not be read is kept until it can be, though its other items are recorded."""
    if decoded.troubles:
        return Reading.UNDECODED, decoded.troubles[0].reason
    return decoded.reading, decoded.problem


def _heard(line: Line, decoded: Decoded, received_at: datetime, raw: RawRequest | None) -> Heard:
    webhook = line.webhook
    return Heard(
        webhook=webhook.name,
        provider=webhook.provider,
        account=webhook.ids_account,
        program=webhook.program,
        received_at=received_at,
        events=_with_block_errors(line, decoded.events),
        rules=line.rules,
        troubles=decoded.troubles,
        raw=raw,
    )


def _with_block_errors(line: Line, events: tuple[Event, ...]) -> tuple[Event, ...]:
    """A receipt whose code says "opted out" is also a change of consent, in the program of the message's sender."""
    blocked = [event for event in events if isinstance(event, Receipt) and event.blocked and event.recipient]
    return events + tuple(_block_error(line, receipt) for receipt in blocked)


def _block_error(line: Line, receipt: Receipt) -> Change:
    return Change(
        key="b|" + receipt.key,
        address=receipt.recipient,
        state=ConsentState.OPTED_OUT,
        cause=Cause.BLOCK_ERROR,
        program=line.programs.get(receipt.sender, EVERY_PROGRAM),
        provider_time=receipt.provider_time,
        reason=f"the provider refused a message: {receipt.code or receipt.provider_status}",
        about=(line.webhook.ids_account, receipt.message_id, receipt.recipient),
    )


def _headers(line: Line, request: Request) -> str:
    kept = {name: value for name, value in request.headers.items() if name not in line.hidden}
    return orjson.dumps(kept).decode()


def _target(line: Line, request: Request) -> str:
    """Path and query without the webhook's token and without secrets."""
    if not request.query:
        return "/in/…"
    parts = [p for p in request.query.split("&") if unquote_plus(p.partition("=")[0]).lower() not in line.hidden]
    return "/in/…?" + "&".join(parts)


# --- lines and their switchboard ----------------------------------------------------------------------------------


def policy(settings: Settings) -> Policy:
    """The reply guard and deadlines as set."""
    return Policy(
        default_every=timedelta(hours=settings.default_reply_hours),
        per_hour=settings.replies_per_hour,
        confirmation_deadline=timedelta(minutes=settings.confirmation_deadline_minutes),
        reply_deadline=timedelta(minutes=settings.reply_deadline_minutes),
    )


def check_webhook(
    webhook: Webhook,
    provider: Provider,
    packs: Mapping[str, Pack],
    replies: Mapping[str, str],
    own_numbers: frozenset[str],
) -> None:
    """Raises BadInput where it could not hear: no scheme, an unreadable template or sample, clashing keywords."""
    _scheme(webhook, provider)
    decoder(provider, webhook)
    if webhook.sample:
        check_sample(provider, webhook)
    rules(webhook, packs, replies, own_numbers, policy(Settings.model_construct()))


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

    def __init__(self, providers: Mapping[str, Provider], packs: Mapping[str, Pack], settings: Settings) -> None:
        self._providers = providers
        self._packs = packs
        self._policy = policy(settings)
        self.version = -1
        self._lines: dict[bytes, Line | str] = {}
        self.by_name: dict[str, Line] = {}
        #: name -> why a registered webhook cannot hear
        self.broken: dict[str, str] = {}

    def connect(self, registered: Registered) -> None:
        """Make a line of each webhook. One that cannot be made answers 503 and says why in `check` and the log."""
        programs = dict(self._senders(registered.webhooks))
        own_numbers = frozenset(programs)
        lines: dict[bytes, Line | str] = {}
        by_name, broken = {}, {}
        for entry in registered.webhooks:
            try:
                line = self._line(entry.webhook, registered.replies, own_numbers, programs)
                lines[bytes.fromhex(entry.token_hash)] = by_name[entry.webhook.name] = line
            except BadInput as error:
                lines[bytes.fromhex(entry.token_hash)] = broken[entry.webhook.name] = str(error)
        for token_hash, (name, reason) in registered.broken.items():
            lines[bytes.fromhex(token_hash)] = broken[name] = reason
        self._lines, self.by_name, self.broken = lines, by_name, broken
        self.version = registered.version

    def _line(
        self, webhook: Webhook, replies: Mapping[str, str], own_numbers: frozenset[str], programs: Mapping[str, str]
    ) -> Line:
        provider = self._providers.get(webhook.provider)
        if provider is None:
            raise BadInput(f"webhook '{webhook.name}': there is no provider file '{webhook.provider}'")
        scheme = _scheme(webhook, provider)
        return Line(
            webhook=webhook,
            provider=provider,
            verify=verifier(scheme, webhook.secrets),
            decode=decoder(provider, webhook),
            rules=rules(webhook, self._packs, replies, own_numbers, self._policy),
            programs=programs,
            hidden=_CREDENTIAL_HEADERS | _hidden(scheme),
        )

    def _senders(self, webhooks: Iterable[RegisteredWebhook]) -> Iterator[tuple[str, str]]:
        """(our number, its program) of each webhook, the number in the form that events carry it."""
        for webhook in (entry.webhook for entry in webhooks):
            provider = self._providers.get(webhook.provider)
            if webhook.sender and provider:
                yield _own_number(webhook, international=provider.international), webhook.program

    def find(self, token: str) -> Line | None:
        """The line of a token, by its hash, so that timing tells nothing about it. NotReady where it is broken."""
        found = self._lines.get(sha256(token.encode()).digest())
        if isinstance(found, str):
            raise NotReady(found)
        return found


def _hidden(scheme: Scheme) -> frozenset[str]:
    if isinstance(scheme, SecretScheme):
        return frozenset({scheme.name.lower()})
    return frozenset()


def _own_number(webhook: Webhook, *, international: bool) -> str:
    sender = webhook.sender or ""
    try:
        return normalise(sender, region=webhook.region, international=international)
    except BadAddress:
        return sender.strip()
