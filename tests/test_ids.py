"""Ids rise with time, are unique over threads, and never fall below what they were told to stay above."""

import threading
from datetime import UTC, datetime, timedelta

from app.record import ids


def test_an_id_tells_when_it_was_made() -> None:
    before = datetime.now(UTC)

    made = ids.moment_of(ids.new_id())

    assert abs(made - before) < timedelta(minutes=1)
    at = datetime(2026, 11, 22, 12, 0, 0, 123000, tzinfo=UTC)
    assert ids.moment_of(ids.first_id_at(at)) == at


def test_after_a_floor_every_id_is_above_it_and_a_lower_floor_changes_nothing() -> None:
    ahead = ids.new_id() + (50 << 22)

    ids.not_below(ahead)
    first = ids.new_id()
    ids.not_below(ahead - (40 << 22))
    second = ids.new_id()

    assert ahead < first < second
    assert ids.moment_of(first) - ids.moment_of(ahead) <= timedelta(milliseconds=1)


def test_two_processes_lifted_to_one_floor_still_make_different_ids() -> None:
    """The floor is the same for all of them, and so their own random bits must tell their ids apart."""
    floor = ids.new_id() + (20 << 22)

    ids.not_below(floor)

    assert [(ids.new_id() >> 9) & 0x1FFF for _ in range(600)] == [ids._PROCESS >> 9] * 600


def test_ids_stay_unique_and_above_the_floor_while_threads_lift_it() -> None:
    base, made, late = ids.new_id(), [], []
    start = threading.Barrier(8)

    def make() -> None:
        start.wait()
        mine = [ids.new_id() for _ in range(5000)]
        assert mine == sorted(mine)
        made.extend(mine)

    def lift() -> None:
        start.wait()
        for step in range(500):
            floor = base + (step << 21) + step
            ids.not_below(floor)
            late.append(ids.new_id() - floor)

    threads = [threading.Thread(target=work) for work in (make,) * 6 + (lift,) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == len(set(made)) == 30_000
    assert len(late) == 1000
    assert min(late) > 0
