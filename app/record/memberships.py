"""Who is in which audience: kept ready for look-ups, and never older than what is recorded of the person.

Whoever writes something about a person puts them among the stale in the same transaction (`touch`). A chore works the
stale off (`stale`, `worked_out`, `store`); until then, and while conditions are new, a look-up works out on the spot
what it answers. A stale person bears a mark, another one at each change: what was worked out is stored only by whoever
takes away the very mark that was read before, so no change in between is lost, and of two nodes one stores.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import orjson
import sqlalchemy as sa

from app.audience import Portrait, WorkOut
from app.changes import Changes
from app.record import generations, portraits
from app.record.facts import RESTORED
from app.record.generations import FACT, Generation
from app.record.ids import first_id_at, new_id
from app.record.sets import Ask, Insert, Inserts, Look, Looks, Row
from app.record.tables import identities, iso, memberships, person_messages

_FACTS: Sequence[Row] = ((FACT,), (RESTORED,))
_STATE = Look("f.name, f.value", "FROM given CROSS JOIN facts f WHERE f.name = c0", ("text",))
_STANDS = "m.audiences, m.generation, s.mark"
_BESIDE = "LEFT JOIN memberships m ON m.address = {0} LEFT JOIN stale_memberships s ON s.address = {0}"
_OF_BROWSERS = Looks(
    Look(
        f"i.address, {_STANDS}, i.ecid",
        f"FROM given CROSS JOIN identities i {_BESIDE.format('i.address')} WHERE i.ecid = c0",
        ("text",),
    ),
    _STATE,
)
_OF_PEOPLE = Looks(Look(f"c0, {_STANDS}", f"FROM given {_BESIDE.format('c0')}", ("text",)), _STATE)


class Worked(NamedTuple):
    """A stale person, worked out."""

    address: str
    audiences: tuple[str, ...] | None
    """None: nothing is recorded of them any more."""
    generation: int
    mark: int


# --- looking up ---------------------------------------------------------------------------------------------------


def of_browsers(
    conn: sa.Connection, ecids: Collection[str], work_out: WorkOut
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Of each browser that is linked to a subscriber: their address, and the audiences that they are in now.

    One statement where everybody is ready. Names of audiences that were deleted lately may be among them.
    """
    rows, facts = _OF_BROWSERS.run(conn, [(ecid,) for ecid in ecids], _FACTS)
    found = _found(conn, rows, facts, work_out)
    return {row[4]: (row[0], found[row[0]]) for row in rows}


def of_people(conn: sa.Connection, addresses: Collection[str], work_out: WorkOut) -> dict[str, tuple[str, ...]]:
    """The audiences that each of these people is in now; none for whom nobody knows. As `of_browsers`."""
    rows, facts = _OF_PEOPLE.run(conn, [(address,) for address in addresses], _FACTS)
    return _found(conn, rows, facts, work_out)


def _found(
    conn: sa.Connection, rows: Sequence[Row], facts: Sequence[Row], work_out: WorkOut
) -> dict[str, tuple[str, ...]]:
    state = {row[0]: row[1] for row in facts}
    generation = generations.opened(state[FACT]) if FACT in state else None
    if generation is None or not generation.gathered:
        return {row[0]: () for row in rows}
    ready = {row[0]: tuple(row[1].split()) for row in rows if _is_ready(row, generation, state)}
    late = {row[0] for row in rows} - ready.keys()
    return ready | _on_the_spot(conn, sorted(late), generation, work_out) if late else ready


def _is_ready(row: Row, generation: Generation, state: Mapping[str, str]) -> bool:
    is_valid = row[2] is not None and row[2] >= generation.valid
    return is_valid and row[3] is None and RESTORED not in state


def _on_the_spot(
    conn: sa.Connection, addresses: Sequence[str], generation: Generation, work_out: WorkOut
) -> dict[str, tuple[str, ...]]:
    known = conditions(conn, generation)
    return dict(zip(addresses, work_out(known, portraits.read(conn, addresses)), strict=True))


def stored(conn: sa.Connection, address: str) -> list[str]:
    """The audiences that a person was in when they were last worked out."""
    query = sa.select(memberships.c.audiences).where(memberships.c.address == address)
    return (conn.execute(query).scalar() or "").split()


def browsers(conn: sa.Connection, address: str) -> dict[str, datetime]:
    """The browsers that are linked to a person, and since when."""
    column = identities.c
    query = sa.select(column.ecid, column.linked_at).where(column.address == address).order_by(column.linked_at)
    return {row.ecid: row.linked_at for row in conn.execute(query)}


def is_ready(conn: sa.Connection, address: str) -> bool:
    """Whether a look-up of this person is answered from what is stored."""
    rows, facts = _OF_PEOPLE.run(conn, [(address,)], _FACTS)
    state = {row[0]: row[1] for row in facts}
    return FACT in state and _is_ready(rows[0], generations.opened(state[FACT]), state)


def conditions(conn: sa.Connection, generation: Generation) -> dict[str, str]:
    """The condition of each audience by name, of this generation or, in the moment of a change, of the next one."""
    found = _known.get(generation.current)
    if found is None:
        rows = conn.execute(_CONDITIONS).all()
        found = {row.name: orjson.loads(row.settings).get("condition", "false") for row in rows}
        _known.clear()
        _known[generation.current] = found
    return found


#: the conditions of the last generation that was asked for: no two have one number, whatever the database
_known: dict[int, dict[str, str]] = {}
_CONDITIONS = sa.text("SELECT name, settings FROM registrations WHERE kind = 'audience' ORDER BY name")


# --- upkeep -------------------------------------------------------------------------------------------------------

