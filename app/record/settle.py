"""Dead letters that a person has dealt with otherwise, or that nobody will: settled with a note of who and why.

What is settled is kept, and is no dead letter any more: a reply keeps its state; a request counts as uninteresting, so
that its retention ends like any other's, and the open entries of its items go with it.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.record.dead_letters import NO_SUCH, Kind, Outcome, why_no_letter
from app.record.resend import noted
from app.record.tables import iso, outbox, raw_requests, work_list


class Note(NamedTuple):
    """What is written beside."""

    actor: str
    reason: str
    now: datetime

    @property
    def line(self) -> str:
        """As one line."""
        return f"{iso(self.now)} settled by {self.actor}: {self.reason}"


def settle(conn: sa.Connection, kind: Kind, ids: Sequence[int], note: Note) -> list[Outcome]:
    """Settle the dead letters of this kind and these ids; an outcome for each, in their order."""
    return [_outcome(kind, number, _SETTLE[kind](conn, number, note)) for number in ids]


def _outcome(kind: Kind, number: int, why_not: str) -> Outcome:
    return Outcome(number, None if why_not == NO_SUCH else kind, not why_not, why_not)


def _reply(conn: sa.Connection, number: int, note: Note) -> str:
    """Why it was not settled; empty: it was. So answer the others below."""
    row = _held(conn, outbox, number)
    if row is None:
        return NO_SUCH
    if row.settled_at is not None:
        return "it was settled before"
    if row.state not in ("failed", "doubtful"):
        return f"it is {row.state}, and no dead letter"
    _change(conn, outbox, number, {"settled_at": note.now, "note": noted(note.line, row.note)})
    return ""


def _request(conn: sa.Connection, number: int, note: Note) -> str:
    row = _held(conn, raw_requests, number)
    if row is None:
        return NO_SUCH
    if row.reading != "undecoded":
        return f"it was understood, or settled before ({row.reading})"
    _change(conn, raw_requests, number, {"reading": "ignored", "problem": f"{note.line}; before: {row.problem}"})
    its_open = sa.and_(work_list.c.raw_id == number, sa.text("resolved_at IS NULL"))
    conn.execute(work_list.update().where(its_open).values(_resolved(note)))
    return ""


def _item(conn: sa.Connection, number: int, note: Note) -> str:
    _held(conn, work_list, number)
    why_not = why_no_letter(conn, number)
    if not why_not:
        _change(conn, work_list, number, _resolved(note))
    return why_not


_SETTLE: Mapping[Kind, Callable[[sa.Connection, int, Note], str]] = {
    Kind.REPLY: _reply,
    Kind.REQUEST: _request,
    Kind.ITEM: _item,
}


def _held(conn: sa.Connection, table: sa.Table, number: int) -> Any:
    return conn.execute(sa.select(table).where(table.c.id == number).with_for_update()).one_or_none()


def _change(conn: sa.Connection, table: sa.Table, number: int, values: Mapping[str, Any]) -> None:
    conn.execute(table.update().where(table.c.id == number).values(values))


def _resolved(note: Note) -> dict[str, Any]:
    return {"resolved_at": note.now, "resolved_by": note.actor, "resolution": note.reason}
