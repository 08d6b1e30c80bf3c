"""How an action's call ends: tries within one time, what is never tried again, caps of hosts, policies."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.action import Cap
from app.credential import Auth
from app.errors import SendFailed
from app.policy import Labels, Policy
from app.send import Actions, Called, Client, Destinations
from app.send.actions import call as action_call
from app.send.actions import ready as send_action
from app.send.actions.capping import Capping
from app.send.actions.fields import Fields
from app.send.destinations import Origin
from tests import fake_provider
from tests.acting import FIELDS, acting, action, called, calls, registered
from tests.fake_provider import CUT, DROP, HANG, FakeProvider, Reply, answer, redirect


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action_call, "_FIRST_WAIT", 0.001)


@pytest.fixture
def party() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        yield running


def ended(party: FakeProvider, *plan: Reply, **given: Any) -> Called:
    party.plan.extend(plan)
    return called(action(f"{party.url}/", **given))


# --- tries ------------------------------------------------------------------------------------------------------------


def test_the_answer_is_kept_whether_it_is_a_success_or_not(party: FakeProvider) -> None:
    yes = ended(party, answer(202, {"id": 7}))
    no = ended(party, answer(422, {"error": "no such contact"}))

    assert yes == Called("success", '{"id": 7}', tries=1)
    assert no == Called("http_422", '{"error": "no such contact"}', "It answered 422.", tries=1)


@pytest.mark.parametrize("passing", [answer(408), answer(425), answer(429), answer(500), answer(503), DROP, CUT])
def test_what_may_pass_is_tried_again_with_the_same_request(party: FakeProvider, passing: Reply) -> None:
    found = ended(party, passing, passing, answer(200), payload={"id": "{{_id}}"})

    assert (found.outcome, found.tries) == ("success", 3)
    assert [request.json for request in party.requests] == [{"id": "4711"}] * 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 422])
def test_what_will_not_pass_is_never_tried_again(party: FakeProvider, status: int) -> None:
    found = ended(party, answer(status), retries=3)

    assert (found.outcome, found.tries, len(party.requests)) == (f"http_{status}", 1, 1)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_there_are_no_more_tries_than_the_action_allows(party: FakeProvider, retries: int) -> None:
    found = ended(party, *[answer(503, {"e": n}) for n in range(9)], retries=retries)

    assert found == Called("http_503", f'{{"e": {retries}}}', "It answered 503.", tries=retries + 1)
    assert len(party.requests) == retries + 1


def test_a_redirect_is_not_followed(party: FakeProvider) -> None:
    found = ended(party, redirect("https://elsewhere.example/"))

    assert (found.outcome, found.tries) == ("http_302", 1)
    assert found.problem == "It answered 302, a redirect, which is never followed; give the action the final url."


def test_all_tries_share_one_time(party: FakeProvider) -> None:
    party.judge = lambda _: answer(503, pause=0.3)

    found = ended(party, timeout=1, retries=3)

    assert found.outcome == "timedout"
    assert 1 < found.tries <= 4
    assert found.problem == "No answer within 1 s, the time for all tries; it may have acted on the request."


def test_no_answer_in_time_is_told_as_such(party: FakeProvider) -> None:
    found = ended(party, HANG, timeout=1)

    assert (found.outcome, found.tries, found.response) == ("timedout", 1, "")


def test_a_wait_that_is_asked_for_is_kept_within_the_time(party: FakeProvider) -> None:
    soon = ended(party, fake_provider.busy("0"), answer(200))
    late = ended(party, fake_provider.busy("3600"), answer(200))

    assert (soon.outcome, soon.tries) == ("success", 2)
    assert (late.outcome, late.tries) == ("http_429", 1)


def test_whoever_is_not_there_is_an_error_that_names_the_host(party: FakeProvider) -> None:
    with fake_provider.running() as gone:
        url = gone.url
    found = called(action(f"{url}/", retries=1))

    assert (found.outcome, found.tries) == ("internalError", 2)
    assert found.problem.startswith("127.0.0.1 could not be reached: ")


def test_a_private_address_is_not_called() -> None:
    found = called(action("https://10.0.0.1/"))

    assert (found.outcome, found.tries) == ("internalError", 1)
    assert "10.0.0.1 is a private address; where that is meant, add it to" in found.problem


def test_a_long_answer_is_kept_in_part_and_asked_for_once(party: FakeProvider) -> None:
    long = ended(party, answer(200, b"\xc3\xa4" * 40_000))
    huge = ended(party, answer(200, b"x" * 1_100_000), answer(200))

    assert (long.outcome, long.response) == ("success", "ä" * 32_768)
    assert (huge.outcome, huge.tries) == ("internalError", 1)
    assert "the answer is larger than 1048576 bytes" in huge.problem


def test_an_answer_has_no_character_that_no_database_holds(party: FakeProvider) -> None:
    assert ended(party, answer(200, b"a\0b\xffc")).response == "abc"


def test_an_unknown_name_and_a_broken_action_are_errors_that_say_so(party: FakeProvider) -> None:
    async def story(actions: Actions) -> list[Called]:
        return [await actions.call(name, FIELDS) for name in ("crm", "other", "none")]

    with capture_logs() as logs:
        found = acting(story, action("https://x.example/", path="_id +"), broken={("action", "other"): "It is torn."})

    assert [each.outcome for each in found] == ["internalError"] * 3
    assert found[0].problem.startswith("Action 'crm' cannot be called: path, character 6: ")
    assert found[1].problem == "Action 'other' cannot be called: It is torn."
    assert found[2].problem == "There is no action 'none'; register it first."
    assert {log["action"] for log in logs} == {"crm", "other"}


def test_an_error_of_ours_ends_the_call_and_nothing_else(party: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(*_: Any) -> Any:
        raise ZeroDivisionError("+14155550100")

    for step in ("leaving", "call"):
        with monkeypatch.context() as patched, capture_logs() as logs:
            patched.setattr(send_action, step, torn)
            found = called(action(f"{party.url}/"))

        assert found.outcome == "internalError"
        assert found.problem == "An error of ours: ZeroDivisionError; the log names its place."
        assert "+1415" not in str(logs)


def test_an_error_of_ours_before_the_first_byte_ends_the_call_too(
    party: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def torn(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(Destinations, "addresses", torn)
    with capture_logs() as logs:
        found = called(action(f"{party.url}/"))

    assert (found.outcome, found.problem) == (
        "internalError", "An error of ours: ZeroDivisionError; the log names its place.",
    )  # fmt: skip
    assert [log["action"] for log in logs] == ["crm"]


def test_an_action_that_cannot_be_made_ready_stops_no_other(
    party: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = send_action.prover

    def torn(auth: Auth, *given: Any, **more: Any) -> Any:
        return real(auth, *given, **more) if auth.type == "none" else 1 / 0

    monkeypatch.setattr(send_action, "prover", torn)
    other = action(f"{party.url}/", auth={"type": "bearer", "token": "t"}).model_copy(update={"name": "other"})

    async def story(actions: Actions) -> list[Called]:
        return [await actions.call(name, FIELDS) for name in ("crm", "other")]

    with capture_logs():
        found = acting(story, action(f"{party.url}/"), other)

    assert [each.outcome for each in found] == ["success", "internalError"]
    assert found[1].problem == "Action 'other' cannot be called: an error of ours: ZeroDivisionError"


def test_many_calls_at_once_are_many_requests(party: FakeProvider) -> None:
    async def story(actions: Actions) -> list[Called]:
        return await asyncio.gather(*(actions.call("crm", {"event": {"_id": str(n)}}) for n in range(50)))

    found = acting(story, action(f"{party.url}/", path="_id"))

    assert {each.outcome for each in found} == {"success"}
    assert {request.target for request in party.requests} == {f"/{n}" for n in range(50)}


# --- caps -------------------------------------------------------------------------------------------------------------


def test_beyond_its_cap_a_host_is_not_called(party: FakeProvider) -> None:
    found = calls(action(f"{party.url}/"), Cap(name="127.0.0.1", calls=2, per=3600), fields=[FIELDS] * 4)

    assert [each.outcome for each in found] == ["success", "success", "capped", "capped"]
    assert found[2] == Called(
        "capped", problem="Its host may be called no more often than its cap allows, so nothing was sent; try it later."
    )
    assert len(party.requests) == 2


def test_each_try_counts_and_a_try_too_many_leaves_what_is_known(party: FakeProvider) -> None:
    party.plan.extend([answer(503)] * 5)

    found = calls(action(f"{party.url}/", retries=3), Cap(name="127.0.0.1", calls=2, per=3600), fields=[FIELDS] * 2)

    assert [(each.outcome, each.tries) for each in found] == [("http_503", 2), ("capped", 0)]
    assert len(party.requests) == 2


def test_the_cap_of_a_port_goes_before_that_of_the_host(party: FakeProvider) -> None:
    caps = Cap(name="127.0.0.1", calls=1, per=3600), Cap(name=f"127.0.0.1:{party.port}", calls=3, per=3600)

    found = calls(action(f"{party.url}/"), *caps, fields=[FIELDS] * 4)

    assert [each.outcome for each in found] == ["success"] * 3 + ["capped"]


def test_a_bucket_fills_itself_again_and_stays_through_a_change_of_others() -> None:
    now, host = [100.0], Origin("https", "crm.example", 443)
    capping = Capping(clock=lambda: now[0])
    caps = {"crm.example": Cap(name="crm.example", calls=2, per=10)}
    capping.follow(caps)

    taken = [capping.take(host) for _ in range(3)]
    now[0] += 5
    capping.follow(caps | {"x.example": Cap(name="x.example", calls=1)})
    later = [capping.take(host) for _ in range(2)]
    now[0] += 1000
    full = [capping.take(host._replace(host="crm.example.")) for _ in range(3)]
    capping.follow({"crm.example": Cap(name="crm.example", calls=1, per=10)})
    changed = [capping.take(host) for _ in range(2)]
    capping.follow({})

    assert taken == [True, True, False]
    assert later == [True, False]
    assert full == [True, True, False]
    assert changed == [True, False]
    assert all(capping.take(host) for _ in range(9))


# --- policies ---------------------------------------------------------------------------------------------------------

IN_ONLY = Policy(name="in-only", marketing_actions=["email"], require="consent.state = 'opted_in'")
NO_NAMES = [
    Labels(name="profile.firstName", labels=["I1"]),
    Policy(name="no-names", marketing_actions=["email"], deny=["I1"]),
]


def fields_with(state: str) -> Fields:
    return {**FIELDS, "consent": {"state": state}}


def test_whoever_a_consent_policy_leaves_out_is_not_called(party: FakeProvider) -> None:
    one = action(f"{party.url}/", marketing_actions=["email"], payload={"a": "{{profile.zip}}"})

    found = called(one, IN_ONLY, fields=fields_with("opted_out"))

    assert found == Called("excluded", problem="Policy in-only leaves this person out.", policy="in-only")
    assert party.requests == []


def test_a_policy_of_another_marketing_action_leaves_nobody_out(party: FakeProvider) -> None:
    one = action(f"{party.url}/", marketing_actions=["analytics"])

    assert called(one, IN_ONLY, fields=fields_with("opted_out")).outcome == "success"


def test_a_denied_field_never_leaves_however_it_is_named(party: FakeProvider) -> None:
    payload = {
        "all": "{{profile}}", "one": "{{$lookup(profile, 'first' & 'Name')}}", "every": "{{$string($)}}", "up": "{{$$}}",
    }  # fmt: skip
    one = action(
        f"{party.url}/", marketing_actions=["email"], query={"n": "{{profile.firstName}}"}, payload=payload,
        optional=["query.n", "payload.one"],
    )  # fmt: skip

    found = called(one, *NO_NAMES)

    assert found.outcome == "success"
    assert party.requests[0].target == "/"
    assert b"Ann" not in party.requests[0].body
    assert party.requests[0].json["all"] == {"city": "Bern"}


SECRET = "zqx-not-for-you"
NOSY = st.sampled_from([
    "{{profile.mail}}", "{{profile}}", "{{event}}", "{{event.text}}", "{{event.normal}}", "{{event.keyword}}", "{{$$}}",
    "{{$lookup(profile, 'ma' & 'il')}}", "{{$string($)}}", "{{profile.*}}", "{{$.**}}", "{{$spread(profile)}}",
    "{{$each(profile, function($v, $k) { $k & $v })}}", "{{$merge([event, profile])}}", "{{$keys(profile)}}",
    "{{(event ~> $lookup('te' & 'xt'))}}", "{{`profile`.`mail`}}", "{{$map([profile], function($p) { $p.mail })}}",
    "{{event.address}}", "{{profile.city}}",
])  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(
    leaves=st.lists(NOSY, min_size=1, max_size=4), query=NOSY, header=NOSY, around=st.sampled_from(["", "a "]),
    path=st.sampled_from(["", "'x'", "'x' + text", "profile.mail", "concat(upper(normal), _id)"]),
)  # fmt: skip
def test_whatever_an_action_asks_for_a_denied_field_is_in_no_request(
    leaves: list[str], query: str, header: str, around: str, path: str
) -> None:
    one = action(
        "https://crm.example/", path=path, query={"q": around + query}, headers={"X-H": around + header},
        payload=[around + leaf for leaf in leaves], marketing_actions=["email"],
        optional=["query.q", "headers.X-H", *(f"payload.{number}" for number in range(len(leaves)))],
    )  # fmt: skip
    hidden = Labels(name="profile.mail", labels=["I1"]), Labels(name="event.text", labels=["I1"])
    known = {"text": SECRET, "normal": SECRET.upper(), "keyword": SECRET, "_id": "1", "address": "+14155550100"}
    fields = {"event": known, "profile": {"mail": SECRET, "city": "Bern"}, "consent": {"state": "opted_in"}}
    actions = Actions(Client(Destinations()))
    actions.follow(registered(one, *hidden, NO_NAMES[1]))
    ready = actions.get("crm")
    assert ready

    try:
        request = ready.request(fields)
    except SendFailed as failure:
        assert SECRET not in str(failure)  # noqa: PT017 - either way
        return

    assert SECRET not in f"{request.url} {request.headers} {request.body!r}".lower()


def test_a_denied_id_is_no_id(party: FakeProvider) -> None:
    denied = Labels(name="event._id", labels=["I1"]), NO_NAMES[1]
    one = action(f"{party.url}/", marketing_actions=["email"], path="'a/' + _id")

    by_place = called(one, *denied)
    by_expression = called(action(f"{party.url}/", marketing_actions=["email"], payload=["{{$string(_id)}}"]), *denied)

    assert by_place.problem == "Nothing was sent: path: event._id has no value."
    assert by_expression.problem == "Nothing was sent: payload.0: {{$string(_id)}} has no value."


def test_nobody_is_called_while_a_policy_cannot_be_read(party: FakeProvider) -> None:
    found = called(action(f"{party.url}/"), broken={("policy", "torn"): "It is torn."})

    assert (found.outcome, found.policy, party.requests) == ("excluded", "torn", [])


def test_a_field_whose_labels_cannot_be_read_does_not_leave(party: FakeProvider) -> None:
    one = action(
        f"{party.url}/", payload={"a": "{{profile.firstName}}", "b": "{{profile.city}}"}, optional=["payload.a"]
    )

    called(one, broken={("labels", "profile.firstName"): "It is torn."})

    assert [request.json for request in party.requests] == [{"b": "Bern"}]


def test_a_changed_policy_holds_for_the_next_call(party: FakeProvider) -> None:
    one = action(f"{party.url}/", marketing_actions=["email"])

    async def story(actions: Actions) -> list[str]:
        before = await actions.call("crm", fields_with("opted_out"))
        actions.follow(registered(one, IN_ONLY))
        return [before.outcome, (await actions.call("crm", fields_with("opted_out"))).outcome]

    assert acting(story, one) == ["success", "excluded"]
