"""What a running server does beside its requests."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from app import chores
from app.record import partitions, tables
from app.record.database import Database
from tests.kannel import becomes
from tests.serving import Served, serving

PART = "?msisdn=14155550101&to=14155550199&messageId=0A{number}&text={text}&type=text&concat=true&concat-ref={ref}&concat-total=2&concat-part=1"


def hear_a_first_part(served: Served, number: int, text: str) -> int:
    told = {"name": "vonage", "provider": "vonage", "type": "inbound", "scheme": {"type": "token"}}
    made = served.ask("POST", "/v1/webhooks", told)
    shown = made if made.status == 201 else served.ask("GET", "/v1/webhooks/vonage")
    target = urlsplit(shown.json["url"]).path + PART.format(number=number, text=text, ref=number)
    return served.ask("GET", target, token=None).status


def let_time_pass(served: Served, passed: timedelta) -> None:
    then = datetime.now(UTC) - passed
    served.write(lambda conn: conn.execute(sa.update(tables.inbound_parts).values(received_at=then, stored_at=then)))


def texts(served: Served) -> list[str]:
    heard = sa.select(tables.inbound_messages.c.text).order_by(tables.inbound_messages.c.id)
    return list(served.parts.database.read_now(lambda conn: conn.execute(heard).scalars().all()))


def test_a_message_of_which_a_part_never_comes_is_decided_as_it_is(database_url: str) -> None:
    with serving(database_url) as served:
        answered = [hear_a_first_part(served, 1, "STOP"), hear_a_first_part(served, 2, "Hello")]
        before = texts(served)
        let_time_pass(served, timedelta(minutes=2))

        more = served.run(chores._decide_some(served.parts))
        again = served.run(chores._decide_some(served.parts))

        assert (answered, before, more, again) == ([200, 200], [], False, False)
        assert sorted(texts(served)) == ["Hello […]", "STOP […]"]
        assert served.ask("GET", "/v1/consent/+14155550101").json["state"] == "opted_out"


def test_what_is_past_its_days_goes_while_the_server_runs(database: Database, database_url: str) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=600)
    made = dict.fromkeys(("webhook", "method", "target", "headers", "client", "signature", "problem"), "x")
    rows = [{**made, "id": n, "received_at": long_ago, "body": b"", "reading": r} for n, r in ((1, "events"), (2, "undecoded"))]  # fmt: skip

    def add(conn: sa.Connection) -> None:
        # ids before any month: in PostgreSQL the default partition, once the first month has gone
        if conn.dialect.name == "postgresql":
            conn.exec_driver_sql("DROP TABLE raw_requests_first")
        conn.execute(sa.insert(tables.raw_requests), rows)
        conn.execute(sa.insert(tables.seen), [{"key": "k", "at": long_ago, "repeats_until": None}])

    database.write_now(add)
    with serving(database_url, key_retention_days=365) as served:
        ids = sa.select(tables.raw_requests.c.id)
        becomes(lambda: served.parts.database.read_now(lambda conn: conn.execute(ids).scalars().all()), [2])
        keys = sa.select(sa.func.count()).select_from(tables.seen)
        becomes(lambda: served.parts.database.read_now(lambda conn: conn.execute(keys).scalar_one()), 0)


def test_a_running_server_makes_room_for_the_months_to_come(database: Database, database_url: str) -> None:
    if database.dialect == "sqlite":
        with serving(database_url) as served:
            served.run(chores._see_to_months(served.parts))  # there are none, and nothing is touched
        return
    last = database.read_now(lambda conn: partitions.listed(conn, "receipts"))[-1]
    database.write_now(lambda conn: conn.exec_driver_sql(f"DROP TABLE {last.name}"))

    with serving(database_url) as served:
        served.run(chores._see_to_months(served.parts))

    assert database.read_now(lambda conn: partitions.listed(conn, "receipts"))[-1] == last


def test_a_clock_that_runs_ahead_of_the_database_forgets_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = datetime.now(UTC) - timedelta(days=300)
    monkeypatch.setattr(chores.diagnosis, "database_time", lambda _conn: theirs)

    with serving(database_url) as served:
        assert served.run(chores._now(served.parts)) == theirs
