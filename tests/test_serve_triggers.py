"""What a webhook's actions must fit: sentences when it is applied, and nothing that could only fail when it is heard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.action import Action
from app.registration import Registrations
from app.serve.soundness import faults_of
from app.serve.whole import Whole
from app.webhook import Webhook
from tests.commands import ACME, Run, file_of, runner, told

SHOP = Action(
    name="shop", url="https://api.example.com/", response={"order": {"status": "x", "lines": [{"sku": "a"}]}},
    error_response={"message": "No"},
)  # fmt: skip
BOT = Action(name="bot", url="https://api.example.com/")


def faults(keywords: Mapping[str, Any], named: Mapping[str, str] | None = None, **given: Any) -> list[str]:
    webhook = Webhook(name="acme", provider="twilio", keywords=keywords, **given)
    others = Registrations(actions={"shop": SHOP, "bot": BOT}, broken={("action", "old"): "sealed with a lost key"})
    found = faults_of(Whole({"acme": webhook}, named or {}, others))
    return [fault.removeprefix("webhook 'acme': ") for fault in found]


def test_what_fits_has_no_fault() -> None:
    keywords = {
        "help": {"action": "shop", "reply": "@status", "otherwise": {"http_404": "{{action.message}}", "error": ""}},
        "opt_in": {"action": "bot", "reply": "Hi {{action.name}}", "otherwise": {"error": "Hi"}},
        "opt_out": {"action": "old", "reply": "Bye {{profile.name}}"},
        "default": {"action": "bot", "reply": "{{action}}"},
        "custom": [{"keywords": ["A"], "action": "shop", "reply": {"text": "a", "fallback": "{{action.order}}"}}],
    }
    named = {"status": "{{action.order.lines.0.sku}} {{ $uppercase(action.order.status) }} {{profile.name}}"}

    assert faults(keywords, named, type="both", receipt_actions={"delivered": "shop"}) == []


@pytest.mark.parametrize(
    ("keywords", "fault"),
    [
        (
            {"help": {"action": "gone"}},
            "keywords.help calls action 'gone', and there is none; there are: bot, old, shop. "
            "Add it to the file, or apply it first.",
        ),
        (
            {"help": {"reply": "{{action.order}}"}},
            "keywords.help: its reply has {{action.…}} in it, and it calls no action; name one with action, or take "
            "the place out.",
        ),
        (
            {"custom": [{"keywords": ["A"], "action": "shop", "reply": "Hi", "otherwise": {"error": "Oh"}}]},
            "keywords.custom 1: otherwise says what is answered when the call fails, and its reply does not wait for "
            "the call; put {{action.field}} into the reply, or take otherwise out.",
        ),
        (
            {"opt_out": {"action": "shop", "reply": "Bye {{action.order.status}}"}},
            "keywords.opt_out: the confirmation of an opt-out may not wait for a call, for the law gives it minutes "
            "(47 CFR 64.1200(a)(12)); take {{action.…}} out of the reply. The action is called all the same.",
        ),
        (
            {"double_opt_in": {"keywords": ["JOIN"], "action": "bot", "reply": "{{action.x}}"}},
            "keywords.double_opt_in: who opts in is to be told so, also where the call fails; add otherwise.error with "
            "a text that needs no answer.",
        ),
        (
            {"help": {"action": "shop", "reply": "{{action.order.state}}"}},
            "keywords.help: {{action.order.state}} finds nothing in the response of action 'shop'; mend the one or the "
            "other.",
        ),
        (
            {"help": {"action": "shop", "reply": "@lines"}},
            "keywords.help: {{action.order.lines.1.sku}} finds nothing in the response of action 'shop'; mend the one "
            "or the other.",
        ),
        (
            {"help": {"action": "shop", "reply": "{{action.order.status}}", "otherwise": {"error": "{{action.why}}"}}},
            "keywords.help: otherwise.error: {{action.why}} finds nothing in the error_response of action 'shop'; mend "
            "the one or the other.",
        ),
    ],
)
def test_what_cannot_work_is_told_with_its_mend(keywords: Mapping[str, Any], fault: str) -> None:
    assert faults(keywords, {"lines": "{{action.order.lines.1.sku}}"}) == [fault]


def test_receipts_must_be_heard_and_their_actions_be_there() -> None:
    assert faults({}, type="inbound", receipt_actions={"read": "gone"}) == [
        "receipt_actions.read calls action 'gone', and there is none; there are: bot, old, shop. "
        "Add it to the file, or apply it first.",
        "receipt_actions are called by receipts, and it hears none; make its type both or feedback.",
    ]


# --- the apply file -----------------------------------------------------------------------------------------------

ORDER = """
[[actions]]
name = "shop"
url = "https://api.example.com/"
response = { order = { status = "shipped" } }

[replies]
status = "It is {{action.order.status}}."
sorry = "Sorry."

[webhooks.keywords.help]
action = "shop"
reply = "@status"
otherwise = { error = "@sorry" }
"""


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner(database_url, monkeypatch, tmp_path)


def file(tmp_path: Path, text: str = ORDER) -> str:
    """ACME's inbound webhook with a HELP that waits."""
    return file_of(tmp_path, WEBHOOK + text.partition("[webhooks.")[1] + text.partition("[webhooks.")[2]
                   + text.partition("[webhooks.")[0])  # fmt: skip


WEBHOOK = """
[[credentials]]
name = "acme"
provider = "twilio"
app_id = "AC0123"
auth = { type = "basic", username = "AC0123", password = "x" }

[[webhooks]]
name = "acme-inbound"
provider = "twilio"
credential = "acme"
sender = "+14155550199"
secret = "the-auth-token"
"""


def test_an_action_its_reply_and_what_is_said_otherwise_are_applied_together(run: Run, tmp_path: Path) -> None:
    applied = run("apply", file(tmp_path))

    explained = run("explain", "help", "--webhook", "acme-inbound")

    assert applied.exit_code == 0, applied.stderr
    assert "action shop: created" in applied.stdout
    assert "waits for action shop" in explained.stdout
    assert "It is {{action.order.status}}." in explained.stdout


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ('[replies]\nstatus = "It is {{action.order.state}}."', "{{action.order.state}} finds nothing in the response"),
        ('[[actions]]\nname = "shop"\nurl = "https://a.example/"\nresponse = { id = 1 }', "finds nothing in the resp"),
        ('[replies]\nstatus = "It waits for nothing."', "its reply does not wait for the call"),
    ],
)
def test_a_later_change_that_breaks_a_reply_is_refused(run: Run, tmp_path: Path, changed: str, fault: str) -> None:
    run("apply", file(tmp_path))

    code, stdout, stderr = told(run("apply", file_of(tmp_path, changed)))

    assert (code, stdout) == (1, "")
    assert fault in stderr


def test_a_reply_that_is_said_otherwise_must_be_there(run: Run, tmp_path: Path) -> None:
    code, _, stderr = told(run("apply", file(tmp_path, ORDER.replace('sorry = "Sorry."', ""))))

    assert code == 1
    assert "there is no reply text named 'sorry'" in stderr


def test_acme_calls_nothing(run: Run, tmp_path: Path) -> None:
    run("apply", file_of(tmp_path, ACME))

    assert '"action":""' in run("explain", "help", "--webhook", "acme-inbound", "--json").stdout
