"""textback behind a real gateway: Kannel hears a phone and an operator, textback answers, Kannel's receipts come back.

What a real Kannel gives: through its fake SMSC a receipt 8 and a receipt 1, both without an SMPP answer; through an
operator whatever that one says. A message that no SMSC may carry gets a receipt 16 and a refusal at once.
"""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from tests import fake_provider, kannel
from tests.fake_provider import FakeProvider
from tests.kannel import Gateway, Text, becomes, wait_for
from tests.postgres import free_port

TEXTBACK = str(Path(sys.executable).parent / "textback")
SENDER, OTHER_SENDER = "+41790000001", "+41790000002"
STOPPED = "You are out: no more messages. Grüezi [€]!"
APPLY = """
[[credentials]]
name = "gateway"
provider = "kannel"
url = "http://127.0.0.1:{sendsms}/cgi-bin/sendsms"
app_id = "{username}"
auth = {{ type = "api_key", place = "query", name = "password", token = "${{KANNEL_PASSWORD}}" }}
feedback = "receipts"

[[credentials]]
name = "operator"
provider = "kannel"
url = "http://127.0.0.1:{sendsms}/cgi-bin/sendsms?smsc=operator"
app_id = "{username}"
auth = {{ type = "api_key", place = "query", name = "password", token = "${{KANNEL_PASSWORD}}" }}
feedback = "operator-receipts"

[[webhooks]]
name = "by-get"
provider = "kannel"
credential = "gateway"
sender = "+41790000001"
region = "CH"
[webhooks.keywords.opt_out]
reply = "You are out: no more messages. Grüezi [€]!"
[[webhooks.keywords.custom]]
keywords = ["ПРИВЕТ"]
reply = "Здравствуйте 🛑"

[[webhooks]]
name = "by-post"
provider = "kannel"
credential = "operator"
sender = "+41790000002"
program = "other"

[[webhooks]]
name = "receipts"
provider = "kannel"
type = "feedback"
scheme = {{ type = "basic", username = "gateway" }}
secret = "a-pass.word_~"

[[webhooks]]
name = "operator-receipts"
provider = "kannel"
type = "feedback"
scheme = {{ type = "secret", place = "query", name = "schlüssel" }}
secret = "Ä %A & %d?"
"""


