"""Calls as a whole: a message asks for one, a third party on loopback is called, and the reply says what it answered."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import uvloop
from structlog.testing import capture_logs

from app.action import Action
from app.events import Status
from app.interpret import Rules, decide
from app.policy import Policy
from app.record import facts, registrations
from app.record.database import Database
from app.record.registry import Registered
from app.record.tables import action_calls, inbound_messages, outbox
from app.record.vault import Vault
from app.record.writer import Writer
from app.registration import KINDS, Registrations
from app.send import Caller
from app.send.actions.awaited import value_in
from app.send.wording import message_of
from app.settings import Settings
from tests import fake_provider
from tests.fake_provider import DROP, HANG, FakeProvider, Received, Reply, answer
from tests.heard import ALICE, BOB, CHARLIE, COMPANY, heard, inbound, make_rules, receipt
from tests.test_record_calls import add
from tests.test_send_outbox import claim, stand
from tests.third_party import Broken, Posting, Strange, posting

ASKING = make_rules(
    keywords={
        "help": {
            "action": "desk",
            "reply": "Hi {{profile.name}}, {{action.order.status}}",
            "otherwise": {"http_404": "No order, {{profile.name}}.", "error": "Later, please."},
        },
        "default": {"action": "bot", "reply": "Thanks!"},
        "opt_in": {"action": "crm"},
        "opt_out": {"action": "crm"},
    }
)


@pytest.fixture
def third_party() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        yield running


class House:
    """A running caller and writer, and what a test asks them."""

    def __init__(self, database: Database, writer: Writer, caller: Caller, third_party: FakeProvider) -> None:
        self.database, self.writer, self.caller, self.third_party = database, writer, caller, third_party
        self.queued = 0

    async def hear(self, *events: Any, rules: Rules = ASKING, at: datetime | None = None) -> None:
        await self.writer.record(heard(*events, at=at or now(), rules=rules))
        self.caller.nudge()

    async def ended(self, count: int = 1) -> list[tuple[str, str]]:
        """Action and outcome of the calls, by id, when none of them is under way any more."""
        column = action_calls.c
        query = sa.select(column.action, column.outcome, column.state).order_by(column.id)
        for _ in range(1000):
            found = await self.database.read(lambda conn: conn.execute(query).all())
            if len(found) == count and all(row.state == "done" for row in found):
                return [(row.action, row.outcome) for row in found]
            await asyncio.sleep(0.01)
        raise AssertionError(f"calls are still under way: {found}")

    async def called(self, count: int) -> None:
        for _ in range(1000):
            if len(self.third_party.requests) >= count:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"the third party has heard {len(self.third_party.requests)} calls")


@asynccontextmanager
async def open_house(
    database: Database, third_party: FakeProvider, actions: Posting | Broken | Strange | None = None, **given: Any
) -> AsyncIterator[House]:
    writer = Writer(database, decide)
    writer.start()
    found = actions or Posting(third_party.url)
    houses: list[House] = []

    def queued() -> None:
        houses[0].queued += 1

    caller = Caller(writer, database, found, Settings(**given), queued=queued)
    houses.append(House(database, writer, caller, third_party))
    caller.start()
    try:
        yield houses[0]
    finally:
        await caller.stop(within=1)
        found.close()
        await writer.stop()


def living(
    database: Database, third_party: FakeProvider, story: Callable[[House], Awaitable[Any]], **given: Any
) -> Any:
    async def run() -> Any:
        async with open_house(database, third_party, **given) as house:
            return await story(house)

    return uvloop.run(run())


def now() -> datetime:
    return datetime.now(UTC)


def texts(database: Database) -> list[str]:
    return database.read_now(lambda conn: list(conn.execute(sa.select(outbox.c.text).order_by(outbox.c.id)).scalars()))


def heard_replies(database: Database) -> list[tuple[str, bool]]:
    """What the inbound messages say of their replies, and whether they name one."""
    query = sa.select(inbound_messages.c.reply, inbound_messages.c.outbox_id).order_by(inbound_messages.c.id)
    return database.read_now(lambda conn: [(row[0], row[1] is not None) for row in conn.execute(query)])


def name_them(database: Database, name: str, address: str = BOB) -> None:
    insert = sa.text("INSERT INTO profile_attributes VALUES (:address, 'name', :name, 'test', :at)")
    bound = insert.bindparams(sa.bindparam("at", now(), outbox.c.created_at.type))
    database.write_now(lambda conn: conn.execute(bound, {"address": address, "name": name}))


def one_question(database: Database, third_party: FakeProvider, *replies: Reply, **given: Any) -> list[tuple[str, str]]:
    third_party.plan.extend(replies)

    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("HELP"))
        return await house.ended()

    ended: list[tuple[str, str]] = living(database, third_party, story, **given)
    return ended


# --- the plain way ------------------------------------------------------------------------------------------------


def test_bob_asks_and_is_told_what_the_third_party_answers(database: Database, third_party: FakeProvider) -> None:
    name_them(database, "Bob")
    stand(database, "default", BOB, "opted_in")

    ended = one_question(database, third_party, answer(200, {"order": {"status": "shipped"}}))

    assert ended == [("desk", "success")]
    assert texts(database) == ["Hi Bob, shipped"]
    assert heard_replies(database) == [("queued", True)]
    (request,) = third_party.requests
    assert request.target == "/desk"
    assert request.json["event"] | {"_id": "", "received_at": "", "provider_id": ""} == {
        "_id": "", "type": "inbound", "program": "default", "webhook": "acme-inbound", "provider": "twilio",
        "address": BOB, "received_at": "", "text": "HELP", "normal": "help", "category": "help", "keyword": "HELP",
        "sender": COMPANY, "channel": "sms", "provider_id": "",
    }  # fmt: skip
    assert request.json["profile"] == {"name": "Bob"}
    assert request.json["consent"] == {
        "state": "opted_in", "since": "2026-11-22T12:00:00+00:00", "cause": "keyword", "may_send": True,
    }  # fmt: skip


def test_a_reply_that_does_not_wait_is_queued_before_the_call_is_made(
    database: Database, third_party: FakeProvider
) -> None:
    third_party.plan.append(HANG)

    async def story(house: House) -> list[str]:
        await house.hear(inbound("When?"))
        await house.called(1)
        return await house.database.read(lambda conn: list(conn.execute(sa.select(outbox.c.text)).scalars()))

    assert living(database, third_party, story) == ["Thanks!"]


def test_the_reply_is_counted_queued_and_told_of_once(database: Database, third_party: FakeProvider) -> None:
    third_party.plan.append(answer(200, {"order": {"status": "shipped"}}))

    async def story(house: House) -> int:
        await house.hear(inbound("HELP"))
        await house.ended()
        await asyncio.sleep(0.05)
        return house.queued

    assert living(database, third_party, story) == 1


def test_a_receipt_calls_about_its_recipient(database: Database, third_party: FakeProvider) -> None:
    rules = make_rules()
    calling = Rules(**{name: getattr(rules, name) for name in Rules.__slots__} | {"receipt_actions": {"read": "mark"}})

    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(receipt(Status.READ), rules=calling)
        return await house.ended()

    assert living(database, third_party, story) == [("mark", "success")]
    assert third_party.requests[0].json["event"]["status"] == "read"


# --- failures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "outcome", "text"),
    [
        (answer(404), "http_404", "No order, ."),
        (answer(500), "http_500", "Later, please."),
        (DROP, "internalError", "Later, please."),
        (answer(200, {"order": {}}), "success", "Later, please."),  # it would have a hole
        (answer(200, b"no JSON"), "success", "Later, please."),
    ],
)
def test_a_failure_is_answered_by_its_own_text_else_by_that_for_any(
    database: Database, third_party: FakeProvider, reply: Reply, outcome: str, text: str
) -> None:
    assert one_question(database, third_party, reply) == [("desk", outcome)]
    assert texts(database) == [text]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (answer(500), "no reply: action desk ended as http_500"),
        (answer(200, {}), "no reply: action desk gave an answer without action.order.status"),
    ],
)
def test_without_a_text_for_failures_there_is_no_reply_and_the_message_tells_why(
    database: Database, third_party: FakeProvider, reply: Reply, why: str
) -> None:
    third_party.plan.append(reply)
    silent = make_rules(keywords={"help": {"action": "desk", "reply": "{{action.order.status}}"}})

    async def story(house: House) -> None:
        await house.hear(inbound("HELP"), rules=silent)
        await house.ended()

    living(database, third_party, story)

    assert (texts(database), heard_replies(database)) == ([], [(why, False)])


def test_a_fault_of_ours_ends_the_call_and_its_neighbours_go_on(database: Database, third_party: FakeProvider) -> None:
    with capture_logs() as logs:
        assert one_question(database, third_party, actions=Broken()) == [("desk", "internalError")]

    assert [log["error"].partition(" ")[0] for log in logs if "error" in log] == ["ZeroDivisionError"]
    query = sa.select(action_calls.c.problem)
    assert database.read_now(lambda conn: conn.execute(query).scalar()) == "an error of ours: ZeroDivisionError"


def test_a_call_whose_deadline_has_passed_is_never_made(database: Database, third_party: FakeProvider) -> None:
    add(database, 1, BOB, deadline=now() - timedelta(seconds=1))

    async def story(house: House) -> list[tuple[str, str]]:
        return await house.ended()

    assert living(database, third_party, story) == [("crm", "timedout")]
    assert third_party.requests == []
    query = sa.select(action_calls.c.problem)
    assert database.read_now(lambda conn: conn.execute(query).scalar()) == (
        "its deadline had passed before it could be made"
    )


def test_an_answer_that_no_database_takes_is_stored_without_what_it_refuses(
    database: Database, third_party: FakeProvider
) -> None:
    ended = one_question(database, third_party, answer(200, b'{"order": {"status": "a\\u0000b\\ud83d\\ude00"}}\0 '))

    assert ended == [("desk", "success")]


def test_an_answer_that_the_database_refuses_ends_its_call_and_holds_no_other(
    database: Database, third_party: FakeProvider
) -> None:
    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("START"), inbound("START", address=ALICE))
        return await house.ended(2)

    with capture_logs() as logs:
        assert living(database, third_party, story, actions=Strange()) == [("crm", "internalError")] * 2

    query = sa.select(action_calls.c.problem).distinct()
    problem = "it ended as success, and the database refused what came of it"
    assert database.read_now(lambda conn: list(conn.execute(query).scalars())) == [problem]
    assert {log["event"] for log in logs} == {"ends of calls were refused by the database"}


def test_what_the_third_party_answers_is_no_template_of_ours(database: Database, third_party: FakeProvider) -> None:
    name_them(database, "Bob")
    one_question(database, third_party, answer(200, {"order": {"status": "{{profile.name}} \0{{{"}}))

    (due,) = claim(database, now())
    assert message_of(due, {"name": "Bob"}).text == "Hi Bob, {{profile.name}} {{{"


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("action.lines.1.sku", "b"),
        ("action.lines[0].sku", "a"),
        ("action.lines.9.sku", None),
        ("action.lines.x", None),
        ("$sum(action.lines.count)", 3),
        ("action.total", 1.5),
        ("action.none", None),
        ("$nosuch(action.total)", None),
        ("action.total +", None),
    ],
)
def test_what_a_place_finds_in_an_answer(place: str, found: object) -> None:
    answer = {"lines": [{"sku": "a", "count": 1}, {"sku": "b", "count": 2}], "total": 1.5, "none": None}

    assert value_in(place, {"action": answer, "profile": {}}) == found


def test_a_rich_reply_is_filled_in_with_its_fallback(database: Database, third_party: FakeProvider) -> None:
    rich = make_rules(keywords={"help": {"action": "shop", "reply": {
        "text": "{{action.a}}", "fallback": "by SMS {{action.a}}", "suggestions": [{"text": "Thanks"}],
    }}})  # fmt: skip
    third_party.plan.append(answer(200, {"a": "{{b}}"}))

    async def story(house: House) -> None:
        await house.hear(inbound("HELP"), rules=rich)
        await house.ended()

    living(database, third_party, story)

    (due,) = claim(database, now())
    message = message_of(due, {})
    assert (message.text, message.fallback, message.suggestions) == ("{{b}}", "by SMS {{b}}", ({"text": "Thanks"},))


# --- people -------------------------------------------------------------------------------------------------------


def test_whom_a_consent_policy_leaves_out_is_recorded_and_never_called(
    database: Database, third_party: FakeProvider
) -> None:
    policy = Policy(name="only-members", require="consent.state = 'opted_in'")
    stand(database, "default", BOB, "opted_out")

    ended = one_question(database, third_party, actions=Posting(third_party.url, policy))

    assert (ended, third_party.requests) == ([("desk", "excluded")], [])
    query = sa.select(action_calls.c.policy, action_calls.c.problem)
    assert database.read_now(lambda conn: tuple(conn.execute(query).one())) == (
        "only-members",
        "Policy only-members leaves this person out.",
    )


def test_a_person_stands_as_they_do_when_the_call_is_made(database: Database, third_party: FakeProvider) -> None:
    async def story(house: House) -> None:
        await house.hear(inbound("START"), inbound("STOP"))
        await house.ended(2)

    living(database, third_party, story)

    events = [(request.json["event"]["category"], request.json["consent"]["state"]) for request in third_party.requests]
    assert events == [("opt_in", "opted_out"), ("opt_out", "opted_out")]


def test_of_a_restored_database_nobody_may_be_sent_to(database: Database, third_party: FakeProvider) -> None:
    database.write_now(lambda conn: facts.put(conn, facts.RESTORED, "a backup", now()))

    async def story(house: House) -> list[tuple[str, str]]:
        await house.hear(inbound("START", address=ALICE), inbound("HELP"))
        await house.called(1)
        await asyncio.sleep(0.05)
        query = sa.select(action_calls.c.action, action_calls.c.state).order_by(action_calls.c.id)
        return await house.database.read(lambda conn: [tuple(row) for row in conn.execute(query)])

    assert ("desk", "pending") in living(database, third_party, story)
    (request,) = third_party.requests
    assert (request.json["event"]["address"], request.json["consent"]["may_send"]) == (ALICE, False)


# --- many at once -------------------------------------------------------------------------------------------------


def test_many_are_called_at_once_and_one_slow_action_does_not_hold_up_the_others(
    database: Database, third_party: FakeProvider
) -> None:
    third_party.judge = lambda request: HANG if request.target == "/slow" else None
    for n in range(8):
        add(database, n + 1, f"+1415555{n:04}", action="slow", next_at=now(), deadline=now() + timedelta(hours=1))
    actions = Posting(third_party.url)

    async def story(house: House) -> set[str]:
        await house.called(4)
        for n in range(8):
            await house.hear(inbound("START", address=f"+1415556{n:04}"))
        for _ in range(500):
            done = [request for request in third_party.requests if request.target == "/crm"]
            if len(done) == 8:
                break
            await asyncio.sleep(0.01)
        return {request.target for request in done}

    assert living(database, third_party, story, actions=actions, call_concurrency=5) == {"/crm"}
    assert actions.most_under_way <= 5


def test_what_is_under_way_at_shutdown_may_end_and_the_rest_is_called_again(
    database: Database, third_party: FakeProvider
) -> None:
    slow = answer(200, {"order": {"status": "shipped"}}, pause=0.2)

    def judge(request: Received) -> Reply:
        return slow if request.json["event"]["address"] == BOB else HANG

    third_party.judge = judge

    async def story(house: House) -> None:
        await house.hear(inbound("HELP"), inbound("HELP", address=CHARLIE))
        await house.called(2)
        await house.caller.stop(within=0.6)
        assert not house.caller.alive

    living(database, third_party, story)

    query = sa.select(action_calls.c.address, action_calls.c.state, action_calls.c.attempts)
    found = database.read_now(lambda conn: {tuple(row) for row in conn.execute(query)})
    assert found == {(BOB, "done", 1), (CHARLIE, "pending", 1)}


# --- while others know more, or the database is away --------------------------------------------------------------


def save(database: Database, url: str) -> Registrations:
    (crm,) = (Action.model_validate(one) for one in posting(url) if one["name"] == "crm")
    database.write_now(lambda conn: registrations.save(conn, Vault("a key"), KINDS["action"], crm, now()))
    return Registrations(actions={"crm": crm})


def test_a_call_waits_until_this_process_has_heard_of_its_action(database: Database, third_party: FakeProvider) -> None:
    """Whoever recorded the message had heard of it already."""
    actions = Posting(third_party.url)
    known = save(database, third_party.url)
    actions.follow(Registered(1, {}, [], {}))

    async def story(house: House) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        await house.hear(inbound("When?"))  # its action is registered nowhere
        unknown = await house.ended()
        await house.hear(inbound("START"))
        await asyncio.sleep(0.1)
        assert third_party.requests == []
        actions.follow(Registered(2, {}, [], {}, others=known))
        return unknown, await house.ended(2)

    unknown, ended = living(database, third_party, story, actions=actions)

    assert unknown == [("bot", "internalError")]
    assert ended == [("bot", "internalError"), ("crm", "success")]


def test_a_call_whose_person_cannot_be_read_is_made_when_the_database_is_back(
    database: Database, third_party: FakeProvider
) -> None:
    def rename(old: str, new: str) -> Callable[[sa.Connection], None]:
        return lambda conn: conn.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}")) and None

    database.write_now(rename("profile_attributes", "profile_attributes_away"))
    add(database, 1, BOB, next_at=now(), deadline=now() + timedelta(hours=1))
    attempts, lapse = sa.select(action_calls.c.attempts), sa.update(action_calls)

    async def story(house: House) -> list[tuple[str, str]]:
        for _ in range(100):
            await asyncio.sleep(0.01)
            if await house.database.read(lambda conn: conn.execute(attempts).scalar_one()):
                break
        await asyncio.sleep(0.05)
        await house.writer.run(rename("profile_attributes_away", "profile_attributes"))
        lapsed = lapse.values(next_at=now() - timedelta(seconds=1))
        await house.writer.run(lambda conn: conn.execute(lapsed) and None)
        house.caller.nudge()
        return await house.ended()

    assert living(database, third_party, story) == [("crm", "success")]
    assert len(third_party.requests) == 1
