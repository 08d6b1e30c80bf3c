"""Replay: read stored requests again of which something was not understood, after their provider file was mended.

The receive time is the original one, so an old STOP cannot undo a later START, and replies past their deadline do not
leave. The signature was checked when the request came; what it proved is kept with it.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import orjson

from app.errors import TextbackError
from app.events import Heard, RawRequest, Reading
from app.flow import hear_again
from app.interpret import decide
from app.record import queries
from app.record.again import record_again, undecoded_ids
from app.record.database import Database
from app.record.queries import StoredRequest
from app.record.writer import Writer
from app.request import Request
from app.serve.takeover import keep_lists
from app.switchboard import Switchboard


class Replayed(NamedTuple):
    """What became of one stored request."""

    id: int
    webhook: str
    new: int = 0
    """Events recorded."""
    seen: int = 0
    """Events that were there before."""
    problem: str = ""
    """Why it is left as it was, or a part of it; empty: it is understood now."""


async def replay(
    switchboard: Switchboard, database: Database, writer: Writer, ids: Iterable[int] | None = None
) -> list[Replayed]:
    """Read the stored requests of these ids again, or all that were not understood (None), oldest first."""
    await writer.run(partial(keep_lists, switchboard=switchboard))
    wanted = await database.read(undecoded_ids) if ids is None else sorted(set(ids))
    return [await _replay_one(switchboard, database, writer, number) for number in wanted]


async def _replay_one(switchboard: Switchboard, database: Database, writer: Writer, number: int) -> Replayed:
    stored = await database.read(partial(queries.stored_request, request_id=number))
    if stored is None:
        return Replayed(number, "", problem="there is no stored request of this id; they are kept for some days only")
    told = Replayed(number, stored.webhook)
    heard = _heard(switchboard, stored)
    if isinstance(heard, str):
        return told._replace(problem=heard)
    try:
        recorded = await writer.run(partial(record_again, heard=heard, decide=decide, now=datetime.now(UTC)))
    except TextbackError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it was, this one only; its neighbours are recorded
        return told._replace(problem=f"the database refused it: {type(error).__name__}")
    if recorded is None:
        return told._replace(problem="it was understood before, by another replay at the same time")
    return told._replace(new=recorded.new, seen=recorded.seen, problem=_left(heard))


def _heard(switchboard: Switchboard, stored: StoredRequest) -> Heard | str:
    """What it says now, or why it says nothing."""
    if stored.reading != Reading.UNDECODED:
        return f"it was understood before ({stored.reading})"
    line = switchboard.by_name.get(stored.webhook)
    if line is None:
        return switchboard.broken.get(stored.webhook) or f"there is no webhook '{stored.webhook}' any more"
    heard = hear_again(line, stored_as_request(stored))
    if heard is None:
        return f"still not understood: {stored.problem}"
    return replace(heard, raw=_raw(stored, heard))


def _left(heard: Heard) -> str:
    """What of it is still not understood."""
    if not heard.troubles:
        return ""
    return f"of its items, {len(heard.troubles)} still cannot be read: {heard.troubles[0].reason}"


def stored_as_request(stored: StoredRequest) -> Request:
    """The request that was stored, as it came but for its credentials."""
    return Request(
        stored.method,
        stored.target,
        orjson.loads(stored.headers),
        stored.body,
        stored.received_at,
        query=stored.target.partition("?")[2],
        client=stored.client,
    )


def _raw(stored: StoredRequest, heard: Heard) -> RawRequest:
    understood = Reading.EVENTS if heard.events else Reading.IGNORED
    return RawRequest(
        id=stored.id,
        method=stored.method,
        target=stored.target,
        headers=stored.headers,
        body=stored.body,
        client=stored.client,
        signature=stored.signature,
        reading=Reading.UNDECODED if heard.troubles else understood,
        problem=heard.troubles[0].reason if heard.troubles else "",
    )
