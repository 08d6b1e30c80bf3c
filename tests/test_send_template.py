"""Places in texts and JSON: where they begin and end, what stands in them, and what a person's attributes do."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.credential import Credential
from app.errors import BadInput, SendFailed
from app.send.body import body
from app.send.payload import custom_rules
from app.send.personal import check_text, needs_profile, personal, personalise
from app.send.render import send_rules
from app.send.template import Known, is_expression, joined, json_template, taken_apart, text_parts
from app.sending import Send

KNOWN = Known("A1", "https://us.example.com/in/1", {"team": "blue"})
VALUES = {
    "fromNumber": "+14155550199",
    "toNumber": "+14155550100",
    "message": "Hello",
    "messageReference": "4711",
    "profile": {"firstName": "Alice", "first-name": "A.", "home.city": "Bern"},
    "suggestions": ({"text": "YES"},),
    "fallback": "",
}


@pytest.mark.parametrize(
    ("text", "literals", "names"),
    [
        ("", [""], []),
        ("plain", ["plain"], []),
        ("{{message}}", ["", ""], ["message"]),
        ("a {{ message }}{{toNumber}} b", ["a ", "", " b"], ["message", "toNumber"]),
        ("}} {a} {", ["}} {a} {"], []),
        # what an expression has in braces and quotes does not end it
        ("{{$f({'a': {'b': 1}})}}!", ["", "!"], ["$f({'a': {'b': 1}})"]),
        ("{{'}}' & \"}}\" & `}}`}}!", ["", "!"], ["'}}' & \"}}\" & `}}`"]),
        (r"{{'it\'s }}'}}!", ["", "!"], [r"'it\'s }}'"]),
        ("{{message}} isn't {{toNumber}}", ["", " isn't ", ""], ["message", "toNumber"]),
        # never closed
        ("{{message}} {{toNumber", ["", " {{toNumber"], ["message"]),
        ("{{message} {{toNumber}}", ["{{message} {{toNumber}}"], []),
    ],
)
def test_a_place_ends_where_its_own_braces_end(text: str, literals: list[str], names: list[str]) -> None:
    assert taken_apart(text) == (literals, names)


@given(st.text("{}'\"`\\ab", max_size=30))
def test_no_text_is_lost_in_taking_it_apart(text: str) -> None:
    literals, names = taken_apart(text)

    assert (
        literals[0] + "".join(f"{{{{{name}}}}}{rest}" for name, rest in zip(names, literals[1:], strict=True)) == text
    )


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{message}} from {{fromNumber}}", "Hello from +14155550199"),
        ("{{appId}} {{feedbackUrl}} {{parameters.team}}", "A1 https://us.example.com/in/1 blue"),
        ("Hi {{profile.firstName}}{{profile.lastName}}", "Hi Alice"),
        ("{{profile.first-name}} of {{profile.home.city}}", "A. of Bern"),
        ("Hi {{profile.lastName ? profile.lastName : 'friend'}}", "Hi friend"),
        ("{{suggestions}}|{{suggestions.text}}|{{fallback}}|", '[{"text":"YES"}]|YES||'),
        ("{{appId & parameters.team & messageReference}}", "A1blue4711"),
    ],
)
def test_a_text_is_filled_in(text: str, filled: str) -> None:
    assert joined(text_parts(text, KNOWN))(VALUES) == filled


@pytest.mark.parametrize(
    ("leaf", "found"),
    [
        ("{{suggestions}}", {"list": [1, [{"text": "YES"}]], "leaf": [{"text": "YES"}]}),
        ("{{fallback}}", {"list": [1]}),
        ("{{profile.lastName}}", {"list": [1, ""], "leaf": ""}),
        ("{{profile.lastName.deeper ? 1}}", {"list": [1]}),
        ("{{$count(suggestions)}}", {"list": [1, 1], "leaf": 1}),
        ("{{$exists(profile.lastName)}}", {"list": [1, False], "leaf": False}),
        ("{{[]}}", {"list": [1, []], "leaf": []}),
        (" {{fallback}}", {"list": [1, " "], "leaf": " "}),
    ],
)
def test_a_leaf_that_is_only_a_place_keeps_its_type_or_is_left_out(leaf: str, found: dict[str, Any]) -> None:
    fill = json_template({"list": [1, leaf], "leaf": leaf}, KNOWN)

    assert json.loads(json.dumps(fill(VALUES))) == found


@pytest.mark.parametrize(
    ("node", "found"),
    [
        ({"a": {"b": "{{fallback}}"}, "c": 1}, {"c": 1}),
        ({"a": {"b": "{{fallback}}", "d": 2}}, {"a": {"d": 2}}),
        ({"a": {"b": {"c": "{{message.none ? 1}}"}}, "d": [{"e": "{{fallback}}"}, 1]}, {"d": [1]}),
        ({"a": {"b": ["{{fallback}}"]}}, {"a": {"b": []}}),
        # as it was written
        ({"a": {}, "b": {"c": {}}}, {"a": {}, "b": {"c": {}}}),
        ({"a": {"b": "{{profile.lastName}}"}}, {"a": {"b": ""}}),
    ],
)
def test_an_object_that_nothing_is_left_of_is_left_out(node: dict[str, Any], found: dict[str, Any]) -> None:
    assert json_template(node, KNOWN)(VALUES) == found


def test_a_body_that_nothing_is_left_of_is_an_empty_object() -> None:
    rules = Send(url="https://a.example.com", json={"text": {"sms": "{{fallback}}"}})

    _, fill = body(rules, KNOWN)

    assert fill(VALUES) == b"{}"


@given(st.text(), st.text(), st.text())
def test_no_value_of_a_person_is_taken_for_a_template(name: str, text: str, fallback: str) -> None:
    node = {"a": "{{profile.name}}", "b": "x{{message}}", "c": "{{profile.name & fallback}}", "d": "{{fallback}} "}
    values = {**VALUES, "profile": {"name": "{{message}}" + name}, "message": "{{toNumber}}" + text}

    found = json_template(node, KNOWN)({**values, "fallback": fallback})

    whole = ("{{message}}" + name + fallback).encode("utf-8", "replace").decode()
    assert found == {
        "a": "{{message}}" + name,
        "b": "x{{toNumber}}" + text,
        "c": whole,
        "d": fallback + " ",
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("message", False),
        ("profile.firstName", False),
        ("parameters.team", False),
        ("suggestions", False),
        ("profle.firstName", False),
        ("", False),
        ("profile", True),
        ("suggestions.text", True),
        ("profile.a & 'b'", True),
        ("$uppercase(message)", True),
    ],
)
def test_a_bare_name_is_no_expression(name: str, expected: bool) -> None:
    assert is_expression(name) is expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{profle.firstName}}", "{{profle.firstName}} is no placeholder; there are fromNumber toNumber"),
        ("{{parameters.space}}", 'the credential has no parameter "space"'),
        ("{{$uppercase(message}}", 'Expected "\\)"'),
        ("{{message", "never closed with }}: {{message"),
    ],
)
def test_a_broken_place_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        text_parts(text, KNOWN)


def test_a_failing_expression_ends_the_message_for_good() -> None:
    fill = joined(text_parts("{{$number(message)}}", KNOWN))

    with pytest.raises(SendFailed, match="could not be made") as caught:
        fill(VALUES)

    assert (caught.value.permanent, caught.value.departed) == (True, False)


def test_an_expression_that_the_clock_stops_may_end_another_time() -> None:
    fill = joined(text_parts("{{$contains(message, /^(a+)+$/) ? 'a' : 'b'}}", KNOWN))

    with pytest.raises(SendFailed, match="it takes too long") as caught:
        fill({**VALUES, "message": "a" * 5_000 + "!"})

    assert (caught.value.permanent, caught.value.departed) == (False, False)


# --- a person's attributes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "headers", "needed"),
    [
        ('{"text": "{{message}}", "to": ["{{toNumber}}"], "n": 1}', {}, False),
        ('{"text": "{{parameters.team}}", "rcs": "{{suggestions}}"}', {}, False),
        ('{"text": [{"deep": "Hi {{profile.firstName}}"}]}', {}, True),
        ('{"text": "{{$uppercase(message)}}"}', {}, True),  # it may walk anywhere: $$.*
        ('{"text": "{{message}}"}', {"X-Name": "{{profile.firstName}}"}, True),
    ],
)
def test_attributes_are_read_only_where_they_may_be_used(payload: str, headers: dict[str, str], needed: bool) -> None:
    given = Credential(name="acme", provider="custom", url="https://a.example.com", payload=payload, headers=headers)

    assert needs_profile(given, send_rules(given, None)) is needed


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("You are unsubscribed.", "You are unsubscribed."),
        ("Bye {{profile.firstName}}!", "Bye Alice!"),
        ("Bye {{$uppercase(profile.firstName)}} {{toNumber}}", "Bye ALICE +14155550100"),
        # some replies are owed by law: nothing in them may hold them up
        ("Bye {{profile.lastName}}!", "Bye !"),
        ("Bye {{$number(profile.firstName)}}!", "Bye !"),
        ("Bye {{$number(}}!", "Bye !"),
        ("Bye {{nobody}}{{parameters.x}}{{appId}}{{message}}!", "Bye !"),
        ("Bye {{profile.firstName}} {{open", "Bye Alice {{open"),
        ("Bye {brace}!", "Bye {brace}!"),
        ("{{$pad('', 2000, 'a')}}!", "a" * 1600),
    ],
)
def test_a_reply_is_made_personal_and_never_lost(text: str, filled: str) -> None:
    values = {"profile": VALUES["profile"], "toNumber": "+14155550100"}

    assert personalise(text, values) == filled
    assert personal(text) is ("{{" in text)


@pytest.mark.parametrize(
    "text",
    ["Bye.", "Bye {brace}!", "{{profile.firstName}} {{toNumber}}", "{{fromNumber}}{{messageReference}}",
     "Bye {{profile.firstName ? profile.firstName : 'friend'}}!"],
)  # fmt: skip
def test_a_text_whose_places_can_be_filled_is_taken(text: str) -> None:
    check_text(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Bye {{profil.firstName}}!", "{{profil.firstName}} stands for nothing in the text of a reply; there are pro"),
        ("Bye {{message}}!", "{{message}} stands for nothing"),
        ("Bye {{parameters.team}}!", "{{parameters.team}} stands for nothing"),
        ("Bye {{}}!", "{{}} stands for nothing"),
        ("Bye {{profile.firstName!", "never closed with }}: {{profile.firstName!"),
        ("Bye {{profile.firstName}} {{$uppercase(profile.a}}!", 'Expected "\\)"'),
        ("Bye {{$upcase(profile.a)}}!", "no function"),
    ],
)
def test_a_text_with_a_place_that_is_none_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        check_text(text)


@given(st.text(st.sampled_from("{}$'\"`()&.ax1 ") | st.characters(exclude_categories=["Cs"])))
def test_no_text_of_a_reply_makes_it_fail(text: str) -> None:
    assert isinstance(personalise(text, {}), str)


def test_an_own_payload_says_what_a_provider_file_would_have_said() -> None:
    given = Credential(
        name="acme",
        provider="custom",
        url="https://a.example.com",
        payload="to={{toNumber}}&text=a%20%26+{{message & '&x=1'}}",
        payload_format="form",
        method="PUT",
        message_id="id",
        idempotent=True,
    )

    assert custom_rules(given) == Send(
        url="https://a.example.com",
        method="PUT",
        form={"to": "{{toNumber}}", "text": "a & {{message & '&x=1'}}"},
        id="id",
        idempotent=True,
    )
