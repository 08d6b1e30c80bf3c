"""Access tokens: a real token server and a real provider, both on loopback, and many messages at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import jwt
import pytest
import uvloop
from pydantic import SecretStr

from app.credential import Claims, Credential, OAuthAuth
from app.errors import SendFailed
from app.send import Client, Courier, Destinations, Message, courier, deliver
from app.send.authorizer import TokenHeader
from app.send.fetched_token import FetchedTokens
from app.send.own_token import SETTLING
from app.send.token_call import Granted, token_call
from tests import fake_provider
from tests.fake_provider import DROP, FakeProvider, Received, Reply, answer, redirect

MESSAGE = Message("+14155550199", "+14155550100", "Hi", "4711")
CLIENT = {"grant_type": "client_credentials", "client_id": "acme", "client_secret": "s3cret & more"}


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        yield running


@pytest.fixture
def server() -> Iterator[FakeProvider]:
    """A token server: it grants T1, T2, …, each for an hour, unless a plan says otherwise."""
    with fake_provider.running() as running:
        running.judge = lambda _: None if running.plan else granted(f"T{len(running.requests)}")
        yield running


def granted(token: Any, **given: Any) -> Reply:
    return answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600, **given})


def secrets_of(fields: dict[str, str]) -> dict[str, SecretStr]:
    return {name: SecretStr(value) for name, value in fields.items()}


def oauth(server: FakeProvider, **given: Any) -> OAuthAuth:
    return OAuthAuth(**{"url": f"{server.url}/token", "body": secrets_of(CLIENT), **given})


def acme(provider: FakeProvider, auth: OAuthAuth, client: Client) -> Courier:
    given = {"name": "acme", "provider": "custom", "url": provider.url, "payload": "{}", "message_id": "sid"}
    return courier(Credential(**given, auth=auth), None, client)


def aging(carrier: Courier, auth: OAuthAuth, client: Client, clock: Callable[[], float]) -> Courier:
    """The courier with tokens that grow old by this clock."""
    tokens = FetchedTokens(token_call(auth, client), clock=clock)
    return replace(carrier, authorizer=TokenHeader(auth, tokens))


def living(story: Callable[[Client], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        client = Client(Destinations(["127.0.0.1"]))
        try:
            return await story(client)
        finally:
            client.close()
            await asyncio.sleep(0)

    return uvloop.run(run())


def delivered(provider: FakeProvider, auth: OAuthAuth, messages: int = 1) -> list[str]:
    """The ids of messages that leave at once."""

    async def story(client: Client) -> list[str]:
        carrier = acme(provider, auth, client)
        return await asyncio.gather(*(deliver(carrier, client, MESSAGE, timeout=5) for _ in range(messages)))

    found: list[str] = living(story)
    return found


def failure_of(provider: FakeProvider, auth: OAuthAuth) -> SendFailed:
    with pytest.raises(SendFailed) as caught:
        delivered(provider, auth)
    return caught.value


def takes(*tokens: str) -> Callable[[Received], Reply | None]:
    """A provider that knows these tokens alone."""
    good = {f"Bearer {token}" for token in tokens}
    return lambda request: None if request.headers.get("authorization") in good else answer(401, {"code": "expired"})


# --- the token call -----------------------------------------------------------------------------------------------


def test_a_token_is_asked_for_with_a_form_and_shown_to_the_provider(
    server: FakeProvider, provider: FakeProvider
) -> None:
    auth = oauth(server, headers=secrets_of({"Authorization": "Basic YWNtZTpz"}))

    found = delivered(provider, auth)

    assert found == ["SM1"]
    assert provider.requests[0].headers["authorization"] == "Bearer T1"
    (call,) = server.requests
    assert (call.method, call.target, call.form) == ("POST", "/token", CLIENT)
    assert call.headers["content-type"] == "application/x-www-form-urlencoded"
    assert call.headers["authorization"] == "Basic YWNtZTpz"


def test_token_and_lifetime_stand_where_the_credential_says(server: FakeProvider, provider: FakeProvider) -> None:
    server.plan.append(answer(201, {"data": {"token": "T0", "ttl": "3600"}}))
    auth = oauth(server, format="json", token_path="data.token", expires_path="data.ttl", header="X-Token", prefix="")

    found = delivered(provider, auth)

    assert found == ["SM1"]
    assert provider.requests[0].headers["x-token"] == "T0"
    assert server.requests[0].headers["content-type"] == "application/json"
    assert server.requests[0].json == CLIENT


def test_a_service_account_signs_an_assertion_for_each_call(server: FakeProvider, provider: FakeProvider) -> None:
    # https://developers.google.com/identity/protocols/oauth2/service-account#httprest
    key = "a-secret-of-thirty-two-characters"
    body = secrets_of({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "{{ assertion }}"})
    claims = {"iss": "textback@acme.example", "scope": "https://www.googleapis.com/auth/rcsbusinessmessaging"}
    auth = oauth(server, body=body, assertion=Claims(claims=claims, key=SecretStr(key), lifetime=3600))
    server.plan.append(granted("T0", expires_in=0.001))

    async def story(client: Client) -> None:
        carrier = acme(provider, auth, client)
        for _ in range(2):
            await deliver(carrier, client, MESSAGE, timeout=5)
            await asyncio.sleep(0.01)

    living(story)

    first, second = (jwt.decode(call.form["assertion"], key, ["HS256"], audience=auth.url) for call in server.requests)
    assert {name: first[name] for name in claims} == claims
    assert first["exp"] - first["iat"] == 3600
    assert first["jti"] != second["jti"]


def test_the_audience_of_an_assertion_may_be_another(server: FakeProvider, provider: FakeProvider) -> None:
    key = "a-secret-of-thirty-two-characters"
    assertion = Claims(claims={"aud": "https://login.example.com"}, key=SecretStr(key))

    delivered(provider, oauth(server, body=secrets_of({"client_assertion": "{{assertion}}"}), assertion=assertion))

    jwt.decode(server.requests[0].form["client_assertion"], key, ["HS256"], audience="https://login.example.com")


@pytest.mark.parametrize(
    ("reply", "reason", "retry_after"),
    [
        pytest.param(
            answer(401, {"error": "invalid_client", "error_description": "s3cret"}),
            "127.0.0.1 answered 401, error invalid_client",
            None,
            id="the client is unknown",
        ),
        pytest.param(answer(400, {"error": "s3cret"}), "127.0.0.1 answered 400", None, id="an error that is no code"),
        pytest.param(answer(429, None, {"Retry-After": "7"}), "127.0.0.1 answered 429", 7.0, id="too often"),
        pytest.param(answer(503, b"<html>"), "127.0.0.1 answered 503", None, id="down"),
        pytest.param(redirect("https://evil.example"), "127.0.0.1 answered 302", None, id="a redirect"),
        pytest.param(
            answer(200, {"error": "access_denied"}),
            "127.0.0.1 answered 200 without a token at 'access_token', error access_denied",
            None,
            id="no token",
        ),
        pytest.param(
            answer(200, ["s3cret"]),
            "127.0.0.1 answered 200 without a token at 'access_token'",
            None,
            id="no object",
        ),
        pytest.param(
            granted("s3cret\r\nX-Forged: 1"),
            "127.0.0.1 answered 200 without a token at 'access_token'",
            None,
            id="a token that is two headers",
        ),
        pytest.param(
            granted(17), "127.0.0.1 answered 200 without a token at 'access_token'", None, id="a token that is no text"
        ),
        pytest.param(
            DROP,
            "127.0.0.1 did not answer: the connection was closed before the answer was complete",
            None,
            id="no answer",
        ),
        pytest.param(
            answer(200, b"x" * 70_000),
            "127.0.0.1 did not answer: the answer is larger than 65536 bytes",
            None,
            id="flood",
        ),
    ],
)
def test_without_a_token_nothing_leaves_and_the_message_may_be_tried_again(
    server: FakeProvider, provider: FakeProvider, reply: Reply, reason: str, retry_after: float | None
) -> None:
    server.plan.append(reply)

    failure = failure_of(provider, oauth(server))

    assert vars(failure) | {"reason": str(failure)} == {
        "reason": f"no access token: {reason}",
        "permanent": False,
        "departed": False,
        "blocked": False,
        "retry_after": retry_after,
    }
    assert provider.requests == []


def test_a_token_server_at_a_forbidden_place_is_not_called(provider: FakeProvider) -> None:
    failure = failure_of(provider, OAuthAuth(url="https://10.0.0.1/token"))

    assert str(failure).startswith("no access token: 10.0.0.1 is a private address; ")
    assert (failure.permanent, failure.departed) == (True, False)


def test_a_token_server_that_never_answers_leaves_the_message_some_time(
    server: FakeProvider, provider: FakeProvider
) -> None:
    server.plan.append(answer(200, {"access_token": "T0"}, pause=3600))

    async def story(client: Client) -> None:
        await deliver(acme(provider, oauth(server), client), client, MESSAGE, timeout=0.2)

    with pytest.raises(SendFailed, match=r"no access token within 0\.1 s") as caught:
        living(story)
    assert (caught.value.permanent, caught.value.departed, provider.requests) == (False, False, [])


# --- one call for all ---------------------------------------------------------------------------------------------


def test_a_hundred_messages_at_once_make_one_token_call(server: FakeProvider, provider: FakeProvider) -> None:
    found = delivered(provider, oauth(server), 100)

    assert sorted(found) == sorted(f"SM{number}" for number in range(1, 101))
    assert len(server.requests) == 1


def test_a_hundred_messages_when_the_token_has_ended_make_one_call_more(
    server: FakeProvider, provider: FakeProvider
) -> None:
    server.plan.append(granted("T0", expires_in=0.001))

    async def story(client: Client) -> None:
        carrier = acme(provider, oauth(server), client)
        await deliver(carrier, client, MESSAGE, timeout=5)
        await asyncio.sleep(0.01)
        await asyncio.gather(*(deliver(carrier, client, MESSAGE, timeout=5) for _ in range(100)))

    living(story)

    assert len(server.requests) == 2
    assert {request.headers["authorization"] for request in provider.requests[1:]} == {"Bearer T2"}


def test_a_hundred_messages_whose_token_is_refused_make_one_call_more_and_all_arrive(
    server: FakeProvider, provider: FakeProvider
) -> None:
    clock, auth = Clock(), oauth(server)

    async def story(client: Client) -> list[str]:
        carrier = aging(acme(provider, auth, client), auth, client, clock)
        await deliver(carrier, client, MESSAGE, timeout=5)
        provider.judge = takes("T2")
        clock.now += SETTLING
        return await asyncio.gather(*(deliver(carrier, client, MESSAGE, timeout=5) for _ in range(100)))

    found = living(story)

    shown = [request.headers["authorization"] for request in provider.requests[1:]]
    assert len(found) == 100
    assert (shown.count("Bearer T1"), shown.count("Bearer T2")) == (100, 100)
    assert len(server.requests) == 2


def test_messages_whose_new_token_is_refused_have_failed_for_now_and_make_no_further_call_for_a_while(
    server: FakeProvider, provider: FakeProvider
) -> None:
    clock, auth = Clock(), oauth(server)
    provider.judge = takes()

    async def story(client: Client) -> list[tuple[str, bool, bool, int]]:
        carrier = aging(acme(provider, auth, client), auth, client, clock)
        found = []
        for seconds in (0, 0, SETTLING - 1, 1, 1):
            clock.now += seconds
            with pytest.raises(SendFailed) as caught:
                await deliver(carrier, client, MESSAGE, timeout=5)
            failure = caught.value
            found.append((str(failure), failure.permanent, failure.departed, len(server.requests)))
        return found

    refused = ("the provider answered 401", False, False)
    assert living(story) == [(*refused, calls) for calls in (1, 1, 1, 2, 2)]
    assert len(provider.requests) == 5


def test_a_message_whose_second_token_is_refused_too_has_failed_for_now(
    server: FakeProvider, provider: FakeProvider
) -> None:
    clock, auth = Clock(), oauth(server)

    async def story(client: Client) -> SendFailed:
        carrier = aging(acme(provider, auth, client), auth, client, clock)
        await deliver(carrier, client, MESSAGE, timeout=5)
        provider.judge = takes()
        clock.now += SETTLING
        with pytest.raises(SendFailed) as caught:
            await deliver(carrier, client, MESSAGE, timeout=5)
        return caught.value

    failure = living(story)

    assert (str(failure), failure.permanent) == ("the provider answered 401", False)
    assert (len(server.requests), len(provider.requests)) == (2, 3)


def test_who_breaks_off_waiting_breaks_it_off_for_nobody_else(server: FakeProvider, provider: FakeProvider) -> None:
    server.plan.append(answer(200, {"access_token": "T0"}, pause=0.1))

    async def story(client: Client) -> tuple[bool, str]:
        carrier = acme(provider, oauth(server), client)
        first = asyncio.create_task(deliver(carrier, client, MESSAGE, timeout=5))
        second = asyncio.create_task(deliver(carrier, client, MESSAGE, timeout=5))
        await asyncio.sleep(0.02)
        first.cancel()
        await asyncio.wait([first])
        return first.cancelled(), await second

    assert living(story) == (True, "SM1")
    assert len(server.requests) == 1


# --- keeping ------------------------------------------------------------------------------------------------------


class Clock:
    """Stands still until it is put on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Grants:
    """Gives out T1, T2, … or what it is told to."""

    def __init__(self, seconds: float = 3600.0) -> None:
        self.calls = 0
        self.seconds = seconds
        self.failure: SendFailed | None = None

    async def __call__(self) -> Granted:
        self.calls += 1
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        return Granted(f"T{self.calls}", self.seconds)


