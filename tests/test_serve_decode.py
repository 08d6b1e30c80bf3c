"""The payload editor's engine: what a sample decodes to, what a rule lacks, what nothing reads."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.errors import BadInput
from app.record import tables
from app.serve.pasted import Pasted, read_pasted, request_of
from tests.commands import KEY, Run, count, file_of, runner, told
from tests.decoding import SAMPLES, load_sample
from tests.heard import ALICE
from tests.serving import Served, serving

PAYLOAD = '{"msg":{"id":"{{requestId}}","from":"{{profileNumber}}","text":"{{inboundMessage}}"}}'
BODY = json.dumps({"msg": {"id": "7", "from": ALICE, "text": "STOP", "cost": 1}, "ver": "2"})
SID = "SM" + "1" * 32
EVENT = {"kind": "inbound", "provider_id": "7", "address": ALICE, "text": "STOP", "channel": "sms"}


@pytest.fixture
def served(database_url: str) -> Iterator[Served]:
    with serving(database_url, secret_key=KEY) as running:
        yield running


def decoded(served: Served, **wanted: Any) -> Any:
    answer = served.ask("POST", "/v1/decode", wanted)
    assert answer.status == 200, answer.body
    return answer.json


def refusal(served: Served, **wanted: Any) -> tuple[int, str]:
    answer = served.ask("POST", "/v1/decode", wanted)
    return answer.status, answer.json["detail"]


def house(served: Served, names: str = "msg") -> str:
    """A webhook of a custom provider; its URL."""
    webhook = {"name": "house", "provider": "custom", "payload": PAYLOAD.replace("msg", names)}
    found: str = served.ask("POST", "/v1/webhooks", webhook).json["url"]
    return found.removeprefix(served.url)


# --- through the API ----------------------------------------------------------------------------------------------


def test_a_payload_is_tried_on_a_body(served: Served) -> None:
    found = decoded(served, payload=PAYLOAD, body=BODY)

    def field(name: str, value: str, path: str) -> dict[str, Any]:
        return {"name": name, "value": value, "path": path, "looked": [{"path": path, "value": value}], "problem": ""}

    fields = [field("id", "7", "msg.id"), field("address", ALICE, "msg.from"), field("text", "STOP", "msg.text")]
    assert found == {
        "reading": "events",
        "problem": "",
        "events": [EVENT],
        "troubles": [],
        "is_handshake": False,
        "handshakes": [],
        "rules": [{"number": 1, "kind": "inbound", "item": "", "lacks": "", "reads": True, "fields": fields}],
        "left": ["msg.cost", "ver"],
    }


def test_a_rule_that_does_not_hold_names_the_path_that_it_lacks(served: Served) -> None:
    found = decoded(served, payload=PAYLOAD, body=BODY.replace('"text"', '"txt"'))

    assert (found["reading"], found["events"]) == ("undecoded", [])
    assert found["problem"] == "This is none of the events that the payload tells: inbound needs a value at msg.text."
    assert [rule["lacks"] for rule in found["rules"]] == ["a value at msg.text"]
    assert found["left"] == ["msg.id", "msg.from", "msg.txt", "msg.cost", "ver"] or "msg.txt" in found["left"]


def test_receipts_of_a_payload_are_read_with_its_own_words(served: Served) -> None:
    payload = '{"id":"{{messageId}}","state":"{{feedbackStatus}}","to":"{{recipient}}"}'
    body = json.dumps({"id": "SM1", "state": "ARRIVED", "to": ALICE})

    found = decoded(served, payload=payload, type="feedback", statuses={"ARRIVED": "delivered"}, body=body)

    assert found["events"] == [
        {"kind": "receipt", "message_id": "SM1", "recipient": ALICE, "status": "delivered",
         "provider_status": "ARRIVED", "parts": 1}
    ]  # fmt: skip


def test_a_registered_webhook_reads_as_it_does(served: Served) -> None:
    house(served)

    assert decoded(served, webhook="house", body=BODY)["events"] == [EVENT]


def test_a_stored_request_is_read_by_the_webhook_that_heard_it_or_by_a_mended_payload(served: Served) -> None:
    path = house(served, "message")
    served.ask("POST", path, BODY.encode(), token=None, headers={"content-type": "application/json"})
    number = served.parts.database.read_now(lambda conn: conn.execute(tables.raw_requests.select()).one().id)

    as_heard = decoded(served, raw_id=str(number))
    mended = decoded(served, raw_id=str(number), payload=PAYLOAD)

    assert (as_heard["reading"], as_heard["events"]) == ("undecoded", [])
    assert mended["events"] == [EVENT]


def test_bytes_come_as_base64_and_headers_and_query_count(served: Served) -> None:
    form = base64.b64encode(f"From=%2B14155550100&Body=Gr\xfc\xdfe&MessageSid={SID}".encode("latin-1")).decode()
    kind = {"Content-Type": "application/x-www-form-urlencoded; charset=ISO-8859-1"}

    posted = decoded(served, provider="twilio", body=form, encoding="base64", headers=kind)
    got = decoded(
        served, provider="twilio", body="", method="GET", query=f"From=%2B14155550100&Body=Hi&MessageSid={SID}"
    )

    assert posted["events"][0]["text"] == "Gr\xfc\xdfe"
    assert got["events"][0]["text"] == "Hi"


@pytest.mark.parametrize(
    ("wanted", "status", "sentence"),
    [
        ({"body": "{}"}, 422, "say whose request it is: one of provider, webhook and payload"),
        ({"body": "{}", "provider": "twilio", "webhook": "house"}, 422, "say whose request it is"),
        ({"provider": "twilio"}, 422, "give a body, or the raw_id of a stored request, and not both"),
        ({"body": "{}", "raw_id": "1", "provider": "twilio"}, 404, "There is no stored request of this id"),
        ({"body": "{}", "webhook": "nobody"}, 404, "There is no webhook named nobody."),
        ({"raw_id": "1"}, 404, "There is no stored request of this id"),
        ({"body": "{}", "provider": "nobody"}, 422, "there is no provider 'nobody'; choose from "),
        ({"body": "{}", "provider": "custom"}, 422, 'provider "custom" reads what a payload says: give the payload'),
        ({"body": "{}", "provider": "twilio", "feedback_payload": "{}"}, 422, "needs no payload"),
        ({"body": "{}", "payload": '{"t":"{{inboundMesage}}"}'}, 422, "payload: {{inboundMesage}} is no placeholder here"),
        ({"body": "{}", "payload": '{"t":{{inboundMessage}}}'}, 422, "payload is not JSON"),
        ({"body": "{}", "payload": '{"t":"{{inboundMessage}}"}'}, 422, "payload: {{profileNumber}} is missing"),
        ({"body": "-", "encoding": "base64", "provider": "twilio"}, 422, "body is not base64"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_slip_says_what_to_mend(served: Served, wanted: dict[str, Any], status: int, sentence: str) -> None:
    found = refusal(served, **wanted)

    assert found[0] == status
    assert sentence in found[1]


def test_nothing_is_written(served: Served) -> None:
    decoded(served, provider="twilio", body=f"From=%2B14155550100&Body=STOP&MessageSid={SID}")

    assert [count(served.parts.database, table) for table in (tables.inbound_messages, tables.raw_requests)] == [0, 0]


# --- what is pasted -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "pasted"),
    [
        (b'{"a": 1}\n', Pasted("POST", "", {}, b'{"a": 1}\n')),
        (
            b"POST /in/x?a=1&b=2 HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: 2\r\n\r\nb=1\r\n\r\n",
            Pasted("POST", "a=1&b=2", {"host": "x", "x-a": "1, 2"}, b"b=1\r\n\r\n"),
        ),
        (b"PUT https://hooks.example.com/in/x?a=1\nContent-Length: 3\n\nb=1\n",
         Pasted("PUT", "a=1", {"content-length": "3"}, b"b=1")),
        (b"POST /in/x\nContent-Length: 2\n\nb=1\n", Pasted("POST", "", {"content-length": "2"}, b"b=1\n")),
        (b"GET /in/x?a=1 HTTP/1.1\r\n\r\n", Pasted("GET", "a=1", {}, b"")),
        (b"GET /in/x HTTP/1.1\r\nHost: x\r\n", Pasted("GET", "", {"host": "x"}, b"")),
        (b"GETTING /in/x\n\nb", Pasted("POST", "", {}, b"GETTING /in/x\n\nb")),
    ],
    ids=["a body", "a whole request", "an editor's line end", "another length", "no headers", "no body", "no request"],
)  # fmt: skip
def test_a_request_is_read_as_it_is_pasted(data: bytes, pasted: Pasted) -> None:
    assert read_pasted(data) == pasted


def test_a_line_that_is_no_header_is_told() -> None:
    with pytest.raises(BadInput, match="is no header; write Name: value"):
        read_pasted(b"POST /in/x\nHost x\n\nb=1")


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b' {"a":1}', "application/json"), (b"[]", "application/json"), (b"<a/>", "application/xml"),
     (b"a=1\n", "application/x-www-form-urlencoded")],
)  # fmt: skip
def test_the_look_of_a_body_tells_its_type(body: bytes, kind: str) -> None:
    request = request_of(Pasted("POST", "", {}, body))

    assert request.content_type == kind
    assert request_of(Pasted("POST", "", {"content-type": "text/plain"}, body)).content_type == "text/plain"


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(database_url, monkeypatch, tmp_path)


def test_the_command_shows_events_fields_and_what_is_left(run: Run, tmp_path: Path) -> None:
    file_of(tmp_path, PAYLOAD, "template.json")

    result = run("decode", file_of(tmp_path, BODY, "sample.json"), "--payload", "template.json")

    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert (result.exit_code, result.stderr) == (0, "")
    assert lines == [
        "event 1: inbound",
        "field value",
        "provider_id 7",
        f"address {ALICE}",
        "text STOP",
        "channel sms",
        "",
        "rules",
        "kind rule item verdict",
        "inbound 1 the whole holds and reads it",
        "",
        "rule 1, inbound",
        "field value found at",
        "id 7 msg.id",
        f"address {ALICE} msg.from",
        "text STOP msg.text",
        "",
        "nothing reads",
        "msg.cost",
        "ver",
    ]


def test_the_command_says_what_is_missing_and_fails(run: Run, tmp_path: Path) -> None:
    file_of(tmp_path, PAYLOAD, "template.json")
    file = file_of(tmp_path, BODY.replace('"text"', '"t\\u001b"'), "sample.json")

    shown = run("decode", file, "--payload", "template.json")
    as_json = run("decode", file, "--payload", "template.json", "--json")

    assert (shown.exit_code, as_json.exit_code) == (1, 1)
    assert "inbound needs a value at msg.text." in shown.stdout
    assert "\x1b" not in shown.stdout
    assert json.loads(as_json.stdout)["events"] == []


def test_the_command_reads_as_a_registered_webhook_and_a_stored_request(
    run: Run, served: Served, tmp_path: Path
) -> None:
    path = house(served)
    served.ask("POST", path, BODY.encode(), token=None)
    number = served.parts.database.read_now(lambda conn: conn.execute(tables.raw_requests.select()).one().id)

    by_name = run("decode", file_of(tmp_path, BODY, "sample.json"), "--webhook", "house", "--json")
    by_id = run("decode", "--raw", str(number), "--json")
    nobody = run("decode", "--raw", "1")

    assert [json.loads(each.stdout)["events"] for each in (by_name, by_id)] == [[EVENT], [EVENT]]
    assert told(nobody)[0] == 1
    assert "There is no stored request of this id" in nobody.stderr


def test_options_say_what_a_body_alone_does_not(run: Run, tmp_path: Path) -> None:
    query = f"From=4155550100&Body=Hi&MessageSid={SID}"
    empty = file_of(tmp_path, "", "empty")

    got = run("decode", empty, "--provider", "twilio", "--method", "GET", "--query", query, "--region", "US", "--json")
    posted = run(
        "decode", file_of(tmp_path, "a=1", "body"), "--provider", "twilio", "--header", "Content-Type: text/plain"
    )

    assert json.loads(got.stdout)["events"][0]["address"] == ALICE
    assert posted.exit_code == 1


def test_words_of_receipts_come_with_options(run: Run, tmp_path: Path) -> None:
    file_of(tmp_path, '{"id":"{{messageId}}","state":"{{feedbackStatus}}"}', "receipt.json")
    file_of(tmp_path, PAYLOAD, "template.json")
    file = file_of(tmp_path, '{"id":"SM1","state":"ARRIVED"}', "sample.json")
    words = ("--feedback-payload", "receipt.json", "--type", "both", "--status", "ARRIVED=delivered")

    result = run("decode", file, "--payload", "template.json", *words, "--json")

    assert json.loads(result.stdout)["events"][0]["status"] == "delivered"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "say whose request it is: one of provider, webhook and payload"),
        (("--payload", "template.json", "--status", "x"), "--status 'x' has no =; write --status 'name=value'."),
        (("--payload", "template.json", "--status", "x=y"), "statuses.x: "),
        (("--provider", "twilio", "--header", "x"), "--header 'x' has no :"),
        (("--provider", "nobody"), "there is no provider 'nobody'"),
        (("--webhook", "nobody"), "There is no webhook named nobody."),
        (("--payload", "latin"), "latin is not text in UTF-8"),
    ],
)  # fmt: skip
def test_the_command_tells_a_slip_in_a_sentence(
    run: Run, tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    file_of(tmp_path, PAYLOAD, "template.json")
    (tmp_path / "latin").write_bytes(b"\xff")

    result = run("decode", file_of(tmp_path, BODY, "sample.json"), *words)

    assert (result.exit_code, result.stdout) == (1, "")
    assert sentence in result.stderr


@pytest.mark.parametrize(
    "name", ["twilio/inbound__keyword_stop", "infobip/inbound__stop_and_start", "vonage/handshake__get"]
)
def test_a_sample_file_decodes_to_what_the_door_hears(run: Run, name: str) -> None:
    _, _, expect = load_sample(name)

    result = run("decode", str(SAMPLES / f"{name}.http"), "--provider", name.partition("/")[0], "--json")

    found = json.loads(result.stdout)
    assert [event["kind"] for event in found["events"]] == [event["kind"] for event in expect.get("events", [])]
    assert found["is_handshake"] is ("handshake" in expect)
    assert result.exit_code == (0 if found["events"] else 1)


# --- what is expected of a sample ---------------------------------------------------------------------------------


def expect_of(run: Run, *words: str) -> tuple[dict[str, Any], list[str]]:
    """The file that is printed, and what is said beside it."""
    result = run("decode", *words, "--expect")
    assert result.exit_code == 0
    return json.loads(result.stdout), result.stderr.splitlines()


@pytest.mark.parametrize(
    "name",
    [
        "twilio/inbound__keyword_stop",
        "infobip/inbound__stop_and_start",
        "infobip/other__empty",
        "vonage/inbound__part_1",
        "vonage/handshake__get",
        "whatsapp/handshake__challenge",
        "azure/handshake__cloud_events",
    ],
)
def test_what_is_expected_of_a_sample_is_printed_as_its_file_tells_it(run: Run, name: str) -> None:
    _, _, expect = load_sample(name)

    told, _ = expect_of(run, str(SAMPLES / f"{name}.http"), "--provider", name.partition("/")[0])

    assert told["expect"] == expect


def test_what_is_left_open_is_told_beside_the_file(run: Run, tmp_path: Path) -> None:
    signed = file_of(tmp_path, "GET /in/twilio?a=1 HTTP/1.1\nHost: x\n\n", "signed.http")
    several = file_of(tmp_path, "POST /in/vonage HTTP/1.1\nHost: x\n\na=1", "several.http")
    expect = {"reading": "undecoded", "events": [], "answer": "inbound"}

    twilio, sentences = expect_of(run, signed, "--provider", "twilio")
    vonage, more = expect_of(run, several, "--provider", "vonage")
    meta, _ = expect_of(run, str(SAMPLES / "whatsapp/handshake__challenge.http"), "--provider", "whatsapp")

    assert twilio == {
        "webhook": {"type": "both", "secret": "…"},
        "url": "https://hooks.example.com/in/twilio?a=1",
        "expect": expect,
    }
    assert [sentence.partition(":")[0] for sentence in sentences[1:]] == ["secret", "url"]
    assert meta["webhook"] == {"type": "both", "secret": "…", "verify_token": "our-own-word"}
    assert vonage["webhook"] == {"type": "both", "scheme": {"type": "…"}, "secret": "…"}
    assert more[0].endswith("it looks like a form, so check the content type.")
    assert more[1].startswith("scheme: the provider offers several")


def test_what_a_webhook_says_stands_in_the_file_without_its_secret(run: Run, served: Served, tmp_path: Path) -> None:
    scheme = {"type": "secret", "name": "x"}
    told = {"provider": "custom", "payload": PAYLOAD, "region": "CH", "secret": "hush", "scheme": scheme}
    assert served.ask("POST", "/v1/webhooks", {"name": "signed", **told}).status == 201
    file = file_of(tmp_path, f"POST /in/custom HTTP/1.1\nContent-Type: application/json\n\n{BODY}", "sample.http")

    found, sentences = expect_of(run, file, "--webhook", "signed")

    scheme |= {"place": "header", "prefix": ""}
    assert found["webhook"] == {"type": "inbound", "secret": "…", "region": "CH", "scheme": scheme, "payload": PAYLOAD}
    assert found["expect"]["events"] == [{"kind": "inbound", "provider_id": "7", "address": ALICE, "text": "STOP"}]
    assert sentences == ["secret: the one that this sample is signed with"]


def test_an_item_that_cannot_be_read_is_told(run: Run, tmp_path: Path) -> None:
    body = f"From=nobody%20at%20all%21&Body=Hi&MessageSid={SID}"

    result = run("decode", file_of(tmp_path, body, "body"), "--provider", "twilio")

    assert result.exit_code == 1
    assert result.stdout.startswith("not read (address): ")


def test_what_is_known_and_ignored_is_told(run: Run) -> None:
    result = run("decode", str(SAMPLES / "infobip/other__empty.http"), "--provider", "infobip")

    assert result.exit_code == 1
    assert result.stdout.startswith("It is known and ignored: no event comes of it.")


def test_a_handshake_is_told(run: Run) -> None:
    result = run("decode", str(SAMPLES / "vonage/handshake__get.http"), "--provider", "vonage")

    assert result.stdout.startswith("The provider only tries the URL with this")
