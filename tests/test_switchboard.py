"""A webhook made ready: what is refused when it is registered, and what a person is told to think about."""

from typing import Any

import pytest

from app.switchboard import check_webhook, doubts
from tests.decoding import PROVIDERS, webhook_for

SECRET = {"type": "secret", "place": "query", "name": "code"}
BASIC = {"type": "basic", "username": "us"}
BEARER = {
    "type": "bearer", "issuer": "https://issuer.example", "audience": "us", "keys": "https://issuer.example/keys",
    "claims": {"azp": "them"},
}  # fmt: skip


def any_of(*schemes: dict[str, Any]) -> dict[str, Any]:
    return {"type": "any", "of": list(schemes)}


@pytest.mark.parametrize(
    ("scheme", "secret", "lacking"),
    [
        (any_of(SECRET, BEARER), None, ["secret"]),
        (any_of(BEARER, any_of(SECRET, SECRET, BASIC)), None, ["secret", "basic"]),
        (any_of(SECRET, BEARER), "s", []),
        (any_of(SECRET, BASIC), None, []),  # it hears nothing at all, and that is told otherwise
        (SECRET, None, []),
        (BEARER, None, []),
        ({"type": "token"}, None, []),
    ],
    ids=["one_of_two", "inside_of_another", "with_its_secret", "none_can", "alone", "needs_none", "token"],
)
def test_a_scheme_that_lacks_its_secret_beside_others_is_a_doubt_and_no_fault(
    scheme: dict[str, Any], secret: str | None, lacking: list[str]
) -> None:
    provider = PROVIDERS["azure"]
    webhook = webhook_for(provider, scheme=scheme, secret=secret)

    told = check_webhook(webhook, provider, {}, {}, frozenset())

    assert told == doubts(webhook, provider)
    assert told == [
        f"webhook 'hook' has no secret, which signature scheme {kind} needs; until it is set, what no other of its"
        " schemes proves is answered with 503"
        for kind in lacking
    ]
