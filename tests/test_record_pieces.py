"""Long messages in parts: joined in any order, decided once, and never lost."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.changes import Changes
from app.events import Category, Heard, Piece, RawRequest, Recorded
from app.interpret import decide, effective, may_leave
from app.record import batch, ids, outbox, pieces
from app.record import tables as t
from app.record.database import Database
from app.record.joining import LATE_WITHIN
from app.record.pieces import PARTS_WAIT
from app.record.shelves import MOST_WAITING, look_up
from tests.heard import ALICE, BOB, COMPANY, NOON, heard, inbound, make_rules

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
#: answers every message, so that a second answer would be seen
RULES = make_rules(keywords={"default": {"reply": "Thanks!"}})
WHOLE = "I would like to know whether the shop in the old town is open on Sunday."
MESSAGE = t.inbound_messages.c


def part(number: int, text: str, *, of: int = 3, whole: str = "7", at: datetime = NOON, **more: Any) -> Heard:
    sender = more.pop("sender", COMPANY)
    event = inbound(text, provider_id=more.pop("id", None), piece=Piece(whole, number, of), **more)
    return heard(replace(event, sender=sender), at=at, rules=RULES)


def parts(*texts: str, **more: Any) -> list[Heard]:
    return [part(number, text, of=len(texts), **more) for number, text in enumerate(texts, 1)]


def write(database: Database, *heards: Heard) -> list[Recorded]:
    return database.write_now(lambda conn: batch.write(conn, heards, decide)[0])


def rows(database: Database, *columns: Any) -> list[tuple[Any, ...]]:
    return database.read_now(lambda conn: [tuple(row) for row in conn.execute(sa.select(*columns).order_by(*columns))])


def texts(database: Database) -> list[str]:
    return [row[0] for row in rows(database, MESSAGE.text)]


def waiting(database: Database) -> int:
    return len(rows(database, t.inbound_parts.c.id))


def decide_overdue(database: Database, *, after: timedelta = PARTS_WAIT + SECOND) -> list[Recorded]:
    """What main's chore does, so long after now."""
    now = datetime.now(UTC) + after
    found = database.read_now(lambda conn: pieces.overdue(conn, now, ["acme-inbound"]))
    return write(database, *(called(each) for each in found))


def called(found: pieces.Overdue) -> Heard:
    return replace(heard(found.event, at=found.received_at, rules=RULES), webhook=found.webhook, raw=None)


def raw_of(request: Heard) -> RawRequest:
    assert request.raw is not None
    return request.raw


# --- all there ----------------------------------------------------------------------------------------------------


def test_parts_that_come_one_by_one_are_decided_once_with_the_last(database: Database) -> None:
    first, second, third = parts("I would ", "like to ", "know.")

    answers = [write(database, request)[0] for request in (third, first)]
    before = (texts(database), waiting(database))
    answers += write(database, second)

    assert before == ([], 2)
    assert answers == [Recorded(new=1, seen=0)] * 3
    assert rows(database, MESSAGE.text, MESSAGE.category, MESSAGE.rule, MESSAGE.reply) == [
        ("I would like to know.", "default", "default", "queued")
    ]
    assert (waiting(database), len(rows(database, t.outbox.c.id))) == (0, 1)
    assert len(rows(database, t.raw_requests.c.id)) == 3


def test_a_joined_message_has_the_id_and_evidence_of_its_first_part_and_counts_from_when_it_was_said(
    database: Database,
) -> None:
    early, late = NOON - timedelta(minutes=2), NOON + timedelta(minutes=1)
    first = part(1, "ST", of=2, id="SM-1", at=NOON, provider_time=NOON - SECOND)
    second = part(2, "OP", of=2, id="SM-2", at=late, provider_time=early)

    write(database, second)
    write(database, first)

    raw_id = raw_of(first).id
    columns = (MESSAGE.raw_id, MESSAGE.provider_id, MESSAGE.provider_time, MESSAGE.received_at, MESSAGE.effective_at)
    assert rows(database, *columns) == [(raw_id, "SM-1", early, late, early)]
    assert rows(database, t.consent.c.state, t.consent.c.since) == [("opted_out", early)]
    assert rows(database, t.outbox.c.deadline) == [(late + timedelta(minutes=5),)]
    assert rows(database, t.evidence.c.text, t.evidence.c.signature) == [("STOP", "twilio, secret 1 of 1")]


