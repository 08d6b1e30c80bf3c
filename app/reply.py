"""What a webhook answers with: a text, or for RCS a text with suggestions and a fallback for SMS and MMS."""

from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, Field, TypeAdapter, WrapValidator, model_validator

from app.spec import Spec


def _without_nul(value: str) -> str:
    """PostgreSQL's text cannot hold it. Raises ValueError."""
    if "\0" in value:
        raise ValueError("has a NUL character in it")
    return value


def _absent(value: object) -> bool:
    return not value


NO_NUL = AfterValidator(_without_nul)
ReplyText = Annotated[str, Field(min_length=1, max_length=1600), NO_NUL]


class Suggestion(Spec):
    """A button beneath a rich reply: it sends an answer back, opens a page, or dials.

    The lengths are those of RCS: https://docs.aws.amazon.com/sms-voice/latest/userguide/sms-limitations-rcs.html
    """

    text: Annotated[str, Field(min_length=1, max_length=25), NO_NUL]
    #: what the provider tells when it is tapped; the text, unless said otherwise
    postback: Annotated[str, Field(min_length=1, max_length=2048), NO_NUL] | None = Field(None, exclude_if=_absent)
    url: Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s\x00]+$")] | None = Field(
        None, exclude_if=_absent
    )
    phone: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{4,14}$")] | None = Field(None, exclude_if=_absent)

    @model_validator(mode="after")
    def _does_one_thing(self) -> "Suggestion":
        if self.url and self.phone:
            raise ValueError("opens a url or dials a phone, not both")
        return self


class Reply(Spec):
    """A rich reply; a plain one is only its text. RCS takes at most eleven suggestions."""

    text: ReplyText
    suggestions: list[Suggestion] = Field([], max_length=11, exclude_if=_absent)
    #: what is sent in the place of the text where there are no suggestions, by SMS and MMS
    fallback: Annotated[str, Field(max_length=1600), NO_NUL] = Field("", exclude_if=_absent)

    @property
    def content(self) -> str:
        """All but the text, as JSON; empty where there is nothing else."""
        rest = self.model_dump(include={"suggestions", "fallback"})
        return orjson.dumps(rest).decode() if rest else ""


def text_and_content(reply: str | Reply) -> tuple[str, str]:
    """A reply as it is stored and queued: its text, and the rest as JSON (`Reply.content`)."""
    return (reply, "") if isinstance(reply, str) else (reply.text, reply.content)


def reply_of(text: str, content: str) -> str | Reply:
    """The reply that `text_and_content` took apart."""
    return Reply(text=text, **orjson.loads(content)) if content else text


def by_form(text: Any) -> WrapValidator:
    """Judges a table as a table and a text as `text` alone, so that nobody is told that a table is no text."""
    adapter: TypeAdapter[str] = TypeAdapter(text)

    def judge(value: Any, _as_either: object) -> str | Reply:
        if isinstance(value, str):
            return adapter.validate_python(value)
        if isinstance(value, dict | Reply):
            return Reply.model_validate(value)
        raise ValueError("is neither a text nor a table with a text")

    return WrapValidator(judge)


#: in a keyword list, where an empty text is silence
GivenReply = Annotated[str | Reply, by_form(Annotated[str, NO_NUL])]
