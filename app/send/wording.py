"""A claimed reply becomes a message: its places filled in, its suggestions and its fallback unpacked."""

from collections.abc import Mapping

import orjson

from app.record.outbox import Due
from app.send.personal import personal, personalise
from app.send.render import Message


def is_personal(row: Due) -> bool:
    """Whether the person's attributes are wanted for the words of a reply."""
    return personal(row.text) or personal(row.content)


def message_of(row: Due, profile: Mapping[str, str]) -> Message:
    """The message. `profile`: the person's attributes; empty where nothing wants them."""
    if not row.content and not personal(row.text):
        return Message(row.sender, row.address, row.text, str(row.id), profile)
    values = {
        "profile": profile,
        "fromNumber": row.sender,
        "toNumber": row.address,
        "messageReference": str(row.id),
    }
    rest = orjson.loads(row.content) if row.content else {}
    return Message(
        row.sender,
        row.address,
        personalise(row.text, values),
        str(row.id),
        profile,
        # buttons stay as they are: their lengths are limited, and a URL is no place for a name that is not encoded
        tuple(rest.get("suggestions", ())),
        personalise(rest.get("fallback", ""), values),
    )
