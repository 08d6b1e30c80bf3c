"""Look-ups that come together are asked together, whatever happens to the question or to one of them."""

import asyncio
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.errors import Overloaded, StoreUnavailable
from app.serve.edge.gathering import MOST, Gathering
from tests.lookups import ECID, STREAM, browser, furnish, page, segments
from tests.serving import Served, serving, serving_copy


class Asked:
    """A question that is answered when it is let go: each key with its double."""

    def __init__(self) -> None:
        self.questions: list[list[int]] = []
        self.go = asyncio.Event()
        self.failure: BaseException | None = None

    async def __call__(self, keys: list[int]) -> Mapping[int, int]:
        self.questions.append(keys)
        await self.go.wait()
        if self.failure:
            raise self.failure
        return {key: 2 * key for key in keys if key >= 0}


async def soon() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_comes_while_a_question_is_under_way_is_the_next_question() -> None:
    async def story() -> None:
        asked = Asked()
        gathering = Gathering(asked, 100)
        first = [asyncio.ensure_future(gathering.of(key)) for key in (1, 2)]
        await soon()
        others = [asyncio.ensure_future(gathering.of(key)) for key in (3, -4, 3)]
        await soon()
        asked.go.set()

        assert await asyncio.gather(*first, *others) == [2, 4, 6, None, 6]
        assert asked.questions == [[1, 2], [3, -4, 3]]
        assert await gathering.of(5) == 10

    asyncio.run(story())


def test_a_question_has_an_end() -> None:
    async def story() -> None:
        asked = Asked()
        asked.go.set()
        gathering = Gathering(asked, 10_000)

        found = await asyncio.gather(*(gathering.of(key) for key in range(MOST + 7)))

        assert found == [2 * key for key in range(MOST + 7)]
        assert list(map(len, asked.questions)) == [MOST, 7]

    asyncio.run(story())


def test_beyond_the_limit_nobody_waits() -> None:
    async def story() -> None:
        asked = Asked()
        gathering = Gathering(asked, 2)
        waiting = [asyncio.ensure_future(gathering.of(key)) for key in (1, 2)]
        await soon()
        waiting += [asyncio.ensure_future(gathering.of(key)) for key in (3, 4)]
        await soon()

        with pytest.raises(Overloaded):
            await gathering.of(5)
        asked.go.set()
        assert await asyncio.gather(*waiting) == [2, 4, 6, 8]

    asyncio.run(story())


def test_a_question_that_fails_fails_for_those_in_it_alone() -> None:
    async def story() -> None:
        asked = Asked()
        gathering = Gathering(asked, 100)
        asked.failure = StoreUnavailable("away")
        lost = [asyncio.ensure_future(gathering.of(key)) for key in (1, 2)]
        await soon()
        lost[0].cancel()  # its caller has hung up
        asked.go.set()
        outcomes = await asyncio.gather(*lost, return_exceptions=True)
        asked.failure = None

        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, StoreUnavailable]
        assert await gathering.of(3) == 6

    asyncio.run(story())


def test_who_hung_up_keeps_nobody_from_the_answer() -> None:
    async def story() -> None:
        asked = Asked()
        gathering = Gathering(asked, 100)
        gone, stays = (asyncio.ensure_future(gathering.of(key)) for key in (1, 2))
        await soon()
        gone.cancel()
        asked.go.set()

        assert await stays == 4

    asyncio.run(story())


def test_at_the_end_of_the_server_nobody_waits_for_ever() -> None:
    async def story() -> None:
        asked = Asked()
        gathering = Gathering(asked, 100)
        waits = asyncio.ensure_future(gathering.of(1))
        await soon()
        [question] = [task for task in asyncio.all_tasks() if "_ask_all" in str(task.get_coro())]
        question.cancel()

        with pytest.raises(asyncio.CancelledError):
            await waits

    asyncio.run(story())


# --- through the application --------------------------------------------------------------------------------------


def test_while_the_database_fails_a_page_is_told_to_come_again(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with serving_copy(sqlite_template, tmp_path_factory) as served:
        furnish(served)
        assert page(served, browser(ECID)).status == 200

        served.parts.intake.away_since = datetime.now(UTC)
        away = page(served, browser(ECID))
        new = page(served)
        served.parts.intake.away_since = None

    assert (away.status, away.headers["retry-after"]) == (503, "5")
    assert away.headers["content-type"] == "application/problem+json"
    assert away.headers["access-control-allow-origin"]
    assert segments(new) == {"personalizationAlias": [], "adServerAlias": []}


def test_a_body_that_does_not_come_is_not_waited_for(sqlite_template: Path, tmp_path: Path) -> None:
    import shutil

    url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'textback.db')}"
    with serving(url, request_timeout=0.2) as served:
        furnish(served)
        with socket.create_connection(("127.0.0.1", port(served)), timeout=20) as wire:
            wire.sendall(head(100) + b"{")
            answer = wire.recv(1_000)
        with socket.create_connection(("127.0.0.1", port(served)), timeout=20) as wire:
            wire.sendall(head(100) + b"{")  # and hangs up

        assert answer.startswith(b"HTTP/1.1 408 ")
        assert page(served).status == 200


def head(length: int) -> bytes:
    return f"POST /ee/v1/interact?configId={STREAM} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


def port(served: Served) -> int:
    return int(served.url.rpartition(":")[2])
