"""The ledger entry of a consent event, the evidence beside it, and the seal that binds the two.

Erasing a person deletes the evidence with its salt. The seal then tells nothing any more (few numbers and few keywords
exist, so without a salt it could be guessed), and the ledger stays whole.
"""

import hashlib
import secrets
from datetime import datetime
from typing import NamedTuple

import orjson

from app.changes import ConsentRow, EvidenceRow, LedgerRow
from app.events import Heard, Standing
from app.interpret.batch import Batch
from app.interpret.consent import Turn


def random_salt() -> str:
    """128 bits as hexadecimal text."""
    return secrets.token_hex(16)


def commitment(evidence: EvidenceRow) -> str:
    """SHA-256 of the salt, a line feed, and the row's other columns in the table's order as a JSON array."""
    return hashlib.sha256(evidence.salt.encode() + b"\n" + orjson.dumps(evidence[:-1])).hexdigest()


class Act(NamedTuple):
    """A consent event in the ledger's words, whoever told it."""

    heard: Heard
    program: str
    address: str
    at: datetime
    """Effective time."""
    cause: str
    actor: str
    confirmed: bool
    """The opt-out that it leaves behind has had its confirmation: before, now, or by the provider."""
    rule: str = ""
    list_version: str = ""
    reason: str = ""
    inbound_id: int | None = None
    text: str = ""
    normal: str = ""
    keyword: str = ""
    reply_text: str = ""


def enter(batch: Batch, act: Act, old: Standing, turn: Turn) -> None:
    """Write the act to the ledger, and its result to the person's consent unless the turn keeps that as it is.

    Everything is entered: also what came too late, what changed nothing, and what was not allowed to.
    """
    ledger_id = batch.new_id()
    evidence = _evidence(ledger_id, act, batch.new_salt())
    batch.changes.evidence.append(evidence)
    batch.changes.ledger.append(
        LedgerRow(
            ledger_id,
            act.program,
            old.state.value,
            turn.state.value,
            act.cause,
            act.rule,
            act.list_version,
            turn.superseded,
            act.at,
            act.heard.received_at,
            commitment(evidence),
        )
    )
    if not turn.kept:
        _stand(batch, act, old, turn, ledger_id)


def _evidence(ledger_id: int, act: Act, salt: str) -> EvidenceRow:
    raw = act.heard.raw
    return EvidenceRow(
        ledger_id,
        act.address,
        act.actor,
        act.reason,
        act.heard.webhook,
        act.inbound_id,
        act.text,
        act.normal,
        act.keyword,
        raw.signature if raw else "",
        act.reply_text,
        salt,
    )


def _stand(batch: Batch, act: Act, old: Standing, turn: Turn, ledger_id: int) -> None:
    """`since` moves with the state alone; time and cause are those of the latest event, as is the ledger entry."""
    since = old.since if old.since and turn.state is old.state else act.at
    key = act.program, act.address
    batch.standings[key] = Standing(turn.state, since, act.at, act.cause, act.confirmed)
    batch.changes.consent[key] = ConsentRow(*key, turn.state.value, since, act.at, act.cause, ledger_id, act.confirmed)
