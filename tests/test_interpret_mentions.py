"""What an expression is said to mention: rather too much, and never too little where its text shows it."""

import pytest

from app.interpret.mentions import mentioned, named

KNOWN = {"profile.email", "profile.last-name", "profile.loyalty.tier", "event.text", "event._id", "consent.state"}
OF_PROFILE = {field for field in KNOWN if field.startswith("profile.")}
OF_EVENT = {field for field in KNOWN if field.startswith("event.")}


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("profile.email", {"profile.email"}),
        (" profile.email ", {"profile.email"}),
        ("profile.last-name", {"profile.last-name"}),
        ("profile.loyalty.tier", {"profile.loyalty.tier"}),
        ("profile.loyalty", {"profile.loyalty.tier"}),
        ("profile.email.domain", {"profile.email"}),
        ("profile.last-email", set()),
        ("consent.news.state", {"consent.state"}),
        ("profile.emails", set()),
        ("_id + '/messages'", {"event._id"}),
        ("'to/' + text", {"event.text"}),
        ("'to/' + profile.last-name + '/x'", {"profile.last-name"}),
        ("profile /* it is */ . email & ''", {"profile.email"}),
        ("profile.`email` & ''", {"profile.email"}),
        ("`profile`.email & ''", {"profile.email"}),
        ("profile.'email' & ''", {"profile.email"}),
        ("$$.'profile'.'email'", {"profile.email"}),
        (r'profile."em\u0061il"', {"profile.email"}),
        (r'profile."e\mail"', {"profile.email"}),
        ("$$.profile.email", {"profile.email"}),
        ("profile.`loyalty.tier` & ''", {"profile.loyalty.tier"}),
        ("profile.(city & email)", {"profile.email"}),
        ("$map(event, function($v) { $v.text })", OF_EVENT),
        # a regular expression with a quote in it hides nothing
        ("/'/ & email & /'/", {"profile.email"}),
        ("true and /'/ and email = '/'", {"profile.email"}),
        ("event.in / email / 2", {"profile.email"}),
    ],
)
def test_what_names_a_field_mentions_it(text: str, fields: set[str]) -> None:
    assert mentioned([text], known=KNOWN) == fields


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("$lookup(profile, 'city')", OF_PROFILE),
        ("profile", OF_PROFILE),
        ("$keys(profile)", OF_PROFILE),
        ("profile.*", OF_PROFILE),
        ("profile.**", OF_PROFILE),
        ("profile[city = 'Rome']", OF_PROFILE),
        ("profile.$spread()", KNOWN),
        ("$$", KNOWN),
        ("$", KNOWN),
        ("$string($$)", KNOWN),
        ("$string()", KNOWN),
        ("$.*", KNOWN),
        ("*.city", KNOWN),
        ("**", KNOWN),
        ("**.city", KNOWN),
        ("event.code.%", KNOWN),
        ("$merge([$, {'a': 1}])", KNOWN),
        ("$sift(function($v) { true })", KNOWN),
        ("profile.$each(λ($v) { $v })", KNOWN),
        ("true and *.city", KNOWN),
        ("profile.($lookup('em' & 'ail'))", KNOWN),
        ("$lookup(profile, 'em' & 'ail')", OF_PROFILE),
        ("($all := $string; $all())", KNOWN),
        ("profile.(function($o)<o-:o>{ $o }())", KNOWN),
    ],
)
def test_a_whole_mentions_each_of_its_fields(text: str, fields: set[str]) -> None:
    assert mentioned([text], known=KNOWN) == fields


@pytest.mark.parametrize(
    "text",
    [
        "profile.city",
        "$$.profile.city",
        "$.event.code",
        "event.code * 3",
        "(event.code) % 2",
        "$x * 2",
        "profile.state",
        "event.code /* email */",
        "$email",
        "{'kind': 'profile'}",
        "$string(event.code)",
        "$sift",
        "$sift({'a': 1}, function($v) { true })",
        "$map([1, 2], $string)",
        "$lookup({'a': [1, {'b': 2}]}, 'a')",
        "profile.(city & ' ' & zip)",
        "(event.code) < 3",
        "'a' * 2",
        "",
    ],
)
def test_what_names_other_fields_mentions_none(text: str) -> None:
    assert mentioned([text], known=KNOWN) == set()


def test_a_word_that_equals_a_name_counts_wherever_it_stands() -> None:
    assert mentioned(["event.status = 'email'", "state"], known=KNOWN) == {"profile.email", "consent.state"}


@pytest.mark.parametrize("text", ['profile.("em" & "ail")', "$lookup({'a': 1}, 'em' & 'ail')"])
def test_what_only_makes_a_word_mentions_none(text: str) -> None:
    assert mentioned([text], known=KNOWN) == set()


def test_what_is_named_is_told_from_what_is_part_of_a_whole() -> None:
    texts = ["$keys(profile)", "event.text", "profile.last-name"]
    assert named(texts, known=KNOWN) == {"event.text", "profile.last-name"}
    assert named(["'x' + profile.last-name"], known=KNOWN) == {"profile.last-name"}
    assert not mentioned([], known=KNOWN)
