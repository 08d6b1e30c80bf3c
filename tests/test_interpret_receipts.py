from itertools import permutations
from typing import Any

import pytest

from app.changes import MessageRow, ReceiptRow
from app.events import Delivery, Known, MessageKey, Receipt, Status
from app.interpret.receipts import RANK, merge
from tests.interpreting import ALICE, BOB, HOUR, MINUTE, NOON, RAW, decided, heard, receipt

Q, S, D, R = Status.QUEUED, Status.SENT, Status.DELIVERED, Status.READ
U, F, E, J, X = Status.UNDELIVERED, Status.FAILED, Status.EXPIRED, Status.REJECTED, Status.UNKNOWN
KEY = ("twilio", "SM1", ALICE)


def final(*receipts: Receipt) -> MessageRow:
    """The message's row after receipts in this order, each in a request of its own."""
    return decided(*(heard(event, received_at=NOON + i * MINUTE) for i, event in enumerate(receipts))).messages[KEY]


def told(*statuses: Status) -> tuple[Receipt, ...]:
    return tuple(receipt(status) for status in statuses)


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ((Q, S, D, R), R),
        ((D, S), D),  # delivered, then sent
        ((R, D), R),  # read before delivered
        ((D, D), D),  # twice
        ((D, F), D),  # failed after delivered
        ((F, D), D),  # the handset has it after all
        ((S, X), S),
        ((X, Q), Q),
        ((U, F), U),  # the first failure stays
        ((F, U), F),
        ((J, E), J),
        ((E, J, S), E),
        ((F, R), R),
    ],
)
def test_a_status_only_rises(statuses: tuple[Status, ...], status: Status) -> None:
    assert final(*told(*statuses)).status == status


def test_every_status_has_its_rank() -> None:
    assert list(RANK) == list(Status)
    assert sorted(RANK, key=lambda status: RANK[status]) == list(RANK)


@pytest.mark.parametrize("order", list(permutations((Q, S, D, R))))
def test_the_order_of_arrival_does_not_matter(order: tuple[Status, ...]) -> None:
    assert final(*told(*order)).status == "read"


@pytest.mark.parametrize(
    ("receipts", "kept"),
    [
        # a later failure without a code keeps the stored one
        ([receipt(F, code="30006", error_text="landline"), receipt(U)], ("failed", "failed", "30006", "landline")),
        ([receipt(S, code="7", error_text="soft"), receipt(F)], ("failed", "failed", "7", "soft")),
        ([receipt(S, code="7", error_text="soft"), receipt(F, error_text="hard")], ("failed", "failed", "7", "hard")),
        # the first failure learns its code, and keeps the one it has
        ([receipt(U), receipt(F, code="30006", error_text="landline")], ("undelivered", "undelivered", "30006", "landline")),
        ([receipt(U, error_text="no"), receipt(F, code="30006")], ("undelivered", "undelivered", "30006", "no")),
        ([receipt(U, code="1"), receipt(F, code="2")], ("undelivered", "undelivered", "1", "")),
        # a status that rises brings its own word and code; a delivery has no failure's code
        ([receipt(Q), receipt(F, code="30006", provider_status="boom")], ("failed", "boom", "30006", "")),
        ([receipt(F, code="30006", error_text="landline"), receipt(D)], ("delivered", "delivered", "", "")),
        # what does not rise changes nothing
        ([receipt(D), receipt(S, code="9", error_text="late")], ("delivered", "delivered", "", "")),
        ([receipt(D), receipt(F, code="30006")], ("delivered", "delivered", "", "")),
    ],
)  # fmt: skip
def test_the_providers_word_code_and_text(receipts: list[Receipt], kept: tuple[str, ...]) -> None:
    row = final(*receipts)

    assert (row.status, row.provider_status, row.code, row.error_text) == kept


# --- parts --------------------------------------------------------------------------------------------------------


def part(name: str, status: Status, parts: int = 2, **given: Any) -> Receipt:
    return receipt(status, part=name, parts=parts, **given)


