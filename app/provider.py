"""What a provider file may say (`config/providers/<slug>.toml`): how a provider's requests are proved, read, answered,
and how a message is sent through it. A provider is data; no line of Python knows one by name."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from app.errors import BadInput
from app.events import Category, ConsentState, Status


class Spec(BaseModel):
    """A part of a provider file or of an operator's input: frozen, and closed against misspelt names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- how a request is proved --------------------------------------------------------------------------------------


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


class HmacScheme(Spec):
    """A keyed hash over the raw body, in a header."""

    type: Literal["hmac"] = "hmac"
    header: str
    hash: Literal["md5", "sha1", "sha224", "sha256", "sha384", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""


class TwilioScheme(Spec):
    """Base64 HMAC-SHA1 over the public URL and the sorted form."""

    type: Literal["twilio"] = "twilio"
    header: str = "x-twilio-signature"


class SinchScheme(Spec):
    """Base64 HMAC-SHA256 over `body.nonce.timestamp`."""

    type: Literal["sinch"] = "sinch"
    header_prefix: str = "x-sinch-webhook-signature"


Scheme = Annotated[
    TokenScheme | SecretScheme | BasicScheme | HmacScheme | TwilioScheme | SinchScheme, Field(discriminator="type")
]


def signs_url(scheme: Scheme) -> bool:
    """Whether the proof covers the URL that the provider called, so that textback must know it."""
    return isinstance(scheme, TwilioScheme)


# --- how a request is read ----------------------------------------------------------------------------------------

#: path -> true (present and not empty), false (absent or empty), a text, or a list of texts (equal, ignoring case);
#: all of it must hold. In `events` and `status_rules` a text that ends with * is a beginning: text/plain*
Condition = dict[str, bool | str | list[str]]
#: several conditions, of which one must hold
When = Condition | list[Condition]


class Alternative(Spec):
    """One way to find a value: at a path, or a constant; with affixes cut off and only under a condition.

    A path is dotted names and indexes (`messages.0.id`), read in the item that `each` fans out to; `$.` starts at the
    whole body, `^.` at the item around the present one (`^.^.` at the one around that), and `@` is the item itself.
    With `among`, path and condition are read in the elements of that array, and the first with a value counts.
    A backslash takes the meaning from the character behind it: `hub\\.mode` is one name.
    """

    path: str = ""
    const: str = ""
    among: str = ""
    prefix: str = ""
    suffix: str = ""
    #: texts that mean that there is no value: error code 0
    none: list[str] = []
    when: When = {}

    @model_validator(mode="after")
    def _one_source(self) -> "Alternative":
        if bool(self.path) == bool(self.const):
            raise ValueError("give either path or const")
        if self.among and not self.path:
            raise ValueError("among needs a path, which is read in each element")
        return self


#: a path, an alternative, or several of them, of which the first with a value counts
Value = str | Alternative | list[str | Alternative]


class EventRule(Spec):
    """How one kind of event is recognised and read.

    Of the rules with the same `each`, the first that holds reads an item; what lies inside a read item is not read
    again by the rules of a later `each`. An item that no rule reads waits on the work list.
    """

    kind: Literal["inbound", "receipt", "change", "ignore"]
    when: When = {}
    #: fan-out: path of an array, `[]` after each level that is one (`statuses[].recipients[]`)
    each: str = ""

    #: the provider's id of the message, or of the event for a change
    id: Value | None = None
    #: the person: the message's author for inbound, its recipient for a receipt
    address: Value | None = None
    #: our own number or agent
    sender: Value | None = None
    time: Value | None = None
    time_format: Literal["auto", "yymmddhhmm", "yyyymmddhhmmss"] = "auto"
    #: sms, where nothing is found; a channel before the address (`whatsapp:+41…`) comes first
    channel: Value | None = None

    # inbound
    text: Value | None = None
    category: Value | None = None
    categories: dict[str, Category] = {}
    #: present: the provider has answered the person itself
    answered: Value | None = None

    # receipt
    status: Value | None = None
    code: Value | None = None
    error_text: Value | None = None
    reference: Value | None = None
    part: Value | None = None
    parts: Value | None = None

    # change
    state: ConsentState | None = None

    @model_validator(mode="after")
    def _whole(self) -> "EventRule":
        wanted = {
            "inbound": {"address": self.address, "text": self.text},
            "receipt": {"status": self.status, "id or reference": self.id or self.reference},
            "change": {"address": self.address, "state": self.state},
            "ignore": {},
        }
        missing = [name for name, value in wanted[self.kind].items() if not value]
        if missing:
            raise ValueError(f"an event of kind {self.kind} needs {', '.join(missing)}")
        return self


class StatusRule(Spec):
    """A status that takes more than one field to tell; the first that holds wins over the map."""

    when: When
    status: Status
    #: it also means that the person has opted out
    blocked: bool = False


class Answer(Spec):
    """What the provider wants to hear."""

    status: int = Field(200, ge=200, le=299)
    content_type: str = ""
    body: str = ""


# --- how a message is sent ----------------------------------------------------------------------------------------


class Send(Spec):
    """The outgoing request. `{{appId}} {{fromNumber}} {{toNumber}} {{message}} {{messageReference}}` are filled in
    leaf by leaf, so that no character of a message can break out of its value."""

    #: empty: it has something of the account in it, so the credential must give its own
    url: str
    method: Literal["POST", "GET", "PUT"] = "POST"
    headers: dict[str, str] = {}
    form: dict[str, str] = {}
    json_body: dict[str, Any] | list[Any] | None = Field(None, alias="json")
    #: dotted path of the message id in the answer
    id: str
    #: dotted path of the error code in an answer, and the codes that mean: this person has opted out
    code: str = ""
    blocked_codes: list[str] = []
    #: answers with status 2xx count as taken only when all of this holds in their body
    accepted: Condition = {}
    #: auth types that the provider takes
    auth: list[str] = []
    #: the provider refuses a second message with the same reference or key, so a doubtful send may be repeated
    idempotent: bool = False
    #: cut the plus from numbers
    strip_plus: bool = False


class Provider(Spec):
    """One provider file."""

    slug: str
    name: str
    #: the documentation page that the file follows
    page: str
    #: what a person should know: what is supported, and the oddities
    notes: list[str] = []
    #: numbers come with country code and without plus
    international: bool = False
    #: None: the operator must say the scheme, the documentation has no safe default
    signature: Scheme | None = None
    #: seconds that the provider waits for an answer
    patience: float = 10.0
    #: how the provider repeats a request, in words
    retries: str = ""
    body_limit: int | None = None
    events: list[EventRule] = []
    statuses: dict[str, Status] = {}
    status_rules: list[StatusRule] = []
    #: codes in receipts that mean: this person has opted out
    blocked_codes: list[str] = []
    answers: dict[Literal["inbound", "receipt", "change", "ignore"], Answer] = {}
    #: how to send, by channel; `sms` unless said otherwise
    send: dict[str, Send] = {}

    @field_validator("statuses")
    @classmethod
    def _fold(cls, value: dict[str, Status]) -> dict[str, Status]:
        return {word.casefold(): status for word, status in value.items()}


def load_provider(path: Path) -> Provider:
    """One provider file. Raises BadInput that names the file and the field."""
    try:
        return Provider(slug=path.stem, **tomllib.loads(path.read_text("utf-8")))
    except (ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path.name}: {error}") from None


def load_providers(config_dir: Path) -> dict[str, Provider]:
    """All provider files by slug."""
    return {path.stem: load_provider(path) for path in sorted((config_dir / "providers").glob("*.toml"))}
