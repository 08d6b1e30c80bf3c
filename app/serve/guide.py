"""The documentation page of a provider, made from its file: what to enter where, which secret, what works."""

import re
from collections.abc import Iterable, Iterator, Mapping

from app.provider import Provider
from app.scheme import AnyScheme, Scheme, needs_secret, schemes_of, signs_url
from app.sending import Send
from app.webhook import CUSTOM

_PARAMETER = re.compile(r"parameters\.(\w+)")
#: what a scheme proves, in words; the place of an option is filled in by its name
_PROOFS: Mapping[str, str] = {
    "token": "nothing is signed: the URL of the webhook is the secret, so keep it out of logs and tickets",
    "secret": "the webhook's secret, sent along in {place} `{name}`",
    "basic": "HTTP Basic, the webhook's secret as the password",
    "hmac": "HMAC-{hash} in header `{header}`",
    "ed25519": "an Ed25519 signature in header `{header}`; the webhook's secret is the public key",
    "twilio": "HMAC-SHA1 over URL and parameters in header `{header}`",
    "plivo": "HMAC-SHA256 over URL, parameters and nonce in the X-Plivo-Signature headers",
    "jwt": "a signed token in header `{header}` that holds the body's hash",
    "parameter": "a hash over the parameters, in the parameter `{name}`",
    "sns": "an RSA signature by a certificate of Amazon's; the webhook's secret is the topic's ARN",
    "bearer": "a token of {issuer} in header `authorization`",
    "client_certificate": "a client certificate, which the proxy tells in header `{header}`",
}
_AUTHS: Mapping[str, str] = {
    "none": '{ type = "none" }',
    "basic": '{ type = "basic", username = "…", password = "${…}" }',
    "bearer": '{ type = "bearer", token = "${…}" }',
    "api_key": '{ type = "api_key", name = "…", token = "${…}" }',
    "mac": '{ type = "mac", token = "…", secret = "${…}" }',
    "jwt": '{ type = "jwt", algorithm = "RS256", key = "${…}", claims = { … } }',
    "oauth": '{ type = "oauth", url = "…", body = { grant_type = "…", client_id = "…", client_secret = "${…}" } }',
}

#: what provider "custom" brings itself
_OWN_CREDENTIAL = (
    "[[credentials]]",
    'name = "acme"',
    'provider = "custom"',
    'url = "https://…"',
    'auth = { type = "bearer", token = "${…}" }',
    """payload = '{"from":"{{fromNumber}}","to":"{{toNumber}}","text":"{{message}}","ref":"{{messageReference}}"}'""",
    'message_id = "messages.0.id"        # where its answer names the message',
    "",
)
_OWN_PAYLOADS = (
    """payload = '{"id":"{{requestId}}","from":"{{profileNumber}}","text":"{{inboundMessage}}"}'""",
    """feedback_payload = '{"id":"{{messageId}}","to":"{{recipient}}","status":"{{feedbackStatus}}"}'""",
)


