"""What Jasmin is sent. It is not in Debian, so a server with its answers stands for it; its /send takes content or
hex-content, never both, and a dlr-url only when it is one."""

import asyncio
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import pytest

from app.credential import Credential
from app.errors import SendFailed
from app.provider import load_providers
from app.send.courier import courier, deliver
from app.send.destinations import Destinations
from app.send.http import Client
from app.send.render import Message
from app.settings import CONFIG_DIR
from tests import fake_provider
from tests.fake_provider import FakeProvider, answer

JASMIN = load_providers(CONFIG_DIR)["jasmin"]
USUAL = {"username": "textback", "password": "jasmin & more", "from": "41790000001", "to": "41791110001"}
UNASKED = {"dlr": "no"}
ASKED = {"dlr": "yes", "dlr-url": "https://hooks.example.com/in/x", "dlr-level": "3", "dlr-method": "POST"}
ID = "07033084-5cfd-4812-90a4-e4d24ffb6e3d"


@pytest.fixture
def jasmin() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        yield running


def sent(jasmin: FakeProvider, text: str, feedback_url: str = "") -> str:
    """The id that the message got."""

    async def story() -> str:
        client = Client(Destinations(["127.0.0.1"]))
        try:
            carrier = courier(credential(jasmin), JASMIN, client, feedback_url)
            return await deliver(carrier, client, Message("+41790000001", "+41791110001", text, "1"), timeout=5)
        finally:
            client.close()
            await asyncio.sleep(0)

    return asyncio.run(story())


def credential(jasmin: FakeProvider) -> Credential:
    auth = {"type": "api_key", "place": "query", "name": "password", "token": USUAL["password"]}
    return Credential.model_validate(
        {"name": "gateway", "provider": "jasmin", "url": f"{jasmin.url}/send", "app_id": "textback", "auth": auth}
    )


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("STOP {it} [now] ~ €!", {"coding": "0", "content": "STOP {it} [now] ~ €!"}),
        ("Grüezi, ¿qué?\nÅ", {"coding": "0", "content": "Grüezi, ¿qué?\nÅ"}),
        ("", {"coding": "0", "content": ""}),
        # ç and the backtick are ASCII's or Latin-1's, and not GSM's
        ("ça", {"coding": "8", "hex-content": "00e70061"}),
        ("`a'\"\\~ }", {"coding": "8", "hex-content": "0060006100270022005c007e0020007d"}),
        ("Я", {"coding": "8", "hex-content": "042f"}),
        ("日\x7f", {"coding": "8", "hex-content": "65e5007f"}),
        ("🛑\U0010ffff", {"coding": "8", "hex-content": "d83dded1dbffdfff"}),
    ],
)  # fmt: skip
def test_a_text_is_sent_as_gsm_or_else_as_utf_16(jasmin: FakeProvider, text: str, written: dict[str, str]) -> None:
    jasmin.plan.append(answer(200, f'Success "{ID}"'.encode()))

    found = sent(jasmin, text)

    assert found == ID
    (request,) = jasmin.requests
    assert (request.method, dict(parse_qsl(urlsplit(request.target).query)) | request.form) == (
        "POST",
        USUAL | UNASKED | written,
    )


def test_every_character_of_the_two_lowest_planes_becomes_utf_16(jasmin: FakeProvider) -> None:
    planes = [*range(1, 0xD800, 97), *range(0xE000, 0x1FFFF, 331)]
    text = "Я" + "".join(map(chr, planes))
    jasmin.plan.append(answer(200, f'Success "{ID}"'.encode()))

    sent(jasmin, text)

    assert bytes.fromhex(jasmin.requests[0].form["hex-content"]).decode("utf-16-be") == text


def test_receipts_are_asked_for_where_a_webhook_is_named_for_them(jasmin: FakeProvider) -> None:
    jasmin.plan.append(answer(200, f'Success "{ID}"'.encode()))

    sent(jasmin, "Hi", ASKED["dlr-url"])

    written = jasmin.requests[0].form
    assert {name: value for name, value in written.items() if name.startswith("dlr")} == ASKED


@pytest.mark.parametrize(
    ("status", "body", "permanent"),
    [
        (412, 'Error "No route found"', True),
        (403, 'Error "Authentication failure for username:textback"', True),
        (500, 'Error "Cannot send submit_sm, check SMPPClientManagerPB log file for details"', False),
        (200, "<html>a proxy's</html>", False),
    ],
)
def test_a_refusal_is_no_success(jasmin: FakeProvider, status: int, body: str, permanent: bool) -> None:
    jasmin.plan.append(answer(status, body.encode()))

    with pytest.raises(SendFailed) as caught:
        sent(jasmin, "Hi")

    assert caught.value.permanent is permanent
