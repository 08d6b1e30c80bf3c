"""Is it alive, and can it work? For whatever restarts it and whatever sends traffic to it; nobody needs a token."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from app.errors import BadInput, StoreUnavailable
from app.record import facts, people, schema
from app.serve.door import as_json
from app.serve.operation import Call, Operation, Params, Plain
from app.serve.parts import Parts

_standing = lru_cache(maxsize=8)(schema.standing)


#: seconds that a look at the database may take; whoever asks asks often
_QUICKLY = 2.0


class Live(BaseModel):
    """It turns."""

    status: str = "live"


class Ready(BaseModel):
    """Whether it can work."""

    ready: bool
    #: serving: into the database; spooling: PostgreSQL is away, and what comes is kept on this disk; draining: it is
    #: back, and the rest is on its way; stopping
    state: Literal["serving", "spooling", "draining", "stopping"]
    #: what keeps it from working, and the mend
    reasons: list[str]
    #: what somebody should know although it works
    notes: list[str]


async def live(_call: Call[Params, None]) -> Live:
    """Always, while the event loop turns."""
    return Live()


async def ready(call: Call[Params, None]) -> Plain:
    """200, or 503 with the reasons. A node that spools is ready: it hears, and acknowledges nothing that it loses."""
    parts = call.parts
    reasons = [*await _database_reasons(parts), *_own_reasons(parts)]
    state = "stopping" if parts.stopping.is_set() else parts.intake.state
    answer = Ready(ready=not reasons, state=state, reasons=reasons, notes=[*_notes(parts), *await _restored(parts)])
    return Plain(as_json(answer), "application/json", 503 if reasons else 200)


async def _database_reasons(parts: Parts) -> list[str]:
    if parts.intake.away_since:
        full = parts.intake.refused
        return [f"PostgreSQL is away, and {full}; requests are answered with 503."] if full else []
    try:
        found = await parts.database.read(schema.revision, within=_QUICKLY)
        await parts.database.read(people.require_key, within=_QUICKLY)
    except BadInput as error:
        return [str(error)]
    except (StoreUnavailable, SQLAlchemyError):
        if parts.intake.has_spool:  # it will be found out within a second, and what comes meanwhile is kept
            return []
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


async def _restored(parts: Parts) -> list[str]:
    if parts.intake.away_since:
        return []
    try:
        fact = await parts.database.read(facts.restored, within=_QUICKLY)
    except (StoreUnavailable, SQLAlchemyError):
        return []
    return [facts.withheld(fact)] if fact else []


def _notes(parts: Parts) -> Iterator[str]:
    intake = parts.intake
    if intake.away_since:
        yield f"PostgreSQL is away since {intake.away_since:%Y-%m-%dT%H:%M:%SZ}; what comes is kept in the spool."
    if intake.waiting:
        yield f"{intake.waiting} requests wait in the spool."
    if intake.aside:
        yield f"{intake.aside} items of the spool wait for a person; see: textback spool list"


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
