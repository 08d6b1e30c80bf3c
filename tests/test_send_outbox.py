"""The outbox in SQL: claims that exclude each other, leases that lapse, marks that stay true."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from app.changes import Changes
from app.events import NOBODY, ConsentState, Heard, Known, Standing, Status
from app.interpret import decide
from app.record import outbox
from app.record.batch import write
from app.record.database import Database
from app.record.outbox import Due, Outcome, State
from app.record.tables import consent, messages, receipts
from app.record.tables import outbox as table
from tests.heard import ALICE, BOB, CHARLIE, COMPANY, NOON, heard, receipt

LEASE = timedelta(seconds=90)
SECOND = timedelta(seconds=1)


def queue(database: Database, reply_id: int, address: str, **given: Any) -> None:
    row = {
        "id": reply_id, "kind": "reply", "webhook": "acme-inbound", "credential": "acme", "program": "default",
        "category": "help", "address": address, "sender": COMPANY, "text": "Hi", "inbound_id": None,
        "state": "pending", "attempts": 0, "next_at": NOON, "deadline": NOON + timedelta(hours=1), "created_at": NOON,
    }  # fmt: skip
    database.write_now(lambda conn: conn.execute(sa.insert(table), {**row, **given}))


def stand(database: Database, program: str, address: str, state: str, **given: Any) -> None:
    row = {
        "program": program, "address": address, "state": state, "since": NOON, "as_of": NOON, "cause": "keyword",
        "ledger_id": 1, "confirmed": True,
    }  # fmt: skip
    database.write_now(lambda conn: conn.execute(sa.insert(consent), {**row, **given}))


def claim(database: Database, now: datetime = NOON, limit: int = 256) -> list[Due]:
    claimed = database.write_now(lambda conn: outbox.claim(conn, now, now + LEASE, limit))
    assert claimed is not None
    return claimed


def mark(database: Database, *outcomes: Outcome) -> None:
    database.write_now(lambda conn: outbox.mark(conn, outcomes))


def sent(row: Due, provider_id: str, at: datetime = NOON) -> Outcome:
    return Outcome(row, State.SENT, account="twilio", provider_id=provider_id, sent_at=at)


def rows(database: Database, *columns: Any) -> Sequence[tuple[Any, ...]]:
    query = sa.select(*columns).order_by(*columns)
    return database.read_now(lambda conn: [tuple(row) for row in conn.execute(query)])


def ids(claimed: Sequence[Due]) -> list[int]:
    return [row.id for row in claimed]


# --- claiming -----------------------------------------------------------------------------------------------------


def test_a_claim_brings_the_reply_and_how_its_recipient_stands(database: Database) -> None:
    queue(database, 1, BOB, category="opt_out", text="Bye")
    stand(database, "default", BOB, "opted_out")
    stand(database, "*", BOB, "opted_in", as_of=NOON - SECOND, confirmed=False)

    (row,) = claim(database)

    assert row == Due(
        1, "acme-inbound", "acme", "default", "opt_out", BOB, COMPANY, "Bye", 1,
        NOON + timedelta(hours=1), NOON, NOON + LEASE,
        Standing(ConsentState.OPTED_OUT, NOON, NOON, "keyword", True),
        Standing(ConsentState.OPTED_IN, NOON, NOON - SECOND, "keyword", False),
    )  # fmt: skip


def test_a_rich_reply_is_claimed_with_its_suggestions(database: Database) -> None:
    content = '{"suggestions":[{"text":"YES"}]}'
    queue(database, 1, BOB, content=content)
    queue(database, 2, ALICE)

    assert [row.content for row in claim(database)] == [content, ""]


def test_whoever_never_said_anything_is_nobody(database: Database) -> None:
    queue(database, 1, CHARLIE)

    (row,) = claim(database)

    assert (row.own, row.every) == (NOBODY, NOBODY)


def test_nothing_is_claimed_twice_while_its_lease_holds(database: Database) -> None:
    queue(database, 1, BOB)

    assert ids(claim(database)) == [1]
    assert claim(database, NOON + LEASE - SECOND) == []


def test_what_a_dead_process_claimed_is_claimed_again_when_the_lease_has_lapsed(database: Database) -> None:
    queue(database, 1, BOB)
    claim(database)

    (row,) = claim(database, NOON + LEASE)

    assert (row.id, row.attempts) == (1, 2)


def test_a_reply_is_not_claimed_before_its_time(database: Database) -> None:
    queue(database, 1, BOB, next_at=NOON + SECOND)

    assert claim(database) == []
    assert ids(claim(database, NOON + SECOND)) == [1]


def test_an_address_has_one_reply_in_flight_and_gets_them_in_order(database: Database) -> None:
    queue(database, 2, BOB)
    queue(database, 1, BOB)
    queue(database, 3, ALICE)

    first = claim(database)
    meanwhile = claim(database)
    mark(database, sent(first[0], "SM1"))
    then = claim(database)

    assert (ids(first), meanwhile, ids(then)) == ([1, 3], [], [2])


def test_a_reply_that_waits_for_its_next_try_holds_no_other_back(database: Database) -> None:
    queue(database, 1, BOB)
    mark(database, Outcome(claim(database)[0], State.PENDING, "busy", next_at=NOON + timedelta(minutes=9)))
    queue(database, 2, BOB)

    assert ids(claim(database)) == [2]


def test_a_lapsed_claim_holds_no_address(database: Database) -> None:
    queue(database, 1, BOB)
    claim(database)
    queue(database, 2, BOB)

    assert ids(claim(database, NOON + LEASE)) == [1]


def test_a_claim_takes_the_longest_due_and_no_more_than_its_limit(database: Database) -> None:
    for number in range(1, 6):
        queue(database, number, f"+1415555010{number}", next_at=NOON - number * SECOND)

    assert ids(claim(database, limit=2)) == [4, 5]
    assert ids(claim(database, limit=2)) == [2, 3]


def test_what_has_ended_is_never_claimed(database: Database) -> None:
    for number, state in enumerate(("sent", "cancelled", "blocked", "doubtful", "failed")):
        queue(database, number, f"+1415555010{number}", state=state)

    assert claim(database) == []


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_of_two_processes_that_claim_at_once_one_is_told_to_come_again(database: Database) -> None:
    queue(database, 1, BOB)
    queue(database, 2, BOB)
    other = Database(database.url.render_as_string(hide_password=False).replace("+psycopg", ""))

    with database.writers.begin() as conn:
        first = outbox.claim(conn, NOON, NOON + LEASE, 256)
        second = other.write_now(lambda conn: outbox.claim(conn, NOON, NOON + LEASE, 256))
    third = other.write_now(lambda conn: outbox.claim(conn, NOON, NOON + LEASE, 256))
    other.close()

    assert (first and ids(first), second, third) == ([1], None, [])


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_claim_among_many_ended_replies_reads_the_waiting_ones_alone(database: Database) -> None:
    statement = str(outbox._CLAIMS["sqlite"]).replace(":now", "'2026'").replace(":limit", "1")
    explained = "EXPLAIN QUERY PLAN " + statement.replace(":lease_until", "'2026'")

    plan = database.read_now(lambda conn: [row[3] for row in conn.exec_driver_sql(explained)])

    assert [step for step in plan if "SCAN outbox" in step] == []
    assert len([step for step in plan if "USING INDEX ix_outbox_waiting" in step]) == 2


# --- marking ------------------------------------------------------------------------------------------------------


def test_what_was_sent_becomes_a_message_under_the_id_that_a_receipt_may_echo(database: Database) -> None:
    queue(database, 7, BOB)

    mark(database, sent(claim(database)[0], "SM1", NOON + SECOND))

    columns = (table.c.id, table.c.state, table.c.provider_id, table.c.sent_at, table.c.claimed_until)
    assert rows(database, *columns) == [(7, "sent", "SM1", NOON + SECOND, None)]
    assert rows(database, *messages.c) == [
        (7, "twilio", "SM1", BOB, COMPANY, 7, "queued", "", "", "", "", NOON + SECOND, NOON + SECOND)
    ]


def add_message(database: Database, message_id: int, provider_id: str, status: str) -> None:
    """As a receipt makes it, of a message that nobody knows yet."""
    values = (message_id, "twilio", provider_id, BOB, "", None, status, status, "", "", "", NOON, NOON)
    row = dict(zip(messages.columns.keys(), values, strict=True))
    database.write_now(lambda conn: conn.execute(sa.insert(messages), row))


@pytest.mark.parametrize(
    "provider_id", [pytest.param("SM1", id="by the provider's id"), pytest.param("ref:7", id="by our reference")]
)
def test_a_receipt_that_came_before_the_mark_keeps_its_status(database: Database, provider_id: str) -> None:
    queue(database, 7, BOB)
    (row,) = claim(database)
    add_message(database, 99, provider_id, "delivered")

    mark(database, sent(row, "SM1"))

    columns = (messages.c.id, messages.c.provider_id, messages.c.status, messages.c.outbox_id, messages.c.sender)
    assert rows(database, *columns) == [(99, provider_id, "delivered", 7, COMPANY)]


def test_a_receipt_that_is_recorded_while_its_reply_is_marked_belongs_to_its_message(database: Database) -> None:
    queue(database, 1, ALICE)
    (row,) = claim(database)
    other = Database(database.url.render_as_string(hide_password=False))
    marking = threading.Thread(target=mark, args=(other, sent(row, "SM1")))

    def decide_slowly(heards: Sequence[Heard], known: Known, new_id: Callable[[], int]) -> Changes:
        """The message was looked for and is not there; now its reply is marked, as far as it can be."""
        if database.dialect == "postgresql":  # SQLite has one writer at a time
            marking.start()
            marking.join(0.5)
        return decide(heards, known, new_id)

    came = heard(receipt(Status.DELIVERED, message_id="SM1", recipient=ALICE))
    database.write_now(lambda conn: write(conn, [came], decide_slowly))
    if not marking.ident:
        marking.start()
    marking.join()
    other.close()

    assert rows(database, receipts.c.message_id) == rows(database, messages.c.id)
    assert rows(database, messages.c.provider_id, messages.c.status, messages.c.outbox_id) == [("SM1", "delivered", 1)]


def test_two_replies_with_one_id_of_the_provider_are_one_message(database: Database) -> None:
    queue(database, 7, BOB)
    (first,) = claim(database)
    queue(database, 8, ALICE)
    (second,) = claim(database)

    mark(database, sent(first, "SAME"), sent(second._replace(address=BOB), "SAME"))

    assert rows(database, messages.c.provider_id, messages.c.outbox_id) == [("SAME", 8)]


def test_a_retry_waits_until_its_time_and_keeps_its_count(database: Database) -> None:
    queue(database, 1, BOB)

    mark(database, Outcome(claim(database)[0], State.PENDING, "busy", next_at=NOON + SECOND))

    columns = (table.c.state, table.c.reason, table.c.attempts, table.c.next_at, table.c.claimed_until)
    assert rows(database, *columns) == [("pending", "busy", 1, NOON + SECOND, None)]


def test_what_is_given_back_was_no_try(database: Database) -> None:
    queue(database, 1, BOB)

    mark(database, Outcome(claim(database)[0], State.PENDING, "given back", next_at=NOON, counts=False))

    assert rows(database, table.c.state, table.c.attempts) == [("pending", 0)]


def test_a_sender_whose_lease_lapsed_may_say_that_it_sent_and_nothing_else(database: Database) -> None:
    queue(database, 1, BOB)
    queue(database, 2, ALICE)
    late = claim(database)
    claim(database, NOON + LEASE)

    mark(database, sent(late[0], "SM1"), Outcome(late[1], State.PENDING, "busy", next_at=NOON))

    assert rows(database, table.c.id, table.c.state) == [(1, "sent"), (2, "sending")]


def test_a_reply_that_left_twice_is_two_messages(database: Database) -> None:
    queue(database, 1, BOB)
    (late,) = claim(database)
    (present,) = claim(database, NOON + LEASE)

    mark(database, sent(late, "SM1"))
    mark(database, sent(present, "SM2"))

    assert rows(database, messages.c.provider_id, messages.c.outbox_id) == [("SM1", 1), ("SM2", 1)]
    assert rows(database, table.c.provider_id) == [("SM1",)]


@pytest.mark.parametrize(
    ("end", "standing", "confirmed"),
    [
        ((State.CANCELLED, "opt_out"), ("opted_out", NOON), False),
        ((State.FAILED, "opt_out"), ("opted_out", NOON), False),
        # it may have arrived, or the provider's own block list speaks for itself
        ((State.DOUBTFUL, "opt_out"), ("opted_out", NOON), True),
        ((State.BLOCKED, "opt_out"), ("opted_out", NOON), True),
        ((State.FAILED, "help"), ("opted_out", NOON), True),
        # the person came back meanwhile
        ((State.CANCELLED, "opt_out"), ("opted_in", NOON), True),
        # and left again: that opt-out has a confirmation of its own
        ((State.CANCELLED, "opt_out"), ("opted_out", NOON + SECOND), True),
    ],
)
def test_an_opt_out_whose_confirmation_never_left_is_unconfirmed(
    database: Database, end: tuple[State, str], standing: tuple[str, datetime], confirmed: bool
) -> None:
    queue(database, 1, BOB, category=end[1])
    stand(database, "default", BOB, standing[0], since=standing[1])
    stand(database, "other", BOB, "opted_out")
    stand(database, "default", ALICE, "opted_out")

    mark(database, Outcome(claim(database)[0], end[0], "why"))

    assert rows(database, consent.c.program, consent.c.address, consent.c.confirmed) == [
        ("default", ALICE, True),
        ("default", BOB, confirmed),
        ("other", BOB, True),
    ]
