"""What is recorded of people as far as audiences see it: a few statements, however many people."""

from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa

from app.audience import Portrait, Sent
from app.events import EVERY_PROGRAM, NOBODY, Standing
from app.record.facts import RESTORED
from app.record.moments import moment
from app.record.sets import Look, Looks, Row
from app.record.standings import ASKED, MARK, Place, standing, with_suppressed

# The key of consent begins with the program, and programs are few: from each to the next is one step in the key.
_PROGRAMS = (
    "(WITH RECURSIVE known (program) AS (SELECT min(program) FROM consent UNION ALL "
    "SELECT (SELECT min(c.program) FROM consent c WHERE c.program > known.program) FROM known "
    "WHERE known.program IS NOT NULL) SELECT program FROM known WHERE program IS NOT NULL) AS programs"
)
_FAILED = "'undelivered', 'failed', 'expired', 'rejected'"
_LOOKS = Looks(
    Look("programs.program", f"FROM given CROSS JOIN {_PROGRAMS} WHERE c0 = ''", ("text",)),
    Look(
        "c.program, c.address, c.state, c.since, c.as_of, c.cause, c.confirmed",
        f"FROM given CROSS JOIN {_PROGRAMS} CROSS JOIN consent c WHERE c.program = programs.program AND c.address = c0",
        ("text",),
    ),
    Look("a.address, a.name, a.value", "FROM given CROSS JOIN profile_attributes a WHERE a.address = c0", ("text",)),
    Look(
        "g.address, g.sent, g.delivered, g.was_read, g.failed, l.first_at, l.status",
        "FROM (SELECT p.address AS address, count(*) AS sent, max(m.id) AS last, "
        "sum(CASE WHEN m.status IN ('delivered', 'read') THEN 1 ELSE 0 END) AS delivered, "
        "sum(CASE WHEN m.status = 'read' THEN 1 ELSE 0 END) AS was_read, "
        f"sum(CASE WHEN m.status IN ({_FAILED}) THEN 1 ELSE 0 END) AS failed "
        "FROM given CROSS JOIN person_messages p CROSS JOIN messages m WHERE p.address = c0 AND m.id = p.message_id "
        "GROUP BY p.address) AS g JOIN messages l ON l.id = g.last",
        ("text",),
    ),
    Look(
        "g.address, g.said, g.last_at",
        "FROM (SELECT c0 AS address, (SELECT count(*) FROM inbound_messages i WHERE i.address = c0) AS said, "
        "(SELECT i.received_at FROM inbound_messages i WHERE i.address = c0 ORDER BY i.id DESC LIMIT 1) AS last_at "
        "FROM given) AS g WHERE g.said > 0",
        ("text",),
    ),
    MARK,
    Look("f.name", "FROM given CROSS JOIN facts f WHERE f.name = c0", ("text",)),
)


def read(conn: sa.Connection, addresses: Collection[str]) -> list[Portrait]:
    """What is recorded of these people, in their order. An erased person who has not come back is a blank."""
    if not addresses:
        return []
    whose = [(address,) for address in addresses]
    programs, standings, attributes, sent, said, mark, restored = _LOOKS.run(
        conn, [("",)], whose, whose, whose, whose, ASKED, [(RESTORED,)]
    )
    own = {(row[0], row[1]): standing(row) for row in standings}
    known = {address for _, address in own} | {row[0] for row in (*attributes, *sent, *said)}
    names = sorted({row[0] for row in programs})
    if mark:
        names = sorted({*names, *conn.execute(_SUPPRESSED_IN).scalars()})
        own = _with_suppressed(conn, mark[0][0], names, own, known & set(addresses))
    return _drawn(addresses, names, (own, attributes, sent, said), withheld=bool(restored))


_SUPPRESSED_IN = sa.text("SELECT DISTINCT program FROM suppressions")
_SOME = sa.text(
    "SELECT address FROM (SELECT address FROM consent ORDER BY program, address LIMIT :limit) AS standing "
    "UNION SELECT address FROM (SELECT DISTINCT address FROM profile_attributes ORDER BY address LIMIT :limit) AS told "
    "ORDER BY address LIMIT :limit"
)


def some_people(conn: sa.Connection, limit: int) -> list[str]:
    """The first people by address who have consent or attributes."""
    return list(conn.execute(_SOME, {"limit": limit}).scalars())


def _with_suppressed(
    conn: sa.Connection, check: str, programs: Collection[str], own: Mapping[Place, Standing], known: Collection[str]
) -> dict[Place, Standing]:
    """With what was kept of those who were erased and of whom something is recorded again."""
    everywhere = {*programs, EVERY_PROGRAM}
    places = [(program, address) for program in everywhere for address in known]
    found = with_suppressed(conn, check, places, own)
    return {place: each for place, each in found.items() if each != NOBODY}


def _drawn(
    addresses: Collection[str],
    programs: Sequence[str],
    rows: tuple[Mapping[Place, Standing], Sequence[Row], Sequence[Row], Sequence[Row]],
    *,
    withheld: bool,
) -> list[Portrait]:
    own, attributes, sent, said = rows
    standings: dict[str, dict[str, Standing]] = {address: {} for address in addresses}
    for (program, address), each in own.items():
        standings[address][program] = each
    values: dict[str, dict[str, str]] = {address: {} for address in addresses}
    for address, name, value in attributes:
        values[address][name] = value
    messages = {row[0]: Sent(row[1], row[2], row[3], row[4], moment(row[5]), row[6]) for row in sent}
    wrote = {row[0]: (row[1], moment(row[2])) for row in said}
    return [
        Portrait(address, standings[address], programs, values[address], messages.get(address, Sent()),
                 *wrote.get(address, (0, None)), withheld)
        for address in standings
    ]  # fmt: skip
