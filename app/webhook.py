"""What an operator registers to hear: a webhook, its keywords and replies, and the packs of legally expected words."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import phonenumbers
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from app.errors import BadInput
from app.events import Category, Status
from app.reply import NO_NUL, GivenReply
from app.scheme import Scheme
from app.spec import Spec

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
CUSTOM = "custom"
#: of a subscriber's attribute, and how long its value may be
ATTRIBUTE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
ATTRIBUTE_LENGTH = 2_000


def _absent(value: object) -> bool:
    return not value


#: what follows is left out of storage where it is not used: the release before must be able to read it
ActionName = Annotated[str, Field(pattern=NAME)]
Ending = Annotated[str, Field(pattern="^(http_[1-5][0-9][0-9]|timedout|capped|internalError|excluded|error)$")]


class KeywordList(Spec):
    """One category's keywords and reply."""

    #: None keeps the defaults (and packs); a list replaces the defaults
    keywords: list[str] | None = None
    #: None: the standard text of the category; "": no reply; "@name": one of [replies]; a table: a rich reply
    reply: GivenReply | None = None
    #: a custom action that is called on a match; a reply that has {{action.…}} in it waits for its answer
    action: ActionName | None = Field(None, exclude_if=_absent)
    #: what is answered in its place where the call fails: http_404, timedout, capped, internalError, excluded, or error
    #: for whatever has no text of its own
    otherwise: dict[Ending, GivenReply] = Field({}, exclude_if=_absent)


class CustomKeywords(Spec):
    """The operator's own category, which may record a preference of the subscriber."""

    keywords: list[str] = Field(min_length=1)
    reply: GivenReply | None = None
    #: name = value, recorded as a profile attribute
    preference: dict[
        Annotated[str, Field(pattern=f"^{ATTRIBUTE_NAME.pattern}$")],
        Annotated[str, Field(max_length=ATTRIBUTE_LENGTH), NO_NUL],
    ] = Field({}, max_length=1)
    #: as in a list of any other category
    action: ActionName | None = Field(None, exclude_if=_absent)
    otherwise: dict[Ending, GivenReply] = Field({}, exclude_if=_absent)


class Keywords(Spec):
    """What a webhook listens for. Custom keywords replace the defaults of their category."""

    opt_in: KeywordList = KeywordList()
    opt_out: KeywordList = KeywordList()
    double_opt_in: KeywordList = KeywordList()
    help: KeywordList = KeywordList()
    default: KeywordList = KeywordList()
    custom: list[CustomKeywords] = []

    @model_validator(mode="after")
    def _default_has_no_words(self) -> "Keywords":
        if self.default.keywords:
            raise ValueError("default answers everything else, so it has no keywords; give it a reply only")
        return self

    def of(self, category: Category) -> KeywordList:
        """The list of a category that is not custom."""
        found = getattr(self, category.value)
        assert isinstance(found, KeywordList)
        return found


class Webhook(Spec):
    """A URL that a provider calls."""

    name: str = Field(pattern=NAME)
    provider: str
    type: Literal["inbound", "feedback", "both"] = "inbound"
    #: replies leave through it
    credential: str | None = None
    #: the number or agent that people write to, and that replies come from
    sender: str | None = None
    program: str = Field("default", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    #: ISO 3166, for numbers in national form
    region: str | None = None
    #: numbers come with country code and without plus; as the provider file says, unless said here
    international: bool | None = None
    #: the account that ids are unique in; the provider's slug unless said otherwise
    account: str | None = None
    packs: list[str] = []
    #: what the signature scheme needs; two while a secret is rotated
    secret: SecretStr | list[SecretStr] | None = None
    #: the word that the provider sends when it tries the URL (Meta's verify token); without one, the secret counts
    verify_token: SecretStr | None = None
    #: requests a second, opt-outs not counted; beyond it the provider is told to come again (503). None: no limit
    rate_limit: float | None = Field(None, gt=0)
    #: overrides the provider file's scheme
    scheme: Scheme | None = None
    #: the provider has been told to answer these itself: we stay silent
    provider_answers: list[Category] = []
    keywords: Keywords = Keywords()
    #: the provider's words for what became of a message, beside those of its file; they win
    statuses: dict[str, Status] = {}
    #: codes in receipts that mean "opted out", beside those of the provider file
    blocked_codes: list[str] = []
    #: custom actions that are called when a receipt brings a message to one of our statuses
    receipt_actions: dict[Status, ActionName] = Field({}, exclude_if=_absent)

    # provider "custom"
    #: the inverse template: the provider's JSON with placeholders where a value is to be read
    payload: str | None = None
    #: the inverse template of receipts, for a webhook of type both
    feedback_payload: str | None = None
    #: a real request body; the payload must be able to read it
    sample: str | None = None

    @field_validator("secret")
    @classmethod
    def _two_at_most(cls, value: SecretStr | list[SecretStr] | None) -> SecretStr | list[SecretStr] | None:
        if isinstance(value, list) and len(value) > 2:
            raise ValueError("at most two secrets, the present one and the one that replaces it")
        return value

    @field_validator("region")
    @classmethod
    def _known_region(cls, value: str | None) -> str | None:
        if value is not None and value not in phonenumbers.SUPPORTED_REGIONS:
            raise ValueError(f"'{value}' is not a two-letter region such as US or CH")
        return value

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The live secrets as bytes; empty ones are none."""
        given = self.secret if isinstance(self.secret, list) else [self.secret] if self.secret else []
        return tuple(s.get_secret_value().encode() for s in given if s.get_secret_value())

    def is_international(self, provider: bool) -> bool:
        """Whether numbers come with country code and without plus; `provider`: as its file says."""
        return provider if self.international is None else self.international

    @property
    def verify_tokens(self) -> tuple[bytes, ...]:
        """What a handshake may show: the verify token, else any of the secrets."""
        given = self.verify_token.get_secret_value().encode() if self.verify_token else b""
        return (given,) if given else self.secrets

    @property
    def ids_account(self) -> str:
        """The account that message ids are unique in."""
        return self.account or self.provider


class Pack(Spec):
    """Words that a law or an industry rule expects, by category."""

    slug: str
    source: str
    opt_in: list[str] = []
    opt_out: list[str] = []
    help: list[str] = []
    #: further spellings of an opt-out, which people use and no rule names: heard like the others, never warned about
    opt_out_spellings: list[str] = []
    #: `check` warns where no list reaches one of them
    expected: bool = True


def load_packs(config_dir: Path) -> dict[str, Pack]:
    """All keyword packs by slug. Raises BadInput that names the file."""
    packs = {}
    for path in sorted((config_dir / "keywords").glob("*.toml")):
        try:
            packs[path.stem] = Pack(slug=path.stem, **tomllib.loads(path.read_text("utf-8")))
        except (ValidationError, tomllib.TOMLDecodeError) as error:
            raise BadInput(f"{path.name}: {error}") from None
    return packs
