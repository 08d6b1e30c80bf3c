"""What an operator registers to send: a credential of a provider, and how it authenticates."""

import re
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from app.provider import Spec
from app.webhook import NAME

_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


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
        if not self.name or (self.place == "header" and not _HEADER_NAME.fullmatch(self.name)):
            raise ValueError(f"'{self.name}' is not the name of a {self.place}")
        return self


Auth = Annotated[NoAuth | BasicAuth | BearerAuth | ApiKeyAuth, Field(discriminator="type")]


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
    #: at most 10 beside Content-Type and Charset, which are always there
    headers: dict[str, str] = Field({}, max_length=10)
    # provider "custom"
    #: the outgoing body as JSON with placeholders
    payload: str | None = None
    #: dotted path of the message id in the provider's answer, `messages.0.id`
    message_id: str | None = None
    #: the provider refuses a second message with the same {{messageReference}}
    idempotent: bool = False

    @field_validator("headers")
    @classmethod
    def _header_syntax(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"'{name}' is not a header name")
            if not _HEADER_VALUE.fullmatch(text):
                raise ValueError(f"the value of header '{name}' has a control character in it, or one beyond ASCII")
        return value

    @property
    def ids_account(self) -> str:
        """The account that message ids are unique in."""
        return self.account or self.provider
