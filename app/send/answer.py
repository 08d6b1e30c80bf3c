"""What a provider's answer says: taken under which id, refused for good, or asked to come back later."""

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from app.errors import BadInput, SendFailed
from app.send.connection import Answer
from app.sending import Send
from app.spec import Condition

#: "later", where every other 4xx is "never": unauthorised, request time-out, too early, too many requests.
#: A 401 is about the credential, which its operator may mend, or the provider's token server, before the reply's
#: deadline; the message is as good as ever. With a 403 the provider knows the caller and forbids this message, and says
#: that it shall not be repeated (https://www.rfc-editor.org/rfc/rfc9110#section-15.5.4).
_PASSING = frozenset({401, 408, 425, 429})
#: a gateway lost the provider out of sight: what became of the message, nobody knows
_AMBIGUOUS = frozenset({502, 504})
_DOT = re.compile(r"(?<!\\)\.")
_CODE_LENGTH = 64
_ID_LENGTH = 512
#: characters of an answer in plain text that are searched for a pattern
_SEARCHED = 16_384
#: orjson, four times as fast, rounds integers of more than 64 bits, and ids may be such
_LONG_NUMBER = re.compile(rb"[0-9]{19}")

Reader = Callable[[Answer, datetime], str]


def text_of(value: Any) -> str:
    """A text or a number as text, freed of what a database refuses: NUL and halves of surrogate pairs."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).replace("\0", "").encode("utf-8", "replace").decode()


def word_of(value: Any) -> str:
    """The same of a value that is compared and not shown: true and false are words too, as in what is decoded."""
    return str(value).lower() if isinstance(value, bool) else text_of(value)


def reader(rules: Send) -> Reader:
    """The function that reads answers: the provider's id of the message, empty where it names none.

    It raises SendFailed for everything but a 2xx whose body holds what the provider file calls accepted. Its reason has
    the status and the provider's code, never the provider's text: that may repeat a number or a message.
    Raises BadInput for a pattern that is no regular expression, or that has no group for the id or the code.
    """
    blocked, hopeless = frozenset(rules.blocked_codes), frozenset(rules.permanent_codes)
    accepted, find_id = _acceptance(rules), _finder(rules.id, "id_pattern", rules.id_pattern)
    find_code = _finder(rules.code, "code_pattern", rules.code_pattern, word_of)

    def read(answer: Answer, now: datetime) -> str:
        body = body_of(answer)
        if 200 <= answer.status < 300 and accepted(answer, body):
            return find_id(answer, body)[:_ID_LENGTH]
        code = find_code(answer, body)[:_CODE_LENGTH]
        raise _failure(answer, code, now, blocked=code in blocked, hopeless=code in hopeless)

    return read


def _acceptance(rules: Send) -> Callable[[Answer, Any], bool]:
    condition, pattern = rules.accepted, _pattern("accepted_pattern", rules.accepted_pattern)
    if pattern is None:
        return lambda _, body: holds(condition, body)
    return lambda answer, body: holds(condition, body) and pattern.search(_plain(answer)) is not None


def _finder(
    path: str, name: str, pattern: str, as_text: Callable[[Any], str] = text_of
) -> Callable[[Answer, Any], str]:
    """By the path; where that leads nowhere, by the pattern, which is called `name`."""
    steps, compiled = steps_of(path), _pattern(name, pattern)
    if compiled is None:
        return lambda _, body: as_text(at(body, steps))
    if not compiled.groups:
        raise BadInput(f"{name} needs a group around what it shall find: ID: ([0-9a-f]+)")

    def find(answer: Answer, body: Any) -> str:
        found = compiled.search(_plain(answer))
        return as_text(at(body, steps)) or text_of(found and found[1])

    return find


def _pattern(name: str, text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text) if text else None
    except (re.error, RecursionError, OverflowError) as error:
        raise BadInput(f"{name} is not a regular expression: {error}") from None


def _plain(answer: Answer) -> str:
    """The beginning of an answer as text: what a short answer in plain text is for."""
    return answer.body[:_SEARCHED].decode("utf-8", "replace")


def _failure(answer: Answer, code: str, now: datetime, *, blocked: bool, hopeless: bool) -> SendFailed:
    status = answer.status
    unclear = 200 <= status < 300 and not code  # neither a yes that we know nor a no: it may have been taken
    reason = f"the provider answered {status}" + (f" with code {code}" if code else "")
    if unclear:
        reason += ", and does not say whether it took the message"
    if 300 <= status < 400:
        reason += ", a redirect, which is never followed; give the credential the final url"
    return SendFailed(
        reason,
        permanent=blocked or hopeless or (300 <= status < 500 and status not in _PASSING),
        departed=unclear or status in _AMBIGUOUS,
        blocked=blocked,
        retry_after=retry_after(answer.headers.get("retry-after", ""), now),
    )


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds, from a number of them or an HTTP date (RFC 9110, 10.2.3); None where it is neither."""
    try:
        seconds = float(value) if value[:1].isdigit() else (_date(value) - now).total_seconds()
    except (ValueError, OverflowError):
        return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _date(value: str) -> datetime:
    date = parsedate_to_datetime(value)
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def body_of(answer: Answer) -> Any:
    """The body as JSON; None where it is something else, as with gateways that answer in plain text."""
    try:
        if not _LONG_NUMBER.search(answer.body):
            return orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        pass  # it is stricter than providers are: the standard library has the last word
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def steps_of(path: str) -> list[str]:
    """The names and indexes of a path; behind a backslash a dot is part of a name."""
    return [step.replace("\\.", ".") for step in _DOT.split(path)] if path else []


def at(body: Any, steps: list[str]) -> Any:
    """The value at a path of names and indexes; None where there is none, or no path."""
    value = body if steps else None
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def holds(condition: Condition, body: Any) -> bool:
    """Whether a body is as a condition wants it."""
    return all(_matches(at(body, steps_of(path)), wanted) for path, wanted in condition.items())


def _matches(value: Any, wanted: bool | str | list[str]) -> bool:
    if isinstance(wanted, bool):
        return (value not in (None, "", [], {})) is wanted
    texts = [wanted] if isinstance(wanted, str) else wanted
    return word_of(value).casefold() in {text.casefold() for text in texts}