class Textback:
    """The server as a process of its own, in a folder of its own; it can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None
        settings = {
            "TEXTBACK_SECRET_KEY": "k" * 40, "KANNEL_PASSWORD": kannel.PASSWORD,
            "TEXTBACK_PUBLIC_URL": f"http://127.0.0.1:{self.port}", "TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS": "127.0.0.1",
        }  # fmt: skip
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("TEXTBACK_")} | settings

    def start(self) -> None:
        command = [TEXTBACK, "serve", "--migrate", "--port", str(self.port)]
        with (self.folder / "textback.console").open("a") as console:
            self.process = subprocess.Popen(command, cwd=self.folder, env=self.environ, stdout=console, stderr=console)
        wait_for(lambda: kannel.listens(self.port))

    def stop(self) -> None:
        assert self.process
        self.process.terminate()
        self.process.wait(20)

    def apply(self, text: str) -> dict[str, str]:
        """The URLs of its webhooks by their names."""
        (self.folder / "apply.toml").write_text(text, "utf-8")
        command = [TEXTBACK, "apply", "apply.toml", "--json"]
        told = subprocess.check_output(command, cwd=self.folder, env=self.environ)
        return {webhook["name"]: webhook["url"] for webhook in json.loads(told)}

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / "data" / "textback.db")) as conn:
            return conn.execute(sql, values).fetchall()


class House(NamedTuple):
    """textback, the gateway before it, and the operator behind that."""

    textback: Textback
    gateway: Gateway
    operator: FakeProvider

    def consent(self, person: str) -> list[tuple[Any, ...]]:
        return self.textback.query("SELECT program, state FROM current_consent WHERE address = ?", person)

    def delivery(self, person: str) -> list[tuple[Any, ...]]:
        """What became of the messages to a person, and why we sent them."""
        return self.textback.query(
            "SELECT status, code, error_text, reply_category FROM delivery WHERE recipient = ?", person
        )

    def receipts(self, person: str) -> list[tuple[Any, ...]]:
        """What was said of the messages to a person: Kannel may tell two things at once."""
        return self.textback.query(
            "SELECT r.provider_status, r.status FROM receipts r JOIN messages m ON m.id = r.message_id"
            " WHERE m.recipient = ? ORDER BY 1", person,
        )  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    kannel.need_kannel()
    folder, ports = tmp_path_factory.mktemp("gateway"), kannel.free_ports()
    textback = Textback(folder)
    with ExitStack() as stack:
        stack.callback(textback.stop)
        textback.start()
        urls = textback.apply(APPLY.format(sendsms=ports.sendsms, username=kannel.USERNAME))
        operator = stack.enter_context(fake_provider.running())
        gateway = stack.enter_context(
            kannel.running(folder, ports, get_url=urls["by-get"], post_url=urls["by-post"], operator_url=operator.url)
        )
        yield House(textback, gateway, operator)


def test_a_stop_typed_into_a_phone_is_heard_answered_and_the_answer_s_receipts_come_back(house: House) -> None:
    alice = "+41791110001"

    house.gateway.phone.texts(alice, SENDER, "STOP")

    assert wait_for(lambda: house.gateway.phone.received(alice)) == [Text(SENDER, "text", STOPPED)]
    becomes(lambda: house.receipts(alice), [("1", "delivered"), ("8", "sent")])
    becomes(lambda: house.delivery(alice), [("delivered", "", "", "opt_out")])
    assert house.consent(alice) == [("default", "opted_out")]


def test_words_beyond_the_gsm_alphabet_come_in_and_leave_as_they_were_written(house: House) -> None:
    charlie = "+41791110003"

    house.gateway.phone.texts(charlie, SENDER, "Привет")

    assert wait_for(lambda: house.gateway.phone.received(charlie)) == [Text(SENDER, "ucs-2", "Здравствуйте 🛑")]
    heard = house.textback.query("SELECT text, category FROM inbound WHERE address = ?", charlie)
    assert heard == [("Привет", "custom")]


def test_a_stop_of_a_national_number_is_that_person_s_and_confirmed_once(house: House) -> None:
    bob = "+41791110002"

    house.gateway.phone.texts("0791110002", SENDER, "Stop!")
    wait_for(lambda: house.gateway.phone.received(bob))
    house.gateway.phone.texts(bob, SENDER, "stop 🛑")
    wait_for(lambda: len(house.textback.query("SELECT 1 FROM inbound WHERE address = ?", bob)) == 2)

    assert house.consent(bob) == [("default", "opted_out")]
    becomes(lambda: house.gateway.phone.received(bob), [Text(SENDER, "text", STOPPED)])


@pytest.mark.parametrize(
    ("person", "bits", "answer", "known"),
    [
        ("+41791110011", 1, "id:7 sub:001 dlvrd:001 submit date:2611222031 done date:2611222032 stat:DELIVRD err:000 text:", ("delivered", "", "")),
        ("+41791110012", 2, "id:7 sub:001 dlvrd:000 submit date:2611222031 done date:2611222032 stat:EXPIRED err:027 text:", ("expired", "027", "")),
        ("+41791110014", 4, "", ("sent", "", "")),
        ("+41791110016", 16, "NACK/Absent subscriber", ("rejected", "", "Absent subscriber")),
    ],
    ids=["1 is delivered", "2 with EXPIRED is expired", "4 takes nothing back", "16 is rejected"],
)  # fmt: skip
def test_what_an_operator_reports_is_known(
    house: House, person: str, bits: int, answer: str, known: tuple[str, str, str]
) -> None:
    house.operator.plan.append(fake_provider.answer(202, b"0: Accepted for delivery"))
    house.gateway.operator_texts(person, OTHER_SENDER, "HELP")
    wait_for(lambda: house.receipts(person))

    house.gateway.operator_reports(message_at(house.operator), bits, answer)

    wait_for(lambda: len(house.receipts(person)) == 2)
    becomes(lambda: house.delivery(person), [(*known, "help")])


def test_what_an_operator_refuses_is_rejected(house: House) -> None:
    charlie = "+41791110023"
    house.operator.plan.append(fake_provider.answer(403, b"No credit"))

    house.gateway.operator_texts(charlie, OTHER_SENDER, "HELP")

    becomes(lambda: house.receipts(charlie), [("16", "rejected")])
    becomes(lambda: house.delivery(charlie), [("rejected", "", "No credit", "help")])


def test_a_stop_that_comes_while_textback_is_away_is_heard_when_it_is_back(house: House) -> None:
    bob = "+41791110032"
    house.textback.stop()

    house.gateway.phone.texts(bob, SENDER, "STOP")
    wait_for(lambda: "Couldn't fetch" in house.gateway.log)
    house.textback.start()

    becomes(lambda: house.consent(bob), [("default", "opted_out")])
    assert wait_for(lambda: house.gateway.phone.received(bob)) == [Text(SENDER, "text", STOPPED)]


def message_at(operator: FakeProvider) -> str:
    """The id that Kannel has given the message which it passed on last."""
    (told,) = parse_qs(urlsplit(operator.requests[-1].target).query)["dlr-url"]
    return told.rpartition("dlr-mid=")[2]
