"""Points in time as a driver returns them: text from SQLite, datetime from PostgreSQL."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=4096)
def _parsed(text: str) -> datetime:
    return datetime.fromisoformat(text)


def moment(value: Any) -> datetime | None:
    """The value as an aware UTC time."""
    if value is None:
        return None
    return _parsed(value) if isinstance(value, str) else value.astimezone(UTC)