@pytest.mark.parametrize(
    ("life", "renewed_after"),
    [
        pytest.param(3600.0, 2880.0, id="an hour: after four fifths"),
        pytest.param(200.0, 140.0, id="minutes: a minute before the end"),
        pytest.param(60.0, 30.0, id="a minute: after half of it"),
    ],
)
def test_a_token_is_renewed_while_it_is_still_good_and_nobody_waits(life: float, renewed_after: float) -> None:
    clock, grants = Clock(), Grants(life)

    async def story() -> list[str]:
        tokens = FetchedTokens(grants, clock=clock)
        found = [await tokens.get()]
        for moment in (renewed_after - 1, renewed_after):
            clock.now = 1000.0 + moment
            found.append(await tokens.get())
        await asyncio.sleep(0.01)
        return [*found, await tokens.get()]

    assert asyncio.run(story()) == ["T1", "T1", "T1", "T2"]


def test_a_token_without_an_end_is_kept_until_it_is_refused() -> None:
    clock, grants = Clock(), Grants(float("inf"))

    async def story() -> list[str]:
        tokens = FetchedTokens(grants, clock=clock)
        found = [await tokens.get()]
        clock.now += 1e9
        found.append(await tokens.get())
        assert tokens.forget("T1")
        found.append(await tokens.get())
        assert tokens.forget("T1")  # late news of the old one
        return [*found, await tokens.get()]

    assert asyncio.run(story()) == ["T1", "T1", "T2", "T2"]


