"""The provider's door where it must ask outside first: public keys, and the URL that confirms a subscription."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from app.record import tables
from app.send.connection import Answer
from tests.conftest import fresh_database
from tests.public_keys import (
    CERT_URL,
    MIDDLE_KEY,
    OTHER_KEY,
    SIGNER_KEY,
    Key,
    issued,
    key_set,
    pem,
)
from tests.serving import Served, serving
from tests.test_authenticate_sns import CONFIRMATION, NOTIFICATION, TOPIC, signed
from tests.test_door import path, post, register, stored

CALLER = {"azp": "4962773b-9cdb-44cf-a8bf-237846a00ab7"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


class Internet:
    """What stands at URLs, how many seconds each takes, and what was asked for."""

    def __init__(self) -> None:
        self.standing: dict[str, bytes] = {}
        self.seconds: dict[str, float] = {}
        self.asked: list[str] = []

    async def request(self, _method: str, url: str, *_args: Any, **_options: Any) -> Answer:
        self.asked.append(url)
        await asyncio.sleep(self.seconds.get(url, 0))
        return Answer(200 if url in self.standing else 404, {}, self.standing.get(url, b""))


@pytest.fixture
def internet() -> Internet:
    return Internet()


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path: Path, internet: Internet) -> Iterator[Served]:
    with (
        fresh_database("sqlite", request, tmp_path) as url,
        serving(url, public_url="https://hooks.example.com") as server,
    ):
        server.parts.client.request = internet.request  # type: ignore[method-assign]
        yield server


# --- tokens of several issuers ------------------------------------------------------------------------------------


def issuer(number: int) -> str:
    return f"https://login.example.com/{number}"


def bearer(number: int) -> dict[str, Any]:
    return {"type": "bearer", "issuer": issuer(number), "audience": "us", "keys": issuer(number), "claims": CALLER}


def authorization(number: int, key: Key) -> dict[str, str]:
    claims = {"iss": issuer(number), "aud": "us", "exp": datetime.now(UTC) + timedelta(hours=1), **CALLER}
    return {"authorization": "Bearer " + jwt.encode(claims, key, "RS256", {"kid": f"key{number}"})}


def accepting(served: Served, internet: Internet, issuers: int) -> str:
    """The path of a webhook that believes each of so many issuers; the last one's key is OTHER_KEY."""
    scheme = {"type": "any", "of": [bearer(number) for number in range(issuers)]}
    register(served, [{"name": "azure", "provider": "azure", "type": "both", "scheme": scheme}])
    for number in range(issuers):
        internet.standing[issuer(number)] = key_set(
            **{f"key{number}": OTHER_KEY if number == issuers - 1 else SIGNER_KEY}
        )
    return path(served, "azure")


def test_the_keys_of_several_issuers_are_fetched_for_one_request(served: Served, internet: Internet) -> None:
    target = accepting(served, internet, 2)

    status = post(served, target, b"[]", authorization(1, OTHER_KEY))[0]

    assert (status, internet.asked) == (200, [issuer(0), issuer(1)])


def test_no_more_than_three_keys_are_fetched_for_one_request(served: Served, internet: Internet) -> None:
    target = accepting(served, internet, 4)

    first = post(served, target, b"[]", authorization(3, OTHER_KEY))[0]
    asked = [*internet.asked]
    second = post(served, target, b"[]", authorization(3, OTHER_KEY))[0]

    assert (first, asked) == (503, [issuer(0), issuer(1), issuer(2)])
    assert (second, internet.asked[3:]) == (200, [issuer(3)])


def test_an_invented_key_is_put_off_until_a_set_that_is_newer_lacks_it(served: Served, internet: Internet) -> None:
    target = accepting(served, internet, 1)
    claims = {"authorization": authorization(0, OTHER_KEY)["authorization"]}
    invented = {"authorization": "Bearer " + jwt.encode({"aud": "us"}, SIGNER_KEY, "RS256", {"kid": "invented"})}

    statuses = [post(served, target, b"[]", headers)[0] for headers in (claims, invented, claims)]

    assert (statuses, internet.asked) == ([200, 503, 200], [issuer(0)])


