"""Whatever an action is made of, nothing of a denied field is in its request, nor of a person whom a policy leaves out."""

from collections.abc import Mapping
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from app.action import Action
from app.errors import BadInput, SendFailed
from app.interpret.governance import Governance, governed_by, project
from app.interpret.mentions import mentioned
from app.policy import Labels, Policy
from app.registration import Registrations
from app.send import Actions, Client, Destinations
from app.send.actions.ready import texts_of
from app.send.actions.request import composer
from app.serve import governed
from tests.acting import registered
from tests.governing import FIELDS, SECRETS, everything, expressions, labels_of_some, policies, uses

PLAIN = st.sampled_from([field for field in FIELDS if field.count(".") == 1])
PLACES = st.one_of(PLAIN, expressions).map(lambda text: f"{{{{ {text} }}}}")


@st.composite
def paths(draw: st.DrawFn) -> str:
    """A dynamic path: quoted text and fields, joined."""
    fields = draw(st.lists(st.one_of(PLAIN, st.just("_id")), max_size=3))
    return " + ".join(["'to'", *(part for field in fields for part in ("'/'", field))])


@st.composite
def actions(draw: st.DrawFn) -> Action:
    """An action that takes what it can get: whatever has no value is left out or null."""
    payload = {"a": draw(PLACES), "b": [draw(PLACES), f"x{draw(PLACES)}y"], "c": {"d": draw(PLACES)}}
    return Action(
        name="any",
        url="https://third.example",
        path=draw(paths()) if draw(st.booleans()) else "",
        headers={"X-One": draw(PLACES)} if draw(st.booleans()) else {},
        query={"q": draw(PLACES)},
        payload=payload,
        optional=["query.q", "payload.a", "payload.c.d"],
        marketing_actions=draw(uses),
    )


def sent(action: Action, governance: Governance, fields: Mapping[str, Any]) -> str:
    """The request as text, or why there is none."""
    denied = governance.denied(action.marketing_actions)
    try:
        made = composer(action)(project(fields, denied))
    except BadInput:
        assume(False)
        raise
    except SendFailed as error:
        return str(error)
    return f"{made.url} {dict(made.headers)} {made.body!r}"


@given(labels_of_some, policies, actions())
def test_no_request_has_anything_of_a_denied_field(
    labels: dict[str, list[str]], rules: list[Policy], action: Action
) -> None:
    governance = Governance([Labels(name=name, labels=its) for name, its in labels.items()], rules)
    denied = governance.denied(action.marketing_actions)

    request = sent(action, governance, everything())

    assert not any(secret in request or secret.upper() in request for secret in map(SECRETS.__getitem__, denied))


@given(PLAIN, st.sampled_from(["path", "header", "query", "payload"]))
def test_what_an_action_names_is_in_its_request_unless_it_is_denied(field: str, where: str) -> None:
    place = f"{{{{{field}}}}}"
    spots: dict[str, Any] = {
        "path": {"path": f"'x/' + {field}"}, "header": {"headers": {"X-A": place}}, "query": {"query": {"a": place}},
        "payload": {"payload": {"a": place}},
    }  # fmt: skip
    action = Action(name="any", url="https://third.example", **spots[where])

    assert SECRETS[field] in sent(action, Governance(), everything())
    denying = Governance([Labels(name=field, labels=["C2"])], [Policy(name="p", deny=["C2"])])
    assert SECRETS[field] not in sent(action, denying, everything())


@given(actions(), st.sampled_from(FIELDS))
def test_an_action_that_may_be_saved_sends_the_same_with_the_projection_as_without(action: Action, field: str) -> None:
    registered = Registrations(
        actions={"any": action},
        labels={field: Labels(name=field, labels=["C2"])},
        policies={"p": Policy(name="p", deny=["C2"])},
    )
    denied = governed_by(registered).denied(action.marketing_actions)
    if not mentioned(texts_of(action), known=denied):
        assert not [*governed.violations(registered)]
        without, whole = (sent(action, each, everything()) for each in (governed_by(registered), Governance()))
        if not any("takes too long" in request for request in (without, whole)):
            assert without == whole


def test_where_the_address_may_not_leave_no_providers_id_that_holds_it_does() -> None:
    """Whatever an expression makes of it: the projection is without it."""
    whatsapp = "wamid.HBgLMTQxNTU1NTAxMDEVAgASGBQzQTdB"
    place = "{{$string(event) & event.provider_id}}"
    action = Action(name="crm", url="https://third.example", payload={"all": place}, marketing_actions=["ads"])
    label = Labels(name="event.address", labels=["I1"])
    denying = [label, Policy(name="none", marketing_actions=["ads"], deny=["I1"])]
    event = {"_id": "1", "address": "+14155550101", "text": "Hi"}

    def body(*given: Labels | Policy, provider_id: str) -> str:
        actions = Actions(Client(Destinations()))
        actions.follow(registered(action, *given))
        ready = actions.get("crm")
        assert ready is not None
        return ready.request(
            {"event": event | {"provider_id": provider_id}, "profile": {}, "consent": {}}
        ).body.decode()

    assert whatsapp in body(provider_id=whatsapp)
    assert "TQxNTU1NTAxMD" not in body(*denying, provider_id=whatsapp)
    assert "SM0123" in body(*denying, provider_id="SM0123")
