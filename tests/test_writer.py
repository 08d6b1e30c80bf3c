"""The writer: group commit, deduplication, and what happens to a batch that fails."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from app.errors import BadInput, Overloaded, StoreUnavailable
from app.events import Cause, Change, ConsentState, Recorded, Status, Trouble
from app.interpret import decide, opts_out
from app.record import tables as t
from app.record.database import Database
from app.record.intake import Intake
from app.record.writer import Writer
from tests.heard import ALICE, BOB, NOON, heard, inbound, receipt


@asynccontextmanager
async def writing(
    database: Database, *, limit: int = 10_000, limit_bytes: int = 67_108_864, decide: Any = decide
) -> AsyncIterator[Writer]:
    writer = Writer(database, decide, limit=limit, limit_bytes=limit_bytes)
    writer.start()
    try:
        yield writer
    finally:
        await writer.stop()


def in_loop(database: Database, story: Callable[[Writer], Any], **options: Any) -> Any:
    async def run() -> Any:
        async with writing(database, **options) as writer:
            return await story(writer)

    return asyncio.run(run())


def count(database: Database, table: sa.Table) -> int:
    return database.read_now(lambda conn: conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def rows(database: Database, *columns: Any) -> list[tuple[Any, ...]]:
    return database.read_now(lambda conn: [tuple(row) for row in conn.execute(sa.select(*columns))])


def test_a_stop_leaves_message_consent_ledger_evidence_and_a_confirmation_in_one_go(database: Database) -> None:
    async def story(writer: Writer) -> Recorded:
        return await writer.record(heard(inbound("Stop.")))

    answer = in_loop(database, story)

    assert answer == Recorded(new=1, seen=0)
    assert rows(database, t.inbound_messages.c.category, t.inbound_messages.c.reply) == [("opt_out", "queued")]
    assert rows(database, t.consent.c.address, t.consent.c.state, t.consent.c.since) == [(BOB, "opted_out", NOON)]
    assert rows(database, t.ledger.c.old_state, t.ledger.c.new_state, t.ledger.c.effective_at) == [
        ("unknown", "opted_out", NOON)
    ]
    assert rows(database, t.evidence.c.address, t.evidence.c.text, t.evidence.c.signature) == [
        (BOB, "Stop.", "twilio, secret 1 of 1")
    ]
    assert rows(database, t.outbox.c.address, t.outbox.c.state, t.outbox.c.deadline) == [
        (BOB, "pending", NOON + timedelta(minutes=5))
    ]
    assert rows(database, t.raw_requests.c.body, t.raw_requests.c.reading) == [(b"Body=STOP", "events")]


def test_stop_after_stop_sends_no_second_confirmation(database: Database) -> None:
    async def story(writer: Writer) -> None:
        await writer.record(heard(inbound("STOP")))
        await writer.record(heard(inbound("STOP"), at=NOON + timedelta(seconds=9)))

    in_loop(database, story)

    assert count(database, t.ledger) == 2
    assert count(database, t.outbox) == 1


def test_twenty_thousand_duplicates_at_the_same_instant_are_each_recorded_once(database: Database) -> None:
    distinct, copies = 500, 40

    async def story(writer: Writer) -> list[Recorded]:
        requests = [
            heard(inbound("STOP", address=f"+1415556{n:04}", provider_id=f"SM{n}"))
            for n in range(distinct)
            for _ in range(copies)
        ]
        return await asyncio.gather(*[writer.record(request) for request in requests])

    answers = in_loop(database, story, limit=distinct * copies)

    assert sum(answer.new for answer in answers) == distinct
    assert sum(answer.seen for answer in answers) == distinct * (copies - 1)
    for table in (t.inbound_messages, t.consent, t.ledger, t.evidence, t.outbox, t.raw_requests):
        assert count(database, table) == distinct


def test_beyond_its_queue_a_request_is_refused_at_once_and_an_opt_out_finds_room(database: Database) -> None:
    """Shed before anything is promised; what was taken in is written, and memory stays bounded."""
    held = threading.Event()

    async def story(writer: Writer) -> tuple[list[Any], int]:
        busy = writer.run(lambda _: held.wait(20))
        while not writer.stalled:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        intake = Intake(writer, database, opts_out, shelter=None, drain=None, after=1.0)
        taken, refused = [], 0
        for number in range(12):
            try:
                taken.append(intake.record(heard(inbound("hello", provider_id=f"SM{number}"))))
            except Overloaded:
                refused += 1
        taken += [
            intake.record(heard(inbound("STOP", provider_id=f"stop{n}", address=f"+1415555{n:04}"))) for n in (1, 2)
        ]
        with pytest.raises(Overloaded):
            intake.record(heard(inbound("STOP", provider_id="one too many")))
        held.set()
        await busy
        return await asyncio.gather(*taken), refused

    answers, refused = in_loop(database, story, limit=8)

    assert (len(answers), refused) == (10, 4)
    assert count(database, t.inbound_messages) == 10
    assert count(database, t.consent) == 2


def test_a_queue_is_bounded_by_bytes_too(database: Database) -> None:
    held = threading.Event()

    async def story(writer: Writer) -> int:
        busy = writer.run(lambda _: held.wait(20))
        taken = []
        for _ in range(200):
            request = heard(inbound("hello"))
            assert request.raw is not None
            request.raw = replace(request.raw, body=b"x" * 100_000)
            try:
                taken.append(writer.record(request))
            except Overloaded:
                break
        held.set()
        await busy
        return len(await asyncio.gather(*taken))

    assert 5 <= in_loop(database, story, limit_bytes=1_000_000) <= 10


def test_two_writers_receive_the_same_requests_at_once_and_record_each_once(database: Database) -> None:
    """As two nodes on one database do; on SQLite the second one waits for the lock."""

    async def story(first: Writer) -> list[Recorded]:
        other = Database(database.url.render_as_string(hide_password=False))
        async with writing(other) as second:
            pairs = [
                (first.record(heard(inbound("STOP", provider_id=f"SM{n}"))),
                 second.record(heard(inbound("STOP", provider_id=f"SM{n}"))))
                for n in range(300)
            ]  # fmt: skip
            answers = await asyncio.gather(*[future for pair in pairs for future in pair])
        other.close()
        return answers

    answers = in_loop(database, story)

    assert sum(answer.new for answer in answers) == 300
    assert count(database, t.inbound_messages) == 300
    assert count(database, t.outbox) == 1


def test_only_the_new_part_of_a_request_is_recorded(database: Database) -> None:
    stop, other = inbound("STOP"), inbound("hello", address=ALICE)

    async def story(writer: Writer) -> list[Recorded]:
        return [await writer.record(heard(stop)), await writer.record(heard(stop, other))]

    answers = in_loop(database, story)

    assert answers == [Recorded(new=1, seen=0), Recorded(new=1, seen=1)]
    assert sorted(rows(database, t.inbound_messages.c.address)) == [(ALICE,), (BOB,)]


def test_a_key_that_is_good_for_seconds_repeats_within_them_and_is_new_after(database: Database) -> None:
    message = inbound("hi", provider_id="fingerprint", repeats_within=10.0)

    async def story(writer: Writer) -> list[int]:
        moments = [NOON, NOON + timedelta(seconds=9), NOON + timedelta(seconds=11)]
        return [(await writer.record(heard(message, at=at))).new for at in moments]

    assert in_loop(database, story) == [1, 0, 1]


def test_a_broken_item_waits_on_the_work_list_and_its_neighbour_is_recorded(database: Database) -> None:
    trouble = Trouble("item", "results.1.from is missing", '{"text":"STOP"}')

    async def story(writer: Writer) -> list[Recorded]:
        request = heard(inbound("STOP"), troubles=(trouble,))
        return [await writer.record(request), await writer.record(request)]

    answers = in_loop(database, story)

    assert answers == [Recorded(new=2, seen=0), Recorded(new=0, seen=2)]
    assert rows(database, t.work_list.c.kind, t.work_list.c.reason, t.work_list.c.item) == [
        ("item", "results.1.from is missing", '{"text":"STOP"}')
    ]
    assert count(database, t.inbound_messages) == 1


def test_a_culprit_is_parked_and_its_neighbours_are_recorded(database: Database) -> None:
    """What the database refuses must neither be lost nor take others with it: a lone surrogate cannot be stored."""

    async def story(writer: Writer) -> list[Recorded]:
        requests = [heard(inbound("STOP", address=f"+1415556{n:04}")) for n in range(20)]
        requests.insert(7, heard(inbound("bad \ud800 text", address=ALICE)))
        return await asyncio.gather(*[writer.record(request) for request in requests])

    answers = in_loop(database, story)

    assert [answer.new for answer in answers] == [1] * 7 + [0] + [1] * 13
    assert count(database, t.inbound_messages) == 20
    assert rows(database, t.work_list.c.kind, t.work_list.c.webhook) == [("parked", "acme-inbound")]
    assert rows(database, t.raw_requests.c.reading).count(("undecoded",)) == 1


def test_an_act_that_fails_undoes_only_itself(database: Database) -> None:
    async def story(writer: Writer) -> list[Any]:
        def fail(_: sa.Connection) -> None:
            raise BadInput("no such webhook")

        return await asyncio.gather(
            writer.record(heard(inbound("STOP"))), writer.run(fail), writer.run(lambda _: 7), return_exceptions=True
        )

    recorded, error, answer = in_loop(database, story)

    assert recorded == Recorded(new=1, seen=0)
    assert isinstance(error, BadInput)
    assert answer == 7
    assert count(database, t.inbound_messages) == 1


def test_more_requests_than_may_wait_are_told_to_come_again(database: Database) -> None:
    async def story(writer: Writer) -> None:
        first = [writer.record(heard(inbound("hi"))) for _ in range(2)]
        with pytest.raises(StoreUnavailable, match="already wait"):
            await asyncio.gather(*[writer.record(heard(inbound("hi"))) for _ in range(50)])
        await asyncio.gather(*first)

    in_loop(database, story, limit=3)


def test_nothing_is_acknowledged_while_the_database_refuses(database: Database) -> None:
    async def story(writer: Writer) -> BaseException:
        database.write_now(lambda conn: conn.exec_driver_sql("ALTER TABLE seen RENAME TO gone"))
        with pytest.raises(StoreUnavailable) as refused:
            await writer.record(heard(inbound("STOP")))
        database.write_now(lambda conn: conn.exec_driver_sql("ALTER TABLE gone RENAME TO seen"))
        await writer.record(heard(inbound("STOP")))
        return refused.value

    in_loop(database, story)

    assert count(database, t.inbound_messages) == 1


def test_what_conflicts_with_others_again_and_again_is_not_acknowledged(database: Database) -> None:
    """It is no culprit: parked, a STOP would be answered and have no effect."""
    if database.dialect == "sqlite":
        pytest.skip("SQLite has one writer, and so no such conflicts")
    database.write_now(
        lambda conn: conn.exec_driver_sql(
            "CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$; "
            "CREATE TRIGGER conflict BEFORE INSERT ON seen FOR EACH ROW EXECUTE FUNCTION conflict()"
        )
    )

    async def story(writer: Writer) -> None:
        with pytest.raises(StoreUnavailable):
            await writer.record(heard(inbound("STOP")))

    in_loop(database, story)

    assert count(database, t.work_list) == 0


def test_a_connection_that_was_cut_while_idle_costs_no_event(database: Database) -> None:
    if database.dialect == "sqlite":
        pytest.skip("SQLite has no connection that could be cut")
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"

    async def story(writer: Writer) -> Recorded:
        await writer.record(heard(inbound("hi")))
        await asyncio.sleep(1.2)
        database.read_now(lambda conn: conn.exec_driver_sql(cut).all())
        return await writer.record(heard(inbound("STOP")))

    assert in_loop(database, story) == Recorded(new=1, seen=0)


def test_two_broken_items_that_begin_alike_are_two_entries(database: Database) -> None:
    trouble = Trouble("item", "no address", '{"text":"xxxx')

    async def story(writer: Writer) -> list[Recorded]:
        first, second = heard(troubles=(trouble,)), heard(troubles=(trouble,))
        assert second.raw is not None
        second.raw = replace(second.raw, body=b"another request")
        return [await writer.record(first), await writer.record(second)]

    assert in_loop(database, story) == [Recorded(new=1, seen=0)] * 2
    assert count(database, t.work_list) == 2


def test_a_receipt_before_its_message_creates_the_message_and_later_ones_raise_it(database: Database) -> None:
    async def story(writer: Writer) -> None:
        for status in (Status.DELIVERED, Status.SENT, Status.READ):
            await writer.record(heard(receipt(status)))

    in_loop(database, story)

    assert rows(database, t.messages.c.provider_id, t.messages.c.recipient, t.messages.c.status) == [
        ("SM1", BOB, "read")
    ]
    assert rows(database, t.receipts.c.status, t.receipts.c.raised) == [
        ("delivered", True),
        ("sent", False),
        ("read", True),
    ]


def test_a_receipt_that_does_not_say_whose_it_is_finds_the_one_message_of_its_id(database: Database) -> None:
    async def story(writer: Writer) -> None:
        await writer.record(heard(receipt(Status.SENT)))
        await writer.record(heard(receipt(Status.DELIVERED, recipient="")))

    in_loop(database, story)

    assert rows(database, t.messages.c.recipient, t.messages.c.status) == [(BOB, "delivered")]


def test_stop_and_start_in_one_batch_count_in_the_order_of_their_times(database: Database) -> None:
    start = inbound("START", provider_time=NOON - timedelta(seconds=30))
    stop = inbound("STOP", provider_time=NOON - timedelta(seconds=10))

    async def story(writer: Writer) -> None:
        await writer.record(heard(stop, start))

    in_loop(database, story)

    assert rows(database, t.consent.c.state) == [("opted_out",)]
    assert rows(database, t.ledger.c.new_state, t.ledger.c.superseded) == [("opted_in", False), ("opted_out", False)]


def test_a_change_for_every_program_holds_in_each(database: Database) -> None:
    change = Change(
        key="h|1", address=BOB, state=ConsentState.OPTED_OUT, cause=Cause.API, program="*", actor="ann", reason="phoned"
    )

    async def story(writer: Writer) -> None:
        await writer.record(heard(change))
        await writer.record(heard(inbound("hello"), at=NOON + timedelta(seconds=1)))

    in_loop(database, story)

    assert rows(database, t.consent.c.program, t.consent.c.state) == [("*", "opted_out")]
    assert rows(database, t.inbound_messages.c.reply) == [("opted out",)]


@pytest.mark.parametrize(
    "statement",
    ["UPDATE ledger SET new_state = 'opted_in'", "DELETE FROM ledger", "UPDATE evidence SET text = 'START'"],
)
def test_the_database_itself_refuses_to_change_what_was_recorded(database: Database, statement: str) -> None:
    async def story(writer: Writer) -> None:
        await writer.record(heard(inbound("STOP")))

    in_loop(database, story)

    with pytest.raises(sa.exc.DBAPIError, match=r"append-only|never changed|stays as it is"):
        database.write_now(lambda conn: conn.exec_driver_sql(statement))


def test_the_ledger_cannot_be_replaced_or_truncated(database: Database) -> None:
    async def story(writer: Writer) -> None:
        await writer.record(heard(inbound("STOP")))

    in_loop(database, story)
    replace = "INSERT OR REPLACE INTO ledger SELECT * FROM ledger"
    statement = replace if database.dialect == "sqlite" else "TRUNCATE ledger"

    with pytest.raises(sa.exc.DBAPIError, match=r"append-only|stays as it is"):
        database.write_now(lambda conn: conn.exec_driver_sql(statement))


def test_erasing_a_person_leaves_the_ledger_whole(database: Database) -> None:
    async def story(writer: Writer) -> None:
        await writer.record(heard(inbound("STOP")))

    in_loop(database, story)
    database.write_now(lambda conn: conn.execute(sa.delete(t.evidence).where(t.evidence.c.address == BOB)))

    history = database.read_now(
        lambda conn: conn.exec_driver_sql("SELECT address, new_state FROM consent_history").fetchall()
    )
    assert [tuple(row) for row in history] == [(None, "opted_out")]
