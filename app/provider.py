"""What a provider file may say (`config/providers/<slug>.toml`): how a provider's requests are proved, read, answered,
and how a message is sent through it. A provider is data; no line of Python knows one by name."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from app.errors import BadInput
from app.events import Category, ConsentState, Status
from app.scheme import Scheme
from app.sending import Send
from app.spec import Place, Spec, When, faults

# --- how a request is read ----------------------------------------------------------------------------------------

#: how bytes are written as text
Wrapping = Literal["percent", "base64", "hex"]
#: the charset of such bytes; gsm is the alphabet of GSM 03.38, one byte a character
Charset = Literal["utf-8", "iso-8859-1", "utf-16-be", "gsm"]


class Alternative(Spec):
    """One way to find a value: at a path, a constant, or worked out; with affixes cut off and only under a condition.

    A path is dotted names and indexes (`messages.0.id`), read in the item that `each` fans out to; `$.` starts at the
    whole body, `^.` at the item around the present one (`^.^.` at the one around that), and `@` is the item itself.
    `header:x-name` is a header, `query:name` a parameter of the URL, `request:method` the method, and `request:body`
    the whole body as text.
    With `among`, path and condition are read in the elements of that array, and the first with a value counts.
    A backslash takes the meaning from the character behind it: `hub\\.mode` is one name.
    """

    path: str = ""
    const: str = ""
    #: JSONata over the item; for what a path cannot say
    expr: str = ""
    among: str = ""
    #: put between the values of all of `among`, or of all indexes where the path has `{i}` (`text_{i}`: text_0, …)
    join: str | None = None
    prefix: str = ""
    suffix: str = ""
    #: the text is bytes, written so and in this charset
    wrapping: Wrapping | None = None
    charset: Charset = "utf-8"
    #: texts that mean that there is no value: error code 0
    none: list[str] = []
    when: When = {}

    @model_validator(mode="after")
    def _one_source(self) -> "Alternative":
        if sum(map(bool, (self.path, self.const, self.expr))) != 1:
            raise ValueError("give one of path, const and expr")
        if self.among and not self.path:
            raise ValueError("among needs a path, which is read in each element")
        indexed = "{i}" in self.path
        if (indexed and self.join is None) or (self.join is not None and not indexed and not self.among):
            raise ValueError("join goes with among, or with {i} in the path, and {i} with join")
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
    #: regular expression of the whole id; an item with another id, or none, waits on the work list. For a provider that
    #: signs names and values with nothing between them: cut in other places, a captured request has another id
    id_pattern: str = ""
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
    #: which part of a long message this is, counted from 1, and of how many
    part: Value | None = None
    parts: Value | None = None
    #: inbound: what the parts of one message have in common; its text is joined before it is decided
    whole: Value | None = None

    # change
    state: ConsentState | None = None

    #: the entry of `answers` that its request gets; its kind's, unless said otherwise
    answer: str = ""

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
        if self.id_pattern and not self.id:
            raise ValueError("id_pattern goes with an id")
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


class Handshake(Spec):
    """A request by which a provider tries the URL. It is answered at once.

    `body` and `headers` may hold `{{path}}`, a value of the request; in a JSON answer it stands inside of quotes.
    """

    method: Literal["GET", "POST", "OPTIONS"] = "POST"
    when: When = {}
    #: it comes without the proof that other requests carry; nothing is written then
    unproved: bool = False
    #: where the webhook's verify_token stands; with another one, or none, it is refused
    token: Value | None = None
    status: int = Field(200, ge=200, le=299)
    content_type: str = "text/plain"
    body: str = ""
    headers: dict[str, str] = {}
    #: a URL that must be called to confirm, once the request is proved; its host must match one of `visit_hosts`
    visit: Value | None = None
    #: regular expressions of whole host names
    visit_hosts: list[str] = []

    @model_validator(mode="after")
    def _careful(self) -> "Handshake":
        if self.visit and (self.unproved or not self.visit_hosts):
            raise ValueError("visit needs a proved request and visit_hosts")
        return self


class Unwrap(Spec):
    """A value of the body that holds more of it: JSON in a text, or in base64. It is opened where it stands."""

    path: str
    #: `base64` takes both alphabets, with or without padding
    steps: list[Literal["base64", "json"]] = ["json"]


# --- the file -----------------------------------------------------------------------------------------------------


class Provider(Spec):
    """One provider file."""

    slug: str
    name: str
    #: the documentation page that the file follows
    page: str
    #: what works
    channels: list[str] = ["sms"]
    #: what a person should know: what is supported, and the oddities
    notes: list[str] = []
    #: what to enter where at the provider, a sentence each; `{url}` is the webhook's URL
    setup: list[str] = []
    #: which of the provider's secrets the webhook needs, and where it is found
    secret: str = ""
    #: what the documentation leaves open, and the webhook's or credential's field that settles it; `check` says it
    unconfirmed: list[str] = []
    #: numbers come with country code and without plus
    international: bool = False
    #: None: the operator must say the scheme, the documentation has no safe default
    signature: Scheme | None = None
    #: seconds that the provider waits for an answer
    patience: float = 10.0
    #: how the provider repeats a request, in words
    retries: str = ""
    body_limit: int | None = None
    handshakes: list[Handshake] = []
    unwrap: list[Unwrap] = []
    #: names are read without regard to case and to blanks around them, in the body and in the rules
    fold_names: bool = False
    events: list[EventRule] = []
    statuses: dict[str, Status] = {}
    status_rules: list[StatusRule] = []
    #: codes in receipts that mean: this person has opted out
    blocked_codes: list[str] = []
    #: by kind of event (inbound, receipt, change, ignore), or by a name that a rule gives
    answers: dict[str, Answer] = {}
    #: how to send, by channel; `sms` unless said otherwise
    send: dict[str, Send] = {}

    @field_validator("statuses")
    @classmethod
    def _fold(cls, value: dict[str, Status]) -> dict[str, Status]:
        return {word.casefold(): status for word, status in value.items()}

    @model_validator(mode="after")
    def _answers_exist(self) -> "Provider":
        for rule in self.events:
            if rule.answer and rule.answer not in self.answers:
                raise ValueError(f"there is no [answers] entry '{rule.answer}'")
        return self


#: how the entries of a list are called where people read of them
_ENTRIES = {"events": "rule", "handshakes": "handshake", "status_rules": "status rule"}


def load_provider(path: Path) -> Provider:
    """One provider file. Raises BadInput with a line for each fault: the file, the place in it, what is wrong."""
    try:
        told = tomllib.loads(path.read_text("utf-8"))
    except UnicodeDecodeError:
        raise BadInput(f"{path.name}: is not text in UTF-8; save it as such") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path.name}: is not TOML: {error}") from None
    if "slug" in told:
        raise BadInput(f"{path.name}: slug: is the name of the file; take it out")
    try:
        return Provider.model_validate({"slug": path.stem, **told})
    except ValidationError as error:
        lines = (f"{path.name}: {spelt_line(place)}: {what}" for place, what in faults(error, Provider, told))
        raise BadInput("\n".join(lines)) from None


def spelt_line(place: Place) -> str:
    """A place of a provider file as `textback decode` counts: `rule 2, text[1].path`."""
    entry = f"{_ENTRIES[place[0]]} {int(place[1]) + 1}" if len(place) > 1 and place[0] in _ENTRIES else ""
    rest = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in place[2 if entry else 0 :])
    return ", ".join(filter(None, (entry, rest.lstrip("."))))


def load_providers(config_dir: Path) -> dict[str, Provider]:
    """All provider files by slug."""
    return {path.stem: load_provider(path) for path in sorted((config_dir / "providers").glob("*.toml"))}
