"""Who a caller of a look-up is, and which audiences they are in: many callers in one statement."""

from collections.abc import Collection
from typing import NamedTuple

import sqlalchemy as sa

from app.record.sets import Ask


class Whose(NamedTuple):
    """Whom a look-up is about. Each may be empty; of a person who is named the browser does not count."""

    ecid: str
    address: str = ""


class Found(NamedTuple):
    """What is known of them."""

    address: str
    """The subscriber; empty: a browser that is nobody's."""
    audiences: str
    """Names, joined with blanks and with one at each end."""
    linked: str
    """The subscriber that the browser is linked to; empty: nobody."""


NOBODY = Found("", "", "")

_LOOK = Ask(
    "SELECT c0, c1, coalesce(nullif(c1, ''), i.address, ''), coalesce(m.audiences, ''), coalesce(i.address, '') "
    "FROM given LEFT JOIN identities i ON i.ecid = c0 "
    "LEFT JOIN memberships m ON m.address = coalesce(nullif(c1, ''), i.address)",
    ("text", "text"),
)


def look(conn: sa.Connection, asked: Collection[Whose]) -> dict[Whose, Found]:
    """What is known of each."""
    return {Whose(row[0], row[1]): Found(row[2], row[3], row[4]) for row in _LOOK.run(conn, asked)}
