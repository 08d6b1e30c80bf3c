"""What `ledger verify` reads beside the seals: each entry with its evidence, and consent held against the ledger.

Every question is one statement, so that what is written meanwhile cannot look like tampering.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.changes import EvidenceRow
from app.record.tables import consent, erasures, evidence, keyword_lists, ledger, suppressions

_AT_ONCE = 2000
_OPTED_OUT = "opted_out"


class Committed(NamedTuple):
    """An entry's commitment, and the evidence that it was made of; None: that is not there any more."""

    ledger_id: int
    commitment: str
    evidence: EvidenceRow | None


class Standing(NamedTuple):
    """A row of `consent` or `suppressions` that is not what its entry says."""

    program: str
    address: str
    """Empty: of a person who was erased."""
    ledger_id: int
    fault: str


class Missing(NamedTuple):
    """A person of whom the ledger has evidence and `consent` knows nothing."""

    program: str
    address: str
    ledger_id: int


def committed(conn: sa.Connection, after_id: int) -> list[Committed]:
    """A page of the ledger by rising id, with its evidence."""
    query = (
        sa.select(ledger.c.id, ledger.c.commitment, *(evidence.c[name] for name in EvidenceRow._fields))
        .outerjoin_from(ledger, evidence, evidence.c.ledger_id == ledger.c.id)
        .where(ledger.c.id > after_id)
        .order_by(ledger.c.id)
        .limit(_AT_ONCE)
    )
    return [Committed(row[0], row[1], None if row[2] is None else EvidenceRow(*row[2:])) for row in conn.execute(query)]


def orphans(conn: sa.Connection, limit: int) -> list[int]:
    """Ids of entries that are gone while their evidence is still there."""
    query = (
        sa.select(evidence.c.ledger_id)
        .outerjoin_from(evidence, ledger, ledger.c.id == evidence.c.ledger_id)
        .where(ledger.c.id.is_(None))
        .order_by(evidence.c.ledger_id)
        .limit(limit)
    )
    return list(conn.execute(query).scalars())


def lists(conn: sa.Connection) -> list[tuple[str, str]]:
    """(version, what it was made of) of every keyword list that was ever used; a change of them is rare."""
    return [(row[0], row[1]) for row in conn.execute(sa.select(keyword_lists.c.version, keyword_lists.c.lists))]


def outside(conn: sa.Connection, first_id: int, last_id: int) -> int:
    """How many entries have an id of this range."""
    return conn.execute(
        sa.select(sa.func.count()).select_from(ledger).where(ledger.c.id.between(first_id, last_id))
    ).scalar_one()


# --- consent against the ledger -----------------------------------------------------------------------------------


def standings(conn: sa.Connection, limit: int) -> Iterator[Standing]:
    """Rows of consent and suppressions that are not what the ledger says; at most `limit` of each kind."""
    yield from _unlike_their_entry(conn, consent, consent.c.address, limit)
    yield from _unlike_their_entry(conn, suppressions, sa.literal(""), limit)
    yield from _behind_an_opt_out(conn, limit)


def _unlike_their_entry(conn: sa.Connection, table: sa.Table, address: Any, limit: int) -> Iterator[Standing]:
    row, theirs = table.c, sa.true() if table is suppressions else evidence.c.address == table.c.address
    unlike = sa.or_(
        ledger.c.id.is_(None),
        ledger.c.program != row.program,
        ledger.c.new_state != row.state,
        ledger.c.cause != row.cause,
        ledger.c.effective_at != row.as_of,
        ledger.c.superseded,
        sa.and_(evidence.c.ledger_id.is_not(None), sa.not_(theirs)),
    )
    query = (
        sa.select(row.program, address, row.ledger_id, ledger.c.id, row.state, ledger.c.new_state)
        .outerjoin_from(table, ledger, ledger.c.id == row.ledger_id)
        .outerjoin(evidence, evidence.c.ledger_id == row.ledger_id)
        .where(unlike)
        .limit(limit)
    )
    for program, whose, ledger_id, found, state, said in conn.execute(query):
        if found is None:
            fault = "names an entry that is not there"
        else:
            fault = "is not the entry's: another state, time, cause, program or person"
            fault = f"is '{state}' where the entry says '{said}'" if state != said else fault
        yield Standing(program, whose, ledger_id, fault)


_ENTRY_OF = sa.and_(evidence.c.address == consent.c.address, ledger.c.program == consent.c.program)
#: an entry that certainly changed what holds: what was kept as it was leaves entries too, without a change of state
_TURNED = sa.and_(sa.not_(ledger.c.superseded), ledger.c.old_state != ledger.c.new_state)


def _behind_an_opt_out(conn: sa.Connection, limit: int) -> Iterator[Standing]:
    """Consent that points to an older entry: a later opt-out is in the ledger, and does not hold."""
    query = (
        sa.select(consent.c.program, consent.c.address, sa.func.max(ledger.c.id))
        .join_from(consent, evidence, evidence.c.address == consent.c.address)
        .join(ledger, ledger.c.id == evidence.c.ledger_id)
        .where(consent.c.state != _OPTED_OUT, _ENTRY_OF, _TURNED, ledger.c.new_state == _OPTED_OUT)
        .where(ledger.c.effective_at > consent.c.as_of)
        .group_by(consent.c.program, consent.c.address)
        .limit(limit)
    )
    for program, whose, ledger_id in conn.execute(query):
        yield Standing(program, whose, ledger_id, "is older than this later opt-out, which does not hold")


def missing(conn: sa.Connection, limit: int) -> list[Missing]:
    """People whose consent is gone; also of those who are just being erased, for it goes first."""
    query = (
        sa.select(ledger.c.program, evidence.c.address, sa.func.max(ledger.c.id))
        .join_from(ledger, evidence, evidence.c.ledger_id == ledger.c.id)
        .outerjoin(consent, sa.and_(consent.c.address == evidence.c.address, consent.c.program == ledger.c.program))
        .where(consent.c.address.is_(None), _TURNED)
        .group_by(ledger.c.program, evidence.c.address)
        .limit(limit)
    )
    return [Missing(*row) for row in conn.execute(query)]


def erased(conn: sa.Connection) -> set[str]:
    """What all erased people are known by."""
    return set(conn.execute(sa.select(erasures.c.person)).scalars())
