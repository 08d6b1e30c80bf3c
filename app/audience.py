"""What an operator registers for profile look-ups: audiences, and the destinations of a page's datastream.

An audience's condition is JSONata, and sees of a person:

| field | what it is |
| --- | --- |
| `address` | the address: `$substring(address, 0, 3) = "+33"` |
| `consent.<program>.state` | `opted_in`, `opted_out`, `pending` or `unknown`, as it holds for the program |
| `consent.<program>.since`, `.cause` | since when, and why: `keyword`, `import` … |
| `consent.<program>.may_send` | true or false |
| `profile.<name>` | an attribute, a text: `profile.city = "Basel"`, `$number(profile.age) >= 18` |
| `messages.sent` | how many messages they were sent, as far as these are kept |
| `messages.delivered`, `.read`, `.failed` | how many of them were; what was read was delivered |
| `messages.last_at`, `.last_status` | when the last one was sent, and its status; missing without any |
| `inbound.count`, `inbound.last_at` | how often they wrote, as far as it is kept, and when last |

`consent` has every program that anybody has consent for, and always `default`; what was said to all programs (`*`) is
counted in. Times are texts in UTC, `2026-11-27T17:18:00.123Z`: they sort as they are, and `$toMillis` takes them.
Whoever the condition is exactly true of is in; a number, a text, a list or a failure is not true. Of whom nothing is
recorded is in no audience.

Membership is worked out when something about the person changes, and once a day for everybody: a condition that looks
at the clock (`$now`, `$millis`), and what goes with its retention, is right to the day.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from pydantic import Field, field_validator

from app.action import MarketingAction
from app.events import Standing
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


class Sent(NamedTuple):
    """What became of the messages to a person."""

    sent: int = 0
    """All of them."""
    delivered: int = 0
    """Read ones included."""
    read: int = 0
    failed: int = 0
    last_at: datetime | None = None
    last_status: str = ""


class Portrait(NamedTuple):
    """What is recorded of a person, as far as conditions see it."""

    address: str
    standings: Mapping[str, Standing]
    """By program, `*` included."""
    programs: Sequence[str]
    """Every program that anybody has consent for."""
    attributes: Mapping[str, str]
    sent: Sent
    inbound: int
    """How many messages they wrote."""
    inbound_at: datetime | None
    withheld: bool
    """Nobody may be sent to: the database was restored, and not yet compared (see `app.record.facts`)."""

    @property
    def is_known(self) -> bool:
        """Whether anything is recorded of them."""
        return bool(self.standings or self.attributes or self.sent.sent or self.inbound)


WorkOut = Callable[[Mapping[str, str], Sequence[Portrait]], list[tuple[str, ...]]]
"""`app.interpret.audiences`: from the conditions by name, and people, the audiences that each of them is in."""