@pytest.mark.parametrize(
    ("receipts", "status", "parts"),
    [
        ([part("1", D)], "sent", '{"1":"delivered"}'),  # the other is at most sent
        ([part("1", D), part("2", D)], "delivered", '{"1":"delivered","2":"delivered"}'),
        ([part("1", D), part("2", S)], "sent", '{"1":"delivered","2":"sent"}'),
        ([part("1", Q), part("2", D)], "queued", '{"1":"queued","2":"delivered"}'),
        ([part("1", F), part("2", D)], "failed", '{"1":"failed","2":"delivered"}'),  # a part failed, a later one did not
        ([part("1", D), part("2", F)], "failed", '{"1":"delivered","2":"failed"}'),
        ([part("1", U), part("2", F)], "undelivered", '{"1":"undelivered","2":"failed"}'),
        ([part("1", F), part("2", D), part("1", D)], "delivered", '{"1":"delivered","2":"delivered"}'),
        ([part("1", D), part("2", D), part("1", R)], "delivered", '{"1":"read","2":"delivered"}'),
        ([part("1", R), part("2", R)], "read", '{"1":"read","2":"read"}'),
        ([part("1", D), part("2", D), part("2", F)], "delivered", '{"1":"delivered","2":"delivered"}'),
        ([part("1", D, 3), part("2", D, 3)], "sent", '{"1":"delivered","2":"delivered"}'),
        # the provider does not say how many there are: the highest number seen is what we know
        ([part("2", D, 1)], "sent", '{"2":"delivered"}'),
        ([part("2", D, 1), part("1", D, 1)], "delivered", '{"2":"delivered","1":"delivered"}'),
        ([part("a", D, 1), part("b", F, 1)], "delivered", '{"a":"delivered","b":"failed"}'),
        # part 1 of 1 is the whole
        ([part("1", D, 1)], "delivered", ""),
        ([part("1", U), part("1", F)], "undelivered", '{"1":"undelivered"}'),  # of a part too the first failure stays
        # a receipt about the whole counts as such
        ([part("1", S), receipt(D)], "delivered", '{"1":"sent"}'),
        ([part("1", D), receipt(D)], "delivered", '{"1":"delivered"}'),
        ([receipt(S), part("1", F)], "failed", '{"1":"failed"}'),
    ],
)  # fmt: skip
def test_the_worst_part_counts_until_all_are_delivered(receipts: list[Receipt], status: str, parts: str) -> None:
    row = final(*receipts)

    assert (row.status, row.parts) == (status, parts)


def test_a_part_that_is_told_twice_changes_nothing() -> None:
    known = Delivery(1, S, "sent", parts={"1": "delivered"})

    assert merge(known, part("1", S), NOON).delivery == known


# --- rows ---------------------------------------------------------------------------------------------------------


def test_a_receipt_of_an_unknown_message_creates_its_row() -> None:
    event = receipt(F, code="30006", error_text="landline", sender="ACME", provider_time=NOON - HOUR)

    changes = decided(heard(event, raw=RAW))

    assert changes.messages == {
        KEY: MessageRow(
            id=1, account="twilio", provider_id="SM1", recipient=ALICE, sender="ACME", outbox_id=None,
            status="failed", provider_status="failed", code="30006", error_text="landline", parts="",
            first_at=NOON, status_at=NOON - HOUR,
        )
    }  # fmt: skip
    assert changes.receipts == [
        ReceiptRow(
            id=2, raw_id=7, message_id=1, webhook="acme", status="failed", provider_status="failed", code="30006",
            error_text="landline", part="", provider_time=NOON - HOUR, received_at=NOON, raised=True,
        )
    ]  # fmt: skip


def test_a_known_message_keeps_its_id_and_first_time() -> None:
    known = Known(deliveries={KEY: Delivery(99, S, "sent", first_at=NOON - HOUR, status_at=NOON - HOUR)})

    changes = decided(heard(receipt(D)), known=known)

    row = changes.messages[KEY]
    assert (row.id, row.first_at, row.status_at) == (99, NOON - HOUR, NOON)
    assert [(row.message_id, row.raised, row.raw_id) for row in changes.receipts] == [(99, True, None)]


def test_every_receipt_is_stored_also_one_that_changes_nothing() -> None:
    known = Known(deliveries={KEY: Delivery(99, D)})

    changes = decided(heard(receipt(S), receipt(D)), known=known)

    assert changes.messages == {}
    assert [(row.status, row.raised) for row in changes.receipts] == [("sent", False), ("delivered", False)]


def test_several_receipts_of_one_batch_compose() -> None:
    changes = decided(heard(receipt(D), receipt(S, sender="ACME"), receipt(R)))

    row = changes.messages[KEY]
    assert (len(changes.messages), row.status, row.id, row.sender) == (1, "read", 1, "")
    assert [(row.message_id, row.raised) for row in changes.receipts] == [(1, True), (1, False), (1, True)]


def test_the_sender_is_kept_from_the_receipt_that_tells_it() -> None:
    assert decided(heard(receipt(S, sender="ACME"), receipt(D))).messages[KEY].sender == "ACME"