def test_parts_of_one_request_are_joined_and_their_neighbours_decided(database: Database) -> None:
    first, second = (request.events[0] for request in parts("good ", "day"))
    request = heard(first, inbound("STOP", address=ALICE), second, rules=RULES)

    answers = write(database, request)

    assert answers == [Recorded(new=3, seen=0)]
    assert texts(database) == ["STOP", "good day"]


def test_the_view_shows_one_message(database: Database) -> None:
    write(database, *parts("good ", "day"))

    shown = database.read_now(lambda conn: conn.exec_driver_sql("SELECT text, reply_text FROM inbound").all())
    assert [tuple(row) for row in shown] == [("good day", "Thanks!")]


def test_a_repeat_of_a_part_is_seen_before_and_after_the_message_is_decided(database: Database) -> None:
    first, second = parts("good ", "day", id=None)

    answers = [write(database, request)[0].seen for request in (first, first, second, second, first)]

    assert answers == [0, 1, 0, 1, 1]
    assert (texts(database), waiting(database)) == (["good day"], 0)


def test_the_same_part_under_another_id_is_no_other_part(database: Database) -> None:
    write(database, part(1, "good ", of=2), part(1, "good ", of=2))
    write(database, part(2, "day", of=2))

    assert (texts(database), waiting(database)) == (["good day"], 0)


def test_a_number_that_comes_again_with_another_text_begins_another_message(database: Database) -> None:
    """Phones count their messages in one byte, and then anew."""
    write(database, part(1, "never ended", of=2))
    write(database, part(1, "good ", of=2), part(2, "day", of=2))

    assert rows(database, MESSAGE.text, MESSAGE.rule) == [("good day", "default"), ("never ended […]", "incomplete")]
    assert waiting(database) == 0


@pytest.mark.parametrize(
    "other",
    [{"address": ALICE}, {"whole": "8"}, {"of": 3}, {"sender": "+14155550188"}],
    ids=["person", "reference", "total", "number of ours"],
)
def test_parts_that_differ_in_what_parts_have_in_common_are_never_joined(
    database: Database, other: dict[str, Any]
) -> None:
    write(database, part(1, "good ", of=2), part(2, "day", **{"of": 2, **other}))

    assert (texts(database), waiting(database)) == ([], 2)


@pytest.mark.parametrize("other", [{"account": "another"}, {"program": "another"}])
def test_parts_of_two_accounts_or_programs_are_never_joined(database: Database, other: dict[str, Any]) -> None:
    write(database, part(1, "good ", of=2), replace(part(2, "day", of=2), **other))

    assert (texts(database), waiting(database)) == ([], 2)


def test_parts_that_come_through_two_webhooks_of_one_account_are_joined(database: Database) -> None:
    write(database, part(1, "ST", of=2))
    write(database, replace(part(2, "OP", of=2), webhook="other"))

    assert rows(database, MESSAGE.text, MESSAGE.webhook) == [("STOP", "other")]
    assert (rows(database, t.consent.c.state), waiting(database)) == ([("opted_out",)], 0)


@pytest.mark.parametrize(("number", "of"), [(0, 2), (3, 2), (1, 0), (1, 256), (-1, 3)])
def test_numbers_that_cannot_be_are_no_reason_to_wait(database: Database, number: int, of: int) -> None:
    write(database, part(number, "hello", of=of))

    assert rows(database, MESSAGE.text, MESSAGE.rule) == [("hello", "default")]


