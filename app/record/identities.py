"""Browsers that a company's server has linked to a subscriber: the last link holds, and when it was made is kept."""

from datetime import datetime

import sqlalchemy as sa

from app.record import keys
from app.record.sets import Ask
from app.record.standings import erased
from app.record.tables import iso

_LINK = Ask(
    "INSERT INTO identities (ecid, address, linked_at) SELECT c0, c1, c2 FROM given WHERE true "
    "ON CONFLICT (ecid) DO UPDATE SET address = excluded.address, linked_at = excluded.linked_at "
    "WHERE identities.address <> excluded.address RETURNING ecid",
    ("text", "text", "timestamptz"),
)


def link(conn: sa.Connection, ecid: str, address: str, now: datetime) -> bool:
    """Have this browser be this subscriber's from now on. False, and nothing is written, for a person who was erased.

    A link that stands already keeps its time.
    """
    keys.hold(conn, [address])
    if erased(conn, [address]):
        return False
    _LINK.run(conn, [(ecid, address, iso(now))])
    return True
