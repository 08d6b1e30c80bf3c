"""What may leave, and about whom: labels, policies, and the projection that holds whatever an expression says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.interpret.governance import ALIASES, DERIVED, Denial, Governance, governed_by, project, violations
from app.interpret.mentions import mentioned
from app.policy import CONSENT_FIELDS, CORE_LABELS, EVENT_FIELDS, Labels, Policy
from app.registration import Registrations
from tests.governing import (
    FIELDS,
    SECRETS,
    everything,
    expressions,
    is_the_same,
    labels_of_some,
    policies,
    uses,
    yielded,
)

ADS = ["advertising"]
EMAIL = Labels(name="profile.email", labels=["I1"])
NO_IDENTITY = Policy(name="no-identity", marketing_actions=ADS, deny=["I1"])
CONSENTED = Policy(name="consented", marketing_actions=ADS, require="consent.state = 'opted_in'")


def labelled(**labels: str) -> list[Labels]:
    """`event__text="C2"`: field event.text has label C2."""
    return [Labels(name=name.replace("__", "."), labels=[label]) for name, label in labels.items()]


# --- labels and policies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [*sorted(CORE_LABELS), "own-health", "PHI", "Class", "I", "S1-like"])
def test_the_vendor_s_labels_and_the_operator_s_own_are_taken(label: str) -> None:
    assert Labels(name="profile.email", labels=[label]).labels == [label]


@pytest.mark.parametrize("label", ["C13", "I3", "S3", "C0", "c2", "i1", "C01"])
def test_a_label_that_looks_like_the_vendor_s_and_is_none_is_refused(label: str) -> None:
    for make in (lambda: Labels(name="profile.email", labels=[label]), lambda: Policy(name="p", deny=[label])):
        with pytest.raises(ValidationError, match=f"'{label}' looks like one of the vendor's labels"):
            make()


@pytest.mark.parametrize("name", ["profile.*", "profile", "_id", "message.text", "event.", "profile.a b", "event.*"])
def test_what_is_labelled_is_one_field(name: str) -> None:
    with pytest.raises(ValidationError, match="is no field; name one"):
        Labels(name=name, labels=["C2"])


def test_a_field_is_denied_for_what_a_policy_is_about() -> None:
    governance = Governance([EMAIL], [NO_IDENTITY])

    denial = Denial("profile.email", "I1", "no-identity", ("advertising",))
    assert governance.denied([*ADS, "analytics"]) == {"profile.email": denial}
    assert str(denial) == "field profile.email has label I1, which policy 'no-identity' denies for advertising"
    assert governance.denied(["analytics"]) == governance.denied([]) == {}


def test_a_policy_about_nothing_in_particular_is_about_every_use() -> None:
    governance = Governance([EMAIL], [Policy(name="never", deny=["I1"])])

    assert governance.denied([]) == {"profile.email": Denial("profile.email", "I1", "never")}
    assert str(governance.denied(ADS)["profile.email"]) == (
        "field profile.email has label I1, which policy 'never' denies"
    )


def test_all_reasons_are_told_and_the_first_one_is_enough() -> None:
    both = Labels(name="profile.email", labels=["C2", "I1"])
    governance = Governance([both], [NO_IDENTITY, Policy(name="third-party", deny=["C2", "C12"])])

    assert [(found.label, found.policy) for found in governance.denials(ADS)] == [
        ("C2", "third-party"),
        ("I1", "no-identity"),
    ]
    assert governance.denied(ADS)["profile.email"].label == "C2"


def test_what_is_made_of_a_field_bears_its_labels() -> None:
    governance = Governance(labelled(event__text="C2"), [Policy(name="third-party", deny=["C2"])])
    denied = governance.denied([])

    assert denied.keys() == {"event.text", "event.normal", "event.keyword"}
    assert (denied["event.text"].labelled, denied["event.normal"].labelled) == ("event.text", "event.text")
    assert str(denied["event.normal"]) == (
        "field event.normal is made of event.text, which has label C2, which policy 'third-party' denies"
    )


def test_what_is_made_of_others_and_what_can_be_labelled_are_known_fields() -> None:
    known = {f"event.{name}" for name in EVENT_FIELDS} | {f"consent.{name}" for name in CONSENT_FIELDS}
    assert {*DERIVED, *DERIVED.values(), *ALIASES.values()} <= known


def test_violations_are_the_denials_of_what_is_mentioned() -> None:
    denied = Governance([EMAIL], [NO_IDENTITY]).denied(ADS)
    assert [*violations(denied, ["profile.email", "profile.city", "profile.email"])] == [denied["profile.email"]]


def test_what_cannot_be_read_forbids() -> None:
    broken = {("labels", "event.text"): "why", ("policy", "lost"): "why", ("action", "crm"): "why"}
    governance = governed_by(Registrations(broken=broken))

    assert governance.denied([]).keys() == {"event.text", "event.normal", "event.keyword"}
    assert str(governance.denied([])["event.text"]) == "the labels of field event.text cannot be read"
    assert governance.excludes([], {"profile": {}}) == "lost"


# --- who is left out ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("require", "consent", "left_out"),
    [
        ("consent.state = 'opted_in'", {"state": "opted_in"}, None),
        ("consent.state = 'opted_in'", {"state": "opted_out"}, "policy"),
        ("consent.state = 'opted_in'", {}, "policy"),
        # true is not what is merely not false
        ("consent.state", {"state": "opted_in"}, "policy"),
        ("1", {}, "policy"),
        # nobody can say that it is met
        ("$number(consent.state) > 0", {"state": "opted_in"}, "policy"),
        ("$error('no')", {"state": "opted_in"}, "policy"),
        ("this is no JSONata", {"state": "opted_in"}, "policy"),
    ],
)
def test_whoever_a_policy_is_not_true_of_is_left_out(require: str, consent: dict[str, str], left_out: str) -> None:
    governance = Governance([], [Policy(name="policy", marketing_actions=ADS, require=require)])
    assert governance.excludes(ADS, {"consent": consent}) == left_out
    assert governance.excludes(["analytics"], {"consent": consent}) is None


def test_what_takes_too_long_is_met_by_nobody() -> None:
    endless = Policy(name="endless", require="$not($contains(profile.note, /^(a+)+$/))")
    fields = {"profile": {"note": "a" * 40 + "b"}}
    [verdict] = Governance([], [endless]).verdicts([], fields)
    assert verdict == ("endless", False, "the expression fails at character 16: it takes too long")


def test_a_policy_decides_over_denied_fields_too() -> None:
    adult = Policy(name="adults", require="$number(profile.age) >= 18")
    governance = Governance([Labels(name="profile.age", labels=["C2"])], [adult, Policy(name="p", deny=["C2"])])

    assert governance.excludes([], {"profile": {"age": "21"}}) is None
    assert governance.excludes([], {"profile": {"age": "17"}}) == "adults"


def test_each_policy_s_verdict_is_told_with_what_went_wrong() -> None:
    found = Governance([], [CONSENTED, Policy(name="age", require="$number(profile.age) > 17")])
    verdicts = [*found.verdicts(ADS, {"consent": {"state": "opted_in"}, "profile": {"age": "many"}})]

    assert [(each.policy, each.is_met) for each in verdicts] == [("consented", True), ("age", False)]
    assert "a text is not a number" in verdicts[1].problem


# --- the projection -----------------------------------------------------------------------------------------------


def test_a_projection_has_all_but_what_is_denied() -> None:
    fields = {"event": {"_id": "1", "text": "Hi"}, "profile": {"email": "a@b.example"}, "_id": "1", "consent": None}

    left = project(fields, ["event._id", "profile.email", "profile.gone", "consent.state", "message.text"])

    assert left == {"event": {"text": "Hi"}, "profile": {}, "consent": None}
    assert fields["profile"] == {"email": "a@b.example"}, "the fields themselves stay whole"


def test_a_name_with_dots_is_one_name_or_a_branch() -> None:
    flat = {"profile": {"loyalty.tier": "gold", "loyalty": "x", "loyalty.tier.since": "2020"}}
    tree = {"event": {"a": [{"b": {"c": 1, "d": 2}}, {"b": "x"}], "a.b": {"c": 3}, "a.b.c": 4}}

    assert project(flat, ["profile.loyalty.tier"]) == {"profile": {"loyalty": "x", "loyalty.tier.since": "2020"}}
    assert project(tree, ["event.a.b.c"]) == {"event": {"a": [{"b": {"d": 2}}, {"b": "x"}], "a.b": {}}}


# --- what holds for any expression --------------------------------------------------------------------------------


@given(labels_of_some, policies, uses, expressions)
def test_no_expression_yields_anything_of_a_denied_field(
    labels: dict[str, list[str]], rules: list[Policy], use: list[str], text: str
) -> None:
    governance = Governance([Labels(name=name, labels=its) for name, its in labels.items()], rules)
    denied = governance.denied(use)

    allowed = project(everything(), denied)
    found = yielded(text, allowed)

    assert not any(secret in found or secret.upper() in found for secret in map(SECRETS.__getitem__, denied))
    # nor in any other form: whatever the values of denied fields are, it yields the same
    assert is_the_same(text, allowed, project(everything(changed=denied), denied))
    # and it is not for want of anything to see
    left = [name for root in ("event", "profile", "consent") for name in allowed[root].values()]
    assert {*left} == {secret for field, secret in SECRETS.items() if field not in denied}


@given(st.sampled_from(FIELDS), expressions)
def test_an_expression_that_is_said_to_mention_nothing_denied_yields_the_same_without_it(field: str, text: str) -> None:
    if not mentioned([text], known=[field]):
        assert is_the_same(text, everything(), project(everything(), [field]))


@pytest.mark.parametrize(
    "text",
    [
        "$lookup(profile, 'em' & 'ail')",
        "$string($$)",
        "**",
        "profile.*",
        "$merge([profile, {'a': 1}])",
        "$sift(profile, function($v, $k) { $k != 'city' })",
        "$each(profile, function($v, $k) { $k & $v })",
        "$keys(profile)[0] ~> function($k) { $lookup(profile, $k) }",
        "$.*.*",
    ],
)
def test_what_reaches_a_field_without_naming_it_does_not_reach_a_denied_one(text: str) -> None:
    fields = {"profile": {"email": SECRETS["profile.email"]}}
    assert SECRETS["profile.email"] in yielded(text, fields)
    assert SECRETS["profile.email"] not in yielded(text, project(fields, ["profile.email"]))