def test_a_flag_or_an_answer_of_the_provider_at_any_part_counts_for_the_message(database: Database) -> None:
    write(
        database,
        part(1, "no more ", of=3, provider_category=Category.HELP),
        part(2, "of this", of=3, provider_category=Category.OPT_OUT),
        part(3, "!", of=3, provider_answered=True),
    )

    assert rows(database, MESSAGE.category, MESSAGE.rule, MESSAGE.reply) == [
        ("opt_out", "provider flag", "the provider answered")
    ]


_references = count(1)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(8)),
    batches=st.lists(st.integers(1, 4), min_size=8, max_size=8),
    repeats=st.lists(st.integers(0, 7), max_size=4),
)
def test_in_whatever_order_and_batches_parts_come_each_message_is_decided_once(
    database: Database, order: Sequence[int], batches: list[int], repeats: list[int]
) -> None:
    whole, before = str(next(_references)), Counter(texts(database))
    given_parts = parts("a", "b", "c", "d", "e", whole=whole) + parts("x", "y", "z", whole=whole)
    coming = [given_parts[index] for index in (*order, *repeats)]

    new = sum(answer.new for requests in _cut(coming, batches) for answer in write(database, *requests))

    assert (new, waiting(database)) == (8, 0)
    assert Counter(texts(database)) - before == Counter(["abcde", "xyz"])


def _cut(requests: list[Heard], sizes: list[int]) -> Iterator[list[Heard]]:
    for size in [*sizes, len(requests)]:
        yield requests[:size]
        requests = requests[size:]


# --- two nodes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_the_last_two_parts_on_two_nodes_at_once_do_not_miss_each_other(database: Database) -> None:
    first, second = parts("good ", "day")
    other = Database(database.url.render_as_string(hide_password=False).replace("+psycopg", ""))
    answers: list[Recorded] = []
    node = threading.Thread(target=lambda: answers.extend(write(other, second)))

    with database.writers.begin() as conn:
        answers += batch.write(conn, [first], decide)[0]
        node.start()
        _wait_until_it_waits(database)
        meanwhile = list(answers)
    node.join(20)
    other.close()

    assert (meanwhile, answers) == ([Recorded(new=1, seen=0)], [Recorded(new=1, seen=0)] * 2)
    assert (texts(database), waiting(database)) == (["good day"], 0)


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_a_part_that_comes_to_one_node_while_another_decides_without_it_is_a_late_part(database: Database) -> None:
    first, second = parts("good ", "day")
    write(database, first)
    now = datetime.now(UTC) + PARTS_WAIT + SECOND
    (found,) = database.read_now(lambda conn: pieces.overdue(conn, now, ["acme-inbound"]))
    other = Database(database.url.render_as_string(hide_password=False).replace("+psycopg", ""))
    node = threading.Thread(target=lambda: write(other, second))

    with database.writers.begin() as conn:
        batch.write(conn, [called(found)], decide)
        node.start()
        _wait_until_it_waits(database)
    node.join(20)
    told_twice = write(other, called(replaced_key(found, found.event.key + "again")))
    other.close()

    assert rows(database, MESSAGE.text, MESSAGE.rule) == [("day", "late part"), ("good  […]", "incomplete")]
    assert (told_twice, waiting(database)) == ([Recorded(new=1, seen=0)], 0)


def _wait_until_it_waits(database: Database) -> None:
    """Until the other node waits for the lock that we hold."""
    blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
    while not database.read_now(lambda conn: conn.exec_driver_sql(blocked).scalar_one()):
        threading.Event().wait(0.005)


def test_two_nodes_that_receive_every_part_at_once_decide_each_message_once(database: Database) -> None:
    wholes = [parts("a", "b", "c", whole=str(n), address=f"+1415556{n % 7:04}") for n in range(40)]
    left = [part for whole in wholes for part in whole]
    other = Database(database.url.render_as_string(hide_password=False).replace("+psycopg", ""))

    def deliver(to: Database, requests: Sequence[Heard]) -> None:
        for start in range(0, len(requests), 5):
            write(to, *requests[start : start + 5])

    node = threading.Thread(target=deliver, args=(other, left[::-1]))
    node.start()
    deliver(database, left)
    node.join(60)
    other.close()

    assert (texts(database), waiting(database)) == (["abc"] * 40, 0)


