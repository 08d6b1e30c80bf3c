"""Our ids: 63 bits, rising with time, so that a new row lands at the end of its table and an id tells its age.

41 bits milliseconds since 2025, 13 bits drawn at random per process, 9 bits counted within the millisecond (past 511
the clock is lent forward). Two processes collide only if they drew the same number of 8,192 and count alike in one
millisecond; the primary key then refuses the second batch, which is written again with fresh ids.
"""

import secrets
import threading
import time
from datetime import UTC, datetime

_EPOCH_MS = 1_735_689_600_000
_TIME_SHIFT, _COUNT_BITS = 22, 9
_PROCESS = secrets.randbelow(1 << 13) << _COUNT_BITS

_lock = threading.Lock()
_last = 0


def new_id() -> int:
    """The next id. Safe from every thread."""
    global _last  # noqa: PLW0603 - the one counter of the process
    floor = ((time.time_ns() // 1_000_000 - _EPOCH_MS) << _TIME_SHIFT) | _PROCESS
    with _lock:
        _last = floor if floor > _last else _following(_last)
        return _last


def _following(last: int) -> int:
    if (last + 1) & ((1 << _COUNT_BITS) - 1):
        return last + 1
    return (((last >> _TIME_SHIFT) + 1) << _TIME_SHIFT) | _PROCESS


def first_id_at(moment: datetime) -> int:
    """The lowest id that a row of this moment can have; retention deletes below it."""
    return (int(moment.astimezone(UTC).timestamp() * 1000) - _EPOCH_MS) << _TIME_SHIFT


def moment_of(row_id: int) -> datetime:
    """When the id was made, to the millisecond, by the clock of the process that made it."""
    return datetime.fromtimestamp(((row_id >> _TIME_SHIFT) + _EPOCH_MS) / 1000, UTC)


def not_below(row_id: int) -> None:
    """From now on every id of this process is above `row_id`, however its clock lags. Safe from every thread."""
    global _last  # noqa: PLW0603 - the one counter of the process
    # The next millisecond, under our own random bits: other processes may be lifted to the very same id.
    floor = (row_id >> _TIME_SHIFT) << _TIME_SHIFT | _PROCESS | ((1 << _COUNT_BITS) - 1)
    with _lock:
        _last = max(_last, floor)
