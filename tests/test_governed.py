"""A violation blocks saving, wherever the change that makes it is; the sentence names field, label, policy, mend."""

import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.registration import Registrations
from app.serve import governed
from app.serve.apply_file import parse
from tests.commands import Run, file_of, runner
from tests.serving import Served, serving

LABELS = '[[labels]]\nname = "profile.email"\nlabels = ["I1"]\n'
POLICY = '[[policies]]\nname = "no-identity"\nmarketing_actions = ["advertising"]\ndeny = ["I1"]\n'
ACTION = """
[[actions]]
name = "crm"
url = "https://crm.example"
marketing_actions = ["advertising"]
payload = { who = "{{event.address}}", mail = "{{profile.email}}" }
"""
INLET = """
[[streams]]
name = "inlet"
url = "https://inlet.example/collection"
format = "xdm"
organisation = "ACME@AdobeOrg"
schema_id = "https://ns.example/schemas/1"
marketing_actions = ["analytics"]
"""
LOOKUP = """
[[datastreams]]
name = "shop"

[[audiences]]
name = "vip"
condition = "profile.email != 'x' and consent.default.state = 'opted_in'"

[[destinations]]
name = "ads"
alias = "ads"
datastream = "shop"
audiences = ["vip"]
attributes = ["city"]
marketing_actions = ["advertising"]
"""
BROKEN = (
    "action 'crm' has a field that may not leave: field profile.email has label I1, which policy 'no-identity' denies"
    " for advertising; remove the field, take advertising from its marketing_actions, or take label I1 from"
    " profile.email."
)


def registered(text: str) -> Registrations:
    return parse(tomllib.loads(text)).others


def violations(text: str) -> list[str]:
    return [*governed.violations(registered(text))]


def label(field: str, name: str = "I1") -> str:
    return f'[[labels]]\nname = "{field}"\nlabels = ["{name}"]\n'


# --- actions ------------------------------------------------------------------------------------------------------


def test_an_action_s_field_is_told_with_label_policy_and_mend() -> None:
    assert violations(LABELS + POLICY + ACTION) == [BROKEN]
    assert violations(LABELS + POLICY.replace("advertising", "analytics") + ACTION) == []
    assert violations(POLICY + ACTION) == violations(LABELS + ACTION) == []


@pytest.mark.parametrize(
    "place",
    [
        "path = \"'to/' + profile.email\"",
        'headers = { X-Mail = "<{{profile.email}}>" }',
        'query = { m = "{{profile.email}}" }',
        "payload = [{ a = [\"{{ $lookup(profile, 'email') }}\"] }]",
        'payload = { all = "{{ $string(profile) }}" }',
        'payload = { all = "{{ $$ }}" }',
    ],
)
def test_a_field_is_seen_wherever_an_action_can_name_it(place: str) -> None:
    action = f'[[actions]]\nname = "crm"\nurl = "https://crm.example"\nmarketing_actions = ["advertising"]\n{place}\n'
    [sentence] = violations(LABELS + POLICY + action)
    assert sentence.startswith("action 'crm' has a field that may not leave: field profile.email has label I1")


def test_words_around_the_places_are_no_fields() -> None:
    action = ACTION.replace('mail = "{{profile.email}}"', 'mail = "email and profile of {{event.text}}"')
    assert violations(LABELS + POLICY + action) == []


def test_where_it_is_the_whole_the_mend_is_to_name_the_fields() -> None:
    action = ACTION.replace("{{profile.email}}", "{{ $string(profile) }}")
    [sentence] = violations(LABELS + POLICY + action)
    assert (
        "name the single fields that it needs (profile.…), for with the whole of profile it has this one too"
        in sentence
    )


def test_the_event_s_id_is_labelled_by_its_full_name() -> None:
    action = ACTION.replace("payload = {", "path = \"_id + '/messages'\"\npayload = {")
    [sentence] = violations(label("event._id") + POLICY + action)
    assert "field event._id has label I1" in sentence


def test_what_is_made_of_a_field_is_mended_at_that_field() -> None:
    action = ACTION.replace("{{profile.email}}", "{{event.keyword}}")
    [sentence] = violations(label("event.text") + POLICY + action)
    assert "field event.keyword is made of event.text, which has label I1" in sentence
    assert sentence.endswith("or take label I1 from event.text.")


def test_a_policy_about_every_use_leaves_no_marketing_action_to_take_away() -> None:
    policy = '[[policies]]\nname = "never"\ndeny = ["I1"]\n'
    [sentence] = violations(LABELS + policy + ACTION.replace('marketing_actions = ["advertising"]', ""))
    assert sentence.endswith("which policy 'never' denies; remove the field, or take label I1 from profile.email.")


def test_each_reason_is_told_so_that_all_can_be_mended_at_once() -> None:
    assert (
        len(violations(LABELS.replace('["I1"]', '["I1", "C2"]') + POLICY.replace('["I1"]', '["I1", "C2"]') + ACTION))
        == 2
    )


def test_labels_that_cannot_be_read_keep_their_field_back() -> None:
    others = registered(ACTION)
    broken = Registrations(actions=others.actions, broken={("labels", "profile.email"): "why"})
    assert [*governed.violations(broken)] == [
        "action 'crm' has a field that may not leave: the labels of field profile.email cannot be read; apply its"
        " labels again."
    ]


def test_a_requirement_that_is_no_jsonata_is_told() -> None:
    [sentence] = violations('[[policies]]\nname = "p"\nrequire = "consent.state = "\n')
    assert sentence.startswith("policy 'p': what it requires is no JSONata: consent.state = ")


