"""Subscriber attributes: name and value of a person, told by an import, an API, or a keyword of the person's own.

Of two values the later one holds, by the time it was true and not by the time it was written: an import of last month's
file never overwrites what somebody texted yesterday.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from app.changes import AttributeRow
from app.errors import BadInput
from app.record import memberships
from app.record.sets import Ask
from app.record.standings import erased
from app.record.tables import iso, profile_attributes
from app.webhook import ATTRIBUTE_LENGTH, ATTRIBUTE_NAME

#: attributes of one person
MOST = 100
#: rows per statement
CHUNK = 2_000

#: for the insert of whoever records an attribute
KEEP_THE_LATER = (
    "ON CONFLICT (address, name) DO UPDATE SET value = excluded.value, source = excluded.source, "
    "updated_at = excluded.updated_at WHERE profile_attributes.updated_at <= excluded.updated_at"
)
_PUT = Ask(
    "INSERT INTO profile_attributes (address, name, value, source, updated_at) "
    f"SELECT c0, c1, c2, c3, c4 FROM given WHERE true {KEEP_THE_LATER} RETURNING name",
    ("text", "text", "text", "text", "timestamptz"),
)
_READ = Ask(
    "SELECT a.address, a.name, a.value FROM given CROSS JOIN profile_attributes a WHERE a.address = c0", ("text",)
)
_TOLD_BY = Ask(
    "SELECT DISTINCT a.address FROM given CROSS JOIN profile_attributes a WHERE a.address = c0 AND a.source = c1",
    ("text", "text"),
)
# One by one: a planner that takes the table for empty, as before its first ANALYZE, would join the other way round.
_TOO_MANY = Ask(
    f"SELECT c0 FROM given WHERE (SELECT count(*) FROM profile_attributes a WHERE a.address = c0) > {MOST} LIMIT 1",
    ("text",),
)


class Profile(NamedTuple):
    """A person's attributes."""

    address: str
    attributes: dict[str, str]
    updated_at: datetime
    """Of the latest of them."""


# --- reading ------------------------------------------------------------------------------------------------------


def read(conn: sa.Connection, addresses: Iterable[str]) -> dict[str, dict[str, str]]:
    """The attributes of each address, in one query; an address without any has an empty dictionary.

    For claimed replies: `read(conn, {row.address for row in rows})`, where their text has a place for an attribute.
    """
    found: dict[str, dict[str, str]] = {address: {} for address in addresses}
    for address, name, value in _READ.run(conn, [(address,) for address in found]):
        found[address][name] = value
    return found


def details(conn: sa.Connection, address: str) -> list[AttributeRow]:
    """A person's attributes by name, with who told them and when."""
    column = profile_attributes.c
    columns = (column[name] for name in AttributeRow._fields)
    query = sa.select(*columns).where(column.address == address).order_by(column.name)
    return [AttributeRow(*row) for row in conn.execute(query)]


def listed(conn: sa.Connection, *, limit: int, after: str = "") -> list[Profile]:
    """A page of profiles by address; ask again with `after`, the address of the last one of the page you have."""
    column = profile_attributes.c
    page = sa.select(column.address).distinct().where(column.address > after).order_by(column.address).limit(limit)
    columns = (column.address, column.name, column.value, column.updated_at)
    query = sa.select(*columns).where(column.address.in_(page)).order_by(column.address, column.name)
    rows = defaultdict(list)
    for row in conn.execute(query):
        rows[row.address].append(row)
    return [
        Profile(address, {row.name: row.value for row in its}, max(row.updated_at for row in its))
        for address, its in rows.items()
    ]


def told_by(conn: sa.Connection, source: str, addresses: Iterable[str]) -> set[str]:
    """Those of the addresses that have an attribute from this source."""
    return {row[0] for row in _TOLD_BY.run(conn, [(address, source) for address in addresses])}


def names(conn: sa.Connection) -> list[str]:
    """The names of all attributes that anybody has."""
    column = profile_attributes.c.name
    return list(conn.execute(sa.select(column).distinct().order_by(column)).scalars())


