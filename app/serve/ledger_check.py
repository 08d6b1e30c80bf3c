"""What `ledger verify` finds: the chain of seals, exported heads, every entry's evidence, and consent, held against
each other."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from app.address import mask
from app.changes import EvidenceRow
from app.interpret.evidence import commitment
from app.interpret.rules import version_of
from app.record import audit, seals
from app.record.audit import Committed, Standing
from app.record.database import Database
from app.record.evidence_key import PEOPLE, SEALS, derive
from app.record.ids import moment_of
from app.record.seals import Seal
from app.serve.ledger_chain import Found, follow
from app.serve.ledger_head import LedgerHead

#: findings of one kind that are told one by one
MOST = 50


@dataclass
class Report:
    """What was looked at, and what is wrong."""

    entries: int = 0
    seals: int = 0
    head: Seal | None = None
    """The last seal."""
    unfit: int = 0
    """Seals that do not fit their entries; all of them, where the key is another."""
    unsealed: int = 0
    """Entries that no seal covers yet."""
    oldest_unsealed: int | None = None
    without_evidence: int = 0
    half_erased: int = 0
    """People whose erasure has begun and not ended."""
    found: list[Found] = field(default_factory=list)
    untold: int = 0
    """Findings beyond the most that are told of a kind."""

    def add(self, found: Found) -> None:
        """Note what is wrong."""
        self.unfit += found.kind == "changed"
        if sum(each.kind == found.kind for each in self.found) < MOST:
            self.found.append(found)
        else:
            self.untold += 1


def check_ledger(database: Database, secret: str, exported: Sequence[LedgerHead] = ()) -> Report:
    """Look at everything; `secret` is the evidence key. Raises BadInput where the table of seals cannot be read."""
    report = Report()
    for each in follow(database, derive(secret, SEALS)):
        if isinstance(each, Found):
            report.add(each)
        else:
            report.seals, report.head = report.seals + 1, each
    for head in exported:
        _check_exported(database, head, report)
    _check_evidence(database, report)
    for version, lists in database.read_now(audit.lists):
        if _version_of(lists) != version:
            told = f"Keyword list {version} is not what its name was made of: it was changed; entries name it."
            report.add(Found("list_changed", told))
    _check_consent(database, derive(secret, PEOPLE), report)
    return report


def _check_exported(database: Database, wanted: LedgerHead, report: Report) -> None:
    found = database.read_now(partial(seals.numbered, number=wanted.number))
    if found is None:
        ends = f"the chain ends at seal {report.head.number}" if report.head else "there is no seal at all"
        told = (
            f"Seal {wanted.number}, which was exported, is not there; {ends}. It was cut off, or the database is an"
            " older one (a backup that was restored, a standby that was behind)."
        )
        report.add(Found("seal_gone", told, wanted.number))
    elif (found.head, found.last_id) != (wanted.head, wanted.last_id):
        told = f"Seal {wanted.number} is another than was exported: from there or before, the chain was made anew."
        report.add(Found("seal_changed", told, wanted.number))


# --- evidence -----------------------------------------------------------------------------------------------------


def _check_evidence(database: Database, report: Report) -> None:
    last_id, sealed = -(2**63), report.head.last_id if report.head else 0
    while page := database.read_now(partial(audit.committed, after_id=last_id)):
        last_id = page[-1].ledger_id
        for entry in page:
            _check_entry(entry, report)
        newer = [entry.ledger_id for entry in page if entry.ledger_id > sealed]
        report.oldest_unsealed = report.oldest_unsealed or next(iter(newer), None)
        report.entries, report.unsealed = report.entries + len(page), report.unsealed + len(newer)
    for ledger_id in database.read_now(partial(audit.orphans, limit=MOST + 1)):
        report.add(
            Found("removed", f"Entry {_name(ledger_id)} was removed: its evidence is still there.", None, ledger_id)
        )
    if report.without_evidence and not database.read_now(audit.erased):
        told = f"{report.without_evidence:,} entries have no evidence, though nobody was ever erased: it was removed."
        report.add(Found("evidence_gone", told))


def _check_entry(entry: Committed, report: Report) -> None:
    if entry.evidence is None:
        report.without_evidence += 1
    elif _commitment(entry.evidence) != entry.commitment:
        told = f"Entry {_name(entry.ledger_id)} does not fit its evidence: one of both was changed."
        report.add(Found("evidence_changed", told, None, entry.ledger_id))


def _commitment(evidence: EvidenceRow) -> str:
    try:
        return commitment(evidence)
    except (TypeError, AttributeError):  # SQLite's columns may be made to hold anything
        return ""


def _version_of(lists: str) -> str:
    try:
        return version_of(lists.encode())
    except AttributeError:  # the same
        return ""


def _name(ledger_id: int) -> str:
    return f"{ledger_id} of {moment_of(ledger_id):%Y-%m-%d %H:%M:%S} UTC"


# --- consent ------------------------------------------------------------------------------------------------------


def _check_consent(database: Database, people: bytes, report: Report) -> None:
    for unlike in database.read_now(lambda conn: list(audit.standings(conn, MOST + 1))):
        report.add(_of_consent(unlike))
    erased = database.read_now(audit.erased)
    for missing in database.read_now(partial(audit.missing, limit=MOST + 1)):
        if hmac.digest(people, missing.address.encode(), "sha256").hex() in erased:
            report.half_erased += 1
        else:
            report.add(_of_consent(Standing(*missing, "is gone, though the ledger has an entry that made it")))


def _of_consent(standing: Standing) -> Found:
    whose = f"person {mask(standing.address)}" if standing.address else "an erased person"
    told = f"Consent of {whose} in program '{standing.program}' {standing.fault} (entry {standing.ledger_id})."
    return Found("consent", told, None, standing.ledger_id)