# --- some missing -------------------------------------------------------------------------------------------------


def test_what_is_there_is_decided_when_no_part_has_come_for_a_while(database: Database) -> None:
    first, _, third = parts("I would ", "like to ", "know.")
    write(database, third, first)

    too_early = decide_overdue(database, after=PARTS_WAIT - SECOND)
    decided = decide_overdue(database)
    again = decide_overdue(database)

    assert (too_early, decided, again) == ([], [Recorded(new=1, seen=0)], [])
    assert rows(database, MESSAGE.raw_id, MESSAGE.text, MESSAGE.rule, MESSAGE.reply) == [
        (raw_of(first).id, "I would  […] know.", "incomplete", "queued")
    ]


def test_a_keyword_beside_a_gap_takes_a_person_out(database: Database) -> None:
    write(database, part(1, "Stop", of=4))

    decide_overdue(database)

    assert rows(database, MESSAGE.text, MESSAGE.category) == [("Stop […]", "opt_out")]
    assert rows(database, t.consent.c.state, t.consent.c.since) == [("opted_out", NOON)]


@pytest.mark.parametrize(
    ("waited", "received_ago", "kept"),
    [
        (PARTS_WAIT + SECOND, timedelta(0), None),
        (10 * MINUTE, timedelta(0), None),  # so many others were overdue
        (3 * HOUR, timedelta(0), "deadline passed"),  # no server ran
        (PARTS_WAIT + SECOND, 2 * HOUR, "deadline passed"),  # replayed
    ],
    ids=["at once", "much to do", "no server", "replayed"],
)
def test_the_confirmation_of_a_stop_of_which_parts_are_missing_may_wait_from_when_it_is_decided(
    database: Database, waited: timedelta, received_ago: timedelta, kept: str | None
) -> None:
    begun = datetime.now(UTC) - waited
    said = begun - received_ago
    with time_machine.travel(begun, tick=False):
        write(database, part(1, "STOP", of=2, at=said))

    decide_overdue(database, after=timedelta(0))
    now = datetime.now(UTC)
    due = database.write_now(lambda conn: outbox.claim(conn, now, now + MINUTE, 10)) or []

    assert rows(database, t.consent.c.state, t.consent.c.since) == [("opted_out", said)]
    assert [(d.category, may_leave(d.category, effective(d.own, d.every), now, d.deadline)) for d in due] == [
        ("opt_out", kept)
    ]


def test_a_call_that_comes_too_late_decides_nothing(database: Database) -> None:
    """A part, the last part, or another node was quicker than the chore."""
    first, second, third = parts("a", "b", "c")
    write(database, first)
    now = datetime.now(UTC) + PARTS_WAIT + SECOND

    (found,) = database.read_now(lambda conn: pieces.overdue(conn, now, ["acme-inbound"]))
    write(database, second)
    write(database, called(found))
    waits = (texts(database), waiting(database))
    write(database, third)
    write(database, called(replaced_key(found)))

    assert waits == ([], 2)
    assert (texts(database), waiting(database)) == (["abc"], 0)


def replaced_key(found: pieces.Overdue, key: str = "p|0|1") -> pieces.Overdue:
    return found._replace(event=replace(found.event, key=key))


def test_a_part_waits_by_the_time_it_was_stored_not_by_when_it_was_received(database: Database) -> None:
    """A replay brings parts of last week, one request after the other."""
    write(database, part(1, "a", of=2, at=NOON - timedelta(days=7)))

    assert decide_overdue(database, after=PARTS_WAIT - SECOND) == []


