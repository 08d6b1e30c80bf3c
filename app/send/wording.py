"""A claimed reply becomes a message: its places filled in, its suggestions and its fallback unpacked."""

from collections.abc import Mapping

import orjson

from app.errors import SendFailed
from app.events import Category
from app.interpret.replies import STANDARD
from app.record.outbox import Due
from app.send.personal import personal, personalise
from app.send.render import Message
from app.send.template import Values

#: with the usual word for help: which other one the webhook may have is not known here
_CONFIRMATION = STANDARD[Category.OPT_OUT].format(help="HELP", stop="STOP", yes="YES")


def is_personal(row: Due) -> bool:
    """Whether the person's attributes are wanted for the words of a reply."""
    return personal(row.text) or personal(row.content)


def message_of(row: Due, profile: Mapping[str, str]) -> Message:
    """The message. `profile`: the person's attributes; empty where nothing wants them.

    Raises SendFailed where nothing is left of its words once their places are filled in, and none are owed.
    """
    if not row.content and not personal(row.text):
        return Message(row.sender, row.address, row.text, str(row.id), profile)
    values = {
        "profile": profile,
        "fromNumber": row.sender,
        "toNumber": row.address,
        "messageReference": str(row.id),
    }
    rest = orjson.loads(row.content) if row.content else {}
    fallback = _filled(rest.get("fallback", ""), values)
    return Message(
        row.sender,
        row.address,
        _filled(row.text, values) or fallback or _owed(row),
        str(row.id),
        profile,
        # buttons stay as they are: their lengths are limited, and a URL is no place for a name that is not encoded
        tuple(rest.get("suggestions", ())),
        fallback,
    )


def _filled(text: str, values: Values) -> str:
    """Empty where it is blank."""
    filled = personalise(text, values)
    return filled if filled.strip() else ""


def _owed(row: Due) -> str:
    """An opt-out is confirmed in any case (47 CFR 64.1200(a)(12)); another reply without words is none."""
    if row.category == Category.OPT_OUT:
        return _CONFIRMATION
    raise SendFailed("nothing is left of its text once its places are filled in", permanent=True)
