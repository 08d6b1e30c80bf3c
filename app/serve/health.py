"""Is it alive, and can it work? For whatever restarts it and whatever sends traffic to it; nobody needs a token."""

from functools import lru_cache

from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from app.errors import StoreUnavailable
from app.record import schema
from app.serve.door import as_json
from app.serve.operation import Call, Operation, Params, Plain
from app.serve.parts import Parts

_standing = lru_cache(maxsize=8)(schema.standing)


class Live(BaseModel):
    """It turns."""

    status: str = "live"


class Ready(BaseModel):
    """Whether it can work."""

    ready: bool
    #: what keeps it from working, and the mend
    reasons: list[str]


async def live(_call: Call[Params, None]) -> Live:
    """Always, while the event loop turns."""
    return Live()


async def ready(call: Call[Params, None]) -> Plain:
    """200, or 503 with the reasons."""
    reasons = [*await _database_reasons(call.parts), *_own_reasons(call.parts)]
    return Plain(as_json(Ready(ready=not reasons, reasons=reasons)), "application/json", 503 if reasons else 200)


async def _database_reasons(parts: Parts) -> list[str]:
    try:
        found = await parts.database.read(schema.revision)
    except (SQLAlchemyError, StoreUnavailable):
        return ["The database cannot be reached; look at TEXTBACK_DATABASE_URL and at the database."]
    if _standing(found) == "older":
        return [f"The database is at revision {found or 'none'}, older than this textback; run: textback migrate"]
    return []


def _own_reasons(parts: Parts) -> list[str]:
    reasons = []
    if parts.stopping.is_set():
        reasons.append("textback was told to stop, and finishes what is under way; send traffic to another node.")
    if not parts.writer.alive:
        reasons.append("The writer has stopped, so nothing can be recorded; restart textback.")
    if parts.sender is not None and not parts.sender.alive:
        reasons.append("The sender has stopped, so no reply leaves; restart textback.")
    return reasons


OPERATIONS = (
    Operation("GET", "/health/live", "Is it alive?", live, None, Live),
    Operation(
        method="GET",
        path="/health/ready",
        summary="Can it work?",
        handler=ready,
        scope=None,
        answer=Ready,
        problems={503: "It cannot; the reasons say why."},
    ),
)
