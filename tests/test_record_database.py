"""PostgreSQL's sessions: what is set in them, and what becomes of those who wait when the server does not answer."""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from app.errors import BadInput, StoreUnavailable
from app.record.database import READER_THREADS, Database
from tests import postgres
from tests.freezing import frozen


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    """Not the one of the other tests, for this one is frozen and ended."""
    with postgres.running() as url:
        yield url


@pytest.fixture(params=["direct", "behind a proxy"])
def opened(own_server: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    url = f"{own_server}/postgres"
    database = Database(url, direct_url=None if request.param == "direct" else url)
    yield database
    database.close()


def ask(sql: str) -> "object":
    return lambda conn: conn.exec_driver_sql(sql).scalar_one()


def one(conn: sa.Connection) -> int:
    return int(conn.exec_driver_sql("SELECT 1").scalar_one())


SHOWN = ("timezone", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "plan_cache_mode", "enable_seqscan")  # fmt: skip


def shown(conn: sa.Connection) -> list[str]:
    return [conn.exec_driver_sql(f"SHOW {name}").scalar_one() for name in SHOWN]


def test_each_transaction_has_its_time_outs_and_the_planner_of_its_kind(opened: Database) -> None:
    reading = asyncio.run(opened.read(shown))
    with opened.writers.begin() as conn:
        writing = shown(conn)

    assert reading == ["UTC", "8s", "3s", "30s", "auto", "on"]
    assert writing == ["UTC", "10s", "3s", "5s", "force_generic_plan", "off"]


def test_a_network_that_swallows_everything_is_noticed(opened: Database) -> None:
    options = {"keep alive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE)} | {
        name: (socket.IPPROTO_TCP, number)
        for name, number in (
            ("idle", socket.TCP_KEEPIDLE),
            ("interval", socket.TCP_KEEPINTVL),
            ("count", socket.TCP_KEEPCNT),
            ("unacknowledged", socket.TCP_USER_TIMEOUT),
        )
    }
    for engine in (opened.readers, opened.writers):
        raw = engine.raw_connection()
        with socket.socket(fileno=os.dup(raw.dbapi_connection.fileno())) as wire:
            found = {name: wire.getsockopt(*option) for name, option in options.items()}
        raw.close()

        assert found == {"keep alive": 1, "idle": 5, "interval": 2, "count": 2, "unacknowledged": 5000}


def test_a_frozen_server_takes_no_new_connection(own_server: str) -> None:
    database = Database(f"{own_server}/postgres")
    with frozen(own_server), pytest.raises(OperationalError, match="timeout"):
        database.write_now(one)
    database.close()


def test_a_person_at_the_terminal_may_wait_long(opened: Database) -> None:
    assert opened.read_now(shown)[1:4] == ["0", "3s", "0"]
    assert opened.write_now(shown)[1:4] == ["0", "3s", "0"]


def test_behind_a_proxy_nothing_outlives_its_transaction(own_server: str) -> None:
    database = Database(f"{own_server}/postgres", direct_url=f"{own_server}/postgres")
    for _ in range(10):  # often enough for psycopg to prepare it otherwise
        database.write_now(one)
    raw = database.writers.raw_connection()

    with raw.cursor() as cursor:  # outside a transaction of ours
        left = [cursor.execute(f"SHOW {name}").fetchone()[0] for name in SHOWN[1:]]
        prepared = cursor.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0]
    raw.close()
    database.close()

    assert (left, prepared) == (["0", "0", "0", "auto", "on"], 0)


def test_a_direct_url_is_for_postgresql_alone(tmp_path: object) -> None:
    with pytest.raises(BadInput, match="TEXTBACK_DATABASE_DIRECT_URL is for PostgreSQL"):
        Database(f"sqlite:///{tmp_path}/x.db", direct_url="postgresql://localhost/x")


def test_a_connection_that_the_server_dropped_is_not_noticed_by_who_asks(opened: Database, own_server: str) -> None:
    opened.read_now(one)
    with psycopg.connect(f"{own_server}/postgres", autocommit=True) as conn:
        conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'textback'")

    assert asyncio.run(opened.read(one)) == 1


def test_readers_are_freed_from_a_frozen_server_and_read_again_when_it_is_back(
    opened: Database, own_server: str
) -> None:
    async def story() -> list[object]:
        await asyncio.gather(*(opened.read(ask("SELECT pg_sleep(0.05)")) for _ in range(READER_THREADS)))
        with frozen(own_server):
            questions = [opened.read(one, within=0.3) for _ in range(2 * READER_THREADS)]
            failures = await asyncio.gather(*questions, return_exceptions=True)
        answers = await asyncio.gather(*(opened.read(one) for _ in range(2 * READER_THREADS)))
        return [*(type(failure) for failure in failures), *answers]

    assert asyncio.run(story()) == [StoreUnavailable] * 8 + [1] * 8


def test_a_reader_whom_nobody_waits_for_is_freed_as_well(opened: Database, own_server: str) -> None:
    async def story() -> int:
        await opened.read(one)
        with frozen(own_server):
            left = [asyncio.create_task(opened.read(one, within=0.2)) for _ in range(READER_THREADS)]
            await asyncio.sleep(0.1)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await asyncio.sleep(0.3)
        return await opened.read(one)

    assert asyncio.run(story()) == 1


def test_a_writer_that_waits_for_a_frozen_server_can_be_interrupted(opened: Database, own_server: str) -> None:
    caught: list[BaseException] = []
    conn = opened.writers.connect()
    conn.begin()
    with frozen(own_server):

        def write() -> None:
            try:
                one(conn)
            except OperationalError as error:
                caught.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        thread.join(0.3)
        waited = thread.is_alive()
        cut = opened.interrupt()
        thread.join(10)
    conn.invalidate()
    conn.close()

    assert (waited, cut, thread.is_alive(), len(caught)) == (True, 1, False, 1)
    assert opened.write_now(one) == 1


def test_closing_does_not_wait_for_a_frozen_server(own_server: str) -> None:
    database = Database(f"{own_server}/postgres")
    database.read_now(one)
    with frozen(own_server):
        asyncio.run(left_hanging(database))
        database.close()

    assert database.interrupt_readers() == 0


async def left_hanging(database: Database) -> None:
    task = asyncio.create_task(database.read(one, within=60))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
