"""The bench's own judgement: a lost, doubled or invented event must not pass, and a demand is met by the median."""

from dataclasses import replace

import pytest

from tests.bench.contenders import Contender
from tests.bench.load import Load, event_number
from tests.bench.measure import Measurement
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
