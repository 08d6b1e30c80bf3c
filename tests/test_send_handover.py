"""Replies born claimed: what is handed to the sender at once, what waits, and what a crash leaves behind."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import uvloop

from app.changes import Changes
from app.events import ConsentState, Heard
from app.interpret import decide, effective, may_leave
from app.record import outbox
from app.record.batch import write
from app.record.database import Database
from app.record.outbox import Due, Outcome, State
from app.record.tables import outbox as table
from app.record.writer import Writer
from app.send import Client, Destinations, Handover, Sender
from app.send.handover import handed_over
from app.settings import Settings
from tests.fake_provider import FakeProvider
from tests.heard import ALICE, BOB, CHARLIE, heard, inbound
from tests.test_send_outbox import rows
from tests.test_send_worker import QUICK, acme, provider

__all__ = ["provider"]

HOUR = timedelta(hours=1)
LEASE = timedelta(seconds=60)


def now() -> datetime:
    return datetime.now(UTC)


def said(text: str, address: str = BOB, *, at: datetime | None = None) -> Heard:
    return heard(inbound(text, address=address), at=at or now())


def record(database: Database, *heards: Heard, room: int = 9) -> list[Due]:
    """What is handed over of a batch."""
    handover = Handover(decide, HOUR)
    handover.serve(lambda: room, LEASE)
    changes: Changes = database.write_now(lambda conn: write(conn, heards, handover.decide))[2]
    return list(handed_over(changes))


def states(database: Database) -> Sequence[tuple[str, str, int]]:
    return [
        (row[1], row[2], row[3]) for row in rows(database, table.c.id, table.c.address, table.c.state, table.c.attempts)
    ]


def claim(database: Database, at: datetime) -> list[Due]:
    return database.write_now(lambda conn: outbox.claim(conn, at, at + LEASE, 256)) or []


def test_a_reply_is_handed_over_as_a_claim_would_have_found_it(database: Database) -> None:
    (row,) = record(database, said("STOP"))

    assert states(database) == [(BOB, "sending", 1)]
    assert (row.own.state, row.own.confirmed, row.every.state) == (ConsentState.OPTED_OUT, True, ConsentState.UNKNOWN)
    assert claim(database, now()) == []
    (lapsed,) = claim(database, row.claimed_until + LEASE)
    assert lapsed == row._replace(attempts=2, claimed_until=lapsed.claimed_until)


def test_it_is_marked_by_whom_it_was_handed_to(database: Database) -> None:
    (row,) = record(database, said("STOP"))

    outcome = Outcome(row, State.PENDING, "busy", next_at=now() + HOUR)
    database.write_now(lambda conn: outbox.mark(conn, [outcome]))

    assert states(database) == [(BOB, "pending", 1)]


def test_of_a_person_one_reply_is_handed_over_and_the_next_waits(database: Database) -> None:
    first = record(database, said("HELP"), said("STOP"), said("HELP", ALICE))
    second = record(database, said("START", at=now() + timedelta(minutes=100)))

    assert [row.address for row in first] == [BOB, ALICE]
    assert second == []
    assert sorted(states(database)) == [
        (ALICE, "sending", 1), (BOB, "pending", 0), (BOB, "pending", 0), (BOB, "sending", 1),
    ]  # fmt: skip


def test_who_was_answered_long_ago_is_answered_at_once(database: Database) -> None:
    record(database, said("HELP", at=now() - 3 * HOUR), room=0)

    assert [row.category for row in record(database, said("HELP"))] == ["help"]


def test_a_start_in_the_same_batch_takes_the_confirmation_back(database: Database) -> None:
    stop = said("STOP", at=now() - timedelta(seconds=1))

    (row,) = record(database, stop, said("START"))

    reason = may_leave(row.category, effective(row.own, row.every), now(), row.deadline)
    assert (row.category, reason) == ("opt_out", "no longer opted_out")


@pytest.mark.parametrize("room", [1, 0, -3])
def test_what_the_sender_has_no_room_for_is_left_to_be_claimed(database: Database, room: int) -> None:
    handed = record(database, said("STOP", ALICE), said("STOP", BOB), said("STOP", CHARLIE), room=room)

    left = claim(database, now())
    assert [row.address for row in [*handed, *left]] == [ALICE, BOB, CHARLIE]
    assert len(handed) == max(room, 0)


def test_a_process_without_a_sender_claims_nothing(database: Database) -> None:
    changes = database.write_now(lambda conn: write(conn, [said("STOP")], Handover(decide, HOUR).decide))[2]

    assert list(handed_over(changes)) == []
    assert states(database) == [(BOB, "pending", 0)]


def test_a_sender_sends_what_its_writer_records_and_claims_the_rest(database: Database, provider: FakeProvider) -> None:
    async def story() -> None:
        settings = Settings(send_concurrency=2, send_timeout=5.0, allowed_private_destinations=["127.0.0.1"])
        handover = Handover(decide, HOUR)
        writer, client = Writer(database, handover.decide), Client(Destinations(["127.0.0.1"]))
        sender = Sender(writer, client, {"acme": acme(provider)}.get, settings, patience=QUICK, handover=handover)
        writer.start()
        sender.start()
        handed: list[Due] = []

        def told(_: Sequence[Heard], changes: Changes) -> None:
            handed.extend(handed_over(changes))
            loop.call_soon_threadsafe(sender.take, changes)

        loop = asyncio.get_running_loop()
        writer.listen(told)
        people = [f"+1415555{number:04}" for number in range(20)]
        await asyncio.gather(*(writer.record(said("STOP", address)) for address in [*people, people[0]]))
        await writer.record(said("HELP", people[0]))
        while len(provider.requests) < 21:  # noqa: ASYNC110 - the provider counts in another thread
            await asyncio.sleep(0.01)
        await sender.stop()
        assert 0 < len(handed) < 21
        await writer.record(said("STOP", "+14155560000"))
        await writer.stop()

    uvloop.run(story())

    found = states(database)
    assert [state for _, state, _ in found] == ["sent"] * 21 + ["pending"]
    assert {attempts for _, _, attempts in found} == {1, 0}


def test_every_reply_is_sent_once(database: Database) -> None:
    """No reply of the batch is both handed over and found by a claim."""
    handed = record(database, *(said("HELP", f"+1415555{number % 7:04}") for number in range(20)))

    ids = [row.id for row in [*handed, *claim(database, now())]]
    assert len(ids) == len(set(ids)) == 7
    assert (
        database.read_now(lambda conn: conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()) == 20
    )
