"""What streams send, before anything is sent: envelopes, ids, signatures, sizes, and what answers mean."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadInput
from app.interpret.governance import Governance
from app.policy import Labels, Policy
from app.send import Client, Destinations
from app.send.connection import Answer
from app.send.streams.answer import judge
from app.send.streams.courier import LIMIT, ReadyStream, event_of, outgoing, ready, requests_of
from app.send.streams.cursor import MOST_AHEAD, Cursor
from app.send.streams.envelope import Written, event_id, identity_map
from app.send.streams.teller import pause
from app.serve.stream_preview import sample
from app.stream import SOURCES, Source, Stream
from tests.receivers import ENVELOPE, EXAMPLE, ORGANISATION

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
XDM = {
    "format": "xdm",
    "organisation": ORGANISATION,
    "schema_id": "https://ns.adobe.com/acme/schemas/1",
    "event_id": "e1",
}
OLD, NEW = "whsec_" + "b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xk", "whsec_" + "bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3"


def made(*, governance: Governance | None = None, **given: Any) -> ReadyStream:
    stream = Stream.model_validate({"name": "crm", "url": "https://crm.example.com/events", **given})
    return ready(stream, governance or Governance(), Client(Destinations()), "allow")


def told(told_to: ReadyStream, *sources: Source) -> Any:
    events = [event for source in sources if (event := event_of(told_to, sample(source)))]
    [request] = requests_of(told_to, events)
    return outgoing(told_to, request, NOON)


def test_the_documents_own_example_is_an_envelope() -> None:
    assert list(ENVELOPE.iter_errors(EXAMPLE)) == []
    assert list(ENVELOPE.iter_errors(EXAMPLE | {"header": {}})) != []


@pytest.mark.parametrize("source", SOURCES)
def test_every_kind_of_event_is_an_envelope_with_the_headers_of_the_document(source: Source) -> None:
    single = told(made(**XDM, batch=1, dataset="d1"), source)
    batch = told(made(**XDM), source)
    message = json.loads(single.body)

    assert list(ENVELOPE.iter_errors(message)) == []
    assert json.loads(batch.body)["messages"][0] == {
        **message,
        "header": {k: v for k, v in message["header"].items() if k != "datasetId"},
    }
    assert single.headers == {"Content-Type": "application/json", "x-gw-ims-org-id": ORGANISATION}
    assert message["header"] | {"msgId": "", "xactionId": ""} == EXAMPLE["header"] | {
        "msgId": "", "xactionId": "", "datasetId": "d1", "imsOrgId": ORGANISATION, "source": {"name": "textback"},
        "schemaRef": {"id": XDM["schema_id"], "contentType": "application/vnd.adobe.xed-full+json;version=1"},
    }  # fmt: skip
    entity = message["body"]["xdmEntity"]
    assert entity["identityMap"] == {"Phone": [{"id": "+14155550101"}]}
    assert entity["timestamp"] == "2026-11-22T17:18:00.000Z"
    assert entity["_experience"] == {"campaign": {"orchestration": {"eventID": "e1"}}}
    assert (entity["_id"], entity["_textback"]["type"]) == (event_id(source, sample(source).row_id), source)


def test_ids_are_the_same_for_every_resend_and_differ_between_rows_and_sources() -> None:
    """As printed, for receivers have stored them: no release may make others."""
    assert event_id("consent", 7906041036800000000) == "a767038b-08aa-59e5-ad77-90e3885ba1dd"
    assert len({event_id(source, row) for source in SOURCES for row in (1, 2)}) == 6


def test_other_kinds_of_address_have_their_own_names() -> None:
    assert identity_map("email:bob@example.com") == {"Email": [{"id": "bob@example.com"}]}
    assert identity_map("whatsapp:+14155550101") == {"Whatsapp": [{"id": "+14155550101"}]}


def test_a_cloud_event_has_its_attributes_and_is_signed_by_both_secrets() -> None:
    request = told(made(secret=[NEW, OLD], batch=1), "consent")
    event = json.loads(request.body)

    assert request.headers["Content-Type"] == "application/cloudevents+json"
    assert {name: event[name] for name in ("specversion", "type", "source", "subject", "time", "datacontenttype")} == {
        "specversion": "1.0", "type": "textback.consent.changed", "source": "textback", "subject": "+14155550101",
        "time": "2026-11-22T17:18:00.000Z", "datacontenttype": "application/json",
    }  # fmt: skip
    assert event["id"] == event_id("consent", int(event["sequence"])) == request.headers["webhook-id"]
    assert event["data"]["new_state"] == event["data"]["consent"]["state"] == "opted_out"
    assert event["data"]["consent"]["may_send"] is False
    for secret in (OLD, NEW):
        now = outgoing(made(secret=[NEW, OLD], batch=1), [Written(1, "id", request.body)], datetime.now(UTC))
        assert standardwebhooks.Webhook(secret).verify(now.body, now.headers) == event
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook("whsec_" + "c29tZS1vdGhlci1zZWNyZXQtb2YtMjQ=").verify(now.body, now.headers)


def test_cloud_events_come_in_batches_too() -> None:
    request = told(made(), *SOURCES)

    assert request.headers["Content-Type"] == "application/cloudevents-batch+json"
    assert [event["type"] for event in json.loads(request.body)] == [
        "textback.consent.changed", "textback.message.received", "textback.receipt.received",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"secret": "not-a-secret"}, "openssl rand -base64 32"),
        ({"secret": "whsec_dG9vIHNob3J0"}, "24 to 64 random bytes"),
        ({"headers": {"Content-Type": "text/plain"}}, "content-type is set by textback itself"),
        ({"headers": {"webhook-id": "1"}}, "webhook-id is set by textback itself"),
        ({"headers": {"authorization": "x"}, "auth": {"type": "bearer", "token": "t"}}, "leave it to auth"),
        ({"auth": {"type": "bearer", "token": ""}}, "the token is empty"),
        ({"url": "ftp://crm.example.com"}, "must be like https://"),
    ],
)
def test_what_could_never_be_sent_is_told_in_a_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        made(**given)


# --- governance ---------------------------------------------------------------------------------------------------

SILENT = Governance(
    [Labels(name="event.text", labels=["C1"]), Labels(name="event.address", labels=["I1"])],
    [
        Policy(name="no-text", marketing_actions=["crm"], deny=["C1"]),
        Policy(name="no-people", marketing_actions=["ads"], deny=["I1"]),
        Policy(name="willing", marketing_actions=["ads"], require="consent.may_send"),
    ],
)


def denying(*fields: str) -> Governance:
    return Governance([Labels(name=name, labels=["I1"]) for name in fields], [Policy(name="none", deny=["I1"])])


def test_where_the_address_may_not_leave_no_providers_word_that_holds_it_does() -> None:
    whatsapp = "wamid." + base64.b64encode(b"\x1d\x16\x1c\x1614155550101\x15\x02\x00\x12\x18").decode()
    happened = sample("receipt")
    given = {"message_id": whatsapp, "error_text": "(#131026) 14155550101 is no user", "code": "131026"}
    stood = happened._replace(event=happened.event | {"address": "whatsapp:+14155550101"} | given)

    whole, left = (event_of(made(governance=each), stood) for each in (Governance(), denying("event.address")))

    assert whole is not None
    assert left is not None
    assert {name: whole.data[name] for name in given} == given
    assert (set(whole.data) - set(left.data), left.data["code"]) == ({"address", "message_id", "error_text"}, "131026")
    usual = event_of(made(governance=denying("event.address")), happened)
    assert usual is not None
    assert usual.data["message_id"] == happened.event["message_id"]


def test_a_denied_time_or_sequence_is_not_told_beside_the_data_either() -> None:
    request = told(made(batch=1, governance=denying("event.received_at", "event.sequence")), "inbound")
    event = json.loads(request.body)

    assert {"time", "sequence"}.isdisjoint({*event, *event["data"]})
    assert sample("inbound").event["sequence"] not in request.body.decode()
    broken = Governance(broken={("labels", "event.received_at"): "its labels cannot be read"})
    entity = json.loads(told(made(**XDM, batch=1, governance=broken), "inbound").body)["body"]["xdmEntity"]
    assert "timestamp" not in entity
    assert "received_at" not in entity["_textback"]


def test_a_denied_field_never_leaves_nor_what_is_made_of_it() -> None:
    data = json.loads(told(made(governance=SILENT, marketing_actions=["crm"], batch=1), "inbound").body)["data"]
    without = told(made(governance=SILENT, marketing_actions=["ads"], batch=1), "receipt")

    assert {"text", "normal", "keyword"} & data.keys() == set()
    assert data["category"] == "opt_out"
    assert b"+14155550101" not in without.body
    assert "subject" not in json.loads(without.body)


def test_whom_a_policy_leaves_out_is_still_told_of_by_changes_of_consent() -> None:
    told_to = made(governance=SILENT, marketing_actions=["ads"])

    assert [source for source in SOURCES if event_of(told_to, sample(source))] == ["consent", "receipt"]


# --- sizes and answers --------------------------------------------------------------------------------------------


def written(*sizes: int) -> list[Written]:
    return [Written(number, f"id-{number}", b"x" * size) for number, size in enumerate(sizes)]


@given(st.lists(st.integers(0, 300_000), max_size=30), st.integers(1, 10))
def test_no_request_is_larger_than_the_limit_unless_one_event_is(sizes: list[int], batch: int) -> None:
    told_to = made(batch=batch)
    happened = sample("inbound")
    events = []
    for number, size in enumerate(sizes):
        event = event_of(told_to, happened._replace(row_id=number, event={**happened.event, "text": "x" * size}))
        assert event
        events.append(event)
    requests = list(requests_of(told_to, events))

    assert [one.row_id for request in requests for one in request] == list(range(len(sizes)))
    assert all(len(request) <= batch and len(outgoing(told_to, request, NOON).body) <= LIMIT for request in requests)


@pytest.mark.parametrize(
    ("status", "taken", "refused", "split", "problem"),
    [
        (200, 2, 0, False, ""), (204, 2, 0, False, ""), (400, 0, 0, True, ""), (413, 0, 0, True, ""),
        (422, 0, 0, True, ""), (401, 0, 0, False, "auth is missing"), (410, 0, 0, False, "gone"),
        (302, 0, 0, False, "redirect"), (408, 0, 0, False, "408"), (429, 0, 0, False, "429"), (503, 0, 0, False, "503"),
    ],
)  # fmt: skip
def test_what_an_answer_means(status: int, taken: int, refused: int, split: bool, problem: str) -> None:
    judged = judge(Answer(status, {"retry-after": "7"}, b""), written(1, 1), NOON, inlet=False)

    assert (len(judged.taken), len(judged.refused), judged.split) == (taken, refused, split)
    assert problem in judged.problem
    assert bool(judged.problem) == bool(problem)
    assert judged.retry_after == (7 if problem else None)


def test_an_inlet_answers_for_each_message() -> None:
    outcomes = [
        {"xactionId": "1"},
        {"statusCode": 400, "message": "bad '+14155550101'"},
        {"statusCode": 503},
        {"status": 200},
    ]
    body = json.dumps({"inletId": "1", "responses": outcomes}).encode()
    judged = judge(Answer(207, {}, body), written(1, 1, 1, 1), NOON, inlet=True)

    assert [one.row_id for one in judged.taken] == [0, 3]
    assert [(one.row_id, reason) for one, reason in judged.refused] == [(1, "the receiver answered 400: bad •••")]
    assert judged.problem == "the receiver answered 503 for some messages"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"responses": []}', b'{"responses": [1]}', b'{"responses": [{"statusCode": "x"}]}']
)
def test_an_answer_that_cannot_be_read_means_that_nothing_was_taken(body: bytes) -> None:
    judged = judge(Answer(207, {}, body), written(1), NOON, inlet=True)

    assert (judged.taken, judged.refused) == ([], [])
    assert judged.problem


def test_a_receiver_that_fails_is_left_alone_for_longer_and_longer_and_as_long_as_it_asks() -> None:
    assert 0.5 <= pause(1, None) <= 1
    assert 150 <= pause(40, None) <= 300
    assert 7 <= pause(1, 7) <= 7.1
    assert pause(1, 1e9) <= 3_601


# --- the cursor ---------------------------------------------------------------------------------------------------


@given(st.data())
def test_whatever_order_rows_appear_in_each_is_told_once_and_none_is_passed(data: st.DataObject) -> None:
    """Rows appear in any order, but never at or below the mark of before; looks and marks come as they like."""
    to_come = data.draw(st.sets(st.integers(1, 60), max_size=30))
    there: set[int] = set()
    told_of: list[int] = []
    cursor, mark = Cursor(0), 0
    while to_come or set(told_of) != there or cursor.ahead:
        mark = max(mark, min(to_come, default=100) - 1)
        seen = sorted(row for row in there if row > cursor.position)[: data.draw(st.integers(1, 9)) + len(cursor.ahead)]
        untold = cursor.untold(seen, mark, data.draw(st.integers(1, 5)))
        told_of += untold
        cursor.tell(untold)
        cursor.settle(mark, seen)
        assert cursor.position <= mark
        if to_come:
            appears = data.draw(st.sampled_from(sorted(to_come)))
            to_come.remove(appears)
            there.add(appears)

    assert sorted(told_of) == sorted(there)


def test_when_too_much_is_told_early_the_rest_waits_until_it_is_settled() -> None:
    cursor = Cursor(0, range(10, 10 + MOST_AHEAD))

    assert cursor.untold([5, 1_000_000], 7, 10) == [5]
    assert cursor.untold([5, 1_000_000], 2_000_000, 10) == [5, 1_000_000]


@pytest.mark.parametrize(
    "number", ["+14155550101", "+1 415 555 01 01", "(415) 555-0101", "1.415.555.0101", "415/5550101"]
)
def test_what_a_receiver_says_of_a_refusal_is_kept_without_numbers_however_they_are_spaced(number: str) -> None:
    body = json.dumps({"message": f"{number} is unknown to schema 12, see line 3 of 77"}).encode()

    [(_, reason)] = judge(Answer(400, {}, body), [Written(1, "id", b"{}")], NOON, inlet=False).refused

    assert not any(part in reason for part in ("415", "555", "0101", "01 01"))
    assert reason.endswith("is unknown to schema 12, see line 3 of 77")
