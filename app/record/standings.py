"""Where people stand: their own rows in `consent`, and for those who were erased what is kept under a keyed hash.

Every look-up of a standing goes through here. It asks for the rows, and in the same statement whether anybody is
suppressed at all; only then the hashes are computed and asked for. An installation that never erased anybody pays a
look at an empty table.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import sqlalchemy as sa

from app.events import EVERY_PROGRAM, NOBODY, ConsentState, Standing
from app.record.moments import moment
from app.record.people import FACT, known_by
from app.record.sets import Ask, Look, Looks, Row

Place = tuple[str, str]
"""(program, address)."""

_COLUMNS = "{0}.state, {0}.since, {0}.as_of, {0}.cause, {0}.confirmed"
#: asked with (program, address); `standing` reads a row of the answer
STANDINGS = Look(
    f"c.program, c.address, {_COLUMNS.format('c')}",
    "FROM given CROSS JOIN consent c WHERE c.program = c0 AND c.address = c1",
    ("text", "text"),
)
_SOMEBODY = "(SELECT 1 FROM suppressions LIMIT 1) AS somebody LEFT JOIN facts f ON f.name = {}"
#: asked with ASKED; no row: nobody is suppressed. Else the check value of the key that they are suppressed under
MARK = Look("coalesce(f.value, '')", f"FROM given CROSS JOIN {_SOMEBODY.format('c0')}", ("text",))
ASKED: Sequence[Row] = ((FACT,),)
#: the same as an expression of its own; NULL: nobody is suppressed
MARK_SQL = f"(SELECT coalesce(f.value, '') FROM {_SOMEBODY.format(repr(FACT))})"
_MARK = sa.text(f"SELECT {MARK_SQL}")

_HELD = Looks(
    Look(
        f"s.program, s.person, {_COLUMNS.format('s')}",
        "FROM given CROSS JOIN suppressions s WHERE s.program = c0 AND s.person = c1",
        ("text", "text"),
    )
)
_BOTH = Looks(STANDINGS, MARK)


def of(conn: sa.Connection, places: Collection[Place]) -> dict[Place, Standing]:
    """The standing of each place that there is one of."""
    if not places:
        return {}
    rows, mark = _BOTH.run(conn, places, ASKED)
    return with_suppressed(conn, mark[0][0] if mark else None, places, {(r[0], r[1]): standing(r) for r in rows})


def standing(row: Row) -> Standing:
    """A row of `STANDINGS`."""
    return Standing(ConsentState(row[2]), moment(row[3]), moment(row[4]), row[5], bool(row[6]))


def with_suppressed(
    conn: sa.Connection, check: str | None, places: Iterable[Place], found: Mapping[Place, Standing]
) -> dict[Place, Standing]:
    """What was found of these places in `consent`, with what is kept of erased people.

    `check` is what MARK answered; None: nobody is suppressed. Raises StoreUnavailable where the key is not at hand.
    """
    if check is None:
        return dict(found)
    people = known_by(conn, check)
    whose = {(program, people.person(address)): (program, address) for program, address in places}
    held = {whose[row[0], row[1]]: standing(row) for row in _HELD.run(conn, whose)[0]}
    return dict(found) | {place: holding(found.get(place, NOBODY), kept) for place, kept in held.items()}


def holding(real: Standing, kept: Standing) -> Standing:
    """Which holds of a person's own row and what was kept of them when they were erased: what they said after that is
    a new beginning; until then the suppression holds, against a row that somebody has brought back as well."""
    if real.as_of is None or kept.as_of is None:
        return kept
    opts_out = real.state is ConsentState.OPTED_OUT and kept.state is not ConsentState.OPTED_OUT
    return real if real.as_of > kept.as_of or opts_out else kept


def suppressed_programs(conn: sa.Connection, address: str) -> list[str]:
    """The programs (`*` included) that an erased person is suppressed in."""
    check = conn.execute(_MARK).scalar_one()
    if check is None:
        return []
    person = known_by(conn, check).person(address)
    held = sa.text("SELECT program FROM suppressions WHERE person = :person")
    return list(conn.execute(held, {"person": person}).scalars())


def suppressed_people(conn: sa.Connection) -> int:
    """How many erased people there are whose suppression is kept."""
    return int(conn.execute(sa.text("SELECT count(DISTINCT person) FROM suppressions")).scalar_one())


# --- those who were erased and have not come back -----------------------------------------------------------------

_ERASED_MARK = sa.text("SELECT (SELECT coalesce(f.value, '') FROM (SELECT 1 FROM erasures LIMIT 1) AS somebody "
                       f"LEFT JOIN facts f ON f.name = {FACT!r})")  # fmt: skip
_ERASED = Ask("SELECT c0 FROM given WHERE c0 IN (SELECT person FROM erasures)", ("text",))
# an erasure leaves no evidence, so what there is came after it
_BACK = Ask(
    "SELECT DISTINCT e.address FROM given CROSS JOIN evidence e JOIN ledger l ON l.id = e.ledger_id "
    "WHERE e.address = c0 AND l.new_state IN ('opted_in', 'pending')",
    ("text",),
)


def erased(conn: sa.Connection, addresses: Iterable[str]) -> set[str]:
    """Those who were erased and have not begun anew since, whatever their state was: no list may bring them back."""
    check = conn.execute(_ERASED_MARK).scalar_one()
    if check is None:
        return set()
    people = known_by(conn, check)
    by_person = {people.person(address): address for address in addresses}
    found = {by_person[row[0]] for row in _ERASED.run(conn, [(person,) for person in by_person])}
    return found - {row[0] for row in _BACK.run(conn, [(address,) for address in found])}


def in_both(found: Mapping[Place, Standing], program: str, address: str) -> tuple[Standing, Standing]:
    """A person's standing in a program and in all programs; NOBODY where there is none."""
    return found.get((program, address), NOBODY), found.get((EVERY_PROGRAM, address), NOBODY)
