"""How far memberships are, and who is a member: read a piece at a time, for there may be millions."""

from collections.abc import Mapping
from typing import NamedTuple

import sqlalchemy as sa

from app.record import generations
from app.record.generations import Generation
from app.record.rebuilding import PAGE

_END = sa.text("SELECT address FROM memberships WHERE address > :after ORDER BY address LIMIT 1 OFFSET :offset")
_COUNTS = sa.text(
    "SELECT audiences, sum(CASE WHEN generation >= :valid THEN 1 ELSE 0 END) AS people, "
    "sum(CASE WHEN generation >= :current THEN 1 ELSE 0 END) AS reached FROM memberships "
    "WHERE address > :after AND (:end = '' OR address <= :end) GROUP BY audiences"
)
_WAITING = sa.text("SELECT count(*) FROM stale_memberships")
_MEMBERS = sa.text(
    "SELECT address, audiences, generation >= :valid AS counts FROM memberships WHERE address > :after "
    "ORDER BY address LIMIT :limit"
)
#: memberships that are looked through for a page of members
LOOKED_THROUGH = 20_000
#: memberships that are counted in one statement
COUNTED = 50_000


class Progress(NamedTuple):
    """How far the upkeep is."""

    state: str
    """none | gathering | rebuilding | ready."""
    source: str
    began: str
    waiting: int
    """People who are put to be worked out."""
    reached: int = 0
    """People who are worked out by the conditions as they are."""
    members: Mapping[str, int] = {}
    """By audience, of those who are worked out."""
    after: str | None = ""
    """How far memberships are counted; None: all of them."""


def is_gathered(conn: sa.Connection) -> bool:
    """Whether it is known which messages people were sent."""
    generation = generations.read(conn)
    return generation is not None and generation.gathered


def progress(conn: sa.Connection) -> Progress:
    """How far it is, without the counts."""
    generation = generations.read(conn)
    if generation is None:
        return Progress("none", "", "", 0)
    waiting = conn.execute(_WAITING).scalar_one()
    return Progress(_state(generation, waiting), generation.source, generation.began, waiting)


def counted(conn: sa.Connection, so_far: Progress) -> Progress:
    """With some more memberships counted: ask again until `after` is None."""
    generation = generations.read(conn)
    if generation is None or so_far.after is None:
        return so_far._replace(after=None)
    after = so_far.after
    end = conn.execute(_END, {"after": after, "offset": COUNTED - 1}).scalar()
    bound = {"valid": generation.valid, "current": generation.current, "after": after, "end": end or ""}
    members, reached = dict(so_far.members), so_far.reached
    for row in conn.execute(_COUNTS, bound):
        reached += row.reached
        for name in row.audiences.split():
            members[name] = members.get(name, 0) + row.people
    return so_far._replace(reached=reached, members=members, after=end)


def _state(generation: Generation, waiting: int) -> str:
    if not generation.gathered:
        return "gathering"
    return "rebuilding" if generation.source or waiting > PAGE else "ready"


def members(conn: sa.Connection, audience: str, *, after: str, limit: int) -> tuple[list[str], str | None]:
    """Some members by address, and after whom to go on; None: there are no more.

    A page looks through so many people at most, so of a small audience it may be empty and not the last.
    """
    generation, found, end = generations.read(conn), [], None
    if generation is None:
        return [], None
    bound = {"valid": generation.valid, "after": after, "limit": LOOKED_THROUGH}
    rows = conn.execute(_MEMBERS, bound).all()
    for row in rows:
        if row.counts and f" {audience} " in row.audiences:
            found.append(row.address)
        if len(found) == limit:
            end = row.address
            break
    return found, end or (rows[-1].address if len(rows) == LOOKED_THROUGH else None)
