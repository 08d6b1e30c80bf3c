"""The chain of seals: what is sealed and when, by whom, and how far."""

import asyncio
import hashlib
import hmac
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import orjson
import psycopg
import pytest
import sqlalchemy as sa
import time_machine
from structlog.testing import capture_logs

from app import chores
from app.changes import LedgerRow
from app.record import ids, schema, seals, settled, tables
from app.record.database import Database
from app.record.ids import first_id_at
from app.record.seals import Seal
from app.serve.ledger_check import check_ledger
from tests import postgres
from tests.commands import EVIDENCE_KEY
from tests.conftest import fresh_database
from tests.sealing import AT_ONCE, KEY, STORY, ids_of, record, seal, sealed
from tests.serving import serving

T = TypeVar("T")

NOON = datetime(2026, 11, 22, 12, 0, 0, 250, tzinfo=UTC)


def add_entries(database: Database, entries: list[LedgerRow]) -> None:
    rows = [entry._asdict() for entry in entries]
    database.write_now(lambda conn: conn.execute(sa.insert(tables.ledger), rows))


def entry(row_id: int, **more: object) -> LedgerRow:
    made = LedgerRow(
        row_id, "default", "unknown", "opted_out", "keyword", "whole message", "v1", False, NOON, NOON, "c"
    )
    return made._replace(**more)  # type: ignore[arg-type]


def is_clean(database: Database) -> bool:
    return check_ledger(database, EVIDENCE_KEY).found == []


# --- what a seal is -----------------------------------------------------------------------------------------------


def test_seals_follow_each_other_over_every_entry_without_a_gap(database: Database) -> None:
    made = sealed(database)

    stored = database.read_now(partial(seals.listed, after=0, limit=10))
    assert stored == made
    assert [(each.number, each.entries) for each in made] == [(1, 2), (2, 2), (3, 2)]
    assert [each.first_id for each in made] == [1, made[0].last_id + 1, made[1].last_id + 1]
    assert made[0].last_id == ids_of(database)[1]
    assert is_clean(database)


def test_a_head_is_what_the_documentation_says_on_both_databases(database: Database) -> None:
    """Anybody can write a verifier of their own from this, and a moved ledger keeps its seals."""
    times = ["2026-11-22T12:00:00.000250", "2026-11-22T12:00:00.000000"]
    whole_second = NOON.replace(microsecond=0)
    add_entries(database, [entry(7, list_version="ü\n"), entry(9, superseded=True, effective_at=whole_second)])
    found = database.read_now(partial(seals.next_seal, key=KEY, mark=20))
    assert found
    made = found[1]
    database.write_now(lambda conn: seals.add(conn, *found))

    lines = [
        [7, "default", "unknown", "opted_out", "keyword", "whole message", "ü\n", 0, times[0], times[0], "c"],
        [9, "default", "unknown", "opted_out", "keyword", "whole message", "v1", 1, times[1], times[0], "c"],
        [1, 1, 20, 2, made.sealed_at.replace(tzinfo=None).isoformat(timespec="microseconds"), ""],
    ]
    text = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    assert made == Seal(1, 1, 20, 2, hmac.new(KEY, text, hashlib.sha256).hexdigest(), made.sealed_at)
    assert database.read_now(seals.latest) == made


def test_where_nothing_was_added_no_seal_is_made(database: Database) -> None:
    empty = seal(database)
    sealed(database)

    assert (empty, seal(database)) == (None, None)


def test_entries_of_the_last_seconds_wait(database: Database) -> None:
    record(database)

    assert seal(database, slack=settled.SLACK) is None
    assert database.read_now(seals.oldest_unsealed) == ids_of(database)[0]


def test_a_long_ledger_is_sealed_and_verified_page_by_page(database: Database) -> None:
    add_entries(database, [entry(number) for number in range(1, 4502)])

    made = [seal(database, most=4400), seal(database, most=4400), seal(database, most=4400)]

    assert [each and each.entries for each in made] == [4400, 101, None]
    report = check_ledger(database, EVIDENCE_KEY)
    assert (report.entries, report.seals, report.unsealed, report.without_evidence) == (4501, 2, 0, 4501)
    assert [each.kind for each in report.found] == ["evidence_gone"]


def test_the_seal_over_an_entry_is_found(database: Database) -> None:
    record(database, STORY * 3)
    made = []
    while one := seal(database, most=3):
        made.append(one)
    record(database)

    found = [database.read_now(partial(seals.covering, ledger_id=row_id)) for row_id in ids_of(database)]

    assert found == [*(each for each in made for _ in range(3)), *[None] * 6]


# --- by whom ------------------------------------------------------------------------------------------------------


