"""What waits for the writer, and who waits for it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.events import Heard


@dataclass(slots=True)
class Job:
    """What waits for a transaction, and who waits for it."""

    payload: Heard | Callable[[sa.Connection], Any]
    future: asyncio.Future[Any]
    answer: Any = None
    error: BaseException | None = None
    size: int = 0
    refuge: bool = False
    """Where the database is away it may be kept elsewhere."""
    sheltered: bool = False
    """So it is: whatever the database still does with it tells nobody."""


Refuge = Callable[[Sequence[Job]], None]
"""Takes requests in that found no database, oldest first, and answers their futures; called in the event loop."""