def test_parts_of_a_webhook_that_cannot_hear_wait_on_and_hold_nobody_up(database: Database) -> None:
    for n in range(3):
        request = part(1, "a", of=2, whole=str(n))
        write(database, replace(request, webhook="gone"))
    write(database, part(1, "b", of=2))
    now = datetime.now(UTC) + PARTS_WAIT + SECOND

    found = database.read_now(lambda conn: pieces.overdue(conn, now, ["acme-inbound"], limit=1))

    assert [each.webhook for each in found] == ["acme-inbound"]


def test_a_message_of_two_webhooks_is_decided_through_the_one_that_can_hear(database: Database) -> None:
    first, second, _ = parts("Stop", "it", "now")
    write(database, first, replace(second, webhook="gone"))

    decide_overdue(database)

    assert rows(database, MESSAGE.webhook, MESSAGE.text) == [("acme-inbound", "Stopit […]")]
    assert waiting(database) == 0


def test_a_message_is_decided_although_its_webhook_has_another_program_by_now(database: Database) -> None:
    write(database, replace(part(1, "STOP", of=2), program="before"))

    decide_overdue(database)

    assert rows(database, t.consent.c.program, t.consent.c.state) == [("default", "opted_out")]
    assert waiting(database) == 0


def test_a_clock_that_was_set_back_holds_nothing_up(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that waits was stored in the future, and ids stay ahead of the clock."""
    monkeypatch.setattr(ids, "_last", 0)  # given back at the end
    with time_machine.travel(datetime.now(UTC) + HOUR, tick=False):
        write(database, part(1, "STOP", of=2))
    write(database, part(1, "hello", of=2, whole="8"))

    at_once = decide_overdue(database, after=timedelta(0))
    then = decide_overdue(database)

    assert (len(at_once), len(then)) == (1, 1)
    assert texts(database) == ["STOP […]", "hello […]"]
    deadline = NOON + RULES.policy.confirmation_deadline
    assert rows(database, t.outbox.c.deadline, t.outbox.c.category)[0] == (deadline, "opt_out")


def test_a_clock_that_jumped_ahead_decides_each_message_once(database: Database) -> None:
    first, second = parts("hello ", "STOP")
    write(database, first)

    decide_overdue(database, after=timedelta(days=400))
    write(database, second)

    assert rows(database, MESSAGE.text, MESSAGE.rule) == [("STOP", "default keyword"), ("hello  […]", "incomplete")]
    assert rows(database, t.consent.c.state) == [("opted_out",)]


# --- too many -----------------------------------------------------------------------------------------------------


def test_a_person_has_few_messages_waiting_and_the_oldest_make_room(database: Database) -> None:
    write(database, part(1, "hello", address=ALICE, of=255))
    for n in range(MOST_WAITING + 2):
        write(database, part(1, f"{n:02}", of=255, whole=f"a{n}"))
    write(database, *(part(1, f"b{n:02}", of=255, whole=f"b{n}") for n in range(MOST_WAITING)))

    assert rows(database, MESSAGE.text, MESSAGE.rule) == [
        (f"{n:02} […]", "incomplete") for n in range(MOST_WAITING + 2)
    ]
    assert rows(database, t.inbound_parts.c.text) == [*((f"b{n:02}",) for n in range(MOST_WAITING)), ("hello",)]
    assert len(rows(database, t.decided_parts.c.id)) == MOST_WAITING + 2


def test_a_stop_that_makes_room_is_a_stop_and_is_confirmed(database: Database) -> None:
    now = datetime.now(UTC)
    write(database, part(1, "STOP", of=2, whole="stop", at=now))

    write(database, *(part(1, "x", of=2, whole=f"{n}", at=now) for n in range(MOST_WAITING)))

    assert rows(database, t.consent.c.state, t.consent.c.confirmed) == [("opted_out", True)]
    assert [deadline > now + 4 * MINUTE for (deadline,) in rows(database, t.outbox.c.deadline)] == [True]


def test_only_the_messages_of_which_a_part_has_come_are_looked_up(database: Database) -> None:
    write(database, *(part(1, "x", of=255, whole=f"{n}") for n in range(5)), part(1, "y", of=2, whole="mine"))
    decide_overdue(database)
    write(database, part(1, "z", of=3, whole="mine"))

    shelf = database.read_now(lambda conn: look_up(conn, {(BOB, "mine")}))

    assert [part.text for part in shelf.waiting()] == ["z"]
    assert [(row.whole, row.total) for row in shelf.decided()] == [("mine", 2)]


# --- again --------------------------------------------------------------------------------------------------------


def test_a_part_sent_again_under_another_id_after_its_message_was_decided_is_dropped(database: Database) -> None:
    texts_of_it = ("STOP ", " ")
    write(database, *parts(*texts_of_it))
    write(database, heard(inbound("START"), at=NOON + SECOND, rules=RULES))

    again = parts(*texts_of_it, at=NOON + MINUTE)
    answers = write(database, *again)

    assert answers == [Recorded(new=1, seen=0)] * 2
    assert (rows(database, t.consent.c.state), waiting(database)) == ([("opted_in",)], 0)
    assert texts(database) == ["START", "STOP  "]
    raw = t.raw_requests.c
    problems = dict(rows(database, raw.id, raw.problem))
    assert [problems[raw_of(request).id] for request in again] == [
        f"part {n} of 2 came again under another id, and counted once" for n in (1, 2)
    ]


def test_what_was_there_and_what_came_late_is_dropped_when_it_comes_again(database: Database) -> None:
    write(database, part(1, "hello ", of=3))
    decide_overdue(database)
    write(database, part(3, "STOP", of=3))

    write(database, part(1, "hello ", of=3), part(3, "STOP", of=3))

    assert texts(database) == ["STOP", "hello  […]"]
    assert waiting(database) == 0


def test_the_same_text_days_later_is_a_message_of_its_own(database: Database) -> None:
    write(database, *parts("good ", "day"))
    write(database, *parts("good ", "day", at=NOON + LATE_WITHIN))

    assert texts(database) == ["good day"] * 2


def test_another_text_of_the_same_reference_is_another_message(database: Database) -> None:
    write(database, *parts("good ", "day"))
    write(database, *parts("bad ", "day"))

    assert texts(database) == ["bad day", "good day"]
    assert len(rows(database, t.decided_parts.c.id)) == 1


# --- too late -----------------------------------------------------------------------------------------------------


def test_a_late_part_is_a_message_of_its_own_and_is_not_answered(database: Database) -> None:
    first, second, third = parts("I would ", "like to ", "know.")
    write(database, first)
    decide_overdue(database)

    late = [*write(database, third), *write(database, second)]

    assert late == [Recorded(new=1, seen=0)] * 2
    silent = "its message was answered without it"
    assert rows(database, MESSAGE.text, MESSAGE.rule, MESSAGE.reply) == [
        ("I would  […]", "incomplete", "queued"),
        ("know.", "late part", silent),
        ("like to ", "late part", silent),
    ]
    assert (waiting(database), len(rows(database, t.outbox.c.id))) == (0, 1)


def test_a_late_stop_is_a_stop(database: Database) -> None:
    write(database, part(1, "hello", of=2))
    decide_overdue(database)

    write(database, part(2, "STOP", of=2))

    assert rows(database, t.consent.c.state) == [("opted_out",)]


def test_days_later_the_reference_is_anothers(database: Database) -> None:
    write(database, part(1, "never ended", of=2))
    decide_overdue(database)

    write(database, part(2, "day", of=2, at=NOON + LATE_WITHIN))
    write(database, part(1, "good ", of=2, at=NOON + LATE_WITHIN + SECOND))

    assert texts(database) == ["good day", "never ended […]"]


def test_a_new_message_of_the_same_reference_is_joined_although_an_earlier_one_misses_a_part(
    database: Database,
) -> None:
    write(database, part(1, "never ended", of=2))
    decide_overdue(database)

    write(database, *parts("good ", "day"))

    assert texts(database) == ["good day", "never ended […]"]


# --- what goes wrong ----------------------------------------------------------------------------------------------


def test_a_batch_that_fails_leaves_every_part_as_it_was(database: Database) -> None:
    first, second = parts("good ", "day")
    write(database, first)

    def broken(*_: Any) -> Changes:
        raise RuntimeError("killed between")

    with pytest.raises(RuntimeError):
        database.write_now(lambda conn: batch.write(conn, [second], broken))
    between = (texts(database), waiting(database))
    write(database, second)

    assert between == ([], 1)
    assert texts(database) == ["good day"]


def test_parts_that_the_database_refuses_to_have_decided_are_parked_with_their_requests(database: Database) -> None:
    first, _, third = parts("a", "b", "c")
    write(database, first, third)
    now = datetime.now(UTC) + PARTS_WAIT + SECOND
    (found,) = database.read_now(lambda conn: pieces.overdue(conn, now, ["acme-inbound"]))

    database.write_now(lambda conn: batch.park(conn, called(found), "the database refused it"))

    assert rows(database, t.work_list.c.raw_id, t.work_list.c.kind) == sorted(
        (raw_of(request).id, "parked") for request in (first, third)
    )
    assert (waiting(database), decide_overdue(database)) == (0, [])


def drop_old(database: Database, after: timedelta) -> int:
    now = datetime.now(UTC) + after
    return database.write_now(lambda conn: pieces.drop_old(conn, now, days=30))


def test_what_tells_late_parts_goes_bit_by_bit_when_none_can_come(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "CHUNK", 2)
    write(database, *(part(1, "never ended", of=2, whole=str(n)) for n in range(3)))
    decide_overdue(database)

    dropped = [drop_old(database, LATE_WITHIN + after) for after in (-SECOND, SECOND, SECOND, SECOND)]

    assert dropped == [0, 2, 1, 0]


def register(database: Database) -> None:
    """The webhook that the parts come through."""
    texts = dict.fromkeys(("provider", "settings", "secrets", "token_hash", "token"), "")
    row = {"id": 1, "name": "acme-inbound", "created_at": NOON, "updated_at": NOON, **texts}
    database.write_now(lambda conn: conn.execute(t.webhooks.insert(), [row]))


def test_what_waits_for_a_webhook_that_was_removed_goes_to_the_work_list(database: Database) -> None:
    first, _, third = parts("STOP", "it", "now", address=ALICE)
    write(database, first, third)

    left = [drop_old(database, after) for after in (HOUR - SECOND, HOUR + SECOND, HOUR + SECOND)]

    assert (left, waiting(database)) == ([0, 1, 0], 0)
    work = t.work_list.c
    ((raw_id, webhook, kind, reason, item, resolved),) = rows(
        database, work.raw_id, work.webhook, work.kind, work.reason, work.item, work.resolved_at
    )
    assert (raw_id, webhook, kind, resolved) == (raw_of(first).id, "acme-inbound", "parked", None)
    assert (orjson.loads(item), "webhook was removed" in reason) == (
        {"from": ALICE, "to": COMPANY, "text": "STOP […] now"},
        True,
    )


def test_what_waits_for_a_webhook_that_cannot_hear_waits_for_days(database: Database) -> None:
    register(database)
    write(database, part(1, "STOP", of=2))

    left = [drop_old(database, after) for after in (timedelta(days=30) - SECOND, timedelta(days=30) + SECOND)]

    assert left == [0, 1]
    assert (len(rows(database, t.work_list.c.id)), waiting(database)) == (1, 0)


def test_a_batch_without_parts_asks_nothing_about_parts(database: Database) -> None:
    statements: list[str] = []
    sa.event.listen(database.writers, "before_cursor_execute", lambda *given: statements.append(given[2]))

    write(database, heard(inbound("hello"), rules=RULES))
    without = [text for text in statements if "inbound_parts" in text]
    write(database, part(1, "hello", of=2))

    assert without == []
    assert [text.split()[0] for text in statements if "inbound_parts" in text] == ["SELECT", "INSERT", "SELECT"]