def test_a_message_that_was_known_without_times_gets_them() -> None:
    row = decided(heard(receipt(S, code="1"), part("1", F)), known=Known(deliveries={KEY: Delivery(9, Q)})).messages[
        KEY
    ]

    assert (row.first_at, row.status_at) == (NOON, NOON)


def test_a_filled_in_code_takes_the_receipts_time_where_none_was_known() -> None:
    row = decided(heard(receipt(U, code="1")), known=Known(deliveries={KEY: Delivery(9, F)})).messages[KEY]

    assert (row.status, row.code, row.first_at, row.status_at) == ("failed", "1", NOON, NOON)


def test_a_filled_in_code_does_not_move_the_status_in_time() -> None:
    known = Known(deliveries={KEY: Delivery(9, F, first_at=NOON - HOUR, status_at=NOON - MINUTE)})

    row = decided(heard(receipt(U, code="1")), known=known).messages[KEY]

    assert (row.code, row.first_at, row.status_at) == ("1", NOON - HOUR, NOON - MINUTE)


@pytest.mark.parametrize("message_id", ["007", "7", "0x07", "7e0", "SM1"])
def test_ids_are_opaque(message_id: str) -> None:
    changes = decided(heard(receipt(S, message_id), receipt(S, "7"), receipt(S, "007")))

    assert list(changes.messages) == [("twilio", key, ALICE) for key in dict.fromkeys((message_id, "7", "007"))]


def test_account_and_recipient_are_part_of_what_a_message_is() -> None:
    changes = decided(heard(receipt(S)), heard(receipt(S), account="other"), heard(receipt(S, recipient=BOB)))

    assert list(changes.messages) == [KEY, ("other", "SM1", ALICE), ("twilio", "SM1", BOB)]


def test_a_receipt_with_our_reference_alone_finds_the_message() -> None:
    known = Known(deliveries_by_reference={"42": (KEY, Delivery(42, S))})

    changes = decided(heard(receipt(D, "", reference="42"), receipt(R, "SM1")), known=known)

    assert [(key, row.id, row.status) for key, row in changes.messages.items()] == [(KEY, 42, "read")]


def test_a_foreign_reference_alone_makes_a_message_of_its_own() -> None:
    changes = decided(heard(receipt(S, "", reference="may-1"), receipt(D, "", reference="may-1")))

    assert [(key, row.status) for key, row in changes.messages.items()] == [
        (("twilio", "ref:may-1", ALICE), "delivered")
    ]


def test_messages_that_share_a_foreign_reference_stay_apart() -> None:
    changes = decided(heard(receipt(S, "A", reference="may"), receipt(D, "B", reference="may")))

    assert [row.status for row in changes.messages.values()] == ["sent", "delivered"]


def test_a_message_that_is_known_by_its_id_is_not_looked_for_by_reference() -> None:
    known = Known(
        deliveries={KEY: Delivery(1, S)}, deliveries_by_reference={"42": (("twilio", "SM2", ALICE), Delivery(42, S))}
    )

    changes = decided(heard(receipt(D, reference="42")), known=known)

    assert [row.id for row in changes.messages.values()] == [1]


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("42", ("twilio", "SM2", BOB)),  # our reference first, also where a row of the bare id is there
        ("may", KEY),  # else the one message of the id
    ],
)
def test_a_receipt_that_does_not_say_whose_it_is_finds_its_message(reference: str, found: MessageKey) -> None:
    other = ("twilio", "SM2", BOB)
    known = Known(
        deliveries={("twilio", "SM1", ""): Delivery(1, S)},
        deliveries_by_reference={"42": (other, Delivery(42, S))},
        deliveries_by_id={("twilio", "SM1"): (KEY, Delivery(2, S))},
    )

    changes = decided(heard(receipt(D, recipient="", reference=reference)), known=known)

    assert [(key, row.status) for key, row in changes.messages.items()] == [(found, "delivered")]


def test_a_receipt_of_nobody_and_of_no_known_message_makes_one_of_its_own() -> None:
    changes = decided(heard(receipt(S, recipient=""), receipt(D, recipient="")))

    assert [(key, row.status) for key, row in changes.messages.items()] == [(("twilio", "SM1", ""), "delivered")]


def test_a_receipt_changes_no_consent() -> None:
    changes = decided(heard(receipt(J, code="21610", blocked=True), rules=None))

    assert (changes.consent, changes.ledger) == ({}, [])