# --- writing ------------------------------------------------------------------------------------------------------


def put(
    conn: sa.Connection,
    address: str,
    attributes: Mapping[str, str],
    source: str,
    at: datetime,
    *,
    replace: bool = False,
) -> int:
    """Record what was true `at`; how many attributes that changed. `replace`: those not given go, unless told later.

    Raises BadInput for a name, a value or a number of attributes beyond the limits; undo the transaction then.
    """
    if replace:
        _drop(conn, address, at, keep=attributes.keys())
    return put_many(conn, ((address, name, value) for name, value in attributes.items()), source, at)


def put_many(conn: sa.Connection, rows: Iterable[tuple[str, str, str]], source: str, at: datetime) -> int:
    """Record (address, name, value) of many people, the last of an (address, name) counts; how many that changed.

    Raises BadInput as `put` does, and for a person who was erased and has not come back. It is one statement per
    2,000 rows; give an import to the writer in such pieces, so
    that no event waits behind the whole of it.
    """
    given = {(address, name): value for address, name, value in rows}
    for (_, name), value in given.items():
        check(name, value)
    moment, changed = iso(at), 0
    # in one order for all nodes, so that no two wait for each other crosswise
    sorted_rows = [(*key, value, source, moment) for key, value in sorted(given.items())]
    for start in range(0, len(sorted_rows), CHUNK):
        chunk = sorted_rows[start : start + CHUNK]
        _refuse_erased(conn, {row[0] for row in chunk})
        changed += len(_PUT.run(conn, chunk))
        people = {row[0] for row in chunk}
        _refuse_too_many(conn, people)
        memberships.touch(conn, people)
    return changed


def drop_many(conn: sa.Connection, addresses: Collection[str], at: datetime) -> int:
    """Delete all that was told of these people until `at`, before what replaces it is put; how many there were."""
    column = profile_attributes.c
    told_before = sa.and_(column.address.in_(addresses), column.updated_at <= at)
    count = conn.execute(profile_attributes.delete().where(told_before)).rowcount
    memberships.touch(conn, addresses if count else ())
    return count


def check(name: str, value: str) -> None:
    """Raise BadInput for an attribute beyond the limits. The value is not repeated: it may be personal."""
    if not ATTRIBUTE_NAME.fullmatch(name):
        raise BadInput(
            f"'{name[:64]}' is no name of an attribute; it begins with a letter or _, and has at most 64 letters, "
            "digits, dots, hyphens and _"
        )
    if len(value) > ATTRIBUTE_LENGTH or "\0" in value:
        raise BadInput(
            f"the value of attribute '{name}' has {len(value):,} characters or a NUL; shorten it to "
            f"{ATTRIBUTE_LENGTH:,} without one"
        )


def forget(conn: sa.Connection, address: str, names: Collection[str] | None = None) -> int:
    """Delete a person's attributes, all (None) or those of these names; how many there were."""
    here = profile_attributes.c.address == address
    if names is not None:
        here = sa.and_(here, profile_attributes.c.name.in_(names))
    count = conn.execute(profile_attributes.delete().where(here)).rowcount
    memberships.touch(conn, [address] if count else ())
    return count


def _drop(conn: sa.Connection, address: str, at: datetime, keep: Collection[str]) -> None:
    column = profile_attributes.c
    told_before = sa.and_(column.address == address, column.updated_at <= at, column.name.not_in(keep))
    if conn.execute(profile_attributes.delete().where(told_before)).rowcount:
        memberships.touch(conn, [address])


def _refuse_erased(conn: sa.Connection, addresses: Collection[str]) -> None:
    if erased(conn, addresses):
        raise BadInput(
            "a person was erased on request, and is remembered again only after an opt-in of their own, or after a"
            " change of consent by hand with a reason"
        )


def _refuse_too_many(conn: sa.Connection, addresses: Collection[str]) -> None:
    if _TOO_MANY.run(conn, [(address,) for address in addresses]):
        raise BadInput(f"a person would have more than {MOST} attributes; leave some out, or delete some first")
