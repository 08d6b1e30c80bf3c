"""What can be set: environment variables `TEXTBACK_*` over a file.

The file is `TEXTBACK_CONFIG` where that is set; else `config/settings.toml` of the repository, or, where textback was
installed from a wheel, `/etc/textback/settings.toml`. Only the first must exist.
"""

import ipaddress
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from app.errors import BadInput
from app.shipped import is_checkout, shipped

CONFIG_DIR = shipped("config")
#: the environment variable that names the settings file; it is no setting itself
FILE_VARIABLE = "TEXTBACK_CONFIG"
#: of an installed textback
INSTALLED_FILE = Path("/etc/textback/settings.toml")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
CommaList = Annotated[list[str], NoDecode]
#: a list in the environment that is written as it would be in the file; [::1] is an address
_AS_JSON = re.compile(r"""\s*\[\s*["'\]]""")


class Settings(BaseSettings):
    """Every setting, its meaning and unit. `config/settings.example.toml` lists the same names."""

    model_config = SettingsConfigDict(env_prefix="TEXTBACK_", extra="forbid", frozen=True)

    #: sqlite:///data/textback.db or postgresql://user:password@host/name
    database_url: SecretStr = SecretStr("sqlite:///data/textback.db")
    #: where LISTEN and migrations go, when database_url names a pooling proxy in transaction mode (pgbouncer)
    database_direct_url: SecretStr | None = None
    #: what providers call, https://hooks.example.com; signatures need it behind a proxy
    public_url: str | None = None
    #: the first bearer token, with every scope; at least 16 characters
    admin_token: SecretStr | None = None
    #: encrypts stored secrets; at least 32 characters. Comma-separated to rotate: the first encrypts, all decrypt
    secret_key: SecretStr | None = None
    #: seals the ledger and keeps the suppression of erased people; at least 32 characters, never changed
    evidence_key: SecretStr | None = None
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    #: addresses or CIDRs whose X-Forwarded-* headers are believed
    trusted_proxies: CommaList = []
    #: hosts and CIDRs to which outgoing calls may go although private or plain http
    allowed_private_destinations: CommaList = []
    #: may_send for people who never said anything
    unknown_consent: Literal["allow", "deny"] = "allow"
    #: bytes of a request body; a provider file may say more
    body_limit: int = Field(1_048_576, ge=1024)
    #: seconds for a request's headers and body to arrive
    request_timeout: float = Field(10.0, gt=0)
    #: seconds to wait for the commit before a provider is told to try again; a provider file may say less
    commit_timeout: float = Field(8.0, gt=0)
    #: requests that may wait for a commit; beyond it, 503
    queue_limit: int = Field(10_000, ge=1)
    #: bytes of requests that may wait for a commit; beyond it, 503
    queue_bytes: int = Field(67_108_864, ge=1_048_576)
    #: seconds without a commit after which PostgreSQL counts as away, and requests are kept in the spool
    outage_after: float = Field(1.0, gt=0)
    #: a folder on a local disk for what is heard while PostgreSQL is away
    spool_folder: str = "data/spool"
    #: bytes that the spool may take; beyond it, 503
    spool_limit: int = Field(1_073_741_824, ge=1_048_576)
    #: seconds between "not ready" and the last accepted connection at shutdown, so that a load balancer notices
    shutdown_delay: float = Field(0.0, ge=0)
    #: seconds after that delay in which requests and sends under way may end; then the process ends all the same
    shutdown_deadline: float = Field(20.0, gt=0)
    #: days that raw requests are kept; PostgreSQL drops whole months, so up to 31 days longer there
    raw_retention_days: int = Field(30, ge=1)
    #: days that inbound messages and our replies are kept
    inbound_retention_days: int = Field(1_826, ge=1)
    #: days that receipts and their messages are kept
    receipts_retention_days: int = Field(730, ge=1)
    #: days after which an event's unique key is forgotten, and a repetition of it would be new
    key_retention_days: int = Field(1_826, ge=30)
    #: seconds between two seals of the ledger
    seal_every: float = Field(60.0, gt=0)
    #: one default reply per address in so many hours
    default_reply_hours: float = Field(24.0, ge=0)
    #: replies per address and hour; a first opt-out confirmation is exempt
    replies_per_hour: int = Field(5, ge=0)
    #: minutes after which an opt-out confirmation is cancelled
    confirmation_deadline_minutes: float = Field(5.0, gt=0)
    #: minutes after which any other reply is cancelled
    reply_deadline_minutes: float = Field(60.0, gt=0)
    #: custom actions called for one address and hour; opt-ins and opt-outs are exempt
    calls_per_hour: int = Field(5, ge=0)
    #: calls of custom actions under way at once
    call_concurrency: int = Field(16, ge=1, le=1024)
    #: sends under way at once
    send_concurrency: int = Field(64, ge=1, le=1024)
    #: seconds for one outgoing request
    send_timeout: float = Field(15.0, gt=0)
    #: tries of one reply
    send_attempts: int = Field(6, ge=1)
    #: seconds in which the same action, document and version is run once; then it would be run anew
    document_window: float = Field(60.0, ge=0, le=86_400)
    #: one line per request to stderr: webhook's name, status, milliseconds
    access_log: bool = True
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("trusted_proxies", "allowed_private_destinations", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if _AS_JSON.match(value):
            raise ValueError(
                "is no JSON: in the environment a list has commas between its values and nothing around them, such as"
                " 10.0.0.0/8,192.168.1.2"
            )
        return [part.strip() for part in value.split(",") if part.strip()]

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for part in value:
            ipaddress.ip_network(part, strict=False)
        return value

    @field_validator("public_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise ValueError("must be like https://hooks.example.com, without a query")
        return value.rstrip("/")

    @field_validator("admin_token")
    @classmethod
    def _long_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("is shorter than 16 characters; make one with: openssl rand -hex 24")
        return value

    @field_validator("secret_key", "evidence_key")
    @classmethod
    def _long_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and any(len(key.strip()) < 32 for key in value.get_secret_value().split(",")):
            raise ValueError("is shorter than 32 characters; make one with: openssl rand -hex 32")
        return value

    @cached_property
    def proxies(self) -> tuple[Network, ...]:
        """`trusted_proxies`, parsed."""
        return tuple(ipaddress.ip_network(part, strict=False) for part in self.trusted_proxies)

    @property
    def base_url(self) -> str:
        """Where providers reach us, as far as we are told."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url or f"http://{host}:{self.port}"

    @property
    def evidence_secret(self) -> str | None:
        """`evidence_key` as it is; None where it is not set."""
        return self.evidence_key.get_secret_value() if self.evidence_key else None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments over environment over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, settings_file())


def settings_file() -> Path:
    """Where settings are read from; only a file that the environment names must exist (else BadInput)."""
    named = os.environ.get(FILE_VARIABLE)
    if not named:
        return CONFIG_DIR / "settings.toml" if is_checkout() else INSTALLED_FILE
    if not Path(named).is_file():
        raise BadInput(f"{FILE_VARIABLE} names {named}, and there is no such file")
    return Path(named)


def load(**given: Any) -> Settings:
    """Settings from environment and file. Raises BadInput with one sentence per bad value."""
    try:
        return Settings(**given)
    except ValidationError as error:
        lines = (f"TEXTBACK_{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise BadInput("\n".join(lines)) from None
