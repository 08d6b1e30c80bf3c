"""What every part of a provider file or of an operator's input has in common; the conditions that many have; and what
is wrong with a file, in words for whoever wrote it."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, ValidationError


class Spec(BaseModel):
    """A part of a provider file or of an operator's input: frozen, and closed against misspelt names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


#: path -> true (present and not empty), false (absent or empty), a text, or a list of texts (equal, ignoring case);
#: all of it must hold. In `events` and `status_rules` a text that ends with * is a beginning: text/plain*
Condition = dict[str, bool | str | list[str]]
#: several conditions, of which one must hold
When = Condition | list[Condition]

# --- what is wrong ------------------------------------------------------------------------------------------------

Place = tuple[str | int, ...]


class Fault(NamedTuple):
    """What is wrong at a place of a file."""

    place: Place
    """Names, and indexes counted from 0."""
    what: str


#: what pydantic says of a value of another kind, once for each kind that a value may have
_KINDS = {
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
}


#: what a text of such a pattern is, in words
FORMS = {
    r"^[a-z0-9][a-z0-9._-]{0,63}$": (
        "small letters, digits, dots, dashes and underscores, at most 64, with a letter or digit first"
    ),
    r"^[a-z0-9.-]{1,253}(:[0-9]{1,5})?$": "a host, or a host with its port, such as crm.example.com:8443",
    "^(http_[1-5][0-9][0-9]|timedout|capped|internalError|excluded|error)$": (
        "what a call may end with: http_404 or another status, timedout, capped, internalError, excluded, or error"
    ),
}


def faults(error: ValidationError, model: type[BaseModel], given: Any) -> Iterator[Fault]:
    """What makes `given` no such model, place by place."""
    told: dict[Place, list[Any]] = {}
    for each in error.errors(include_url=False):
        told.setdefault(_place(each, given), []).append(each)
    around = {place[:length] for place in told for length in range(len(place))}
    for place, errors in told.items():
        other = [each for each in errors if each["type"] not in _KINDS]
        if other:
            yield from (_fault(place, each, _models_at(model, place, given)) for each in other)
        elif place not in around:  # else it has one of the kinds, and the fault lies within
            yield Fault(place, f"should be {_either(dict.fromkeys(_KINDS[each['type']] for each in errors))}")


def _place(error: Any, given: Any) -> Place:
    """Where it is in the file: pydantic also names which of several kinds a value was tried as."""
    place: list[str | int] = []
    for part in error["loc"]:
        inside = _inside(given, part)
        if inside is not None:
            place.append(part)
            given = inside
    return (*place, error["loc"][-1]) if error["type"] == "missing" else tuple(place)


def _fault(place: Place, error: Any, models: list[type[BaseModel]]) -> Fault:
    match error["type"]:
        case "extra_forbidden":
            return Fault(place, f"is not known here; {_meant(str(place[-1]), models)}")
        case "missing":
            return Fault(place, "is missing")
        case "literal_error" | "enum":
            choices = error["ctx"]["expected"].replace("'", "")
            return Fault(place, f"should be {choices}")
        case "union_tag_invalid" | "union_tag_not_found":
            return Fault((*place, "type"), f"should be {_either(_types(models))}")
        case _:
            return Fault(place, _said(error))


def _said(error: Any) -> str:
    match error["type"]:
        case "too_short" | "string_too_short" if error["ctx"]["min_length"] == 1:
            return "should not be empty"
        case "string_pattern_mismatch":
            return form(error["ctx"]["pattern"])
        case _:
            said: str = error["msg"].removeprefix("Value error, ")
            return said.replace("Input should be", "should be")


def form(pattern: str) -> str:
    """What a text looks like that the pattern takes, in words where there are some."""
    return f"should be {FORMS[pattern]}" if pattern in FORMS else f"has another form; it should match {pattern}"


def _meant(name: str, models: list[type[BaseModel]]) -> str:
    names = list(dict.fromkeys(field.alias or own for one in models for own, field in one.model_fields.items()))
    close = get_close_matches(name, names, 1)
    return f"did you mean '{close[0]}'?" if close else f"there are {', '.join(names)}"


def _types(models: list[type[BaseModel]]) -> list[str]:
    return [one.model_fields["type"].default for one in models]


def _either(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


# --- the models that a place may hold -----------------------------------------------------------------------------


def _models_at(model: type[BaseModel], place: Place, given: Any) -> list[type[BaseModel]]:
    """Those that the value at a place may be; for a value that is no model, those that it stands in."""
    models = [model]
    for part in place:
        given = _inside(given, part)
        fields = [field for one in models for own, field in one.model_fields.items() if part in (own, field.alias)]
        found = [inner for field in fields for inner in _models_in(field.annotation)] or models
        models = [one for one in found if _fits(one, given)] or found
    return models


def _inside(given: Any, part: str | int) -> Any:
    """None where there is nothing; no file holds a None."""
    match given, part:
        case dict(), _:
            return given.get(part)
        case list(), int():
            return given[part]
        case _:
            return None


def _models_in(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for inner in get_args(kind):
        yield from _models_in(inner)


def _fits(model: type[BaseModel], given: Any) -> bool:
    """Whether the value says that it is of this type, where there are several."""
    named = model.model_fields.get("type")
    return named is not None and isinstance(given, dict) and given.get("type") == named.default
