"""What became of a message: receipts in any order, twice, or in parts, merged so that its status only ever rises."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from app.events import Delivery, MessageKey, Receipt, Status

#: the first of the four failures stays; a delivery after a failure counts, for the handset knows best
RANK: Mapping[str, int] = {
    Status.UNKNOWN: 0,
    Status.QUEUED: 1,
    Status.SENT: 2,
    Status.UNDELIVERED: 3,
    Status.FAILED: 3,
    Status.EXPIRED: 3,
    Status.REJECTED: 3,
    Status.DELIVERED: 4,
    Status.READ: 5,
}
_FAILURE = RANK[Status.FAILED]


class Merged(NamedTuple):
    """A delivery after one more receipt."""

    delivery: Delivery
    raised: bool
    """The receipt raised the message's status."""


def key_of(
    receipt: Receipt,
    account: str,
    deliveries: Mapping[MessageKey, Delivery],
    by_reference: Mapping[str, MessageKey],
    by_id: Mapping[tuple[str, str], MessageKey],
) -> MessageKey:
    """The message that a receipt is about. Ids are opaque: leading zeros and hexadecimal letters are kept.

    The provider's id comes first, for other systems give one reference to many messages; our reference helps where no
    id came, or where the receipt writes the id otherwise than the answer to the sending did. A receipt that does not
    say whose it is belongs to the message of our reference, else to the one message of its id.
    """
    key = (account, receipt.message_id or f"ref:{receipt.reference}", receipt.recipient)
    if receipt.recipient:
        return key if key in deliveries else by_reference.get(receipt.reference, key)
    return by_reference.get(receipt.reference) or by_id.get((account, receipt.message_id), key)


def first(receipt: Receipt, message_id: int, received_at: datetime, at: datetime) -> Merged:
    """The delivery of a message that was not known: most are sent by other systems."""
    parts = _with_part({}, receipt)
    status = _of_parts(parts, receipt) if parts else receipt.status
    delivery = Delivery(
        message_id, status, receipt.provider_status, receipt.code, receipt.error_text, parts, received_at, at
    )
    return Merged(delivery, raised=True)


def merge(known: Delivery, receipt: Receipt, at: datetime) -> Merged:
    """The delivery with one more receipt of the time `at` in it."""
    parts = _with_part(known.parts, receipt)
    status = _of_parts(parts, receipt) if receipt.part and parts else receipt.status
    if RANK[status] > RANK[known.status]:
        return Merged(_raised(known, receipt, status, at)._replace(parts=parts), raised=True)
    if receipt.code and not known.code and RANK[receipt.status] == RANK[known.status] == _FAILURE:
        # the first failure stays, and learns its code
        known = known._replace(code=receipt.code, error_text=receipt.error_text or known.error_text)
    return Merged(known._replace(parts=parts), raised=False)


def _raised(known: Delivery, receipt: Receipt, status: Status, at: datetime) -> Delivery:
    keeps = RANK[status] == _FAILURE and not receipt.code
    return known._replace(
        status=status,
        provider_status=receipt.provider_status,
        code=known.code if keeps else receipt.code,
        error_text=known.error_text if keeps and not receipt.error_text else receipt.error_text,
        status_at=at,
    )


def _with_part(parts: Mapping[str, str], receipt: Receipt) -> Mapping[str, str]:
    """Status of each part seen; each rises like a message of its own. Empty for a message of one part."""
    if not receipt.part or (receipt.parts <= 1 and receipt.part == "1" and not parts):
        return parts
    before = parts.get(receipt.part)
    if before is not None and RANK[receipt.status] <= RANK[before]:
        return parts
    return {**parts, receipt.part: receipt.status.value}


def _of_parts(parts: Mapping[str, str], receipt: Receipt) -> Status:
    """The worst counts: a failed part, else the part least far; parts not seen yet are at most sent."""
    failed = [status for status in parts.values() if RANK[status] == _FAILURE]
    if failed:
        return Status(failed[0])
    least = Status(min(parts.values(), key=RANK.__getitem__))
    if len(parts) < max(receipt.parts, _number(receipt.part)) and RANK[least] > RANK[Status.SENT]:
        return Status.SENT
    return least


def _number(part: str) -> int:
    # providers count parts from 1; where they do not say how many there are, the highest seen is what we know
    return int(part) if part.isascii() and part.isdecimal() and len(part) < 4 else 0
