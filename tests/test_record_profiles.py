"""Subscriber attributes: the later value holds, whoever told it."""

from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from app.changes import AttributeRow
from app.errors import BadInput
from app.events import Inbound
from app.interpret import decide
from app.record import batch, profiles
from app.record.database import Database
from app.record.profiles import Profile
from tests.heard import ALICE, BOB, CHARLIE, NOON, heard, inbound, make_rules

HOUR = timedelta(hours=1)
DAILY = make_rules(keywords={"custom": [{"keywords": ["DAILY"], "preference": {"frequency": "daily"}}]})


def put(database: Database, address: str, at: int = 0, *, replace: bool = False, **attributes: str) -> int:
    return database.write_now(
        lambda conn: profiles.put(conn, address, attributes, "crm", NOON + at * HOUR, replace=replace)
    )


def hear(database: Database, message: Inbound) -> None:
    database.write_now(lambda conn: batch.write(conn, [heard(message, rules=DAILY)], decide))


def read(database: Database, *addresses: str) -> dict[str, dict[str, str]]:
    return database.read_now(lambda conn: profiles.read(conn, addresses))


def test_what_was_put_is_read_for_everybody_who_is_asked_for(database: Database) -> None:
    changed = [put(database, ALICE, name="Alice", city="Basel"), put(database, BOB, name="Bob")]

    assert changed == [2, 1]
    assert read(database, ALICE, BOB, CHARLIE) == {
        ALICE: {"name": "Alice", "city": "Basel"}, BOB: {"name": "Bob"}, CHARLIE: {},
    }  # fmt: skip
    assert read(database) == {}


@pytest.mark.parametrize(
    ("at", "value"), [(1, "Bern"), (0, "Bern"), (-1, "Basel")], ids=["later", "at the same time", "earlier"]
)
def test_of_two_values_the_later_one_holds(database: Database, at: int, value: str) -> None:
    put(database, ALICE, city="Basel")

    changed = put(database, ALICE, at, city="Bern")

    assert read(database, ALICE) == {ALICE: {"city": value}}
    assert changed == (value == "Bern")


def test_what_somebody_texted_is_not_overwritten_by_an_older_import(database: Database) -> None:
    hear(database, inbound("DAILY", address=ALICE))

    older = put(database, ALICE, -1, frequency="weekly")
    kept = read(database, ALICE)
    newer = put(database, ALICE, 1, frequency="monthly")

    assert (older, kept) == (0, {ALICE: {"frequency": "daily"}})
    assert (newer, read(database, ALICE)) == (1, {ALICE: {"frequency": "monthly"}})


def test_a_text_that_is_older_than_the_import_changes_nothing(database: Database) -> None:
    put(database, ALICE, frequency="weekly")

    hear(database, inbound("DAILY", address=ALICE, provider_time=NOON - HOUR))

    assert database.read_now(lambda conn: profiles.details(conn, ALICE)) == [
        AttributeRow(ALICE, "frequency", "weekly", "crm", NOON)
    ]


def test_a_replacement_drops_what_is_not_given_unless_it_was_told_later(database: Database) -> None:
    put(database, ALICE, name="Alice", city="Basel")
    put(database, ALICE, 2, frequency="daily")
    put(database, BOB, city="Basel")

    put(database, ALICE, 1, replace=True, name="Alice A.")

    assert read(database, ALICE, BOB) == {ALICE: {"name": "Alice A.", "frequency": "daily"}, BOB: {"city": "Basel"}}


def test_an_import_of_thousands_is_written_whole_and_the_last_of_two_rows_counts(database: Database) -> None:
    rows = [(f"+1415556{n:04}", name, str(n)) for n in range(3000) for name in ("number", "twice")]
    rows += [("+14155560007", "twice", "again")]

    changed = database.write_now(lambda conn: profiles.put_many(conn, rows, "import", NOON))
    again = database.write_now(lambda conn: profiles.put_many(conn, rows, "import", NOON - HOUR))

    assert (changed, again) == (6000, 0)
    assert read(database, "+14155560007", "+14155562999") == {
        "+14155560007": {"number": "7", "twice": "again"},
        "+14155562999": {"number": "2999", "twice": "2999"},
    }


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("first name", "x", "'first name' is no name of an attribute"),
        ("1st", "x", "'1st' is no name of an attribute"),
        ("", "x", "'' is no name"),
        ("name\n", "x", "is no name"),
        ("n" * 65, "x", "is no name"),
        ("name", "x" * 2001, "the value of attribute 'name' has 2,001 characters"),
        ("name", "a\0b", "or a NUL"),
    ],
)
def test_an_attribute_beyond_the_limits_is_refused(database: Database, name: str, value: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        put(database, ALICE, **{name: value})

    assert read(database, ALICE) == {ALICE: {}}


def test_a_person_has_at_most_a_hundred_attributes(database: Database) -> None:
    put(database, ALICE, **{f"a{n}": "x" for n in range(100)})

    put(database, ALICE, **{f"a{n}": "y" for n in range(100)})
    with pytest.raises(BadInput, match="more than 100 attributes"):
        put(database, ALICE, one_more="x")

    assert read(database, ALICE) == {ALICE: {f"a{n}": "y" for n in range(100)}}


@pytest.mark.parametrize(
    ("names", "left", "gone"), [(None, {}, 2), (["city"], {"name": "Alice"}, 1), (["shoe"], None, 0), ([], None, 0)]
)
def test_attributes_are_forgotten_all_or_by_name(
    database: Database, names: list[str] | None, left: dict[str, str] | None, gone: int
) -> None:
    put(database, ALICE, name="Alice", city="Basel")
    put(database, BOB, city="Basel")

    number = database.write_now(lambda conn: profiles.forget(conn, ALICE, names))

    everything = {"name": "Alice", "city": "Basel"}
    assert number == gone
    assert read(database, ALICE, BOB) == {ALICE: everything if left is None else left, BOB: {"city": "Basel"}}


def test_profiles_are_listed_page_by_page(database: Database) -> None:
    for n, address in enumerate([BOB, CHARLIE, ALICE]):
        put(database, address, n, name=address[-2:], city="Basel")
    put(database, ALICE, 5, city="Bern")

    def page(after: str) -> Callable[[sa.Connection], list[Profile]]:
        return lambda conn: profiles.listed(conn, limit=2, after=after)

    first = database.read_now(page(""))
    second = database.read_now(page(first[-1].address))

    assert first == [
        Profile(ALICE, {"city": "Bern", "name": "00"}, NOON + 5 * HOUR),
        Profile(BOB, {"city": "Basel", "name": "01"}, NOON),
    ]
    assert second == [Profile(CHARLIE, {"city": "Basel", "name": "02"}, NOON + HOUR)]
    assert database.read_now(page(CHARLIE)) == []
