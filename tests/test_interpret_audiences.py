"""What conditions see of a person, and that one that fails is nobody else's failure."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audience import Portrait, Sent
from app.events import ConsentState, Standing
from app.expression import LONGEST
from app.interpret import audiences
from app.interpret.audiences import Membership, explain, sees

NOON, LATER = datetime(2026, 11, 22, 12, 0, tzinfo=UTC), datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
BLANK = Portrait("+14155550101", {}, (), {}, Sent(), 0, None, withheld=False)
ROBERT = BLANK._replace(
    attributes={"firstName": "Robert", "age": "33"}, sent=Sent(3, 2, 1, 1, NOON, "read"), inbound=2, inbound_at=NOON
)
work_out = partial(audiences.work_out, unknown_consent="allow")


def stands(state: ConsentState, at: datetime = NOON) -> Standing:
    return Standing(state, at, at, "keyword", confirmed=True)


def held(portrait: Portrait, **conditions: str) -> tuple[str, ...]:
    (found,) = work_out(conditions, [portrait])
    return found


def test_a_condition_sees_all_that_is_recorded() -> None:
    known = ROBERT._replace(standings={"default": stands(ConsentState.OPTED_IN)}, programs=("default", "promo"))

    assert sees(known, "deny") == {
        "address": "+14155550101",
        "consent": {
            "*": {"state": "unknown", "may_send": False, "cause": ""},
            "default": {"state": "opted_in", "may_send": True, "cause": "keyword", "since": "2026-11-22T12:00:00.000Z"},
            "promo": {"state": "unknown", "may_send": False, "cause": ""},
        },
        "profile": {"firstName": "Robert", "age": "33"},
        "messages": {
            "sent": 3, "delivered": 2, "read": 1, "failed": 1, "last_at": "2026-11-22T12:00:00.000Z",
            "last_status": "read",
        },
        "inbound": {"count": 2, "last_at": "2026-11-22T12:00:00.000Z"},
    }  # fmt: skip


def test_what_there_is_nothing_of_is_nought_or_missing() -> None:
    found = sees(BLANK, "allow")

    assert found["consent"]["default"] == {"state": "unknown", "may_send": True, "cause": ""}
    assert found["messages"] == {"sent": 0, "delivered": 0, "read": 0, "failed": 0}
    assert found["inbound"] == {"count": 0}


@pytest.mark.parametrize(("own", "every", "state"), [(NOON, LATER, "opted_out"), (LATER, NOON, "opted_in")])
def test_of_what_was_said_to_a_program_and_to_all_the_later_holds(own: datetime, every: datetime, state: str) -> None:
    standings = {"promo": stands(ConsentState.OPTED_IN, own), "*": stands(ConsentState.OPTED_OUT, every)}

    found = sees(BLANK._replace(standings=standings), "allow")["consent"]

    assert (found["promo"]["state"], found["default"]["state"]) == (state, "opted_out")


def test_while_a_restored_database_is_not_compared_nobody_may_be_sent_to() -> None:
    known = BLANK._replace(standings={"default": stands(ConsentState.OPTED_IN)}, withheld=True)

    assert held(known, may="consent.default.may_send", is_in='consent.default.state = "opted_in"') == ("is_in",)


@pytest.mark.parametrize(
    ("condition", "is_member"),
    [
        ("true", True),
        ("messages.read / messages.sent > 0.3", True),
        ("$number(profile.age) >= 18", True),
        ('$toMillis(inbound.last_at) < $toMillis("2026-11-22T12:00:01Z")', True),
        ('address ~> $contains("+1415")', True),
        ("$toMillis(inbound.last_at) < $millis() - 86400000", True),
        ("$now() > inbound.last_at", True),
        ("true /* a comment */", True),
        ("($x := profile.age; $x = '33')", True),
        ("profile.firstName", False),
        ("1", False),
        ("[true]", False),
        ("[true, true]", False),
        ("profile.none", False),
        ("profile.none > 3", False),
        ("function() { true }", False),
        ("{}", False),
        ("$number(profile.firstName) > 1", False),
        ("$error('no')", False),
    ],
)
def test_who_a_condition_is_exactly_true_of_is_in(condition: str, is_member: bool) -> None:
    assert held(ROBERT, it=condition, other="true") == (("it", "other") if is_member else ("other",))
    assert explain({"it": condition}, ROBERT, unknown_consent="allow")[0].is_member == is_member


def test_one_that_fails_for_a_person_is_false_for_that_one_alone() -> None:
    young = ROBERT._replace(attributes={"age": "none of your business"})
    conditions = {"adult": "$number(profile.age) >= 18", "wrote": "inbound.count > 0"}

    assert work_out(conditions, [young, ROBERT]) == [("wrote",), ("adult", "wrote")]
    assert explain(conditions, young, unknown_consent="allow") == [
        Membership("adult", False, "the expression fails at character 9: a text is not a number"),
        Membership("wrote", True),
    ]


def test_one_that_is_no_jsonata_is_nobodys() -> None:
    assert held(ROBERT, broken="1 +", fine="true") == ("fine",)
    assert explain({"broken": "1 +"}, ROBERT, unknown_consent="allow")[0].problem


def test_of_whom_nothing_is_recorded_is_in_no_audience() -> None:
    assert held(BLANK, all="true") == ()
    assert explain({"all": "true"}, BLANK, unknown_consent="allow") == [
        Membership("all", False, "nothing is recorded of this person")
    ]


def test_conditions_may_be_as_long_as_they_may_be() -> None:
    long = "true /*" + "x" * (LONGEST - 9) + "*/"
    assert len(long) == LONGEST
    conditions = {"one": long, "two": "true /*" + "x" * 2_000 + "*/", "three": long[:3_900] + "*/", "four": "true"}

    assert held(ROBERT, **conditions) == ("one", "two", "three", "four")


CONDITIONS = st.sampled_from(
    [
        "true",
        "false",
        "profile.age",
        "$number(profile.firstName) > 1",
        "inbound.count = 2",
        "[true]",
        "messages.sent > 9",
    ]
)


@given(st.lists(CONDITIONS, max_size=8))
def test_all_at_once_is_as_one_by_one(texts: list[str]) -> None:
    conditions: dict[str, Any] = {f"a{number}": text for number, text in enumerate(texts)}

    alone = [each.audience for each in explain(conditions, ROBERT, unknown_consent="allow") if each.is_member]

    assert list(held(ROBERT, **conditions)) == alone
