"""The calls of actions in SQL: claims that exclude each other, leases that lapse, ends that stay true."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from app.changes import CallRow, OutboxRow
from app.record import calls
from app.record.calls import DueCall, Ended
from app.record.database import Database
from app.record.tables import action_calls, outbox
from tests.heard import ALICE, BOB, COMPANY, NOON

LEASE = timedelta(seconds=75)
SECOND = timedelta(seconds=1)


def add(database: Database, call_id: int, address: str = ALICE, **given: Any) -> None:
    row = CallRow(
        call_id, "crm", "help", "acme-inbound", "default", address, None, "{}", "", "pending", 0, NOON,
        NOON + timedelta(hours=1), NOON,
    )._replace(**given)  # fmt: skip
    database.write_now(lambda conn: calls.add(conn, row))


def claim(database: Database, now: datetime = NOON, limit: int = 16, busy: Sequence[str] = ()) -> list[DueCall]:
    claimed = database.write_now(lambda conn: calls.claim(conn, now, now + LEASE, limit, busy))
    assert claimed is not None
    return claimed


def finish(database: Database, *ended: Ended, now: datetime = NOON) -> set[int]:
    return database.write_now(lambda conn: calls.finish(conn, ended, now))


def success(row: DueCall, **given: Any) -> Ended:
    return Ended(row.id, "success", '{"ok": true}', "", "", 1, row.claimed_until)._replace(**given)


def failure(row: DueCall) -> Ended:
    return Ended(row.id, "http_500", "", "the third party answered 500", "", 3, row.claimed_until)


def rows(database: Database, *columns: Any) -> Sequence[tuple[Any, ...]]:
    query = sa.select(*columns).order_by(*columns)
    return database.read_now(lambda conn: [tuple(row) for row in conn.execute(query)])


def ids(claimed: Sequence[DueCall]) -> list[int]:
    return [row.id for row in claimed]


def a_reply(call_id: int) -> OutboxRow:
    return OutboxRow(
        call_id + 100, "reply", "acme-inbound", "acme", "default", "help", ALICE, COMPANY, "Shipped.", None, "pending",
        0, NOON, NOON + timedelta(hours=1), NOON,
    )  # fmt: skip


def test_a_claim_brings_the_call_and_nobody_else_gets_it_within_the_lease(database: Database) -> None:
    add(database, 1, fields='{"text": "Hi"}', inbound_id=7)

    assert claim(database) == [
        DueCall(1, "crm", "help", "acme-inbound", "default", ALICE, 7, '{"text": "Hi"}', "", 1,
                NOON + timedelta(hours=1), NOON, NOON + LEASE)
    ]  # fmt: skip
    assert claim(database, NOON + LEASE - SECOND) == []


def test_a_lease_that_lapses_is_claimed_again(database: Database) -> None:
    add(database, 1)
    claim(database)

    (again,) = claim(database, NOON + LEASE)

    assert (again.id, again.attempts) == (1, 2)


def test_of_one_person_and_action_one_call_is_under_way_the_oldest(database: Database) -> None:
    add(database, 1, action="crm", trigger="opt_in")
    add(database, 2, action="crm", trigger="opt_out")
    add(database, 3, action="mail")
    add(database, 4, BOB, action="crm")

    first = claim(database)
    beside = claim(database)
    finish(database, failure(first[0]))
    after = claim(database)

    assert (ids(first), ids(beside), ids(after)) == ([1, 3, 4], [], [2])


def test_calls_about_nobody_are_made_side_by_side(database: Database) -> None:
    add(database, 1, "")
    add(database, 2, "")

    assert (ids(claim(database, limit=1)), ids(claim(database))) == ([1], [2])


def test_a_claim_leaves_the_actions_that_are_busy(database: Database) -> None:
    add(database, 1, action="slow")
    add(database, 2, BOB, action="quick")

    assert ids(claim(database, busy=["slow", "slower"])) == [2]


def test_what_is_made_at_once_is_claimed_by_others_only_when_its_lease_has_lapsed(database: Database) -> None:
    row = calls.call_row("crm", "document", "{}", NOON, NOON + timedelta(hours=1), claimed_until=NOON + LEASE)
    database.write_now(lambda conn: calls.add(conn, row))

    assert (ids(claim(database)), ids(claim(database, NOON + LEASE))) == ([], [row.id])


def test_a_call_that_is_only_asked_for_waits_for_a_claim(database: Database) -> None:
    row = calls.call_row("crm", "test", "{}", NOON, NOON + timedelta(hours=1), address=ALICE)
    database.write_now(lambda conn: calls.add(conn, row))

    assert ids(claim(database)) == [row.id]


def test_the_end_of_a_call_is_written_with_its_answer_and_the_reply_that_waited(database: Database) -> None:
    add(database, 1)
    (row,) = claim(database)

    assert finish(database, success(row, reply=a_reply(1)), now=NOON + SECOND) == {1}

    columns = ("state", "outcome", "response", "tries", "ended_at", "claimed_until")
    assert rows(database, *(action_calls.c[name] for name in columns)) == [
        ("done", "success", '{"ok": true}', 1, NOON + SECOND, None)
    ]
    assert rows(database, outbox.c.id, outbox.c.text, outbox.c.state) == [(101, "Shipped.", "pending")]
    assert claim(database, NOON + LEASE) == []


def test_a_call_ends_once_and_its_reply_leaves_once(database: Database) -> None:
    add(database, 1)
    (row,) = claim(database)

    first, second = (finish(database, success(row, reply=a_reply(n))) for n in (1, 2))

    assert (first, second) == ({1}, set())
    assert rows(database, outbox.c.id) == [(101,)]


def test_a_failure_is_said_by_the_holder_of_the_lease_and_a_success_by_whoever_saw_it(database: Database) -> None:
    add(database, 1)
    (lapsed,) = claim(database)
    claim(database, NOON + LEASE)

    assert finish(database, failure(lapsed)) == set()
    assert finish(database, success(lapsed)) == {1}


def test_what_was_not_begun_is_given_back_as_if_never_claimed(database: Database) -> None:
    add(database, 1)
    add(database, 2, BOB)
    one, two = claim(database)

    database.write_now(lambda conn: calls.give_back(conn, [one], NOON, begun=False))
    database.write_now(lambda conn: calls.give_back(conn, [two], NOON, begun=True))

    assert [(row.id, row.attempts) for row in claim(database)] == [(1, 1), (2, 2)]


def test_what_waits_only_because_the_clock_was_set_back_is_made_due(database: Database) -> None:
    hour = timedelta(hours=1)
    add(database, 1, BOB, next_at=NOON + hour, created_at=NOON + hour)  # born an hour ahead
    add(database, 2, ALICE, next_at=NOON + hour + SECOND)
    (held,) = claim(database, NOON + hour + 2 * SECOND, limit=1)  # born ahead as well
    add(database, 3, BOB, action="shop", next_at=NOON - SECOND)
    (rightly,) = claim(database, NOON)
    add(database, 4, "", next_at=NOON + 9000 * hour, state="calling", claimed_until=NOON + LEASE)  # of a document

    assert claim(database, NOON + SECOND) == []
    recalled = database.write_now(lambda conn: calls.recall(conn, NOON + SECOND, LEASE))

    assert (held.id, rightly.id, recalled) == (1, 3, 1)
    assert ids(claim(database, NOON + SECOND)) == [1]
