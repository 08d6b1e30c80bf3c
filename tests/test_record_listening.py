"""Two nodes on one PostgreSQL: what is registered at one, the other hears of, and would find by itself as well."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlalchemy as sa

from app import chores
from app.record import tables
from app.record.database import Database
from app.record.listening import News
from tests.conftest import fresh_database
from tests.kannel import becomes
from tests.serving import Served, serving

HOUSE = {
    "name": "house",
    "provider": "custom",
    "scheme": {"type": "token"},
    "payload": '{"id":"{{requestId}}","from":"{{profileNumber}}","to":"{{inboundNumber}}","text":"{{inboundMessage}}"}',
}
STOP = {"id": "1", "from": "+14155550101", "to": "+14155550199", "text": "STOP"}


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with fresh_database("postgresql", request, tmp_path) as found:
        yield found


def register(node: Served) -> str:
    made = node.ask("POST", "/v1/webhooks", HOUSE)
    assert made.status == 201
    return urlsplit(made.json["url"]).path


def listeners(url: str) -> int:
    with psycopg.connect(url) as conn:
        found = conn.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND state = 'idle'"
                             " AND datname = current_database()").fetchone()  # fmt: skip
    assert found
    return int(found[0])


def test_a_webhook_made_at_one_node_answers_at_the_other(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "_REGISTRY_EVERY", 3600)  # so that nothing but the news tells it
    with serving(url) as one, serving(url) as other:
        becomes(lambda: listeners(url), 2)
        path = register(one)

        becomes(lambda: other.ask("POST", path, STOP, token=None).status, 200)

        assert one.ask("GET", "/v1/consent/+14155550101").json["state"] == "opted_out"


def test_and_also_where_nobody_can_listen(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def deaf(_news: News) -> None:
        raise OSError

    monkeypatch.setattr(News, "listen", deaf)
    with serving(url) as one, serving(url) as other:
        path = register(one)

        becomes(lambda: other.ask("POST", path, STOP, token=None).status, 200, seconds=10)


def test_a_listener_whose_connection_breaks_comes_back(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.record.listening._AGAIN", 0.05)
    database = Database(url)

    async def story() -> list[bool]:
        news = News(database)
        task = asyncio.create_task(news.listen())
        heard = [await news.wait(20)]  # that it listens
        await asyncio.to_thread(end_listeners, url)
        heard.append(await news.wait(20))  # that it listens again
        await asyncio.to_thread(database.write_now, raise_version)
        heard.append(await news.wait(20))
        heard.append(await news.wait(0.01))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return heard

    told = asyncio.run(story())
    database.close()

    assert told == [True, True, True, False]


def end_listeners(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
                     " AND datname = current_database()")  # fmt: skip


def raise_version(conn: sa.Connection) -> None:
    version = tables.registry_version.c.version
    conn.execute(sa.update(tables.registry_version).values(version=version + 1))


def test_in_sqlite_nobody_listens(sqlite_template: Path) -> None:
    database = Database(f"sqlite:///{sqlite_template}")

    async def story() -> bool:
        news = News(database)
        await news.listen()
        return news.listening or await news.wait(0.01)

    heard = asyncio.run(story())
    database.close()

    assert heard is False
