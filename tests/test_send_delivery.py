"""What a claimed reply says, and to whom it is proved: a real outbox, and a provider on loopback."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import uvloop
from pydantic import SecretStr
from structlog.testing import capture_logs

from app.credential import Credential, JwtAuth, OAuthAuth
from app.interpret import decide
from app.provider import Provider
from app.record import profiles
from app.record.database import Database
from app.record.outbox import Outcome, State
from app.record.tables import outbox as table
from app.record.writer import Writer
from app.send import Client, Courier, Destinations, courier
from app.send.authorizer import TokenHeader
from app.send.delivery import Delivery
from app.send.fetched_token import FetchedTokens
from app.send.own_token import OwnTokens
from app.send.token_call import token_call
from tests import fake_provider
from tests.fake_provider import FakeProvider, answer
from tests.heard import ALICE, BOB, NOON
from tests.test_send_outbox import claim, queue, rows, stand
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


CONFIRMATION = "You are unsubscribed and will receive no more messages. Reply HELP for help."
EMPTY = "nothing is left of its text once its places are filled in"


def written(text: str, category: str = "help", content: str = "") -> dict[str, str]:
    return {"category": category, "text": text, "content": content}


@pytest.mark.parametrize(
    ("given", "ended", "sent"),
    [
        pytest.param(written("{{profile.name}}"), ("failed", EMPTY), [], id="a reply"),
        pytest.param(written(" {{profile.name}}\n{{nobody}}"), ("failed", EMPTY), [], id="a reply, blank"),
        pytest.param(written("{{profile.name}}", "opt_out"), ("sent", ""), [CONFIRMATION], id="a confirmation"),
        pytest.param(
            written("{{profile.name}}", content='{"fallback":"Hi!"}'), ("sent", ""), ["Hi!"], id="with a fallback"
        ),
        pytest.param(
            written("Hi!", content='{"fallback":"{{profile.name}} "}'), ("sent", ""), ["Hi!"], id="a blank fallback"
        ),
        pytest.param(written("{{profile.long}}!"), ("sent", ""), ["a" * 1600], id="a long one"),
    ],
)
def test_no_reply_leaves_without_words_or_with_too_many(
    database: Database, provider: FakeProvider, given: dict[str, str], ended: tuple[str, str], sent: list[str]
) -> None:
    database.write_now(lambda conn: profiles.put(conn, BOB, {"long": "a" * 2000}, "import", NOON))
    stand(database, "*", BOB, "opted_out")

    found = send_one(database, provider, acme(provider), BOB, **given)

    assert found == [ended]
    assert provider.texts == sent


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
    a_minute_later = itertools.count(0.0, 60.0).__next__
    tokens = FetchedTokens(token_call(auth, client), clock=a_minute_later)
    by = replace(acme(provider, client=client, auth=auth), authorizer=TokenHeader(auth, tokens))
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


def test_a_reply_that_is_refused_for_its_credential_is_tried_again(database: Database, provider: FakeProvider) -> None:
    provider.plan.append(answer(401))

    ended = send_one(database, provider, acme(provider))

    assert ended == [("sent", "")]
    assert rows(database, table.c.attempts) == [(2,)]


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


# --- errors of ours -----------------------------------------------------------------------------------------------


class Broken(Exception):
    """A bug of ours."""


class Bug:
    """Fails in the place of a part, once; then it does as the part does."""

    def __init__(self, part: Callable[..., Any]) -> None:
        self._part = part
        self._met = False

    def __call__(self, *given: Any) -> Any:
        if not self._met:
            self._met = True
            raise Broken(f"of {given}")
        return self._part(*given)


class BrokenProof(TokenHeader):
    """Fails once."""

    def __init__(self, auth: OAuthAuth, tokens: Any) -> None:
        super().__init__(auth, tokens)
        self.prove = Bug(super().prove)  # type: ignore[method-assign]


def _composing(by: Courier) -> Courier:
    return replace(by, compose=Bug(by.compose))


def _proving(by: Courier) -> Courier:
    auth = JwtAuth(key=SecretStr("k" * 32))
    return replace(by, authorizer=BrokenProof(auth, OwnTokens(auth)))


def _reading(by: Courier) -> Courier:
    return replace(by, read=Bug(by.read))


def test_a_confirmation_that_cannot_be_read_from_the_outbox_has_not_left(
    database: Database, provider: FakeProvider
) -> None:
    stand(database, "*", BOB, "opted_out")

    found = send_one(database, provider, acme(provider), BOB, category="opt_out", content="{")

    assert found == [("failed", "given up after 3 tries: an error of ours: JSONDecodeError")]


@pytest.mark.parametrize(
    ("spoil", "ended", "calls"),
    [
        pytest.param(_composing, ("sent", ""), 1, id="composing"),
        pytest.param(_proving, ("sent", ""), 1, id="proving"),
        pytest.param(
            _reading,
            ("doubtful", "it may have left, so it is not repeated: an error of ours: Broken"),
            1,
            id="reading the answer",
        ),
    ],
)
def test_a_confirmation_that_meets_a_bug_before_it_left_is_repeated(
    database: Database,
    provider: FakeProvider,
    spoil: Callable[[Courier], Courier],
    ended: tuple[str, str],
    calls: int,
) -> None:
    stand(database, "*", BOB, "opted_out")

    with capture_logs() as logs:
        found = send_one(database, provider, spoil(acme(provider)), BOB, category="opt_out")

    assert (found, len(provider.requests)) == ([ended], calls)
    assert [(log["event"], log["to"]) for log in logs if log["log_level"] == "error"] == [
        ("a reply met an error of ours", "+1415•••01")
    ]
    assert BOB not in str(logs)
