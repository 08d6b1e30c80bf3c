import hashlib
import json
from dataclasses import replace
from itertools import count

import pytest

from app.changes import AttributeRow, Changes, ConsentRow, EvidenceRow, InboundRow, LedgerRow, OutboxRow, WorkRow
from app.events import Cause, ConsentState, Guard, Known, Standing, Status, Trouble
from app.interpret import commitment, decide
from tests.interpreting import (
    ALICE,
    BOB,
    CHARLIE,
    COMPANY,
    HOUR,
    MINUTE,
    NOON,
    RAW,
    RULES,
    changed,
    decided,
    heard,
    knowing,
    message,
    receipt,
    said,
    standing,
)


def test_all_that_a_stop_writes() -> None:
    event = message(" Stop!", BOB, provider_time=NOON - MINUTE, channel="rcs")

    changes = decided(heard(event, raw=RAW), known=knowing(standing(ConsentState.OPTED_IN), BOB))

    evidence = EvidenceRow(
        ledger_id=3, address=BOB, actor="subscriber", reason="", webhook="acme", inbound_id=1, text=" Stop!",
        normal="stop", keyword="STOP", signature="twilio, secret 1 of 1", reply_text="goodbye", salt="salt",
    )  # fmt: skip
    assert changes == Changes(
        inbound=[
            InboundRow(
                id=1, raw_id=7, webhook="acme", provider="twilio", account="twilio", program="default",
                provider_id="SM1", address=BOB, sender=COMPANY, channel="rcs", text=" Stop!", normal="stop",
                category="opt_out", rule="default keyword", keyword="STOP", list_version=RULES.list_version,
                provider_time=NOON - MINUTE, received_at=NOON, effective_at=NOON - MINUTE, reply="queued", outbox_id=2,
            )
        ],
        outbox=[
            OutboxRow(
                id=2, kind="reply", webhook="acme", credential="acme", program="default", category="opt_out",
                address=BOB, sender=COMPANY, text="goodbye", inbound_id=1, state="pending", attempts=0, next_at=NOON,
                deadline=NOON + 5 * MINUTE, created_at=NOON,
            )
        ],
        ledger=[
            LedgerRow(
                id=3, program="default", old_state="opted_in", new_state="opted_out", cause="keyword",
                rule="default keyword", list_version=RULES.list_version, superseded=False, effective_at=NOON - MINUTE,
                received_at=NOON, commitment=commitment(evidence),
            )
        ],
        evidence=[evidence],
        consent={
            ("default", BOB): ConsentRow(
                program="default", address=BOB, state="opted_out", since=NOON - MINUTE, as_of=NOON - MINUTE,
                cause="keyword", ledger_id=3, confirmed=True,
            )
        },
        guards={BOB: (BOB, None, NOON.isoformat(), "")},
    )  # fmt: skip


def test_all_that_a_question_without_answer_writes() -> None:
    changes = decided(said("When?", BOB), known=knowing(standing(ConsentState.OPTED_OUT), BOB))

    assert changes == Changes(
        inbound=[
            InboundRow(
                id=1, raw_id=None, webhook="acme", provider="twilio", account="twilio", program="default",
                provider_id="SM1", address=BOB, sender=COMPANY, channel="sms", text="When?", normal="when",
                category="default", rule="default", keyword="", list_version=RULES.list_version, provider_time=None,
                received_at=NOON, effective_at=NOON, reply="opted out", outbox_id=None,
            )
        ]
    )  # fmt: skip


def test_all_that_a_change_by_hand_writes() -> None:
    request = changed(ConsentState.OPTED_IN, Cause.API, ALICE, program="news", actor="jo", reason="she called us")

    changes = decided(replace(request, webhook="", provider=""))

    evidence = EvidenceRow(
        ledger_id=1, address=ALICE, actor="jo", reason="she called us", webhook="", inbound_id=None, text="", normal="",
        keyword="", signature="", reply_text="", salt="salt",
    )  # fmt: skip
    assert changes == Changes(
        ledger=[
            LedgerRow(
                id=1, program="news", old_state="unknown", new_state="opted_in", cause="api", rule="", list_version="",
                superseded=False, effective_at=NOON, received_at=NOON, commitment=commitment(evidence),
            )
        ],
        evidence=[evidence],
        consent={("news", ALICE): ConsentRow("news", ALICE, "opted_in", NOON, NOON, "api", 1, confirmed=False)},
    )  # fmt: skip


