"""What erased people are known by: a keyed hash of their address, under a key that nothing ever rotates.

The key comes with the `Database` and lies on each of its connections, so that no look-up can do without it. A check
value in table `facts`, written at the first erasure, tells a wrong key: with that nobody would be found suppressed.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from app.errors import BadInput, StoreUnavailable
from app.record.evidence_key import PEOPLE, derive
from app.record.tables import facts

FACT = "evidence_key"
_CHECKED = "textback evidence key"
_PLACE = "people"
_NO_KEY = (
    "TEXTBACK_EVIDENCE_KEY is not set, and people were erased under it: without it nobody can tell who of them may"
    " not be written to. Set the key that was used then"
)
_WRONG_KEY = (
    "TEXTBACK_EVIDENCE_KEY is not the key under which people were erased: with another nobody can tell who of them may"
    " not be written to. Set the key that was used then; it is never changed"
)


@dataclass(frozen=True, slots=True)
class People:
    """Turns an address into what an erased person is known by."""

    key: bytes

    def person(self, address: str) -> str:
        """HMAC-SHA256 of the address, in hex: the same for one address for ever, and to be guessed by nobody else."""
        return hmac.digest(self.key, address.encode(), "sha256").hex()

    @property
    def check(self) -> str:
        """What the key is told by; no address gives this."""
        return self.person(_CHECKED)


def introduce(engine: Engine, evidence_key: str | None) -> None:
    """Lay the people of this key on every connection that the engine opens; None: there is no key."""
    people = People(derive(evidence_key, PEOPLE)) if evidence_key else None

    def lay(_connection: object, record: sa.pool.ConnectionPoolEntry) -> None:
        record.info[_PLACE] = people

    sa.event.listen(engine, "connect", lay)


def known_by(conn: sa.Connection, check: str) -> People:
    """The people of this connection, whose key must have this check value.

    Raises StoreUnavailable: an event that cannot be decided without them must come again.
    """
    people: People | None = conn.info.get(_PLACE)
    if people is None or people.check != check:
        raise StoreUnavailable(_NO_KEY if people is None else _WRONG_KEY)
    return people


def require_key(conn: sa.Connection) -> None:
    """Raise BadInput where somebody was erased, and the key is not at hand or is another."""
    check = _stored_check(conn)
    if check is not None:
        try:
            known_by(conn, check)
        except StoreUnavailable as error:
            raise BadInput(f"{error}.") from None


def first_used(conn: sa.Connection, now: datetime) -> People:
    """The people of this connection, for an erasure; the check value is stored where it is the first.

    Raises BadInput without a key, or with another than before.
    """
    people: People | None = conn.info.get(_PLACE)
    if people is None:
        raise BadInput(
            "TEXTBACK_EVIDENCE_KEY is not set, and an erased person stays suppressed under it alone; make one with:"
            " openssl rand -hex 32, set it for every process of this installation, and never change it."
        )
    # of two nodes that erase for the first time, the second waits here for the first
    conn.execute(
        sa.text("INSERT INTO facts (name, value, since) VALUES (:name, :value, :since) ON CONFLICT (name) DO NOTHING")
        .bindparams(sa.bindparam("since", type_=facts.c.since.type)),
        {"name": FACT, "value": people.check, "since": now},
    )  # fmt: skip
    require_key(conn)
    return people


def _stored_check(conn: sa.Connection) -> str | None:
    return conn.execute(sa.select(facts.c.value).where(facts.c.name == FACT)).scalar_one_or_none()
