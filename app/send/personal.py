"""Where a person's attributes are wanted: in a credential's templates, and in the texts of replies."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from app.credential import Credential
from app.errors import BadInput, SendFailed
from app.send.template import (
    TEXTS,
    Fill,
    Known,
    Part,
    Values,
    as_text,
    checked,
    is_expression,
    joined,
    taken_apart,
    value_of,
)
from app.sending import Send

#: characters of a text that has been filled in: as many as `app.reply.ReplyText` may have before, and Twilio takes
LONGEST = 1_600
#: what a reply's text knows besides the person's attributes
_OF_A_REPLY = ("fromNumber", "toNumber", "messageReference")
_WITH_FIELDS = ("profile.", "action.")
_NOTHING: dict[str, Any] = {**dict.fromkeys(TEXTS, ""), "profile": {}, "suggestions": ()}


def needs_profile(credential: Credential, rules: Send) -> bool:
    """Whether the requests of a credential may want attributes of the person. An expression may."""
    node = [rules.url, rules.headers, rules.form, rules.json_body, rules.xml, rules.text, credential.headers]
    return any(_wants_profile(name) for text in _texts(node) for name in taken_apart(text)[1])


def personal(text: str) -> bool:
    """Whether a reply's text has places in it, so that `personalise` needs the person's attributes."""
    return "{{" in text


def check_text(text: str) -> None:
    """Raises BadInput for a reply's text with a place that could never be filled in. It names the place."""
    _, names = checked(text)
    for name in names:
        if is_expression(name):
            value_of(name, Known())
        elif name not in (*_OF_A_REPLY, "action") and not name.startswith(_WITH_FIELDS):
            raise BadInput(
                f"{{{{{name}}}}} stands for nothing in the text of a reply; there are profile.name, "
                f"{', '.join(_OF_A_REPLY)}, action.field where the list calls an action, and JSONata over these"
            )


def personalise(text: str, values: Values) -> str:
    """The reply's text with its places filled in: `{{profile.firstName}}`, or JSONata. At most LONGEST characters.

    `values`: whichever there are of profile, fromNumber, toNumber, messageReference. It never fails: a place that is
    unknown, missing or broken becomes nothing, since some replies are owed by law, with or without a name in them.
    """
    return _compiled(text)({**_NOTHING, **values})[:LONGEST]


@lru_cache(maxsize=1_024)
def _compiled(text: str) -> Fill[str]:
    literals, names = taken_apart(text)
    parts: list[Part] = [literals[0]]
    for name, literal in zip(names, literals[1:], strict=True):
        parts += [_forgiving(name), literal]
    return joined(parts)


def _forgiving(name: str) -> Part:
    try:
        value = value_of(name, Known())
    except BadInput:
        return ""
    if isinstance(value, str):
        return value

    def fill(values: Values) -> str:
        try:
            return as_text(value(values))
        except SendFailed:
            return ""

    return fill


def _wants_profile(name: str) -> bool:
    return name.startswith("profile.") or is_expression(name)


def _texts(node: Any) -> Iterator[str]:
    match node:
        case str():
            yield node
        case dict():
            yield from _texts(list(node.values()))
        case list():
            for item in node:
                yield from _texts(item)
