"""A slip in a condition's name is told: JSONata would take it for what is not there."""

import pytest

from app.audience import Audience
from app.policy import Policy
from app.record.registry import Registered, RegisteredWebhook
from app.registration import Registrations
from app.serve.checkup_conditions import check_conditions
from app.webhook import Webhook

NEWS = RegisteredWebhook(1, "t", "h", Webhook(name="news", provider="twilio", program="news"))
SLIPS = [
    ("consent.defalt.state = 'opted_in'", "consent.defalt"),
    ("consent.news.stat = 'opted_in'", "consent.news.stat"),
    ("profil.tier = 'gold' and messages.read > 0", "profil"),
    ("3 < message.sent", "message"),
    ("$count(inbund) > 0", "inbund"),
    ("messages.reads > 1 ? true : false", "messages.reads"),
]
SOUND = [
    "consent.default.state = 'opted_in' and consent.news.may_send in [true]",
    "consent.`*`.state = 'opted_out' or consent.*.state = 'pending'",
    "profile.\"first name\" = 'Ann' or $lookup(profile, 'tier') = 'gold'",
    "profile.tiers[level = 'gold'].name = 'a' and $not(address = '+1')",
    "($news := consent.news; $news.state = 'x') and inbound.last_at > $fromMillis(0) /* profil.x */",
    "$filter([{'level': 1}], function($one) { $one.level > 0 })[0].level = messages.sent",
]


def told(*given: Audience | Policy) -> list[str]:
    others = Registrations(
        audiences={one.name: one for one in given if isinstance(one, Audience)},
        policies={one.name: one for one in given if isinstance(one, Policy)},
    )
    return [finding.sentence for finding in check_conditions(Registered(1, {}, [NEWS], {}, others=others))]


@pytest.mark.parametrize(("condition", "name"), SLIPS)
def test_a_name_that_nothing_has_is_told_once_with_what_there_is(condition: str, name: str) -> None:
    (sentence,) = told(Audience(name="a", condition=f"{condition} and ({condition})"))

    assert sentence.startswith(f"audience 'a': nothing is called {name}, so nobody may be in it; there are ")


@pytest.mark.parametrize("condition", SOUND)
def test_what_is_there_is_not_told(condition: str) -> None:
    assert told(Audience(name="a", condition=condition)) == []


def test_a_policy_s_names_are_looked_at_too() -> None:
    program, event = told(Policy(name="p", require="consent.default.state = 'opted_in' and event.txt = ''"))

    assert program == (
        "policy 'p': nothing is called consent.default, so it may leave everybody out; there are state, since, cause, may_send"
    )
    assert event.startswith("policy 'p': nothing is called event.txt, so it may leave everybody out; there are ")
    assert told(Policy(name="p", require="consent.state = 'opted_in' and profile.any.thing = 1")) == []
    assert told(Policy(name="p", deny=["C1"])) == []
