"""The forms of what comes in and goes out through the API: ids, times, addresses, programs, pages."""

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from app.address import normalise, split_channel
from app.errors import BadAddress
from app.serve.operation import Params
from app.webhook import NAME

Item = TypeVar("Item")

_LARGEST_ID = 2**63 - 1
_NO_NUL = r"^[^\u0000]*$"
_A_WORD = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"


def without_nul(value: str) -> str:
    """PostgreSQL's text cannot hold it. Raises ValueError."""
    if "\0" in value:
        raise ValueError("has a NUL character in it")
    return value


def _said(value: str) -> str:
    if not value.strip():
        raise ValueError("is blank; say it in a few words")
    return without_nul(value).strip()


def _id(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and int(value) <= _LARGEST_ID:
        return int(value)
    raise ValueError("is not one of our ids, which are whole numbers written as text")


def _moment(value: Any) -> datetime:
    try:
        # In a query a plus that was not encoded arrives as a blank.
        moment = datetime.fromisoformat(str(value).replace(" ", "+"))
    except ValueError:
        raise ValueError(_NOT_A_MOMENT) from None
    if moment.tzinfo is None or not 2000 <= moment.year < 2200:
        raise ValueError(_NOT_A_MOMENT)
    return moment.astimezone(UTC)


_NOT_A_MOMENT = "is not a time with its zone, such as 2026-11-22T17:18:00Z"

#: a text to filter by
Text = Annotated[str, AfterValidator(without_nul), Field(max_length=500, json_schema_extra={"pattern": _NO_NUL})]
#: a text that somebody must give
Said = Annotated[
    str, AfterValidator(_said), Field(min_length=1, max_length=500, json_schema_extra={"pattern": _A_WORD})
]
#: an id in a request. Ids are texts in JSON: 63 bits are more than JavaScript's numbers hold
GivenId = Annotated[int, BeforeValidator(_id), WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,19}$"})]
#: an id in an answer
ShownId = Annotated[int, PlainSerializer(str)]
Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
Name = Annotated[str, Field(pattern=NAME)]
#: `*` is all programs
Program = Annotated[str, Field(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,63})$")]
Region = Annotated[str, Field(pattern="^[A-Z]{2}$", description="ISO 3166, for a number in national form")]
RawAddress = Annotated[
    Text,
    Field(
        max_length=250,
        description="+14155550100, or kind:value; in a path or query the plus may stand as it is",
        examples=["+14155550100"],
    ),
]


def person(given: str, region: str | None = None) -> str:
    """The address that consent is kept under. Raises BadAddress for what is nobody's address.

    A bare word or short number would pass as an alphanumeric sender or a short code, and is most likely a slip.
    """
    # In a query a plus that was not encoded arrives as a blank.
    text = "+" + given[1:] if given.startswith(" ") and given[1:].isdecimal() else given
    address = normalise(text, region=region)
    kind = split_channel(address)[0]
    if kind in ("short", "alpha") and split_channel(text.strip())[0] != kind:
        raise BadAddress(
            "This is a short code or an alphanumeric sender, not a person's number;"
            f" where you do mean it, write it as {kind}:value"
        )
    return address


class IdParams(Params):
    """One of our ids."""

    id: GivenId


NO_SUCH_ID = {404: "There is nothing of this id."}


class NameParams(Params):
    """A name that somebody gave."""

    name: Name


NO_SUCH_NAME = {404: "There is nothing of this name."}
NAME_TAKEN = {409: "The name is taken."}
IN_USE = {409: "Something that is registered uses it."}


class Paging(Params):
    """Which page of a list."""

    limit: int = Field(50, ge=1, le=200, description="Items per page.")
    cursor: GivenId | None = Field(None, description="`next` of the page before.")


class Listing(BaseModel, Generic[Item]):
    """A page of a list, newest first."""

    items: list[Item]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


def whole(rows: list[Item]) -> Listing[Item]:
    """A list that is one page."""
    return Listing(items=rows, next=None)


def page_of(rows: list[Item], limit: int, last_id: int | None) -> Listing[Item]:
    """A page. It is the last where it is not full."""
    return Listing(items=rows, next=str(last_id) if len(rows) == limit and last_id is not None else None)