#: for the insert of whoever changes something about people, in one order for all nodes
ANOTHER_MARK = "ON CONFLICT (address) DO UPDATE SET mark = excluded.mark"
ONCE = "ON CONFLICT (address, message_id) DO NOTHING"
_TOUCH = Ask(
    "INSERT INTO stale_memberships (address, mark) SELECT c0, c1 FROM given "
    f"WHERE EXISTS (SELECT 1 FROM facts WHERE name = '{FACT}') {ANOTHER_MARK} RETURNING address",
    ("text", "bigint"),
)
_LINK = Ask(
    "INSERT INTO person_messages (address, message_id) SELECT c0, c1 FROM given "
    f"WHERE EXISTS (SELECT 1 FROM facts WHERE name = '{FACT}') {ONCE} RETURNING message_id",
    ("text", "bigint"),
)
_STALE = sa.text("SELECT address, mark FROM stale_memberships WHERE address > :after ORDER BY address LIMIT :limit")
# In PostgreSQL one that somebody holds is being changed just now: it stays stale, and nobody waits for anybody.
_UNMARK = {
    "sqlite": Ask("DELETE FROM stale_memberships WHERE (address, mark) IN (SELECT c0, c1 FROM given) "
                  "RETURNING address", ("text", "bigint")),
    "postgresql": Ask("DELETE FROM stale_memberships WHERE address IN (SELECT s.address FROM given "
                      "JOIN stale_memberships s ON s.address = c0 AND s.mark = c1 FOR UPDATE OF s SKIP LOCKED) "
                      "RETURNING address", ("text", "bigint")),
}  # fmt: skip
_STORE = Inserts(
    "store_memberships",
    Insert(
        memberships,
        memberships.columns.keys(),
        "ON CONFLICT (address) DO UPDATE SET audiences = excluded.audiences, generation = excluded.generation, "
        "computed_at = excluded.computed_at",
    ),
)


def concerned(changes: Changes) -> tuple[list[Row], list[Row]]:
    """Whom a batch is about: rows of `stale_memberships`, and of `person_messages` for the messages that it touches."""
    mark = new_id()
    people = {address for _, address in changes.consent} | {address for address, _ in changes.attributes}
    people |= {row.address for row in changes.inbound}
    links = sorted({(row.recipient, row.id) for row in changes.messages.values() if row.recipient})
    return [(address, mark) for address in sorted(people.union(address for address, _ in links))], list(links)


def touch(conn: sa.Connection, addresses: Iterable[str]) -> None:
    """Something about these people is changed by this transaction. After its first write; nothing without audiences."""
    mark = new_id()
    _TOUCH.run(conn, [(address, mark) for address in sorted(set(addresses))])


_DOUBT = sa.text(
    "INSERT INTO stale_memberships (address, mark) SELECT DISTINCT e.address, CAST(:mark AS bigint) "
    f"FROM ledger l JOIN evidence e ON e.ledger_id = l.id WHERE l.id >= :since ORDER BY e.address {ANOTHER_MARK}"
)


def doubt(conn: sa.Connection) -> int:
    """Put everybody among the stale whose consent has changed since everybody was last looked at; how many.

    For the start of a server: a release that knows no audiences may have run since, and marks nobody who says STOP.
    What else it wrote about people is found with the daily rebuild.
    """
    generation = generations.read(conn)
    if generation is None:
        return 0
    since = first_id_at(datetime.fromisoformat(generation.began))
    return conn.execute(_DOUBT, {"mark": new_id(), "since": since}).rowcount


def link(conn: sa.Connection, sent: Iterable[tuple[str, int]]) -> None:
    """These (address, message id) were sent."""
    links = sorted({(address, message_id) for address, message_id in sent if address})
    if _LINK.run(conn, links):
        touch(conn, (address for address, _ in links))


def stale(conn: sa.Connection, after: str, limit: int) -> list[tuple[str, int]]:
    """Some of the stale people with their marks, by address."""
    return [(row.address, row.mark) for row in conn.execute(_STALE, {"after": after, "limit": limit})]


def worked_out(conn: sa.Connection, people: Sequence[tuple[str, int]], work_out: WorkOut) -> list[Worked]:
    """Stale people as they are now. `people` were read before, so whatever changes from now on changes their marks."""
    generation = generations.read(conn)
    if generation is None or not people:
        return []
    known = portraits.read(conn, [address for address, _ in people])
    if known[0].withheld:  # what is recorded may be too old to say; look-ups work out on the spot until it is compared
        return []
    found = work_out(conditions(conn, generation), known)
    return [
        _worked(portrait, audiences, generation.current, mark)
        for portrait, audiences, (_, mark) in zip(known, found, people, strict=True)
    ]


def _worked(portrait: Portrait, audiences: tuple[str, ...], generation: int, mark: int) -> Worked:
    return Worked(portrait.address, audiences if portrait.is_known else None, generation, mark)


def store(conn: sa.Connection, rows: Sequence[Worked], now: datetime) -> int:
    """Store what was worked out of those who have not changed since; how many."""
    marks = [(row.address, row.mark) for row in rows]
    unmarked = {row[0] for row in _UNMARK[conn.dialect.name].run(conn, marks)}
    mine = sorted(row for row in rows if row.address in unmarked)
    kept = [row for row in mine if row.audiences is not None]
    _STORE.run(conn, [(row.address, _joined(row.audiences or ()), row.generation, iso(now)) for row in kept])
    gone = [row.address for row in mine if row.audiences is None]
    for table in (memberships, person_messages) if gone else ():
        conn.execute(table.delete().where(table.c.address.in_(gone)))
    return len(mine)


def _joined(audiences: Iterable[str]) -> str:
    return f" {' '.join(audiences)} "
