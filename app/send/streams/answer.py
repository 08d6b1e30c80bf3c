"""What a receiver's answer says of the events of a request: which were taken, which never will be, which to send again.

| answer                              | meaning                                                                  |
| ----------------------------------- | ------------------------------------------------------------------------ |
| 2xx                                 | all were taken                                                           |
| 207 of an inlet                     | one outcome for each; without a status of its own, or with a 2xx, taken  |
| 400, 413 and others that are not    | about what was sent: of several events the request is split until the    |
| listed here                         | culprit stands alone, and that one is refused for good                   |
| 401 403 404 405 407 410, and 3xx    | about URL and proof, not about the events: they wait, and the stream     |
|                                     | stands still until it is mended                                          |
| 408 425 429 5xx                     | will pass: they wait                                                     |

A receiver that is gone (410) ends nothing: whoever wants no more events deletes the stream; until then none is lost.
Pure.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from app.send.answer import body_of, retry_after
from app.send.connection import Answer
from app.send.streams.envelope import Written

_PASSING = frozenset({408, 425, 429})
#: about whom we called and as whom
_MENDED = {
    401: "auth is missing or not right",
    403: "what auth proves may not send there",
    404: "there is nothing at the url",
    405: "the url takes no POST",
    407: "a proxy wants to know who we are",
    410: "the receiver says that it is gone; delete the stream, or give it another url",
}
#: what a receiver may quote of the event
_QUOTED = re.compile(r"\d(?:[ ()/.-]{0,3}\d){5,}|\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)")
_REASON_LENGTH = 300


class Judged(NamedTuple):
    """What became of the events of a request."""

    taken: list[Written]
    refused: list[tuple[Written, str]]
    problem: str = ""
    """Why the others wait; empty: there are none."""
    retry_after: float | None = None
    """Seconds, where the receiver asked for them."""
    split: bool = False
    """The request was refused for one of its events, and nobody knows which."""


def judge(answer: Answer, sent: Sequence[Written], now: datetime, *, inlet: bool) -> Judged:
    """What the answer says. `inlet`: it speaks as a streaming inlet does."""
    if inlet and answer.status == 207:
        return _each(answer, sent, now)
    if 200 <= answer.status < 300:
        return Judged(list(sent), [])
    if waits(answer.status):
        asked = retry_after(answer.headers.get("retry-after", ""), now)
        return Judged([], [], f"the receiver answered {answer.status}{_mend(answer.status)}", asked)
    if len(sent) > 1:
        return Judged([], [], split=True)
    return Judged([], [(sent[0], told(answer.status, _message(body_of(answer))))])


def waits(status: int) -> bool:
    """Whether what was answered so may be taken later."""
    return status >= 500 or status < 400 or status in _PASSING or status in _MENDED


def _mend(status: int) -> str:
    if status in _MENDED:
        return f": {_MENDED[status]}"
    return ", a redirect, which is never followed: give the stream the final url" if 300 <= status < 400 else ""


def _each(answer: Answer, sent: Sequence[Written], now: datetime) -> Judged:
    """https://experienceleague.adobe.com/en/docs/experience-platform/ingestion/tutorials/streaming-multiple-messages"""
    body = body_of(answer)
    outcomes = body.get("responses") if isinstance(body, dict) else None
    if not isinstance(outcomes, list) or len(outcomes) != len(sent):
        return Judged([], [], "the receiver answered 207 without one outcome for each message")
    taken, refused, again = [], [], set()
    for one, outcome in zip(sent, outcomes, strict=True):
        status = _status(outcome)
        if 200 <= status < 300:
            taken.append(one)
        elif status >= 500 or status < 400 or status in _PASSING:
            again.add(status)
        else:
            refused.append((one, told(status, _message(outcome))))
    asked = retry_after(answer.headers.get("retry-after", ""), now)
    words = ", ".join(map(str, sorted(again)))
    return Judged(taken, refused, f"the receiver answered {words} for some messages" if again else "", asked)


def _status(outcome: Any) -> int:
    """An inlet names the status of failures alone."""
    if not isinstance(outcome, dict):
        return 500
    status = str(outcome.get("statusCode", outcome.get("status", 200)))
    return int(status) if re.fullmatch("[1-5][0-9]{2}", status) else 500


def _message(body: Any) -> str:
    found = body.get("message") or body.get("title") or body.get("detail") if isinstance(body, dict) else ""
    return found if isinstance(found, str) else ""


def told(status: int, message: str) -> str:
    """The reason of a refusal: without long numbers and quotations, for these may be the person's."""
    said = _QUOTED.sub("•••", " ".join(message.split()))[:_REASON_LENGTH].replace("\0", "")
    return f"the receiver answered {status}" + (f": {said}" if said else "")
