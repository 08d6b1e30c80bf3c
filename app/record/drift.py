"""What a comparison with a provider's block list needs of SQL: the list itself, in a file of its own that goes with it,
and who has opted out here. Neither grows in memory with the number of people.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
import pysqlite3.dbapi2 as sqlite
import sqlalchemy as sa

from app.events import EVERY_PROGRAM, ConsentState
from app.record.facts import Listening
from app.record.tables import consent, webhooks

#: people who are looked up together
AT_ONCE = 1_000

_ADD = "INSERT OR IGNORE INTO listed SELECT value ->> 0, value ->> 1 FROM json_each(?)"
_PAGE = "SELECT address, line FROM listed WHERE address > ? ORDER BY address LIMIT ?"
_AMONG = "SELECT address FROM json_each(?) CROSS JOIN listed ON address = value"
_KINDS = "SELECT DISTINCT substr(address, 1, instr(address, ':')) FROM listed"


class BlockList:
    """A provider's block list: each address once, with the line that it first stood in."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn

    def add(self, rows: Iterable[tuple[str, int]]) -> None:
        """Addresses and their lines."""
        self._conn.execute(_ADD, (orjson.dumps(list(rows)).decode(),))

    def __len__(self) -> int:
        return int(self._conn.execute("SELECT count(*) FROM listed").fetchone()[0])

    def pages(self) -> Iterator[list[tuple[str, int]]]:
        """All of it, by address."""
        after = ""
        while page := self._conn.execute(_PAGE, (after, AT_ONCE)).fetchall():
            yield page
            after = page[-1][0]

    def among(self, addresses: Sequence[str]) -> set[str]:
        """Those of the addresses that are on it."""
        return {row[0] for row in self._conn.execute(_AMONG, (orjson.dumps(addresses).decode(),))}

    def kinds(self) -> set[str]:
        """What its addresses begin with: empty for phone numbers, else such as `whatsapp:`."""
        return {row[0] for row in self._conn.execute(_KINDS)}


@contextmanager
def block_list() -> Iterator[BlockList]:
    """An empty list. SQLite keeps it in a temporary file that nobody else can open."""
    conn = sqlite.connect("", isolation_level=None)
    try:
        conn.execute("CREATE TABLE listed (address TEXT PRIMARY KEY, line INTEGER NOT NULL) WITHOUT ROWID")
        conn.execute("BEGIN")
        yield BlockList(conn)
    finally:
        conn.close()


def opted_out(conn: sa.Connection, program: str, after: str) -> list[str]:
    """The next people by address whose row in the program says that they have opted out. A row of all programs, or a
    later one, may say otherwise: ask `queries.standings`."""
    found = (
        sa.select(consent.c.address)
        .where(consent.c.program == program, consent.c.state == ConsentState.OPTED_OUT.value, consent.c.address > after)
        .order_by(consent.c.address)
        .limit(AT_ONCE)
    )
    return list(conn.execute(found).scalars())


def listening(conn: sa.Connection) -> list[Listening]:
    """The credentials whose webhooks hear inbound messages, and for which programs; of a webhook without one, none."""
    told = [orjson.loads(text) for text in conn.execute(sa.select(webhooks.c.settings)).scalars()]
    heard = [each for each in told if each.get("type") != "feedback"]
    return sorted({Listening(each.get("credential") or "", each.get("program") or "default") for each in heard})


def programs_to_ask(program: str) -> tuple[str, ...]:
    """Whose rows tell of opt-outs from the program."""
    return (program,) if program == EVERY_PROGRAM else (program, EVERY_PROGRAM)
