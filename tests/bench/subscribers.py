"""A SQLite database with many subscribers who are in audiences, for the benchmark of look-ups.

Filled with a few large statements: consent, an attribute or two, memberships of twenty audiences as the upkeep would
have stored them, and a browser for each subscriber. The conditions are those that the memberships were made of, so
that a rebuild finds everybody where they are.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pysqlite3
import sqlalchemy as sa

from app.audience import Audience, Datastream, Destination
from app.record import generations, registrations, schema
from app.record.database import Database
from app.record.vault import Vault
from app.registration import KINDS

DATASTREAM = "bench"
ALIASES = ("site", "ads")
ORIGIN = "https://www.example.com"
_AT = "2026-11-01T12:00:00+00:00"
#: subscriber n is in audience k where n has this remainder by k + 2; the attribute `n` tells it
_CONDITIONS = [f"$number(profile.n) % {k + 2} = 0" for k in range(18)] + [
    'consent.default.state = "opted_in"',
    "consent.default.may_send and $number(profile.n) % 7 = 1",
]
AUDIENCES = [Audience(name=f"audience-{k:02}", condition=text) for k, text in enumerate(_CONDITIONS)]


def address_of(n: int) -> str:
    """The address of subscriber n, from 1."""
    return f"+1{3_020_000_000 + n}"


def ecid_of(n: int) -> str:
    """The browser of subscriber n: 38 digits."""
    return f"{n:038}"


def audiences_of(n: int) -> list[str]:
    """The audiences that subscriber n is in."""
    remainders = [n % (k + 2) == 0 for k in range(18)]
    is_in = n % 5 != 0
    return [each.name for each, held in zip(AUDIENCES, (*remainders, is_in, is_in and n % 7 == 1), strict=True) if held]


def fill(file: Path, count: int, secret_key: str, *, ready: bool = True) -> None:
    """A new database with `count` subscribers. `ready`: their memberships are stored, as after a rebuild."""
    database = Database(f"sqlite:///{file}")
    schema.upgrade(database)
    database.write_now(lambda conn: _register(conn, Vault(secret_key)))
    generation = database.read_now(generations.read)
    assert generation is not None
    if ready:
        done = generation._replace(gathered=True, source="", unknown_consent="allow")
        database.write_now(lambda conn: generations.put(conn, done, datetime.now(UTC)))
    database.close()
    _insert(file, count, generation.current, ready=ready)


def _register(conn: sa.Connection, vault: Vault) -> None:
    now = datetime.now(UTC)
    for audience in AUDIENCES:
        registrations.save(conn, vault, KINDS["audience"], audience, now)
    registrations.save(conn, vault, KINDS["datastream"], Datastream(name=DATASTREAM, origins=[ORIGIN]), now)
    for alias in ALIASES:
        names = [audience.name for audience in AUDIENCES]
        destination = Destination(name=alias, alias=alias, datastream=DATASTREAM, audiences=names)
        registrations.save(conn, vault, KINDS["destination"], destination, now)


def _insert(file: Path, count: int, generation: int, *, ready: bool) -> None:
    connection = pysqlite3.connect(file, isolation_level=None)
    try:
        for pragma in ("synchronous=OFF", "journal_mode=MEMORY", "cache_size=-1000000"):
            connection.execute(f"PRAGMA {pragma}")
        for table, values in _statements(generation, ready=ready):
            series = "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < ?) SELECT n FROM s)"
            connection.execute(f"INSERT INTO {table} SELECT {values} FROM {series}", (count,))
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def _statements(generation: int, *, ready: bool) -> Iterator[tuple[str, str]]:
    address = f"'+1' || ({3_020_000_000} + n)"
    state = "CASE WHEN n % 5 = 0 THEN 'opted_out' ELSE 'opted_in' END"
    yield (
        "consent (program, address, state, since, as_of, cause, ledger_id, confirmed)",
        f"'default', {address}, {state}, '{_AT}', '{_AT}', 'keyword', n, 1",
    )
    yield (
        "profile_attributes (address, name, value, source, updated_at)",
        f"{address}, 'n', n, 'bench', '{_AT}'",
    )
    if ready:
        yield (
            "memberships (address, audiences, generation, computed_at)",
            f"{address}, ' ' || {_names()}, {generation}, '{_AT}'",
        )
    yield "identities (ecid, address, linked_at)", f"printf('%038d', n), {address}, '{_AT}'"


def _names() -> str:
    """The names that stand in `memberships`, as SQL over n."""
    held = [f"n % {k + 2} = 0" for k in range(18)] + ["n % 5 <> 0", "n % 5 <> 0 AND n % 7 = 1"]
    names = [f"CASE WHEN {test} THEN '{each.name} ' ELSE '' END" for each, test in zip(AUDIENCES, held, strict=True)]
    return " || ".join(names)


def question(n: int) -> bytes:
    """The body of a page's look-up of subscriber n, as the Web SDK sends it."""
    identity = {"identityMap": {"ECID": [{"id": ecid_of(n), "primary": True}]}}
    event = {"xdm": {"eventType": "decisioning.propositionFetch"}, "query": {"personalization": {}}}
    return orjson.dumps({"meta": {"state": {"domain": "example.com"}}, "xdm": identity, "events": [event]})