# --- streams ------------------------------------------------------------------------------------------------------


def test_an_entity_cannot_do_without_its_identity_and_its_time() -> None:
    policy = POLICY.replace("advertising", "analytics")
    [sentence] = violations(label("event.address") + policy + INLET)
    assert sentence == (
        "stream 'inlet' has a field that may not leave, in identityMap, without which an entity of format xdm is"
        " nobody's: field event.address has label I1, which policy 'no-identity' denies for analytics; take format"
        " cloudevents, which can leave it out, take analytics from its marketing_actions, or take label I1 from"
        " event.address."
    )
    [sentence] = violations(label("event.received_at") + policy + INLET)
    assert "event.received_at has label I1" in sentence
    assert "as timestamp" in sentence


def test_any_other_field_is_just_left_out_of_a_stream() -> None:
    policy = POLICY.replace("advertising", "analytics")
    events = '[[streams]]\nname = "bus"\nurl = "https://bus.example"\nmarketing_actions = ["analytics"]\n'
    assert violations(label("event.text") + policy + INLET) == []
    assert violations(label("event.address") + policy + events) == []


# --- destinations -------------------------------------------------------------------------------------------------


def test_a_destination_tells_no_attribute_that_may_not_leave() -> None:
    [sentence] = violations(label("profile.city") + POLICY + LOOKUP)
    assert sentence == (
        "destination 'ads' has a field that may not leave, among its attributes: field profile.city has label I1, which"
        " policy 'no-identity' denies for advertising; take the attribute from the destination, take advertising from"
        " its marketing_actions, or take label I1 from profile.city."
    )


def test_membership_tells_what_the_condition_looks_at() -> None:
    [sentence] = violations(LABELS + POLICY + LOOKUP)
    assert sentence.startswith(
        "destination 'ads' has a field that may not leave, in the condition of audience 'vip', whose members it tells:"
        " field profile.email has label I1, which policy 'no-identity' denies for advertising; take audience 'vip' from"
        " the destination, or remove the field, take advertising"
    )


@pytest.mark.parametrize(
    ("field", "condition", "count"),
    [
        ("consent.state", "consent.default.state = 'opted_in'", 1),
        ("consent.may_send", "consent.news.may_send", 1),
        ("consent.since", "consent.default.state = 'opted_in'", 0),
        ("event.address", "$substring(address, 0, 3) = '+33'", 1),
        ("event.status", "messages.last_status = 'read'", 1),
        ("event.status", "messages.read > 3", 0),
        # an audience sees no event, so its words are none of an event's
        ("event.text", "profile.text = 'x'", 0),
        ("profile.age", "$lookup(profile, 'a' & 'ge') = '7'", 1),
    ],
)
def test_a_condition_has_its_own_names(field: str, condition: str, count: int) -> None:
    text = LOOKUP.replace("profile.email != 'x' and consent.default.state = 'opted_in'", condition)
    assert len(violations(label(field) + POLICY + text)) == count


def test_an_audience_that_is_not_there_is_somebody_else_s_fault_to_tell() -> None:
    assert violations(LABELS + POLICY + LOOKUP.replace('audiences = ["vip"]', 'audiences = ["gone"]')) == []


# --- saving -------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(sqlite_template: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'textback.db')}", monkeypatch, tmp_path)


def applied(run: Run, folder: Path, text: str) -> tuple[int, str]:
    result = run("apply", file_of(folder, text))
    return result.exit_code, result.stderr.removeprefix("Error: ").strip()


def test_the_command_saves_nothing_that_violates_a_policy(run: Run, tmp_path: Path) -> None:
    assert applied(run, tmp_path, LABELS + POLICY + ACTION) == (1, BROKEN)
    # what is saved already is looked at again when a label comes
    assert applied(run, tmp_path, POLICY + ACTION) == (0, "")
    assert applied(run, tmp_path, LABELS) == (1, BROKEN)
    # or with the mend in the same file
    mended = ACTION.replace(', mail = "{{profile.email}}"', "")
    assert applied(run, tmp_path, LABELS + mended) == (0, "")
    assert applied(run, tmp_path, ACTION) == (1, BROKEN)


@pytest.fixture
def served(database_url: str) -> Iterator[Served]:
    with serving(database_url) as running:
        yield running


def bodies(text: str) -> dict[str, Any]:
    return {plural: entries[0] for plural, entries in tomllib.loads(text).items()}


def test_the_api_looks_at_everything_again_when_label_policy_or_action_changes(served: Served) -> None:
    wanted = bodies(LABELS + POLICY + ACTION)
    harmless = wanted["policies"] | {"marketing_actions": ["analytics"]}
    assert served.ask("POST", "/v1/actions", wanted["actions"]).status == 201
    assert served.ask("POST", "/v1/policies", harmless).status == 201
    assert served.ask("POST", "/v1/labels", wanted["labels"]).status == 201

    policy = served.ask("PUT", "/v1/policies/no-identity", wanted["policies"])
    assert (policy.status, policy.json["detail"]) == (422, BROKEN)
    assert served.ask("DELETE", "/v1/labels/profile.email").status == 204
    assert served.ask("PUT", "/v1/policies/no-identity", wanted["policies"]).status == 200
    assert served.ask("POST", "/v1/labels", wanted["labels"]).json["detail"] == BROKEN
    assert served.ask("GET", "/v1/labels").json["items"] == []
    refused = served.ask("POST", "/v1/labels", {"name": "profile.*", "labels": ["C13"]})
    assert refused.status == 422
    assert "is no field; name one" in refused.body.decode()
    assert "'C13' looks like one of the vendor's labels" in refused.body.decode()
