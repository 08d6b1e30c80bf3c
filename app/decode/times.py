"""The provider's own times, in every form that providers write them. Always aware UTC; None where nothing can be read.

An unreadable time is no error: the receive time counts then. So is one before 2000, which is a clock that was never set
(0, year 1): believed, it would make a STOP older than everything, and so without effect.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from app.decode.fields import texts_of
from app.decode.paths import Frame
from app.provider import Value

TimeFormat = Literal["auto", "yymmddhhmm", "yyyymmddhhmmss"]
#: seconds since 1970 stay below it for 3,000 years; whatever is larger counts milliseconds, or less
_SECONDS_END = 1e11
#: no date alone is longer, in any form of ISO 8601: 2026-11-22, 2024-W23-1
_DATE_LENGTH = 10
#: an offset whose plus became a blank on its way through a query, or UTC by name
_OFFSET = re.compile(r"(?<=:[0-9]{2})((?:\.[0-9]+)?)(?: ([0-9]{2}:?[0-9]{2})| ?(?:UTC|GMT))$")


def time_of(value: Value | None, form: TimeFormat) -> Callable[[Frame], datetime | None]:
    """The first alternative that can be read."""
    texts = texts_of(value)

    def get(frame: Frame) -> datetime | None:
        for text in texts:
            found = text(frame)
            moment = read_time(found, form) if found else None
            if moment is not None:
                return moment
        return None

    return get


def read_time(text: str, form: TimeFormat = "auto") -> datetime | None:
    """ISO 8601 with any offset or none (UTC), or unix seconds or milliseconds; digits run together where told so."""
    text = text.strip()
    try:
        moment = _auto(text) if form == "auto" else _digits(text, form)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment.year >= 2000 else None


def _auto(text: str) -> datetime:
    if len(text) <= 20 and text.replace(".", "", 1).isdigit():
        return _unix(float(text))
    if len(text) <= _DATE_LENGTH:
        # a day is no moment: dated at its midnight, a STOP of noon would be older than a START of the morning
        raise ValueError(text)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(_OFFSET.sub(lambda found: f"{found[1]}+{found[2] or '00:00'}", text))


def _unix(number: float) -> datetime:
    while number >= _SECONDS_END:
        number /= 1000
    return datetime.fromtimestamp(number, UTC)


def _digits(text: str, form: TimeFormat) -> datetime:
    if not text.isdigit() or len(text) != len(form):
        raise ValueError(form)
    year = 2 if form.startswith("yymm") else 4
    return datetime.fromisoformat(f"{'20' if year == 2 else ''}{text[: year + 4]}T{text[year + 4 :]}")