def test_two_that_seal_at_once_make_one_chain(database: Database, database_url: str) -> None:
    record(database, STORY * 4)
    other, start = Database(database_url), threading.Barrier(2)
    made: list[Seal] = []

    def work(mine: Database) -> None:
        start.wait()
        while len(ids_of(mine)) > sum(each.entries for each in mine.read_now(partial(seals.listed, after=0, limit=99))):
            if one := seal(mine, most=1):
                made.append(one)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in (database, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()

    assert sorted(each.number for each in made) == list(range(1, 25))
    assert is_clean(database)


def test_a_server_seals_what_is_old_enough_and_goes_on_after_a_restart(database_url: str, database: Database) -> None:
    first = first_id_at(datetime.now(UTC) - timedelta(minutes=2))
    settings = {"evidence_key": "e" * 32, "seal_every": 0.05}

    numbers = []
    for number in range(2):
        add_entries(database, [entry(first + more) for more in range(3)])
        with serving(database_url, **settings) as served:
            found = wait_for(partial(newest, database, number))
            shown = served.ask("GET", "/v1/ledger-head").json
            unsealed = served.ask("GET", "/metrics").body.decode()
        numbers.append((found.number, found.entries, shown["number"], shown["head"] == found.head))
        first = found.last_id + 1

    assert numbers == [(1, 3, 1, True), (2, 3, 2, True)]
    assert "textback_ledger_unsealed_seconds 0.0" in unsealed


def newest(database: Database, after: int) -> Seal | None:
    found = database.read_now(seals.latest)
    return found if found and found.number > after else None


def wait_for(what: Callable[[], T | None]) -> T:
    end = time.monotonic() + 20
    while (found := what()) is None:
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found


def test_without_an_evidence_key_nothing_is_sealed_and_the_metric_stays_calm(
    database_url: str, database: Database
) -> None:
    with serving(database_url) as served:
        add_entries(database, [entry(first_id_at(datetime.now(UTC) - timedelta(days=2)))])

        served.run(asyncio.wait_for(chores.seal_ledger(served.parts), 5))

        assert served.parts.database.read_now(seals.latest) is None
        assert served.ask("GET", "/v1/ledger-head").status == 404
        assert "textback_ledger_unsealed_seconds 0.0" in served.ask("GET", "/metrics").body.decode()


def test_the_metric_tells_the_age_of_the_oldest_entry_without_a_seal(database_url: str, database: Database) -> None:
    with serving(database_url, evidence_key="e" * 32, seal_every=3600) as served:
        # young enough that the seal at the start leaves it out, however late that comes
        add_entries(database, [entry(first_id_at(datetime.now(UTC) - timedelta(seconds=15)))])

        told = served.ask("GET", "/metrics").body.decode()

    age = re.search(r"^textback_ledger_unsealed_seconds (\S+)$", told, re.MULTILINE)
    assert age
    assert 15 <= float(age[1]) < 100


# --- how far: PostgreSQL has several transactions at once ---------------------------------------------------------


@pytest.fixture
def on_postgres(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with fresh_database("postgresql", request, tmp_path) as url:
        opened = Database(url)
        yield opened
        opened.close()


def plain(database: Database) -> str:
    return database.url.set(drivername="postgresql").render_as_string(hide_password=False)


INSERT = "INSERT INTO ledger SELECT %s, program, old_state, new_state, cause, rule, list_version, superseded, effective_at, received_at, commitment FROM ledger LIMIT 1"


def test_entries_of_a_transaction_that_is_still_open_hold_the_seals_back(on_postgres: Database) -> None:
    """It has an id that is lower than committed ones: were those sealed, its own would look slipped in."""
    record(on_postgres, STORY[:2])
    with psycopg.connect(plain(on_postgres)) as slow:
        slow.execute("SELECT 1")
        mine = ids.new_id()
        time.sleep(0.005)
        record(on_postgres, STORY[2:])
        slow.execute(INSERT, [mine])

        before = seal(on_postgres, slack=timedelta(0))
        while_open = seal(on_postgres, slack=timedelta(0))
        left = on_postgres.read_now(seals.oldest_unsealed)
        slow.commit()
    after = seal(on_postgres)

    assert before
    assert (before.entries, while_open) == (2, None)
    assert left == ids_of(on_postgres)[3]
    assert after
    assert after.entries == 5
    assert mine in ids_of(on_postgres)[2:3]
    assert [each.kind for each in check_ledger(on_postgres, EVIDENCE_KEY).found] == ["evidence_gone"]


def test_nodes_that_record_while_another_seals_add_nothing_below_a_seal(on_postgres: Database) -> None:
    """Without any slack: what is open holds the seals back, and that alone must do."""
    nodes = [Database(plain(on_postgres)) for _ in range(3)]
    done = threading.Event()

    def say(node: Database, number: int) -> None:
        for turn in range(4):
            record(node, [(f"+1415555{number}{turn}{count:02}", text) for count, (_, text) in enumerate(STORY)])

    def seal_on() -> None:
        while not done.is_set():
            seal(on_postgres, slack=timedelta(0))

    talking = [threading.Thread(target=say, args=(node, number)) for number, node in enumerate(nodes)]
    sealing = threading.Thread(target=seal_on)
    for thread in (*talking, sealing):
        thread.start()
    for thread in talking:
        thread.join()
    done.set()
    sealing.join()
    for node in nodes:
        node.close()
    seal(on_postgres)

    report = check_ledger(on_postgres, EVIDENCE_KEY)
    assert report.found == []
    assert (report.entries, report.unsealed) == (72, 0)
    assert report.seals > 3


def test_a_transaction_of_another_role_that_may_not_be_seen_stops_the_seals(on_postgres: Database) -> None:
    record(on_postgres)
    role = f"r{ids.new_id()}"
    with psycopg.connect(plain(on_postgres), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN")
        admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    theirs = Database(on_postgres.url.set(username=role).render_as_string(hide_password=False))
    with psycopg.connect(plain(on_postgres)) as other:
        other.commit()
        idle = theirs.write_now(partial(settled.settled, slack=AT_ONCE))
        other.execute("SELECT 1")
        hidden = theirs.write_now(partial(settled.settled, slack=AT_ONCE))
        with psycopg.connect(plain(on_postgres), autocommit=True) as admin:
            admin.execute(f"GRANT pg_read_all_stats TO {role}")
        allowed = theirs.write_now(partial(settled.settled, slack=AT_ONCE))
        own = theirs.read_now(settled.open_since)
    theirs.close()
    with psycopg.connect(plain(on_postgres), autocommit=True) as admin:
        admin.execute(f"DROP OWNED BY {role}")
        admin.execute(f"DROP ROLE {role}")

    assert (idle.problem, hidden.problem, allowed.problem) == ("", settled.HIDDEN, "")
    assert (hidden.last_id, idle.last_id > 0, allowed.last_id > 0) == (0, True, True)
    assert own
    assert own == allowed.open_since


def test_who_may_only_read_holds_nothing_back_and_who_may_take_on_a_writing_role_does(on_postgres: Database) -> None:
    record(on_postgres)
    names = [f"r{ids.new_id()}" for _ in range(4)]
    textback, reader, writer, both = names
    url = on_postgres.url
    with psycopg.connect(plain(on_postgres), autocommit=True) as admin:
        for name in names:
            admin.execute(f"CREATE ROLE {name} LOGIN NOINHERIT")
        admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {textback}, {reader}")
        admin.execute(f"GRANT INSERT ON ledger TO {textback}, {writer}")
        admin.execute(f"GRANT {writer} TO {both}")
    ours = Database(url.set(username=textback).render_as_string(hide_password=False))
    told = []
    for name in (reader, writer, both):
        with psycopg.connect(plain(on_postgres).replace("postgres@", f"{name}@")) as other:
            other.execute("SELECT 1")
            told.append(ours.write_now(settled.settled).problem)
    ours.close()
    with psycopg.connect(plain(on_postgres), autocommit=True) as admin:
        admin.execute(f"DROP OWNED BY {', '.join(names)}")
        admin.execute(f"DROP ROLE {', '.join(names)}")

    assert told == ["", settled.HIDDEN, settled.HIDDEN]


def test_a_session_that_keeps_no_times_stops_the_seals(on_postgres: Database) -> None:
    record(on_postgres)
    with psycopg.connect(plain(on_postgres), options="-c track_activities=off") as silent:
        silent.execute("SELECT 1")

        found = on_postgres.write_now(settled.settled)

    assert (found.last_id, found.problem) == (0, settled.HIDDEN)


def test_the_log_says_why_nothing_is_sealed(on_postgres: Database) -> None:
    record(on_postgres)
    url = plain(on_postgres)
    with serving(url, evidence_key="e" * 32, seal_every=3600) as served, psycopg.connect(url, options="-c track_activities=off") as silent:  # fmt: skip
        silent.execute("SELECT 1")
        with capture_logs() as logs:
            made = served.run(chores._seal_some(served.parts, KEY))

    assert made is False
    assert {"event": "the ledger cannot be sealed", "reason": settled.HIDDEN, "log_level": "warning"} in logs


def test_a_prepared_transaction_on_the_ledger_stops_the_seals() -> None:
    with postgres.running(options=("-c", "max_prepared_transactions=2")) as server:
        database = Database(f"{server}/postgres")
        schema.upgrade(database)
        record(database)
        with psycopg.connect(plain(database), autocommit=True) as other:
            other.execute("BEGIN")
            other.execute(INSERT, [ids.new_id()])
            other.execute("PREPARE TRANSACTION 'theirs'")

            held = database.write_now(settled.settled)
            other.execute("COMMIT PREPARED 'theirs'")
            free = database.write_now(settled.settled)
        database.close()

    assert (held.problem, held.last_id, free.problem) == (settled.PREPARED, 0, "")


# --- nothing is added below what is sealed ------------------------------------------------------------------------


def test_the_floor_is_above_every_seal_and_on_postgresql_at_the_databases_clock(database: Database) -> None:
    empty = database.read_now(settled.floor)
    sealed(database)
    newest_id, last = ids_of(database)[-1], database.read_now(seals.latest)

    floor = database.read_now(settled.floor)

    assert last
    assert floor >= max(newest_id, last.last_id)
    if database.dialect == "postgresql":
        assert abs(ids.moment_of(empty) - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_command_on_a_machine_whose_clock_lags_adds_nothing_below_a_seal(database: Database) -> None:
    sealed(database)
    with time_machine.travel(datetime.now(UTC) - timedelta(days=1)):
        record(database, STORY[:1])

    assert seal(database)
    assert is_clean(database)
