"""What the running server does when the registry has changed, and with what cannot be followed."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from app import chores
from app.credential import Credential
from app.errors import NotReady
from app.main import build
from app.provider import Provider
from app.record.registry import Registered, RegisteredWebhook
from app.send import Courier, Message
from app.serve.parts import Parts
from app.serve.takeover import hire, take_over
from app.settings import Settings
from app.webhook import Webhook
from tests.serving import SECRET_KEY, Served, serving

MESSAGE = Message("+14155550199", "+14155550100", "Hi", "4711")
REPORTS = RegisteredWebhook(1, "t0ken", "", Webhook(name="reports", provider="twilio", type="feedback"))


class MoodyProviders(dict[str, Provider]):
    """Provider files of which `ill` cannot be had while it is in a bad mood."""

    well = False

    def get(self, slug: str, default: Any = None) -> Any:
        if slug == "ill" and not self.well:
            raise LookupError("s3cret")
        return super().get(slug, default)


@pytest.fixture
def parts(database_url: str) -> Iterator[Parts]:
    settings = Settings(database_url=database_url, secret_key=SECRET_KEY, public_url="https://us.example.com")
    built = build(settings, send=False)
    file = Provider(
        slug="ill", name="Ill", page="https://example.com", send={"sms": {"url": "https://ill.example.com"}}
    )
    yield replace(built, providers=MoodyProviders(ill=file))
    built.database.close()


def custom(name: str, **given: Any) -> Credential:
    payload = '{"to": "{{toNumber}}", "text": "{{message}}", "hook": "{{feedbackUrl}}"}'
    return Credential(name=name, provider="custom", url="https://a.example.com", payload=payload, **given)


def registered(*credentials: Credential, webhooks: list[RegisteredWebhook] | None = None, **given: Any) -> Registered:
    return Registered(1, {one.name: one for one in credentials}, webhooks or [], {}, **given)


def told(couriers: dict[str, Courier], name: str) -> str:
    """Where a courier has its provider report to; empty: nowhere."""
    found = couriers[name].compose(MESSAGE).body.decode()
    return found.partition('"hook":"')[2].partition('"')[0]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param({}, "there is no webhook 'reports' for its feedback", id="missing"),
        pytest.param({"broken": {"": ("reports", "it cannot be decrypted")}}, "it cannot be decrypted", id="broken"),
    ],
)
def test_a_credential_whose_receipts_would_come_nowhere_sends_all_the_same(
    parts: Parts, given: dict[str, Any], reason: str
) -> None:
    couriers: dict[str, Courier] = {}
    reporting = custom("acme", feedback="reports")

    hire(parts, couriers, registered(reporting, webhooks=[REPORTS]))
    before = told(couriers, "acme")
    with capture_logs() as logs:
        hire(parts, couriers, registered(custom("a"), reporting, custom("z"), **given))

    assert (before, told(couriers, "acme")) == ("https://us.example.com/in/t0ken", "")
    assert couriers.keys() == {"a", "acme", "z"}
    assert logs == [
        {
            "event": "receipts of a credential come nowhere",
            "log_level": "warning",
            "credential": "acme",
            "reason": reason,
        }
    ]


def test_a_credential_that_cannot_be_made_ready_takes_no_other_down(parts: Parts) -> None:
    couriers: dict[str, Courier] = {}
    hire(parts, couriers, registered(custom("a"), custom("m"), custom("z")))
    kept = couriers["z"]

    with capture_logs() as logs, pytest.raises(NotReady, match="made ready to send: m"):
        hire(parts, couriers, registered(custom("a"), Credential(name="m", provider="ill"), custom("z")))
    at_first = couriers.keys() == {"a", "z"}
    parts.providers.well = True  # type: ignore[attr-defined]
    hire(parts, couriers, registered(custom("a"), Credential(name="m", provider="ill"), custom("z")))

    assert (at_first, set(couriers), couriers["z"] is kept) == (True, {"a", "m", "z"}, True)
    assert [(log["event"], log["credential"], log["error"].split()[0]) for log in logs] == [
        ("a credential could not be made ready to send", "m", "LookupError")
    ]
    assert "s3cret" not in str(logs)


@pytest.mark.parametrize(
    ("change", "sends"),
    [
        pytest.param({}, True, id="only the webhook of its receipts has changed"),
        pytest.param({"app_id": "another"}, False, id="the credential itself has changed"),
    ],
)
def test_a_courier_stays_where_no_new_one_can_be_made_of_the_same_credential(
    parts: Parts, change: dict[str, str], sends: bool
) -> None:
    couriers: dict[str, Courier] = {}
    credential = Credential(name="m", provider="ill", feedback="reports")
    parts.providers.well = True  # type: ignore[attr-defined]
    hire(parts, couriers, registered(credential, webhooks=[REPORTS]))

    parts.providers.well = False  # type: ignore[attr-defined]
    with pytest.raises(NotReady):
        hire(parts, couriers, registered(credential.model_copy(update=change)))

    assert couriers.keys() == ({"m"} if sends else set())


class Once:
    """A follower that fails the first time."""

    def __init__(self) -> None:
        self.versions: list[int] = []

    def __call__(self, found: Registered) -> None:
        self.versions.append(found.version)
        if len(self.versions) == 1:
            raise LookupError("s3cret")


def eventually(holds: Callable[[], bool]) -> bool:
    for _ in range(1000):
        if holds():
            return True
        time.sleep(0.01)
    return False


def create(served: Served, name: str) -> int:
    return served.ask("POST", "/v1/replies", {"name": name, "text": "Thanks!"}).status


def test_what_could_not_be_followed_is_taken_over_again_and_the_others_follow_at_once(database_url: str) -> None:
    with serving(database_url) as served, capture_logs() as logs:
        ill, well = Once(), list[int]()
        served.parts.followers[:0] = [ill, lambda found: well.append(found.version)]
        status = create(served, "thanks")
        followed_at_once = list(well)
        followed_again = eventually(lambda: len(ill.versions) > 1 and served.parts.switchboard.version > 0)

    assert (status, len(followed_at_once), followed_again) == (201, 1, True)
    assert ill.versions[0] == ill.versions[1] == well[0]
    assert "s3cret" not in str(logs)


def test_the_version_is_that_of_what_all_have_followed(parts: Parts) -> None:
    parts.followers.append(Once())

    async def story() -> list[tuple[bool, bool]]:
        parts.writer.start()
        found = [(await take_over(parts), parts.switchboard.version >= 0) for _ in range(2)]
        await parts.writer.stop()
        return found

    assert asyncio.run(story()) == [(False, False), (True, True)]


def test_a_chore_survives_whatever_fails_and_tells_no_number() -> None:
    with capture_logs() as logs, chores._patiently("what is old could not be deleted"):
        raise LookupError("+14155550101")

    assert [(log["event"], log["error"].split()[0]) for log in logs] == [
        ("what is old could not be deleted", "LookupError")
    ]
    assert "+1415" not in str(logs)


def test_a_chore_ends_when_it_is_told_to() -> None:
    with pytest.raises(asyncio.CancelledError), chores._patiently("what is old could not be deleted"):
        raise asyncio.CancelledError
