"""The story on one screen: a request is proved, read, and handed to the writer with the rules to decide it by.

authenticate -> decode -> (record: what is new, what is known) -> interpret -> record
"""

from datetime import datetime
from typing import NamedTuple
from urllib.parse import unquote_plus

import orjson

from app.authenticate import shows
from app.decode import Shaken
from app.errors import WrongWord
from app.events import (
    EVERY_PROGRAM,
    Cause,
    Change,
    ConsentState,
    Decoded,
    Event,
    Heard,
    Inbound,
    RawRequest,
    Reading,
    Receipt,
)
from app.interpret import opts_out
from app.provider import Answer
from app.record.ids import new_id
from app.request import Request
from app.switchboard import Line

__all__ = ["Hearing", "change_by_hand", "hear", "hear_again", "hear_overdue", "opts_out"]


class Hearing(NamedTuple):
    """What to do about a request."""

    heard: Heard | None
    """What shall be recorded; None: nothing, the provider only tried the URL."""
    answer: Answer | Shaken
    """What the provider wants to hear, once that is recorded."""

    @property
    def visit(self) -> str:
        """A URL of the provider that must be called first, to confirm; empty for none."""
        return self.answer.visit if isinstance(self.answer, Shaken) else ""


def hear(line: Line, request: Request) -> Hearing:
    """Prove and read a request. Raises Refused, KeyWanted or NotReady."""
    shaken = line.shake(request) if line.shake else None
    if shaken is not None:
        _check_word(line, shaken)
        if shaken.unproved:
            return Hearing(None, shaken)
    evidence = line.verify(request)
    decoded = line.decode(request) if shaken is None else _GREETED
    heard = _heard(line, decoded, request.received_at, _raw(line, request, evidence, decoded))
    return Hearing(heard, shaken or line.answer(decoded))


#: a handshake that was proved: known, and nothing to record beside the request itself
_GREETED = Decoded(Reading.IGNORED, answer="ignore")


def _check_word(line: Line, shaken: Shaken) -> None:
    if shaken.token is not None and not shows(shaken.token, line.webhook.verify_tokens):
        raise WrongWord("the provider tried the URL with another word than the webhook's verify_token, or its secret")


def _raw(line: Line, request: Request, evidence: str, decoded: Decoded) -> RawRequest:
    reading, problem = _stored_as(decoded)
    return RawRequest(
        id=new_id(),
        method=request.method,
        target=_target(line, request),
        headers=_headers(line, request),
        body=request.body,
        client=request.client,
        signature=evidence,
        reading=reading,
        problem=problem,
    )


def hear_again(line: Line, request: Request) -> Heard | None:
    """Read a stored request once more, after its provider file was mended; None: still nothing in it is understood."""
    decoded = line.decode(request)
    return None if decoded.reading is Reading.UNDECODED else _heard(line, decoded, request.received_at, None)


def hear_overdue(line: Line, message: Inbound, received_at: datetime) -> Heard:
    """A message of which a part never came, ready to be decided as it is."""
    webhook = line.webhook
    return Heard(
        webhook.name, webhook.provider, webhook.ids_account, webhook.program, received_at, (message,), line.rules
    )


def change_by_hand(
    *, address: str, program: str, state: ConsentState, actor: str, reason: str, at: datetime, cause: Cause = Cause.API
) -> Heard:
    """A change of consent by a person or a system of the company, ready for the writer."""
    key = f"h|{new_id()}"
    change = Change(key=key, address=address, state=state, cause=cause, program=program, actor=actor, reason=reason)
    return Heard("", "", "", program, at, (change,))


def _stored_as(decoded: Decoded) -> tuple[Reading, str]:
    """A request of which an item could not be read is kept until it can be, though its other items are recorded."""
    if decoded.troubles:
        return Reading.UNDECODED, decoded.troubles[0].reason
    return decoded.reading, decoded.problem


def _heard(line: Line, decoded: Decoded, received_at: datetime, raw: RawRequest | None) -> Heard:
    webhook = line.webhook
    return Heard(
        webhook=webhook.name,
        provider=webhook.provider,
        account=webhook.ids_account,
        program=webhook.program,
        received_at=received_at,
        events=_with_block_errors(line, decoded.events),
        rules=line.rules,
        troubles=decoded.troubles,
        raw=raw,
    )


def _with_block_errors(line: Line, events: tuple[Event, ...]) -> tuple[Event, ...]:
    """A receipt whose code says "opted out" is also a change of consent, in the program of the message's sender."""
    blocked = [event for event in events if isinstance(event, Receipt) and event.blocked and event.recipient]
    return events + tuple(_block_error(line, receipt) for receipt in blocked)


def _block_error(line: Line, receipt: Receipt) -> Change:
    return Change(
        key="b|" + receipt.key,
        address=receipt.recipient,
        state=ConsentState.OPTED_OUT,
        cause=Cause.BLOCK_ERROR,
        program=line.programs.get(receipt.sender, EVERY_PROGRAM),
        provider_time=receipt.provider_time,
        reason=f"the provider refused a message: {receipt.code or receipt.provider_status}",
        about=(line.webhook.ids_account, receipt.message_id, receipt.recipient),
    )


def _headers(line: Line, request: Request) -> str:
    kept = {name: value for name, value in request.headers.items() if name not in line.hidden}
    text = orjson.dumps(kept).decode()
    if line.token in text:
        return orjson.dumps({name: value for name, value in kept.items() if line.token not in value}).decode()
    return text


def _target(line: Line, request: Request) -> str:
    """Path and query without the webhook's token and without secrets."""
    if not request.query:
        return "/in/…"
    parts = [p for p in request.query.split("&") if unquote_plus(p.partition("=")[0]).lower() not in line.hidden]
    return "/in/…?" + "&".join(parts)
