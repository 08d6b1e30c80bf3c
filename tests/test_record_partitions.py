"""What was heard goes by months in PostgreSQL and row by row in SQLite; what must stay stays."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from app.events import Recorded, Status
from app.interpret import decide
from app.record import housekeeping, partitions, schema, tables
from app.record.database import Database
from app.record.ids import first_id_at, new_id
from app.record.writer import Writer
from tests.conftest import fresh_database
from tests.heard import NOON, heard, inbound, receipt
from tests.kannel import wait_for

DAYS = {"raw_requests": 30, "inbound_messages": 1826, "receipts": 730}
LATER = datetime(2040, 5, 17, tzinfo=UTC)


@pytest.fixture
def postgresql(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with fresh_database("postgresql", request, tmp_path) as url:
        database = Database(url)
        yield database
        database.close()


def record(database: Database, *requests: object) -> list[Recorded]:
    async def story() -> list[Recorded]:
        writer = Writer(database, decide)
        writer.start()
        try:
            return [await writer.record(each) for each in requests]
        finally:
            await writer.stop()

    return asyncio.run(story())


def count(database: Database, table: str, where: str = "true") -> int:
    return database.read_now(
        lambda conn: conn.exec_driver_sql(f"SELECT count(*) FROM {table} WHERE {where}").scalar_one()
    )


def raw_row(id_: int, reading: str = "events") -> dict[str, object]:
    texts = ("webhook", "method", "target", "headers", "client", "signature", "problem")
    return {**dict.fromkeys(texts, "x"), "id": id_, "received_at": NOON, "body": b"", "reading": reading}


def add_raw(database: Database, *rows: dict[str, object]) -> None:
    database.write_now(lambda conn: conn.execute(sa.insert(tables.raw_requests), list(rows)))


def names(database: Database, table: str = "raw_requests") -> list[str]:
    return [each.name for each in database.read_now(lambda conn: partitions.listed(conn, table))]


def drop(database: Database, now: datetime) -> int:
    return database.write_now(partial(partitions.drop_old, now=now, days=DAYS))


def drop_rows(database: Database, table: str, days: int, now: datetime = LATER) -> int:
    return database.write_now(partial(housekeeping.drop_old, now=now, table=table, days=days))


# --- months -------------------------------------------------------------------------------------------------------


def test_a_new_database_has_its_months_and_none_is_made_twice(postgresql: Database) -> None:
    made = postgresql.write_now(partial(partitions.ensure, now=datetime.now(UTC)))

    assert made == 0
    assert [len(names(postgresql, table)) for table in partitions.TABLES] == [4, 4, 4]


def test_months_that_come_are_made_and_take_what_waited_in_the_default_one(postgresql: Database) -> None:
    add_raw(postgresql, raw_row(first_id_at(LATER)), raw_row(first_id_at(LATER + timedelta(days=400))))
    before = count(postgresql, "raw_requests_default")

    made = [postgresql.write_now(partial(partitions.ensure, now=LATER)) for _ in range(13)]

    assert made == [1] * 12 + [0]
    assert names(postgresql)[-4:] == [f"raw_requests_2040_0{month}" for month in (5, 6, 7, 8)]
    assert (before, count(postgresql, "raw_requests_default"), count(postgresql, "raw_requests_2040_05")) == (2, 1, 1)
    schema.check(postgresql)


def test_an_id_of_no_month_makes_no_insert_fail(postgresql: Database) -> None:
    add_raw(postgresql, raw_row(1), raw_row(2**63 - 1))

    assert count(postgresql, "raw_requests") == 2


def test_a_month_past_its_days_is_dropped_and_what_is_not_understood_stays(postgresql: Database) -> None:
    add_raw(postgresql, raw_row(new_id()), raw_row(new_id(), "undecoded"))
    first = postgresql.read_now(lambda conn: partitions.listed(conn, "raw_requests"))[0]
    end = next(datetime(y, m, 1, tzinfo=UTC) for y in range(2026, 2100) for m in range(1, 13)
               if first_id_at(datetime(y, m, 1, tzinfo=UTC)) == first.end)  # fmt: skip

    dropped = [drop(postgresql, end + timedelta(days=days)) for days in (29, 31, 31)]

    assert dropped == [0, 1, 0]
    assert names(postgresql)[0] != "raw_requests_first"
    assert [count(postgresql, t) for t in ("raw_requests", "raw_requests_default")] == [1, 1]
    assert count(postgresql, "raw_requests", "reading = 'undecoded'") == 1


def test_a_month_that_somebody_uses_is_dropped_another_time_and_nothing_else_is_undone(postgresql: Database) -> None:
    other = postgresql.readers.connect()
    other.exec_driver_sql("LOCK TABLE raw_requests IN ROW EXCLUSIVE MODE")

    def act(conn: sa.Connection) -> tuple[int, str]:
        conn.exec_driver_sql("INSERT INTO facts VALUES ('a', 'b', now())")
        return (
            partitions.drop_old(conn, LATER, DAYS | {"inbound_messages": 10**4, "receipts": 10**4}),
            conn.exec_driver_sql("SHOW lock_timeout").scalar_one(),
        )

    busy = postgresql.write_now(act)
    other.close()

    assert (busy, count(postgresql, "facts")) == ((0, "3s"), 1)
    assert "raw_requests_first" in names(postgresql)
    assert drop(postgresql, LATER) == 1


def test_two_nodes_do_not_change_months_at_once(postgresql: Database) -> None:
    other = postgresql.readers.connect()
    other.execute(partitions._ALONE)

    made = postgresql.write_now(partial(partitions.ensure, now=LATER))
    other.close()

    assert made == 0


def test_a_month_with_too_much_that_is_not_understood_stays(
    postgresql: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_KEEP_AT_MOST", 1)
    add_raw(postgresql, *(raw_row(new_id(), "undecoded") for _ in range(2)))

    while drop(postgresql, LATER):
        continue

    assert names(postgresql) == ["raw_requests_first"]


def test_an_event_whose_row_was_dropped_is_still_seen(database: Database) -> None:
    event, report = inbound("STOP", provider_id="SM1"), receipt(Status.DELIVERED)
    first = record(database, heard(event, report))
    while drop(database, LATER):
        continue
    for table, days in DAYS.items():
        while drop_rows(database, table, days):
            continue
    rows_left = [count(database, table) for table in DAYS]

    again = record(database, heard(event, report))

    assert (first, again) == ([Recorded(new=2, seen=0)], [Recorded(new=0, seen=2)])
    assert rows_left == [count(database, table) for table in DAYS] == [0, 0, 0]
    assert [count(database, table) for table in ("ledger", "evidence", "consent")] == [1, 1, 1]


# --- rows ---------------------------------------------------------------------------------------------------------


def test_replies_and_messages_past_their_days_go_and_those_under_way_stay(database: Database) -> None:
    record(database, heard(inbound("STOP"), receipt(Status.DELIVERED)), heard(inbound("STOP", address="+14155550177")))
    done = "UPDATE outbox SET state = 'sent' WHERE id = (SELECT min(id) FROM outbox)"
    database.write_now(lambda conn: conn.exec_driver_sql(done))

    dropped = [drop_rows(database, table, 730) for table in ("outbox", "messages", "outbox", "messages")]

    assert dropped == [1, 1, 0, 0]
    assert count(database, "outbox", "state = 'pending'") == 1


def test_a_message_that_was_told_of_lately_stays(database: Database) -> None:
    record(database, heard(receipt(Status.DELIVERED)))
    database.write_now(lambda conn: conn.execute(sa.update(tables.messages).values(status_at=LATER)))

    assert drop_rows(database, "messages", 730) == 0


def test_keys_past_their_days_are_forgotten_and_no_other(database: Database) -> None:
    old, young = NOON - timedelta(days=1900), NOON - timedelta(days=1800)
    keys = [{"key": f"k{n}", "at": old if n < 3000 else young, "repeats_until": None} for n in range(5000)]
    passing = [{"key": "p", "at": old, "repeats_until": NOON + timedelta(days=1)}]
    database.write_now(lambda conn: conn.execute(sa.insert(tables.seen), keys + passing))
    walk = housekeeping.OldKeys()

    while database.write_now(partial(walk.drop_some, now=NOON, days=1826)):
        continue

    left = database.read_now(lambda conn: sorted(conn.execute(sa.select(tables.seen.c.key)).scalars()))
    assert left == sorted([f"k{n}" for n in range(3000, 5000)] + ["p"])


def test_the_walk_over_the_keys_reads_only_the_pages_of_its_step(postgresql: Database) -> None:
    keys = [{"key": f"k{n}", "at": NOON, "repeats_until": None} for n in range(2000)]
    postgresql.write_now(lambda conn: conn.execute(sa.insert(tables.seen), keys))

    def plan(conn: sa.Connection) -> str:
        explained = sa.text(f"EXPLAIN (GENERIC_PLAN) {housekeeping._OLD_KEYS.text}".replace(":past", "now()")
                            .replace(":first", "'(0,0)'").replace(":end", "'(64,0)'"))  # fmt: skip
        return "\n".join(conn.execute(explained).scalars())

    assert "Tid Range Scan on seen" in postgresql.write_now(plan)


# --- the way there ------------------------------------------------------------------------------------------------


def test_the_months_are_made_of_a_full_table_and_joined_again(postgresql: Database) -> None:
    record(postgresql, heard(inbound("STOP"), receipt(Status.SENT)))
    schema.downgrade(postgresql, "0008")
    add_raw(postgresql, raw_row(first_id_at(LATER)))
    mine = "CREATE VIEW mine AS SELECT text FROM inbound_messages WHERE text LIKE '%%T%%'"
    postgresql.write_now(lambda conn: conn.exec_driver_sql(mine))
    counted = []

    for move in (schema.upgrade, partial(schema.downgrade, target="0008"), schema.upgrade):
        counted.append([count(postgresql, name) for name in ("raw_requests", "inbound", "receipts", "mine")])
        move(postgresql)
    counted.append([count(postgresql, name) for name in ("raw_requests", "inbound", "receipts", "mine")])

    assert counted == [[2, 1, 1, 1]] * 4
    assert count(postgresql, "raw_requests_default") == 1
    schema.check(postgresql)


_MIGRATE = """
import sys
from app.record import schema
from app.record.database import Database
node = Database(sys.argv[1])
schema.upgrade(node)
print(node.read_now(schema.revision), end="")
"""


def test_two_nodes_that_migrate_at_once_both_succeed(postgresql: Database) -> None:
    schema.downgrade(postgresql, "base")
    url = postgresql.url.set(drivername="postgresql").render_as_string(hide_password=False)
    words = [sys.executable, "-c", _MIGRATE, url]

    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(7283901)")  # the one of migrations/env.py: both come to wait for it
        nodes = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_for(lambda: conn.execute(waiting).fetchone() == (2,))
    told = [node.communicate(timeout=60) for node in nodes]

    assert told == [(schema.head(), "")] * 2
    assert [node.returncode for node in nodes] == [0, 0]
    assert schema.is_current(postgresql)