def test_a_new_token_that_is_refused_lives_no_longer_for_it() -> None:
    clock, grants = Clock(), Grants(10.0)

    async def story() -> list[str]:
        tokens = FetchedTokens(grants, clock=clock)
        first = await tokens.get()
        tokens.forget(first)
        again = await tokens.get()
        clock.now += 10
        return [first, again, await tokens.get()]

    assert asyncio.run(story()) == ["T1", "T1", "T2"]


def test_an_old_token_serves_while_the_token_server_is_down() -> None:
    clock, grants = Clock(), Grants()

    async def story() -> tuple[list[str], int]:
        tokens = FetchedTokens(grants, clock=clock)
        found = [await tokens.get()]
        grants.failure = SendFailed("down")
        clock.now += 3000
        for _ in range(5):
            found.append(await tokens.get())
            await asyncio.sleep(0.01)
        return found, grants.calls

    assert asyncio.run(story()) == (["T1"] * 6, 2)


def test_a_token_server_that_failed_is_left_alone_for_a_while() -> None:
    clock, grants = Clock(), Grants()

    async def asked(tokens: FetchedTokens) -> tuple[str, float | None, int]:
        try:
            return await tokens.get(), None, grants.calls
        except SendFailed as failure:
            return str(failure), failure.retry_after, grants.calls

    async def story() -> list[tuple[str, float | None, int]]:
        tokens = FetchedTokens(grants, clock=clock)
        grants.failure = SendFailed("down")
        found = [await asked(tokens), await asked(tokens)]
        clock.now += 2
        grants.failure = SendFailed("too often", retry_after=30)
        found.append(await asked(tokens))
        clock.now += 10
        found.append(await asked(tokens))
        clock.now += 20
        grants.failure = None
        return [*found, await asked(tokens)]

    assert asyncio.run(story()) == [
        ("down", None, 1),
        ("down", None, 1),
        ("too often", 30, 2),
        ("too often", 20.0, 2),
        ("T3", None, 3),
    ]


@pytest.mark.parametrize("told", [None, 0, -1, True, "soon", "nan", [3600]])
def test_a_lifetime_that_is_none_means_until_refused(server: FakeProvider, provider: FakeProvider, told: Any) -> None:
    server.plan.append(granted("T0", expires_in=told))

    async def story(client: Client) -> None:
        carrier = acme(provider, oauth(server), client)
        for _ in range(2):
            await deliver(carrier, client, MESSAGE, timeout=5)

    living(story)

    assert len(server.requests) == 1