def page(provider: Provider) -> str:
    """Markdown, ending with a line break."""
    parts = [
        f"# {provider.name}",
        f"{', '.join(provider.channels)} · provider = `{provider.slug}` · [documentation]({provider.page})",
        *_section("At the provider", _steps(provider)),
        *_section("In textback", ["```toml\n" + "\n".join(_snippet(provider)) + "\n```"]),
        *_section("How its requests are proved", _proof(provider)),
        *_section("What is heard", _heard(provider)),
        *_section("What is sent", _sent(provider)),
        *_section("To know", _listed(provider.notes)),
        *_section("What the documentation leaves open", _listed(provider.unconfirmed)),
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    body = list(lines)
    if body:
        yield f"## {title}"
        yield from body


def _listed(sentences: Iterable[str]) -> list[str]:
    lines = [f"- {sentence}" for sentence in sentences]
    return ["\n".join(lines)] if lines else []


def _steps(provider: Provider) -> Iterator[str]:
    steps = [step.replace("{url}", "the webhook's URL") for step in provider.setup]
    if steps:
        yield "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
    if provider.secret:
        yield f"The webhook's `secret`: {provider.secret}"


# --- what an operator writes --------------------------------------------------------------------------------------


def _snippet(provider: Provider) -> Iterator[str]:
    """The entries of an apply file, with a place for everything that must be given."""
    if provider.slug == CUSTOM:
        yield from _OWN_CREDENTIAL
    elif provider.send:
        yield from _credential(provider)
        yield ""
    yield "[[webhooks]]"
    yield f'name = "acme-{provider.slug}"'
    yield f'provider = "{provider.slug}"'
    yield 'type = "both"                # inbound | feedback | both'
    if provider.send or provider.slug == CUSTOM:
        yield 'credential = "acme"'
    yield 'sender = "+14155550199"'
    if provider.signature is None:
        yield 'scheme = { type = "…" }      # the provider offers several, see below'
    if provider.signature is None or needs_secret(provider.signature):
        yield 'secret = "${…}"'
    if any(handshake.token for handshake in provider.handshakes):
        yield 'verify_token = "${…}"        # a word of your own; without it, the secret'
    if provider.slug == CUSTOM:
        yield from _OWN_PAYLOADS


def _credential(provider: Provider) -> Iterator[str]:
    channel, send = next(iter(provider.send.items()))
    told = send.model_dump_json()
    yield "[[credentials]]"
    yield 'name = "acme"'
    yield f'provider = "{provider.slug}"'
    if channel != "sms":
        yield f'channel = "{channel}"'
    if "{{appId}}" in told:
        yield 'app_id = "…"'
    yield f"auth = {send.auth_example or _AUTHS[send.auth[0] if send.auth else 'none']}"
    if not send.url:
        yield 'url = "https://…"            # it holds something of the account'
    names = dict.fromkeys(_PARAMETER.findall(told))
    if names:
        given = ", ".join(f'{name} = "…"' for name in names)
        yield f"parameters = {{ {given} }}"
    if "feedbackUrl" in told:
        yield f'feedback = "acme-{provider.slug}"'


# --- what works ---------------------------------------------------------------------------------------------------


def _proof(provider: Provider) -> Iterator[str]:
    scheme = provider.signature
    if scheme is None:
        yield "The provider offers several ways, and none can be assumed: give the webhook a `scheme`."
        return
    yield _listed(_capital(_in_words(one)) + "." for one in schemes_of(scheme))[0]
    if isinstance(scheme, AnyScheme):
        yield "One of these is enough."
    if signs_url(scheme):
        yield "The signature covers the URL: behind a proxy set `TEXTBACK_PUBLIC_URL` to what the provider calls."


def _in_words(scheme: Scheme) -> str:
    options = scheme.model_dump()
    if "hash" in options:
        options["hash"] = options["hash"].upper()
    return _PROOFS[scheme.type].format(**options)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _heard(provider: Provider) -> Iterator[str]:
    kinds = dict.fromkeys(rule.kind for rule in provider.events)
    words = {
        "inbound": "inbound messages",
        "receipt": "delivery receipts",
        "change": "opt-outs and opt-ins as events of their own",
        "ignore": "further events, which are acknowledged and ignored",
    }
    if kinds:
        yield _capital(", ".join(words[kind] for kind in kinds)) + "."
    if provider.statuses:
        rows = [f"| {word} | {status.value} |" for word, status in provider.statuses.items()]
        yield "\n".join(["| the provider's status | ours |", "| --- | --- |", *rows])
    if provider.status_rules:
        yield f"{len(provider.status_rules)} more rules look at several fields, such as the status and an error code."
    if provider.blocked_codes:
        yield f"A receipt with code {', '.join(provider.blocked_codes)} means that the person has opted out."
    if provider.retries:
        yield f"It waits {provider.patience:g} s for an answer. Repeats: {provider.retries}."


def _sent(provider: Provider) -> Iterator[str]:
    if not provider.send and provider.slug != CUSTOM:
        yield "Receive-only: replies to this provider's messages leave through another credential, or not at all."
    rows = [f"| {channel} | {send.method} | {_taken(send)} | {_id(send)} |" for channel, send in provider.send.items()]
    if rows:
        yield "\n".join(["| channel | request | auth | message id |", "| --- | --- | --- | --- |", *rows])


def _taken(send: Send) -> str:
    return ", ".join(send.auth) or "any"


def _id(send: Send) -> str:
    if send.id or send.id_pattern:
        return "the provider's"
    return "our own reference"
