"""How a request is proved: the signature schemes that a provider file may name, and their options.

A scheme that signs a text says what the text is made of (`signed`), so that a provider with the usual keyed hash needs
no Python. Places in it: `{body}` · `{url}` with query, `{bare_url}` without · `{sorted_query}` as a form sorted by name
· `{body_sha256}` its 32 bytes, `{body_sha256_hex}`, `{body_sha256_base64}` · `{header:x-nonce}` ·
`{base64:message.data}`, the bytes that stand base64-encoded at a path of the JSON body. Everything else in it is meant
literally.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from app.spec import Spec

Hash = Literal["md5", "sha1", "sha224", "sha256", "sha384", "sha512"]
Encoding = Literal["hex", "base64"]


class TokenScheme(Spec):
    """The unguessable webhook URL alone; for providers that sign nothing."""

    type: Literal["token"] = "token"


class SecretScheme(Spec):
    """The webhook's secret itself, in a header or a query parameter."""

    type: Literal["secret"] = "secret"
    place: Literal["header", "query"] = "header"
    name: str
    prefix: str = ""


class BasicScheme(Spec):
    """HTTP Basic; the password is the webhook's secret."""

    type: Literal["basic"] = "basic"
    username: str


class Window(Spec):
    """How old a proof may be, for providers that document that they sign each attempt anew."""

    #: the header that holds unix seconds
    header: str
    #: seconds before and after now
    seconds: int = Field(300, ge=1)


class HmacScheme(Spec):
    """A keyed hash over a text made of the request's parts, in a header."""

    type: Literal["hmac"] = "hmac"
    header: str
    hash: Hash = "sha256"
    encoding: Encoding = "hex"
    #: stands before the signature: `sha256=`
    prefix: str = ""
    #: the signature stands behind the last of these: `:` in `TSA account:signature`
    behind: str = ""
    #: several signatures stand in the header, this between them, and one of them must match
    separator: str = ""
    #: the form of the webhook's secret, and what stands before it: `whsec_`
    key: Literal["text", "base64", "hex"] = "text"
    key_prefix: str = ""
    signed: str = "{body}"
    #: json: no other body is signed so. For a provider that signs its forms in another way, with the same key
    content: Literal["any", "json"] = "any"
    window: Window | None = None


class Ed25519Scheme(Spec):
    """An Ed25519 signature over a text made of the request's parts; the webhook's secret is the public key."""

    type: Literal["ed25519"] = "ed25519"
    header: str
    encoding: Encoding = "base64"
    signed: str = "{body}"
    window: Window | None = None


class TwilioScheme(Spec):
    """Base64 HMAC-SHA1 over the public URL and the sorted form; also SignalWire's for its compatible API."""

    type: Literal["twilio"] = "twilio"
    header: str = "x-twilio-signature"
    #: how several values of a name are signed: sorted and each once, or all of them in the order they came
    repeats: Literal["sorted", "kept"] = "sorted"


class PlivoScheme(Spec):
    """Base64 HMAC-SHA256 over URL, parameters and nonce (V3); V2, which covers neither query nor body, when allowed."""

    type: Literal["plivo"] = "plivo"
    #: believe a V2 signature where no V3 header is there
    v2: bool = False


class JwtScheme(Spec):
    """A JSON Web Token signed with the webhook's secret, which holds hashes of what it covers."""

    type: Literal["jwt"] = "jwt"
    header: str = "authorization"
    prefix: str = "Bearer "
    algorithms: list[Literal["HS256", "HS384", "HS512"]] = ["HS256"]
    issuer: str = ""
    #: claim that holds the body's SHA-256 in hex; it may be missing only where the body is empty
    payload_hash: str = "payload_hash"
    #: claim that holds the SHA-256 of the URL in hex, where there is one
    url_hash: str = ""
    #: seconds that `iat` may lie back or ahead, for tokens without `exp`
    window: int | None = None