def test_the_commitment_can_be_recomputed_without_us() -> None:
    changes = decided(said("ARRÊT 🛑", rules=RULES), said("STOP"))

    row = changes.evidence[0]
    content = json.dumps(list(row[:-1]), ensure_ascii=False, separators=(",", ":"))
    assert changes.ledger[0].commitment == hashlib.sha256(f"{row.salt}\n{content}".encode()).hexdigest()


def test_the_commitment_tells_nothing_without_its_salt() -> None:
    changes = decide([said("STOP")], Known(), count(1).__next__)
    again = decide([said("STOP")], Known(), count(1).__next__)

    assert len(changes.evidence[0].salt) == 32
    assert changes.ledger[0].commitment != again.ledger[0].commitment


def test_a_custom_keyword_records_a_preference() -> None:
    late = heard(message("DAILY", provider_time=NOON - HOUR), message("WEEKLY"))

    changes = decided(late)

    assert changes.attributes == {
        (CHARLIE, "frequency"): AttributeRow(CHARLIE, "frequency", "daily", "keyword:acme", NOON - HOUR)
    }


def test_what_could_not_be_read_goes_to_the_work_list() -> None:
    troubles = (Trouble("address", "no country code", '{"from":"0791234567"}'), Trouble("item", "no id", "{}"))

    changes = decided(
        replace(heard(message("STOP"), raw=RAW), troubles=troubles), replace(heard(), troubles=troubles[:1])
    )

    assert changes.work == [
        WorkRow(1, 7, "acme", "address", "no country code", '{"from":"0791234567"}', NOON),
        WorkRow(2, 7, "acme", "item", "no id", "{}", NOON),
        WorkRow(3, None, "acme", "address", "no country code", '{"from":"0791234567"}', NOON),
    ]
    assert len(changes.inbound) == 1  # none of its neighbours is lost


def test_events_are_decided_in_the_order_of_time_over_all_requests() -> None:
    changes = decided(
        said("STOP", at=NOON + 2 * MINUTE),
        said("START", at=NOON),
        heard(message("HELP", provider_time=NOON + MINUTE), receipt(Status.SENT), received_at=NOON + 3 * MINUTE),
    )

    assert [row.text for row in changes.inbound] == ["START", "HELP", "STOP"]
    ids = [row.id for rows in (changes.inbound, changes.outbox, changes.ledger) for row in rows]  # type: ignore[attr-defined]
    assert sorted(ids) == list(range(1, 9))
    assert [row.id for row in changes.receipts] == [10]


def test_what_was_known_is_left_as_it_was() -> None:
    known = Known({("default", BOB): Standing()}, {BOB: Guard()}, {}, {})

    decided(said("STOP", BOB), said("HELP", BOB), heard(receipt(Status.SENT)), known=known)

    assert known == Known({("default", BOB): Standing()}, {BOB: Guard()}, {}, {})


def test_programs_and_addresses_are_apart() -> None:
    changes = decided(said("STOP", BOB), replace(said("START", BOB), program="news"), said("START", ALICE))

    assert {key: row.state for key, row in changes.consent.items()} == {
        ("default", BOB): "opted_out",
        ("news", BOB): "opted_in",
        ("default", ALICE): "opted_in",
    }


@pytest.mark.parametrize("texts", [["STOP", "STOP"], ["JOIN", "JOIN"]])
def test_two_messages_with_the_same_text_are_two_messages(texts: list[str]) -> None:
    changes = decided(heard(*map(message, texts)))

    assert (len(changes.inbound), len(changes.ledger), len(changes.consent)) == (2, 2, 1)


def test_nothing_heard_nothing_written() -> None:
    assert decided() == decided(heard()) == Changes()
