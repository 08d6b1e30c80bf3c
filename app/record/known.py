"""What is already known of the people and messages of a batch: read in one statement, under the locks of `keys`."""

from collections.abc import Iterable, Sequence

import orjson
import sqlalchemy as sa

from app.events import (
    EVERY_PROGRAM,
    Change,
    Delivery,
    Guard,
    Heard,
    Inbound,
    Known,
    MessageKey,
    Receipt,
    Status,
)
from app.record.facts import RESTORED
from app.record.generations import FACT as AUDIENCES
from app.record.moments import moment
from app.record.sets import Look, Looks, Row
from app.record.standings import ASKED, MARK, STANDINGS, standing, with_suppressed

_DELIVERY_COLUMNS = (
    "m.account, m.provider_id, m.recipient, m.id, m.status, m.provider_status, m.code, m.error_text, m.parts, "
    "m.first_at, m.status_at"
)
_KNOWN = Looks(
    STANDINGS,
    Look("g.address, g.default_at, g.recent", "FROM given CROSS JOIN reply_guard g WHERE g.address = c0", ("text",)),
    Look(
        _DELIVERY_COLUMNS,
        "FROM given CROSS JOIN messages m WHERE m.provider_id = c1 AND m.recipient = c2 AND m.account = c0",
        ("text", "text", "text"),
    ),
    Look(_DELIVERY_COLUMNS, "FROM given CROSS JOIN messages m WHERE m.id = c0 AND m.account = c1", ("bigint", "text")),
    Look(
        _DELIVERY_COLUMNS,
        "FROM given CROSS JOIN messages m WHERE m.provider_id = c1 AND m.account = c0",
        ("text", "text"),
    ),
    MARK,
    Look("f.name", "FROM given CROSS JOIN facts f WHERE f.name = c0", ("text",)),
)
#: what the last look asks for
_FACTS: Sequence[Row] = ((RESTORED,), (AUDIENCES,))


class Concerned:
    """The people and messages that a batch is about."""

    def __init__(self, heards: Sequence[Heard]) -> None:
        self.people: dict[tuple[str, str], None] = {}
        self.authors: dict[str, None] = {}
        self.messages: dict[MessageKey, None] = {}
        self.references: dict[tuple[int, str], None] = {}
        self.in_pieces = False
        #: told by `read`: there are audiences, and somebody wants to know whose data changes (see `memberships`)
        self.has_audiences = False
        for heard in heards:
            for event in heard.events:
                if isinstance(event, Receipt):
                    self._note_message(event, heard.account)
                else:
                    self._note_person(event, heard.program)

    def _note_person(self, event: Inbound | Change, program: str) -> None:
        if isinstance(event, Inbound):
            self.authors[event.address] = None
            if event.piece:
                self.in_pieces = True
        else:
            program = event.program or program
            if event.about:
                self.messages[event.about] = None
        self.people[program, event.address] = self.people[EVERY_PROGRAM, event.address] = None

    def _note_message(self, event: Receipt, account: str) -> None:
        # Our references are our ids; anything else that comes back is somebody else's, and stands for itself.
        self.messages[account, event.message_id or "ref:" + event.reference, event.recipient] = None
        if event.reference.isdecimal() and len(event.reference) < 19:
            self.references[int(event.reference), account] = None

    def names(self) -> list[str]:
        """What to lock, in one order for all nodes: addresses, message ids, references."""
        names = {address for _, address in self.people} | {key[1] for key in self.messages}
        return sorted(names | {str(reference) for reference, _ in self.references})


def read(conn: sa.Connection, concerned: Concerned) -> Known:
    """What the database holds about them now."""
    authors = [(address,) for address in concerned.authors]
    ownerless = [key[:2] for key in concerned.messages if not key[2]]
    rows, guards, by_key, by_reference, by_id, mark, facts = _KNOWN.run(
        conn, concerned.people, authors, concerned.messages, concerned.references, ownerless,
        ASKED if concerned.people else (), _FACTS if concerned.people or concerned.messages else (),
    )  # fmt: skip
    concerned.has_audiences = [AUDIENCES] in facts
    standings = {(row[0], row[1]): standing(row) for row in rows}
    return Known(
        standings=with_suppressed(conn, mark[0][0], concerned.people, standings) if mark else standings,
        guards={row[0]: _guard(row) for row in guards},
        deliveries={_key(row): _delivery(row) for row in by_key},
        deliveries_by_reference={str(row[3]): (_key(row), _delivery(row)) for row in by_reference},
        deliveries_by_id=_alone((_key(row), _delivery(row)) for row in by_id),
        restored=[RESTORED] in facts,
    )


def _key(row: Row) -> MessageKey:
    return row[0], row[1], row[2]


def _alone(found: Iterable[tuple[MessageKey, Delivery]]) -> dict[tuple[str, str], tuple[MessageKey, Delivery]]:
    """By (account, id), where that names one message only: of a batch to many people nobody can tell whose it is."""
    by_id: dict[tuple[str, str], tuple[MessageKey, Delivery]] = {}
    several = set()
    for key, delivery in found:
        several |= {key[:2]} & by_id.keys()
        by_id[key[:2]] = key, delivery
    return {name: one for name, one in by_id.items() if name not in several}


def _guard(row: Row) -> Guard:
    return Guard(moment(row[1]), tuple(at for text in row[2].split() if (at := moment(text))))


def _delivery(row: Row) -> Delivery:
    parts = orjson.loads(row[8]) if row[8] else {}
    return Delivery(row[3], Status(row[4]), row[5], row[6], row[7], parts, moment(row[9]), moment(row[10]))
