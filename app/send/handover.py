"""Replies born claimed: a process that sends hands what it has just recorded to its own sender, without a second look.

The transaction that writes such a reply to the outbox also claims it, for as long as a claim lasts, so the sender needs
no statement to find it. Measured on PostgreSQL: 15 of the 240 us that a message with its reply costs this process, and
one of three writes that its outbox row costs the database. What a claim checks has just been checked: the deadline has
only begun, and how the person stands is read in this very transaction, after all that the batch changes. Whatever is in
doubt stays pending for the next claim: more than the sender has room for, and whoever was answered lately, because that
reply may still be on its way (one in flight per address). A process that dies leaves its lease to lapse, as with any
claim.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from app.changes import Changes, OutboxRow
from app.events import EVERY_PROGRAM, NOBODY, Decide, Guard, Heard, Known, Standing
from app.record.outbox import WAIT_WHILE_RESTORED, Due, State

#: beyond the longest deadline of a reply: for leases, and for clocks that differ
_MARGIN = timedelta(hours=1)


class Handover:
    """Claims replies as they are decided. `longest`: how long any reply may wait to leave.

    Until a sender gives its `room`, it claims nothing.
    """

    def __init__(self, decide: Decide, longest: timedelta) -> None:
        self._decide = decide
        self._lately = longest + _MARGIN
        self._room: Callable[[], int] = int
        self._lease = timedelta()

    def serve(self, room: Callable[[], int], lease: timedelta) -> None:
        """Claim for a sender: at most as many as `room` says at that moment, each for `lease`."""
        self._room, self._lease = room, lease

    def decide(self, heards: Sequence[Heard], known: Known, new_id: Callable[[], int]) -> Changes:
        """What to write for a batch, some of its replies claimed. The writer is given it in the place of `decide`."""
        changes: Changes = self._decide(heards, known, new_id)
        room = self._room() if changes.outbox else 0
        if room > 0:
            self._claim(changes, known, room)
        return changes

    def _claim(self, changes: Changes, known: Known, room: int) -> None:
        until, answered = datetime.now(UTC) + self._lease, set[str]()
        for number, row in enumerate(changes.outbox):
            alone = row.address not in answered and self._is_alone(row, known.guards)
            answered.add(row.address)
            waits = known.restored and row.category in WAIT_WHILE_RESTORED
            if alone and not waits and len(changes.claimed) < room:
                changes.outbox[number] = row._replace(
                    state=State.SENDING.value, attempts=1, next_at=until, claimed_until=until
                )
                changes.claimed[row.id] = (
                    _standing(row, changes, known, row.program),
                    _standing(row, changes, known, EVERY_PROGRAM),
                )

    def _is_alone(self, row: OutboxRow, guards: Mapping[str, Guard]) -> bool:
        """No earlier reply to this address can still be under way: the guard counts them all, and those that it has
        forgotten are older than one that it remembers."""
        guard = guards.get(row.address)
        return guard is None or all(abs(row.created_at - at) > self._lately for at in guard.recent)


def _standing(row: OutboxRow, changes: Changes, known: Known, program: str) -> Standing:
    """After the batch: a person may have said STOP, or START, after this reply was queued and in the same batch."""
    key = program, row.address
    found = changes.consent.get(key)
    return known.standings.get(key, NOBODY) if found is None else found.standing


def handed_over(changes: Changes) -> Iterator[Due]:
    """The claimed replies, as the outbox would give them."""
    for row in changes.outbox:
        standings = changes.claimed.get(row.id)
        if standings and row.claimed_until:
            yield Due(
                row.id, row.webhook, row.credential, row.program, row.category, row.address, row.sender, row.text,
                row.attempts, row.deadline, row.created_at, row.claimed_until, *standings, row.content,
            )  # fmt: skip
