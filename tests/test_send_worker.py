"""The sender as a whole: a real outbox, the real writer, and a provider on loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import uvloop
from pydantic import SecretStr
from structlog.testing import capture_logs

from app.credential import BasicAuth, Credential
from app.interpret import decide
from app.provider import Provider
from app.record.database import Database
from app.record.tables import consent, ledger, messages
from app.record.tables import outbox as table
from app.record.writer import Writer
from app.send import Client, Courier, Destinations, Message, Sender, courier
from app.send.outcome import Patience
from app.settings import Settings
from tests import fake_provider
from tests.fake_provider import DROP, HANG, FakeProvider, answer, blocked, busy, redirect
from tests.heard import ALICE, BOB, CHARLIE, COMPANY, RULES, heard, inbound
from tests.test_send_outbox import queue, rows, stand

FORM = {"To": "{{toNumber}}", "From": "{{fromNumber}}", "Body": "{{message}}", "Ref": "{{messageReference}}"}
QUICK = Patience(attempts=3, first_wait=0.05)


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        yield running


def acme(provider: FakeProvider, *, idempotent: bool = False) -> Courier:
    rules = {"url": f"{provider.url}/messages", "form": FORM, "id": "sid", "code": "code", "blocked_codes": ["21610"]}
    file = Provider(slug="twilio", name="T", page="https://example.com", send={"sms": rules})
    auth = BasicAuth(username="AC1", password=SecretStr("secret"))
    return courier(Credential(name="acme", provider="twilio", auth=auth, idempotent=idempotent), file)


class House:
    """A running sender and writer, and what a test asks them."""

    def __init__(self, database: Database, writer: Writer, sender: Sender, provider: FakeProvider) -> None:
        self.database = database
        self.writer = writer
        self.sender = sender
        self.provider = provider

    async def hear(self, *events: Any, rules: Any = RULES, at: datetime | None = None) -> None:
        """As the door does: record, and nudge the sender."""
        await self.writer.record(heard(*events, at=at or datetime.now(UTC), rules=rules))
        self.sender.nudge()

    async def ended(self, count: int = 1) -> list[tuple[str, str]]:
        """State and reason of the replies, by id, when none of them is on its way any more."""
        for _ in range(1000):
            found = await self.database.read(_states)
            if len(found) == count and not {state for state, _ in found} & {"pending", "sending"}:
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"replies are still on their way: {found}")

    async def sent(self, reply_id: int) -> None:
        """Until this reply was sent."""
        query = sa.select(table.c.state).where(table.c.id == reply_id)
        for _ in range(1000):
            if await self.database.read(lambda conn: conn.execute(query).scalar_one()) == "sent":
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"reply {reply_id} was not sent")

    async def settled(self, count: int) -> None:
        """Until so many replies have been tried or given back, and wait."""
        for _ in range(1000):
            found = await self.database.read(_states)
            if len([reason for state, reason in found if state == "pending" and reason]) == count:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"replies are still on their way: {found}")

    async def requests(self, count: int) -> None:
        """Until the provider has heard so many."""
        for _ in range(1000):
            if len(self.provider.requests) >= count:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"the provider has heard {len(self.provider.requests)} requests")


def _states(conn: sa.Connection) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in conn.execute(sa.select(table.c.state, table.c.reason).order_by(table.c.id))]


@asynccontextmanager
async def open_house(
    database: Database, provider: FakeProvider, *, couriers: dict[str, Courier] | None = None, **given: Any
) -> AsyncIterator[House]:
    usual = {"send_timeout": 5.0, "send_concurrency": 8, "allowed_private_destinations": ["127.0.0.1"]}
    settings = Settings(**usual | given)
    writer = Writer(database, decide)
    writer.start()
    client = Client(Destinations(settings.allowed_private_destinations))
    found = {"acme": acme(provider)} if couriers is None else couriers
    sender = Sender(writer, client, found.get, settings, patience=QUICK)
    sender.start()
    try:
        yield House(database, writer, sender, provider)
    finally:
        await sender.stop(within=1)
        await writer.stop()


def living(database: Database, provider: FakeProvider, story: Callable[[House], Awaitable[Any]], **given: Any) -> Any:
    async def run() -> Any:
        async with open_house(database, provider, **given) as house:
            return await story(house)

    return uvloop.run(run())


def now() -> datetime:
    return datetime.now(UTC)


# --- the plain way ------------------------------------------------------------------------------------------------


def test_bob_says_stop_and_gets_one_confirmation(database: Database, provider: FakeProvider) -> None:
    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("STOP"))
        return await house.ended()

    ended = living(database, provider, story)

    assert ended == [("sent", "")]
    (request,) = provider.requests
    ((outbox_id, text),) = rows(database, table.c.id, table.c.text)
    assert request.form == {"To": BOB, "From": COMPANY, "Body": text, "Ref": str(outbox_id)}
    assert request.headers["authorization"] == "Basic QUMxOnNlY3JldA=="
    assert rows(database, messages.c.provider_id, messages.c.recipient, messages.c.outbox_id, messages.c.status) == [
        ("SM1", BOB, outbox_id, "queued")
    ]


def test_replies_that_waited_while_nobody_sent_leave_when_a_sender_starts(
    database: Database, provider: FakeProvider
) -> None:
    for number in range(40):
        queue(database, number, f"+141555502{number:02}", deadline=now() + timedelta(minutes=1))

    living(database, provider, lambda house: house.ended(40))

    assert len({request.form["To"] for request in provider.requests}) == 40
    assert len(provider.requests) == 40


def test_an_answer_without_an_id_is_a_sent_message_under_our_reference(
    database: Database, provider: FakeProvider
) -> None:
    provider.plan.append(answer(202, b"0: Accepted for delivery"))
    queue(database, 4711, BOB, deadline=now() + timedelta(minutes=1))

    living(database, provider, lambda house: house.ended())

    assert rows(database, messages.c.id, messages.c.provider_id) == [(4711, "4711")]


def test_replies_to_one_address_leave_one_after_the_other_in_order(database: Database, provider: FakeProvider) -> None:
    provider.plan.extend(answer(201, {"sid": f"S{n}"}, pause=0.05) for n in range(5))
    for number in range(5):
        queue(database, number, BOB, text=str(number), deadline=now() + timedelta(minutes=1))

    living(database, provider, lambda house: house.ended(5))

    assert provider.texts == ["0", "1", "2", "3", "4"]
    assert provider.connections == 1  # never two at once


# --- failures -----------------------------------------------------------------------------------------------------


def test_a_provider_that_is_down_is_tried_again_until_it_takes_the_message(
    database: Database, provider: FakeProvider
) -> None:
    provider.plan.extend([answer(500), answer(503)])

    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("STOP"))
        return await house.ended()

    assert living(database, provider, story) == [("sent", "")]
    assert len({request.form["Ref"] for request in provider.requests}) == 1
    assert len(provider.requests) == 3


def test_tries_are_counted(database: Database, provider: FakeProvider) -> None:
    provider.plan.extend([answer(500)] * 5)

    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("HELP"))
        return await house.ended()

    assert living(database, provider, story) == [("failed", "given up after 3 tries: the provider answered 500")]
    assert len(provider.requests) == 3


def test_retry_after_is_honoured_and_holds_the_other_replies_of_the_credential(
    database: Database, provider: FakeProvider
) -> None:
    provider.plan.append(busy("600"))
    began = now()

    async def story(house: House) -> None:
        await house.hear(inbound("HELP", address=ALICE))
        await house.settled(1)
        await house.hear(inbound("HELP", address=BOB))
        await house.settled(2)

    living(database, provider, story)

    assert len(provider.requests) == 1
    assert rows(database, table.c.address, table.c.state, table.c.attempts, table.c.reason) == [
        (ALICE, "pending", 1, "the provider answered 429 with code 20429"),
        (BOB, "pending", 0, "the provider asked to wait"),
    ]
    asked = {ALICE: timedelta(seconds=600), BOB: timedelta(seconds=299)}  # others are held for five minutes at most
    again = dict(rows(database, table.c.address, table.c.next_at))
    assert {address: again[address] - began > wait for address, wait in asked.items()} == {ALICE: True, BOB: True}


def test_a_short_retry_after_only_delays(database: Database, provider: FakeProvider) -> None:
    provider.plan.append(busy("1"))

    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("STOP"))
        return await house.ended()

    assert living(database, provider, story) == [("sent", "")]
    assert len(provider.requests) == 2


def test_what_the_provider_refuses_for_good_is_not_tried_again(database: Database, provider: FakeProvider) -> None:
    provider.plan.append(answer(400, {"code": 21211}))

    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("STOP"))
        return await house.ended()

    assert living(database, provider, story) == [("failed", "the provider answered 400 with code 21211")]
    assert len(provider.requests) == 1
    assert rows(database, consent.c.confirmed) == [(False,)]


def test_a_redirect_is_refused(database: Database, provider: FakeProvider) -> None:
    provider.plan.append(redirect(f"{provider.url}/elsewhere"))

    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("HELP"))
        return await house.ended()

    ((state, reason),) = living(database, provider, story)

    assert (state, "redirect" in reason, len(provider.requests)) == ("failed", True, 1)


def test_a_private_destination_is_not_called_and_the_reply_fails(database: Database, provider: FakeProvider) -> None:
    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("HELP"))
        return await house.ended()

    ((state, reason),) = living(database, provider, story, allowed_private_destinations=[])

    assert (state, "is a private address" in reason, provider.connections) == ("failed", True, 0)


@pytest.mark.parametrize("trouble", [DROP, HANG], ids=["closed without an answer", "no answer in time"])
@pytest.mark.parametrize(
    ("said", "ended"),
    [
        pytest.param(("STOP", False), ("doubtful", 1), id="confirmation"),
        pytest.param(("STOP", True), ("sent", 2), id="confirmation, where a repeat would be noticed"),
        pytest.param(("HELP", False), ("sent", 2), id="any other reply"),
    ],
)
def test_a_confirmation_that_may_have_left_is_not_repeated(
    database: Database, provider: FakeProvider, trouble: Any, said: tuple[str, bool], ended: tuple[str, int]
) -> None:
    provider.plan.append(trouble)
    text, idempotent = said

    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound(text))
        return await house.ended()

    found = {"acme": acme(provider, idempotent=idempotent)}
    ((state, _),) = living(database, provider, story, couriers=found, send_timeout=0.3)

    assert (state, len(provider.requests)) == ended


def test_a_confirmation_that_never_left_is_repeated(database: Database, provider: FakeProvider) -> None:
    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("STOP"))
        return await house.ended()

    nobody = FakeProvider(url="http://127.0.0.1:1")

    ((state, reason),) = living(database, provider, story, couriers={"acme": acme(nobody)})

    assert (state, reason.startswith("given up after 3 tries: 127.0.0.1 could not be reached")) == ("failed", True)


def test_a_blocked_confirmation_is_the_providers_own_and_no_failure(database: Database, provider: FakeProvider) -> None:
    provider.plan.append(blocked())

    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("STOP"))
        return await house.ended()

    assert living(database, provider, story) == [("blocked", "the provider answered 400 with code 21610")]
    assert rows(database, consent.c.state, consent.c.confirmed) == [("opted_out", True)]
    assert len(rows(database, ledger.c.id)) == 1


def test_a_blocked_reply_tells_us_of_an_opt_out_at_the_time_it_was_sent(
    database: Database, provider: FakeProvider
) -> None:
    provider.plan.append(blocked())
    before = now()

    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("HELP", address=CHARLIE))
        return await house.ended()

    assert living(database, provider, story) == [("blocked", "the provider answered 400 with code 21610")]
    ((program, address, state, cause, since),) = rows(
        database, consent.c.program, consent.c.address, consent.c.state, consent.c.cause, consent.c.since
    )
    assert (program, address, state, cause) == ("default", CHARLIE, "opted_out", "block_error")
    assert before < since < now()


def test_without_its_credential_a_reply_waits_for_it(database: Database, provider: FakeProvider) -> None:
    couriers: dict[str, Courier] = {}

    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("HELP"))
        await asyncio.sleep(0.1)
        couriers["acme"] = acme(provider)
        return await house.ended()

    assert living(database, provider, story, couriers=couriers) == [("sent", "")]


# --- consent and deadline -----------------------------------------------------------------------------------------


def test_a_reply_whose_deadline_has_passed_does_not_leave_and_its_opt_out_is_unconfirmed(
    database: Database, provider: FakeProvider
) -> None:
    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("STOP"), at=now() - timedelta(minutes=6))
        return await house.ended()

    assert living(database, provider, story) == [("cancelled", "deadline passed")]
    assert provider.requests == []
    assert rows(database, consent.c.state, consent.c.confirmed) == [("opted_out", False)]


def test_after_a_cancelled_confirmation_the_next_stop_is_confirmed(database: Database, provider: FakeProvider) -> None:
    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("STOP"), at=now() - timedelta(minutes=6))
        await house.ended()
        await house.hear(inbound("STOP"))
        return await house.ended(2)

    assert living(database, provider, story) == [("cancelled", "deadline passed"), ("sent", "")]


def test_a_reply_to_somebody_who_said_stop_meanwhile_does_not_leave(database: Database, provider: FakeProvider) -> None:
    queue(database, 1, BOB, category="default", deadline=now() + timedelta(minutes=1))
    stand(database, "*", BOB, "opted_out")

    assert living(database, provider, lambda house: house.ended()) == [("cancelled", "opted out since")]
    assert provider.requests == []


# --- crashes, faults, shutdown ------------------------------------------------------------------------------------


def test_after_a_crash_between_claim_and_mark_a_reply_is_sent_once_more(
    database: Database, provider: FakeProvider
) -> None:
    a_while_ago = now() - timedelta(seconds=1)
    queue(database, 1, BOB, state="sending", attempts=1, claimed_until=a_while_ago, next_at=a_while_ago,
          deadline=now() + timedelta(minutes=1))  # fmt: skip

    assert living(database, provider, lambda house: house.ended()) == [("sent", "")]
    assert rows(database, table.c.attempts) == [(2,)]


def test_a_reply_that_ends_every_process_is_given_up(database: Database, provider: FakeProvider) -> None:
    a_while_ago = now() - timedelta(seconds=1)
    queue(database, 1, BOB, state="sending", attempts=3, claimed_until=a_while_ago, next_at=a_while_ago,
          deadline=now() + timedelta(minutes=1))  # fmt: skip

    ((state, reason),) = living(database, provider, lambda house: house.ended())

    assert (state, reason) == ("failed", "given up after 3 tries; the last ended with its process")
    assert provider.requests == []


def test_what_was_sent_while_the_store_is_away_is_marked_later_and_not_sent_again(
    database: Database, provider: FakeProvider
) -> None:
    provider.plan.append(answer(201, {"sid": "S1"}, pause=0.1))

    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("HELP"))
        await house.requests(1)
        house.writer._limit = 0  # from now on it takes nothing: StoreUnavailable
        await asyncio.sleep(0.3)
        house.writer._limit = 10
        return await house.ended()

    assert living(database, provider, story) == [("sent", "")]
    assert len(provider.requests) == 1


def test_while_the_store_is_away_the_sender_waits_for_it(database: Database, provider: FakeProvider) -> None:
    async def story(house: House) -> list[tuple[str, str]]:
        house.writer._limit = 0
        house.sender.nudge()
        await asyncio.sleep(0.1)
        house.writer._limit = 10
        await house.hear(inbound("HELP"))
        return await house.ended()

    assert living(database, provider, story) == [("sent", "")]


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_an_outcome_that_the_database_refuses_holds_no_other(database: Database, provider: FakeProvider) -> None:
    sound = acme(provider)
    ill = replace(sound, account="no database takes \0")
    provider.plan.extend(answer(201, {"sid": f"S{n}"}, pause=0.2) for n in range(2))
    queue(database, 1, BOB, credential="ill", deadline=now() + timedelta(minutes=1))
    queue(database, 2, ALICE, credential="acme", deadline=now() + timedelta(minutes=1))

    async def story(house: House) -> None:
        await house.sent(2)

    with capture_logs() as logs:
        living(database, provider, story, couriers={"acme": sound, "ill": ill})

    # the first will be sent once more when its lease has lapsed
    assert rows(database, table.c.id, table.c.state) == [(1, "sending"), (2, "sent")]
    assert {entry["event"] for entry in logs} == {"outcomes were refused by the database"}


class Broken(Exception):
    """A bug of ours."""


def test_a_bug_that_one_reply_meets_stops_no_other_and_tells_no_number(
    database: Database, provider: FakeProvider
) -> None:
    sound = acme(provider)

    def compose(message: Message) -> Any:
        if message.to_number == BOB:
            raise Broken(f"cannot send to {message.to_number}")
        return sound.compose(message)

    ill = replace(sound, compose=compose)

    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("HELP", address=BOB))
        await house.hear(inbound("HELP", address=ALICE))
        return await house.ended(2)

    with capture_logs() as logs:
        ended = living(database, provider, story, couriers={"acme": ill})

    assert ended == [("failed", "given up after 3 tries: an error of ours: Broken"), ("sent", "")]
    assert [entry["to"] for entry in logs if entry["log_level"] == "error"] == ["+1415•••01"] * 3
    assert BOB not in str(logs)


class Panic(BaseException):
    """As libraries in Rust raise it, which is no Exception."""


def test_a_panic_ends_no_hand(database: Database, provider: FakeProvider) -> None:
    sound = acme(provider)

    def read(answer: Any, at: datetime) -> str:
        if provider.texts == ["0"]:
            raise Panic
        return sound.read(answer, at)

    for number in range(3):
        queue(database, number, f"+1415555020{number}", text=str(number), deadline=now() + timedelta(minutes=1))

    async def story(house: House) -> list[tuple[str, str]]:
        return await house.ended(3)

    ended = living(database, provider, story, couriers={"acme": replace(sound, read=read)}, send_concurrency=1)

    assert ended == [("sent", "")] * 3
    assert sorted(provider.texts) == ["0", "0", "1", "2"]


def test_stopping_finishes_what_is_in_hand_and_gives_back_the_rest(database: Database, provider: FakeProvider) -> None:
    provider.plan.extend(answer(201, {"sid": f"S{n}"}, pause=0.3) for n in range(2))
    for number in range(6):
        queue(database, number, f"+1415555020{number}", deadline=now() + timedelta(minutes=1))

    async def story(house: House) -> None:
        await house.requests(2)
        await house.sender.stop()

    living(database, provider, story, send_concurrency=2)

    assert rows(database, table.c.state, table.c.attempts) == [("pending", 0)] * 4 + [("sent", 1)] * 2
    assert len(provider.requests) == 2


def test_what_does_not_end_in_time_at_shutdown_is_doubtful_or_tried_again(
    database: Database, provider: FakeProvider
) -> None:
    provider.plan.extend([HANG, HANG])

    async def story(house: House) -> None:
        await house.hear(inbound("STOP", address=BOB))
        await house.hear(inbound("HELP", address=ALICE))
        await house.requests(2)
        await house.sender.stop(within=0.1)

    living(database, provider, story)

    assert sorted(rows(database, table.c.category, table.c.state, table.c.reason)) == [
        ("help", "pending", "broken off at shutdown"),
        ("opt_out", "doubtful", "it may have left, so it is not repeated: broken off at shutdown"),
    ]


def test_a_stopped_sender_can_be_replaced_at_once(database: Database, provider: FakeProvider) -> None:
    for number in range(30):
        queue(database, number, f"+141555502{number:02}", deadline=now() + timedelta(minutes=1))

    async def story(house: House) -> None:
        await house.requests(1)
        await house.sender.stop()

    living(database, provider, story, send_concurrency=2)
    living(database, provider, lambda house: house.ended(30))

    assert len(provider.requests) == 30


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_two_senders_on_one_database_send_every_reply_once(database: Database, provider: FakeProvider) -> None:
    other = Database(database.url.render_as_string(hide_password=False).replace("+psycopg", ""))
    for number in range(200):
        queue(database, number, f"+14155502{number // 2:03}", text=str(number), deadline=now() + timedelta(minutes=1))

    async def story() -> None:
        async with open_house(database, provider) as one, open_house(other, provider):
            await one.ended(200)

    uvloop.run(story())
    other.close()

    assert sorted(provider.texts, key=int) == [str(number) for number in range(200)]
