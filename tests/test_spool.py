"""The spool's file: what goes in comes out in order; what the disk refuses is not acknowledged; damage stays alone."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import BadInput, StoreUnavailable, Unreadable
from app.events import Cause, Change, ConsentState, Heard, Piece, Reading, Receipt, Status, Trouble
from app.interpret import opts_out, sayings
from app.record.held import Held
from app.record.spool import Item, Spool
from app.record.spooled import dump, load
from tests.heard import ALICE, BOB, NOON, heard, inbound, make_rules

LIMIT = 1_048_576
ROOT_WRITES_ANYWHERE = "root may write into read-only folders"


def item(webhook: str = "acme", body: bytes = b"Body=STOP") -> Item:
    return Item("2026-11-22T12:00:00+00:00", webhook, '["+14155550101"]', "[]", b"{}", body)


def everything() -> Heard:
    """A request with one of each, and every optional field set."""
    return heard(
        inbound("STOP 🛑", provider_time=NOON, piece=Piece("p|1", 1, 2), begun_at=NOON, repeats_within=30.0),
        Receipt("r|1", "SM1", BOB, Status.FAILED, "undelivered", code="30003", provider_time=NOON, parts=2, part="1"),
        Change("b|1", BOB, ConsentState.OPTED_OUT, Cause.BLOCK_ERROR, program="*", about=("twilio", "SM1", BOB)),
        troubles=(Trouble("item", "no id", "{}"),),
    )


def test_what_was_heard_comes_back_as_it_was_but_for_its_rules() -> None:
    given = everything()

    found = load(*dump(given))

    found.rules = given.rules
    assert found.again_at is not None
    assert found == replace(given, late=True, again_at=found.again_at)
    assert found.raw is not None
    assert found.raw.reading is Reading.EVENTS


@pytest.mark.parametrize("text", [b"", b"{}", b'{"events":[["inbound",{}]]}', b"\xff\xfe", b"null", b"[1,2]"])
def test_a_damaged_item_is_told_and_never_guessed(text: bytes) -> None:
    with pytest.raises(Unreadable, match="damaged, or of another version"):
        load(text, b"")


def test_items_come_out_in_the_order_in_which_they_went_in_also_after_a_restart(tmp_path: Path) -> None:
    spool = Spool.own(tmp_path, LIMIT)
    spool.add([item("first"), item("second")])
    spool.add([item("third")])
    spool.close()

    again = Spool.own(tmp_path, LIMIT)
    found = again.first()
    again.drop([found[0].id])

    assert [each.webhook for each in found] == ["first", "second", "third"]
    assert [each.webhook for each in again.first()] == ["second", "third"]
    assert again.count() == (2, 0)
    again.close()


def test_a_full_spool_takes_nothing_more_and_keeps_what_it_has(tmp_path: Path) -> None:
    spool = Spool.own(tmp_path, 128 * 1024)
    spool.add([item()])

    with pytest.raises(StoreUnavailable, match="full"):
        spool.add([item(body=b"x" * 200_000)])

    spool.add([item("small")])
    assert [each.webhook for each in spool.first()] == ["acme", "small"]
    spool.close()


def test_a_folder_that_is_none_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(BadInput, match="TEXTBACK_SPOOL_FOLDER: nothing can be kept"):
        Spool.own(tmp_path / "file", LIMIT)


def test_each_process_has_a_file_of_its_own_and_what_an_ended_one_left_is_absorbed(tmp_path: Path) -> None:
    first, second = Spool.own(tmp_path, LIMIT), Spool.own(tmp_path, LIMIT)
    first.add([item("one"), item("two")])
    second.add([item("three")])

    assert second.absorb() == 0  # the other one lives
    first.close()
    taken = second.absorb()

    assert taken == 2
    assert [each.webhook for each in second.first()] == ["three", "one", "two"]
    assert second.absorb() == 0
    second.close()


def test_what_was_set_aside_holds_nobody_up_and_can_be_taken_back(tmp_path: Path) -> None:
    spool = Spool.own(tmp_path, LIMIT)
    spool.add([item("bad"), item("good")])
    bad, good = spool.first()
    spool.set_aside(bad, "its webhook is gone")

    assert [each.id for each in spool.first()] == [good.id]
    assert [(each.webhook, each.reason) for each in spool.aside()] == [("bad", "its webhook is gone")]
    assert spool.take_back() == 1
    assert [each.webhook for each in spool.first()] == ["good", "bad"]
    assert spool.aside() == []
    spool.close()


def test_a_damaged_row_comes_out_as_something_that_load_refuses(tmp_path: Path) -> None:
    spool = Spool.own(tmp_path, LIMIT)
    spool.add([item()])
    spool.close()
    with sqlite3.connect(tmp_path / "spool-1.db") as conn:
        conn.execute("UPDATE spool SET heard = 17, names = x'ff'")

    again = Spool.own(tmp_path, LIMIT)
    [found] = again.first()

    with pytest.raises(Unreadable):
        load(found.heard, found.body)
    again.close()


def test_the_latest_word_of_a_person_counts_and_an_opt_out_wins_a_tie() -> None:
    held = Held()
    held.add([BOB], [("default", BOB, NOON, True)])
    held.add([BOB], [("default", BOB, NOON, False)])
    held.add([ALICE], [("*", ALICE, NOON, True)])

    assert held.opted_out("default", BOB) == NOON
    assert held.opted_out("news", BOB) is None
    assert held.opted_out("news", ALICE) == NOON
    assert held.holds([BOB, "nobody"])

    held.release([BOB], [("default", BOB, NOON, True)])
    held.release([BOB], [("default", BOB, NOON, False)])
    assert held.opted_out("default", BOB) is None
    assert not held.holds([BOB])


def test_what_a_request_says_of_consent_by_its_webhooks_own_words() -> None:
    rules = make_rules(keywords={"opt_out": {"keywords": ["GENUG"]}})
    request = heard(inbound("Genug!"), inbound("STOP", address=ALICE), inbound("START", address=ALICE), rules=rules)

    assert [(said.address, said.opts_out) for said in sayings(request)] == [(BOB, True), (ALICE, False)]
    assert opts_out(request)
    assert not opts_out(heard(inbound("hello"), rules=rules))


def test_a_provider_that_tells_of_an_opt_out_says_so_too_for_the_program_it_names() -> None:
    told = Change("c|1", BOB, ConsentState.OPTED_OUT, Cause.PROVIDER_EVENT, program="*")
    back = Change("c|2", ALICE, ConsentState.OPTED_IN, Cause.PROVIDER_EVENT)

    assert [tuple(said) for said in sayings(heard(told, back))] == [
        ("*", BOB, NOON, True), ("default", ALICE, NOON, False),
    ]  # fmt: skip
