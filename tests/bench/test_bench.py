"""The bench's own judgement: a lost, doubled or invented event must not pass, and a demand is met by the median."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.interpret import audiences
from app.record import memberships
from app.record.database import Database
from app.record.ids import new_id
from tests.bench import subscribers
from tests.bench.contenders import Contender
from tests.bench.databases import answered_twice, stored_events
from tests.bench.filling import fill
from tests.bench.load import Load, event_number, together
from tests.bench.measure import Measurement
from tests.bench.memory import Memory
from tests.bench.report import BARE, demands, spread
from tests.bench.stored import verdict

#: requests 2 to 100 were sent, of which 33, 66 and 99 repeated earlier ones; all but two were acknowledged
LOAD = Load("inbound", "0badcafe", last=100, answered=97, refused=0, broken=0, seconds=1.0, p50=1.0, p99=9.0)
SENT = [n for n in range(2, 101) if n not in (33, 66, 99)]


def key(number: int) -> tuple[str, str]:
    return f"SM01234567{LOAD.run}{number:016x}", ""


@pytest.mark.parametrize(
    ("numbers", "problem"),
    [
        (SENT, ""),
        # two requests were never acknowledged, so two events may be missing, but not three
        (SENT[2:], ""),
        (SENT[3:], "1 acknowledged events are not stored"),
        (SENT[:10] + SENT[13:], "1 acknowledged events are not stored"),
        ([*SENT, 50], "1 events are stored more than once"),
        # 33 was a repetition of 32: it is no event of its own
        ([*SENT, 33], "1 stored events were never sent"),
        ([], "94 acknowledged events are not stored"),
    ],
)
def test_every_acknowledged_event_must_be_stored_exactly_once(numbers: list[int], problem: str):
    assert verdict([LOAD], map(key, numbers)).problem == problem


def test_a_refused_request_was_not_acknowledged():
    refused = replace(LOAD, answered=99, refused=5)

    assert (refused.acknowledged, refused.unacknowledged, refused.rate) == (94, 5, 94.0)


def test_the_sent_and_the_delivered_of_a_message_are_two_events():
    provider_id = f"SM01234567{LOAD.run}{402:016x}"

    assert event_number("receipts", provider_id, "sent") == (LOAD.run, 2)
    assert event_number("receipts", provider_id, "delivered") == (LOAD.run, 401)


def at_rate(rate: int) -> Measurement:
    load = replace(LOAD, last=rate + 1, answered=rate)
    return Measurement(load, replies=rate / 2, cpu=0, database_cpu=0, stored=None, problem="")


def test_ratios_are_taken_round_by_round_and_the_median_decides():
    ours = Contender("textback", "sqlite")
    results = {
        (BARE, "inbound"): [at_rate(20_000), at_rate(10_000), at_rate(20_000)],
        (ours, "inbound"): [at_rate(8_000), at_rate(5_000), at_rate(2_000)],
    }

    found = demands(results, "sqlite")

    assert [(d.what, d.value, d.met) for d in found] == [
        ("inbound on sqlite, × bare", spread([0.1, 0.4, 0.5]), True),
        ("replies/s on sqlite", spread([1000, 2500, 4000]), False),
        ("inbound on sqlite, p99 ms", spread([9.0]), True),
    ]


def test_nodes_that_were_loaded_at_once_count_as_one_and_as_slow_as_the_slowest():
    both = together([LOAD, replace(LOAD, run="cafebabe", answered=50, p99=20.0)])

    assert (both.rate, both.p50, both.p99, both.unacknowledged) == (147.0, 1.0, 20.0, 200 - 1 - 147)


def test_what_is_left_of_the_rate_in_large_tables_is_a_demand_of_its_own():
    ours, large = Contender("textback", "postgresql"), Contender("textback", "postgresql", 5_000_000)
    results = {(ours, "receipts"): [at_rate(1000)], (large, "receipts"): [at_rate(800)]}

    (last,) = [d for d in demands(results, "postgresql") if "stored" in d.what]
    assert (last.what, last.met) == ("receipts on postgresql with 5,000,000 stored, × with none", False)


@pytest.mark.parametrize(("after", "met"), [(100_000, True), (104_000, True), (106_000, False)])
def test_memory_may_not_grow(after: int, met: bool):
    assert Memory("sqlite", "inbound", 10, 100, 100_000, after).demand().met is met


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        ("inbound", {"seen": 50, "inbound_messages": 50, "ledger": 20, "evidence": 20, "consent": 10, "outbox": 25}),
        ("receipts", {"seen": 50, "messages": 50, "receipts": 50}),
    ],
)
def test_a_filled_database_holds_old_events_that_are_not_the_loads(
    database: Database, database_url: str, kind: str, counts: dict[str, int]
):
    fill(database_url, kind, 50)

    def look(conn: sa.Connection) -> dict[str, int]:
        return {
            name: conn.execute(sa.select(sa.func.count()).select_from(sa.table(name))).scalar_one() for name in counts
        }

    table = {"inbound": "inbound_messages", "receipts": "receipts"}[kind]
    last = database.read_now(
        lambda conn: conn.execute(sa.select(sa.func.max(sa.column("id"))).select_from(sa.table(table))).scalar_one()
    )
    assert database.read_now(look) == counts
    assert last < new_id()
    assert stored_events(database_url, "textback", kind) == []
    assert answered_twice(database_url) == 0


def test_subscribers_are_in_the_audiences_that_their_conditions_say(tmp_path: Path) -> None:
    file, key = tmp_path / "subscribers.db", "a-secret-key-of-32-characters-or-more"
    subscribers.fill(file, 300, key)
    everybody = [subscribers.address_of(n) for n in range(1, 301)]
    work_out = partial(audiences.work_out, unknown_consent="allow")
    filled = Database(f"sqlite:///{file}")

    def touched(conn: sa.Connection) -> None:
        memberships.touch(conn, everybody)

    stored = filled.read_now(lambda conn: memberships.of_people(conn, everybody, work_out))
    filled.write_now(touched)
    worked_out = filled.read_now(lambda conn: memberships.of_people(conn, everybody, work_out))
    browser = filled.read_now(lambda conn: memberships.of_browsers(conn, [subscribers.ecid_of(7)], work_out))
    filled.close()

    expected = {subscribers.address_of(n): tuple(subscribers.audiences_of(n)) for n in range(1, 301)}
    assert stored == worked_out == expected
    assert browser == {subscribers.ecid_of(7): (subscribers.address_of(7), expected[subscribers.address_of(7)])}