class ParameterScheme(Spec):
    """A hash over the sorted parameters, which is itself one of them (Vonage's `sig`)."""

    type: Literal["parameter"] = "parameter"
    name: str = "sig"
    #: what the account is set to: a plain hash of text and secret, or a keyed one
    hash: Literal["md5hash", "md5", "sha1", "sha256", "sha512"]
    #: parameter with unix seconds, and how many of them it may differ from now
    timestamp: str = "timestamp"
    window: int | None = None


class SnsScheme(Spec):
    """Amazon SNS: RSA over the envelope's fields, by a certificate of Amazon's; the secret is the topic's ARN.

    Anybody can have Amazon sign a message of a topic of his own, so without the topic the signature proves nothing.
    """

    type: Literal["sns"] = "sns"
    #: seconds that the message's Timestamp may differ from now; Amazon repeats a message for an hour at most
    window: int | None = Field(None, ge=1)


class BearerScheme(Spec):
    """A token signed by an issuer that publishes its keys (OpenID Connect: Entra, Google), in `Authorization`.

    Such an issuer signs for whoever asks and for any audience that he names: only further claims tell who that is.
    """

    type: Literal["bearer"] = "bearer"
    issuer: str
    audience: str
    #: https URL of the key set
    keys: str = Field(pattern=r"^https://[^/@?#\s]+/\S*$")
    algorithms: list[Literal["RS256", "RS384", "RS512", "ES256", "ES384"]] = ["RS256"]
    #: who the caller is: claims that must have these values, `{ azp = "…" }`; one at least
    claims: dict[str, str] = {}

    @model_validator(mode="after")
    def _of_somebody(self) -> "BearerScheme":
        if not self.claims:
            raise ValueError(
                "claims must say who calls, because the issuer signs tokens for others too: for Google"
                ' { email = "the service account", email_verified = "true" }, for Entra { azp = "the application'
                ' id of Event Grid" }, or appid in a token of version 1'
            )
        return self


class ClientCertificateScheme(Spec):
    """mTLS that a trusted proxy has ended: it tells the certificate's fingerprint or subject in a header.

    The header counts only from an address in TRUSTED_PROXIES; the proxy must overwrite what a caller sends.
    """

    type: Literal["client_certificate"] = "client_certificate"
    header: str
    values: list[str] = Field(min_length=1)


class AnyScheme(Spec):
    """Any of several: a provider that signs in two ways, or an operator who changes from one to another."""

    type: Literal["any"] = "any"
    of: "list[Scheme]" = Field(min_length=1)


Scheme = Annotated[
    TokenScheme
    | SecretScheme
    | BasicScheme
    | HmacScheme
    | Ed25519Scheme
    | TwilioScheme
    | PlivoScheme
    | JwtScheme
    | ParameterScheme
    | SnsScheme
    | BearerScheme
    | ClientCertificateScheme
    | AnyScheme,
    Field(discriminator="type"),
]
AnyScheme.model_rebuild()


def schemes_of(scheme: Scheme) -> Iterator[Scheme]:
    """The scheme, or those that it is made of."""
    if isinstance(scheme, AnyScheme):
        for one in scheme.of:
            yield from schemes_of(one)
    else:
        yield scheme


def signs_url(scheme: Scheme) -> bool:
    """Whether the proof covers the URL that the provider called, so that textback must know it."""
    return any(
        isinstance(one, TwilioScheme | PlivoScheme)
        or (isinstance(one, JwtScheme) and bool(one.url_hash))
        or (isinstance(one, HmacScheme | Ed25519Scheme) and "url}" in one.signed)
        for one in schemes_of(scheme)
    )


def lacking_secret(scheme: Scheme) -> list[str]:
    """The types of the schemes in it that can prove nothing while the webhook has no secret."""
    return list(dict.fromkeys(one.type for one in schemes_of(scheme) if needs_secret(one)))


def needs_secret(scheme: Scheme) -> bool:
    """Whether a webhook with this scheme cannot hear without a secret."""
    return not isinstance(scheme, TokenScheme | BearerScheme | ClientCertificateScheme | AnyScheme) or (
        isinstance(scheme, AnyScheme) and all(needs_secret(one) for one in scheme.of)
    )
