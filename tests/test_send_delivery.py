"""What a claimed reply says, and to whom it is proved: a real outbox, and a provider on loopback."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import uvloop
from pydantic import SecretStr

from app.credential import Credential, OAuthAuth
from app.interpret import decide
from app.provider import Provider
from app.record import profiles
from app.record.database import Database
from app.record.outbox import Outcome, State
from app.record.tables import outbox as table
from app.record.writer import Writer
from app.send import Client, Courier, Destinations, courier
from app.send.delivery import Delivery
from tests import fake_provider
from tests.fake_provider import FakeProvider, answer
from tests.heard import ALICE, BOB, NOON
from tests.test_send_outbox import claim, queue, rows
from tests.test_send_worker import QUICK, House, living, now

FORM = {"To": "{{toNumber}}", "Body": "{{message}}"}
RICH = '{"suggestions":[{"text":"YES"},{"text":"Site","url":"https://acme.example"}],"fallback":"Hi {{profile.name}}!"}'


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        yield running


def acme(provider: FakeProvider, channel: str = "sms", client: Client | None = None, **given: Any) -> Courier:
    sms = {"url": provider.url, "form": FORM, "id": "sid"}
    rcs = {"url": provider.url, "json": {"text": "{{message}}", "buttons": "{{suggestions}}"}, "id": "sid"}
    file = Provider(slug="acme", name="Acme", page="https://example.com", send={"sms": sms, "rcs": rcs})
    return courier(Credential(name="acme", provider="acme", channel=channel, **given), file, client)


def send_one(database: Database, provider: FakeProvider, by: Courier, address: str = ALICE, **given: Any) -> Any:
    queue(database, 1, address, deadline=now() + timedelta(minutes=1), **given)
    return living(database, provider, lambda house: house.ended(), couriers={"acme": by})


def is_called(database: Database, address: str, name: str) -> None:
    database.write_now(lambda conn: profiles.put(conn, address, {"name": name}, "import", NOON))


def test_alices_name_stands_in_her_reply_and_nobody_elses(database: Database, provider: FakeProvider) -> None:
    is_called(database, ALICE, "Alice & Co")
    is_called(database, BOB, "Bob")

    ended = send_one(database, provider, acme(provider), text="Hi {{profile.name}}, reply STOP to end.")

    assert ended == [("sent", "")]
    assert provider.texts == ["Hi Alice & Co, reply STOP to end."]


def test_a_reply_to_somebody_without_a_name_leaves_all_the_same(database: Database, provider: FakeProvider) -> None:
    send_one(database, provider, acme(provider), text="Hi {{profile.name}}{{nonsense}}, reply STOP to end.")

    assert provider.texts == ["Hi , reply STOP to end."]


def test_a_request_may_want_an_attribute_that_the_words_do_not(database: Database, provider: FakeProvider) -> None:
    is_called(database, ALICE, "Alice")

    send_one(database, provider, acme(provider, headers={"X-Name": "{{profile.name}}"}))

    assert provider.requests[0].headers["x-name"] == "Alice"


def test_suggestions_leave_by_rcs(database: Database, provider: FakeProvider) -> None:
    send_one(database, provider, acme(provider, "rcs"), text="Hi!", content=RICH)

    assert provider.requests[0].json == {
        "text": "Hi!",
        "buttons": [{"text": "YES"}, {"text": "Site", "url": "https://acme.example"}],
    }


def test_the_fallback_leaves_by_sms(database: Database, provider: FakeProvider) -> None:
    is_called(database, ALICE, "Alice")

    send_one(database, provider, acme(provider), text="Tap a button.", content=RICH)

    assert provider.texts == ["Hi Alice!"]


def test_a_token_that_is_refused_once_costs_no_try(database: Database, provider: FakeProvider) -> None:
    client = Client(Destinations(["127.0.0.1"]))
    auth = OAuthAuth(url=f"{provider.url}/token", body={"client_secret": SecretStr("s3cret")})
    by = acme(provider, client=client, auth=auth)
    provider.plan.extend([answer(200, {"access_token": "T1"}), answer(401), answer(200, {"access_token": "T2"})])
    queue(database, 1, ALICE, deadline=now() + timedelta(minutes=1))

    async def story(house: House) -> list[tuple[str, str]]:
        ended = await house.ended()
        client.close()
        return ended

    ended = living(database, provider, story, couriers={"acme": by})

    assert ended == [("sent", "")]
    assert rows(database, table.c.attempts) == [(1,)]
    assert [request.headers.get("authorization") for request in provider.requests] == [
        None, "Bearer T1", None, "Bearer T2",
    ]  # fmt: skip


def test_a_reply_waits_while_its_token_server_wants_quiet(database: Database, provider: FakeProvider) -> None:
    client = Client(Destinations(["127.0.0.1"]))
    by = acme(provider, client=client, auth=OAuthAuth(url=f"{provider.url}/token"))
    provider.plan.extend([answer(503, None, {"Retry-After": "1"}), answer(200, {"access_token": "T1"})])
    queue(database, 1, ALICE, deadline=now() + timedelta(minutes=1))

    async def story(house: House) -> list[tuple[str, str]]:
        ended = await house.ended()
        client.close()
        return ended

    ended = living(database, provider, story, couriers={"acme": by})

    assert ended == [("sent", "")]
    assert rows(database, table.c.attempts) == [(2,)]


def test_a_reply_whose_names_cannot_be_read_has_not_left_and_is_tried_again(
    database: Database, provider: FakeProvider
) -> None:
    queue(database, 1, ALICE, text="Hi {{profile.name}}!", deadline=now() + timedelta(minutes=1))
    (row,) = claim(database, now())

    async def story() -> Outcome | None:
        writer = Writer(database, decide)
        writer.start()
        await writer.stop()
        couriers = {"acme": acme(provider)}.get
        delivery = Delivery(writer, Client(Destinations()), couriers, patience=QUICK, timeout=5, draw=lambda: 0.0)
        return await delivery.attempt(row)

    outcome = uvloop.run(story())

    assert outcome is not None
    assert (outcome.state, outcome.reason) == (State.PENDING, "the person's attributes could not be read")
    assert provider.requests == []
