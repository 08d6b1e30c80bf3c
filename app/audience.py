"""What an operator registers for profile look-ups: audiences, and the destinations of a page's datastream."""

import uuid

from pydantic import Field, field_validator

from app.action import MarketingAction
from app.spec import Spec
from app.webhook import NAME

#: ids that nobody gave are made of the names, so that they are the same on every node and after a restore
_OURS = uuid.UUID("9d1f9a4e-6b0f-5a43-9d55-7c9c4a1d5e21")
_ID = Field(None, pattern=r"^[A-Za-z0-9-]{1,64}$")


class Audience(Spec):
    """People of whom a condition is true."""

    name: str = Field(pattern=NAME)
    description: str = ""
    #: what a page is told of it; made of the name unless given
    id: str | None = _ID
    #: JSONata over consent, messages and profile, see `app.interpret.audiences`
    condition: str = Field(min_length=1, max_length=4_000)

    @property
    def segment_id(self) -> str:
        """Its id in answers."""
        return self.id or str(uuid.uuid5(_OURS, f"audience {self.name}"))


class Datastream(Spec):
    """What pages ask through: `configId` of the Web SDK."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:_-]{0,127}$")
    description: str = ""
    #: the web origins whose pages may ask: `https://www.example.com`
    origins: list[str] = []
    #: what pages configure as `orgId`; the cookie that remembers the browser is `kndctr_<organisation>_identity`
    organisation: str = Field("textback", pattern=r"^[A-Za-z0-9@._-]{1,128}$")
    #: whose consent the policies over its destinations look at
    program: str = Field("default", pattern=NAME)

    @field_validator("origins")
    @classmethod
    def _are_origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            scheme, _, rest = origin.partition("://")
            if scheme not in ("http", "https") or not rest or set(rest) & set("/?#*@ \\") or rest != rest.lower():
                raise ValueError(f"'{origin}' is no origin; write it as a browser does: https://www.example.com")
        return value


class Destination(Spec):
    """Audiences, mapped to one use of a datastream's answers."""

    name: str = Field(pattern=NAME)
    description: str = ""
    #: `destinationId` in answers; made of the name unless given
    id: str | None = _ID
    #: the integration alias, by which a page finds its own
    alias: str = Field(min_length=1, max_length=128)
    datastream: str
    audiences: list[str] = []
    #: attributes of the person, told to authenticated callers alone
    attributes: list[str] = []
    #: what the data is used for; policies are about these
    marketing_actions: list[MarketingAction] = []

    @property
    def destination_id(self) -> str:
        """Its id in answers."""
        return self.id or str(uuid.uuid5(_OURS, f"destination {self.name}"))
