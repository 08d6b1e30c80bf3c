"""What an operator registers to send: a credential of a provider, and how it authenticates."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from app.spec import Spec
from app.webhook import NAME

_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _is_header_name(value: str) -> str:
    if not HEADER_NAME.fullmatch(value):
        raise ValueError(f"'{value}' is not a header name")
    return value


HeaderName = Annotated[str, AfterValidator(_is_header_name)]


class NoAuth(Spec):
    """No authentication."""

    type: Literal["none"] = "none"


class BasicAuth(Spec):
    """HTTP Basic."""

    type: Literal["basic"] = "basic"
    username: str
    password: SecretStr


class BearerAuth(Spec):
    """`Authorization: <prefix> <token>`; Infobip's prefix is App."""

    type: Literal["bearer"] = "bearer"
    token: SecretStr
    prefix: str = "Bearer"


class ApiKeyAuth(Spec):
    """A key in a header or a query parameter."""

    type: Literal["api_key"] = "api_key"
    name: str
    token: SecretStr
    place: Literal["header", "query"] = "header"

    @model_validator(mode="after")
    def _name_syntax(self) -> "ApiKeyAuth":
        if not self.name or (self.place == "header" and not HEADER_NAME.fullmatch(self.name)):
            raise ValueError(f"'{self.name}' is not the name of a {self.place}")
        return self


class MacRecipe(Spec):
    """How a request is signed with a shared secret. The places of the templates:

    `{method} {url} {host} {port} {target}` (path and query) · `{body}` `{body_sha256}` `{body_md5}`, both in the
    recipe's encoding · `{timestamp}` unix seconds, `{iso_time}`, `{http_date}`, `{nonce}` · `{token}` · `{signature}`,
    in headers alone. A template without any is literal; a doubled brace stands for one.
    The usual recipe is that of the draft "HTTP Authentication: MAC Access Authentication"
    (https://datatracker.ietf.org/doc/html/draft-ietf-oauth-v2-http-mac-01).
    """

    signed: str = "{timestamp}\n{nonce}\n{method}\n{target}\n{host}\n{port}\n\n"
    hash: Literal["sha1", "sha256", "sha512", "md5"] = "sha256"
    encoding: Literal["base64", "hex"] = "base64"
    #: the form of the secret
    key: Literal["text", "base64", "hex"] = "text"
    headers: dict[str, str] = {
        "Authorization": 'MAC id="{token}", ts="{timestamp}", nonce="{nonce}", mac="{signature}"',
    }


class MacAuth(Spec):
    """Each request signed with a shared secret, by the provider's recipe or by this one."""

    type: Literal["mac"] = "mac"
    token: str = ""
    secret: SecretStr
    #: None: the provider file's recipe, or the usual one
    recipe: MacRecipe | None = None


class Claims(Spec):
    """A JSON Web Token that we sign. `iat`, `exp` and `jti` are filled in; what `claims` says wins."""

    claims: dict[str, Any] = {}
    #: the shared secret of HS…, the private key in PEM of the others
    key: SecretStr
    algorithm: Literal["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512"] = "HS256"
    key_id: str = ""
    #: seconds until it ends
    lifetime: int = Field(300, ge=10, le=86_400)


class JwtAuth(Claims):
    """A token of our own in a header, made anew before it ends."""

    type: Literal["jwt"] = "jwt"
    header: str = "Authorization"
    prefix: str = "Bearer"


class OAuthAuth(Spec):
    """An access token from the provider's token URL, kept until shortly before it ends."""

    type: Literal["oauth"] = "oauth"
    url: str
    #: grant_type, client_id, client_secret…; `{{assertion}}` is the signed assertion
    body: dict[str, SecretStr] = {}
    format: Literal["form", "json"] = "form"
    #: the token request's own headers, such as Authorization
    headers: dict[str, SecretStr] = {}
    #: for the JWT bearer grant (RFC 7523), such as a Google service account's
    assertion: Claims | None = None
    #: dotted paths in the answer
    token_path: str = "access_token"  # noqa: S105 - a path
    expires_path: str = "expires_in"
    header: str = "Authorization"
    prefix: str = "Bearer"


class ClientCertificate(Spec):
    """mTLS: our certificate and its key, both in PEM. For the sending URL alone."""

    certificate: str
    key: SecretStr
    #: PEM of the authority that signed the provider's own certificate, where it is not a public one
    authority: str = ""


Auth = Annotated[
    NoAuth | BasicAuth | BearerAuth | ApiKeyAuth | MacAuth | OAuthAuth | JwtAuth, Field(discriminator="type")
]


class Credential(Spec):
    """How messages leave through a provider."""

    name: str = Field(pattern=NAME)
    provider: str
    app_id: str = ""
    channel: Literal["sms", "rcs", "mms"] = "sms"
    #: the account that ids are unique in; the provider's slug unless said otherwise
    account: str | None = None
    #: overrides the provider file's URL; provider "custom" needs it
    url: str | None = None
    auth: Auth = NoAuth()
    #: mTLS, beside auth or alone
    client_certificate: ClientCertificate | None = None
    #: what the provider file's templates want besides: `{{parameters.workspace}}`
    parameters: dict[str, str] = {}
    #: webhook whose URL is told to the provider with each message, where it wants to know it: `{{feedbackUrl}}`
    feedback: str | None = None
    #: at most 10 beside Content-Type and Charset, which are always there
    headers: dict[HeaderName, str] = Field({}, max_length=10)
    # provider "custom"
    #: the outgoing body with placeholders
    payload: str | None = None
    payload_format: Literal["json", "form", "xml", "text"] = "json"
    method: Literal["POST", "GET", "PUT"] = "POST"
    #: dotted path of the message id in the provider's answer, `messages.0.id`
    message_id: str | None = None
    #: the provider refuses a second message with the same {{messageReference}}
    idempotent: bool = False

    @field_validator("headers")
    @classmethod
    def _header_syntax(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _HEADER_VALUE.fullmatch(text):
                raise ValueError(f"the value of header '{name}' has a control character in it, or one beyond ASCII")
        return value

    @property
    def ids_account(self) -> str:
        """The account that message ids are unique in."""
        return self.account or self.provider