def test_a_missing_secret_of_one_scheme_refuses_nobody_for_good(served: Served, internet: Internet) -> None:
    scheme = {"type": "any", "of": [{"type": "secret", "place": "query", "name": "code"}, bearer(0)]}
    register(served, [{"name": "azure", "provider": "azure", "type": "both", "scheme": scheme}])
    internet.standing[issuer(0)] = key_set(key0=SIGNER_KEY)
    target = path(served, "azure")

    statuses = [
        post(served, f"{target}?code=s", b"[]", {})[0],
        post(served, target, b"[]", authorization(0, SIGNER_KEY))[0],
    ]

    assert statuses == [503, 200]


# --- envelopes of SNS ---------------------------------------------------------------------------------------------


def subscribed(served: Served, internet: Internet, *, patience: float = 15) -> str:
    """The path of a webhook whose provider waits so many seconds."""
    file = served.parts.providers["aws"]
    served.parts.providers["aws"] = file.model_copy(update={"patience": patience})  # type: ignore[index]
    register(served, [{"name": "aws", "provider": "aws", "type": "both", "secret": TOPIC}])
    now = datetime.now(UTC)
    internet.standing[CERT_URL] = pem(
        issued("sns.amazonaws.com", SIGNER_KEY, "Middle", MIDDLE_KEY, until=now + timedelta(days=30))
    )
    internet.standing[CONFIRMATION["SubscribeURL"]] = b"<ConfirmSubscriptionResponse/>"
    return path(served, "aws")


def stamped(envelope: dict[str, str], **others: Any) -> bytes:
    """Signed a moment ago."""
    return json.dumps(signed({**envelope, "Timestamp": datetime.now(UTC).isoformat()}, **others)).encode()


def test_a_subscription_is_confirmed_once_it_is_proved(served: Served, internet: Internet) -> None:
    target = subscribed(served, internet)

    status = post(served, target, stamped(CONFIRMATION), {"content-type": "text/plain"})[0]

    assert (status, internet.asked) == (200, [CERT_URL, CONFIRMATION["SubscribeURL"]])


def test_a_genuine_envelope_that_is_called_a_form_says_nothing_else(served: Served, internet: Internet) -> None:
    """Read as a form, an unsigned field of it would be a START of whomever its writer likes."""
    target = subscribed(served, internet)
    inner = '{"inboundMessageId":"forged","originationNumber":"%2B41790000001","messageBody":"START"}'
    forged = b" " + stamped(NOTIFICATION, x=f"&Message={inner}&z=")
    visiting = b" " + stamped(NOTIFICATION, x=f"&Type=SubscriptionConfirmation&SubscribeURL={CERT_URL}&z=")

    statuses = [post(served, target, body, FORM)[0] for body in (forged, visiting)]

    assert (statuses, internet.asked) == ([401, 401], [])
    assert stored(served, tables.inbound_messages) == 0


def test_key_and_confirmation_together_take_no_longer_than_the_provider_waits(
    served: Served, internet: Internet
) -> None:
    """Each alone is in time; the provider has hung up before both are done, and comes again."""
    target = subscribed(served, internet, patience=2)
    internet.seconds = {CERT_URL: 0.7, CONFIRMATION["SubscribeURL"]: 0.7}
    body = stamped(CONFIRMATION)

    first = post(served, target, body, {"content-type": "text/plain"})[0]
    internet.seconds = {}
    second = post(served, target, body, {"content-type": "text/plain"})[0]

    assert (first, second) == (503, 200)
    assert internet.asked == [CERT_URL, CONFIRMATION["SubscribeURL"], CONFIRMATION["SubscribeURL"]]


def test_a_key_that_takes_longer_than_the_provider_waits_is_there_when_it_comes_again(
    served: Served, internet: Internet
) -> None:
    target = subscribed(served, internet, patience=1)
    internet.seconds = {CERT_URL: 1.5}
    body = stamped(NOTIFICATION)

    first = post(served, target, body, {"content-type": "text/plain"})[0]
    served.run(served.parts.keyring.fill(CERT_URL))
    second = post(served, target, body, {"content-type": "text/plain"})[0]

    assert (first, second, internet.asked) == (503, 200, [CERT_URL])
