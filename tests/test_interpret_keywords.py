import re
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from app.errors import BadInput
from app.events import Category, ConsentState, Standing
from app.interpret import Explanation, Rules, explain, unreachable
from app.interpret.classify import classify
from app.interpret.keywords import DEFAULTS, Match
from app.interpret.replies import Wording
from app.reply import Reply
from app.webhook import Pack
from tests.interpreting import NOON, PACKS, RULES, rules_of, webhook_of

OWN = {"opt_out": {"keywords": ["STOP", "ARRÊT"]}}


def heard_words(**given: Any) -> dict[str, list[str]]:
    words: dict[str, list[str]] = {}
    for normal, match in rules_of(**given).keywords.items():
        words.setdefault(match.category.value, []).append(normal)
    return words


# --- lists --------------------------------------------------------------------------------------------------------


def test_without_lists_of_their_own_webhooks_hear_the_defaults() -> None:
    assert heard_words() == {
        "opt_out": ["stop", "quit", "cancel", "end", "unsubscribe", "no"],
        "opt_in": ["subscribe", "yes", "unstop", "start", "continue", "resume", "begin"],
        "help": ["help"],
    }


def test_own_keywords_replace_the_defaults_of_their_category_alone() -> None:
    words = heard_words(keywords=OWN)

    assert (words["opt_out"], words["help"]) == (["stop", "arret"], ["help"])


def test_an_empty_list_leaves_a_category_without_words() -> None:
    assert "opt_in" not in heard_words(keywords={"opt_in": {"keywords": []}})


def test_packs_add_to_whatever_list_holds() -> None:
    words = heard_words(packs=["ca", "us"], keywords=OWN)

    assert words["opt_out"] == [
        "stop", "arret", "quit", "end", "revoke", "opt out", "cancel", "unsubscribe",
        "optout", "stopall", "stop all", "remove", "opt me out", "please opt me out",
    ]  # fmt: skip
    assert words["help"] == ["help", "aide", "info"]


def test_a_match_tells_where_its_keyword_stands() -> None:
    rules = rules_of(
        packs=["us"], keywords=OWN | {"custom": [{"keywords": ["DAILY"], "preference": {"pace": "daily"}}]}
    )

    assert [rules.keywords[word] for word in ("arret", "revoke", "optout", "yes", "daily")] == [
        Match(Category.OPT_OUT, "keyword", "ARRÊT"),
        Match(Category.OPT_OUT, "pack us", "REVOKE"),
        Match(Category.OPT_OUT, "pack us", "OPTOUT"),
        Match(Category.OPT_IN, "default keyword", "YES"),
        Match(Category.CUSTOM, "keyword", "DAILY", 0, ("pace", "daily")),
    ]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"keywords": {"opt_out": {"keywords": ["🛑"]}}},
            "webhook acme: keyword '🛑' of opt_out (keyword) has neither letter nor digit, so no message can equal it; "
            "take it out or write it as a word",
        ),
        (
            {"keywords": {"opt_in": {"keywords": ["Stop!"]}}},
            "webhook acme: 'Stop!' stands in opt_out (default keyword) and in opt_in (keyword); "
            "take it out of one of them (a list of your own replaces the defaults of its category)",
        ),
        (
            {"packs": ["us"], "keywords": {"opt_in": {"keywords": ["REVOKE"]}}},
            "webhook acme: 'REVOKE' stands in opt_out (pack us) and in opt_in (keyword); take it out",
        ),
        (
            {"packs": ["rcs"], "keywords": {"double_opt_in": {"keywords": ["ALTA"]}}},
            "webhook acme: 'ALTA' stands in opt_in (pack rcs) and in double_opt_in (keyword)",
        ),
        (
            {"keywords": {"custom": [{"keywords": ["YES"]}]}},
            "webhook acme: 'YES' stands in opt_in (default keyword) and in custom list 1",
        ),
        (
            {"keywords": {"custom": [{"keywords": ["DAILY"]}, {"keywords": ["daily"]}]}},
            "webhook acme: 'daily' stands in custom list 1 and in custom list 2",
        ),
        ({"packs": ["uk"]}, "webhook acme: there is no keyword pack 'uk'; there are: ca, rcs, us"),
        (
            {"keywords": {"help": {"reply": "@faq"}}},
            "webhook acme: there is no reply text named 'faq'; add it to [replies] or write the text in place",
        ),
        ({"keywords": {"custom": [{"keywords": ["A"], "reply": "@"}]}}, "there is no reply text named ''"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_configured(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=re.escape(sentence)):
        rules_of(**given)


def test_a_word_may_stand_twice_in_one_category() -> None:
    assert heard_words(keywords={"help": {"keywords": ["Info", "INFO!", "info"]}})["help"] == ["info"]


# --- packs and the law --------------------------------------------------------------------------------------------


def test_the_packs_hold_what_the_rules_name() -> None:
    assert PACKS["us"].opt_out == ["STOP", "QUIT", "END", "REVOKE", "OPT OUT", "CANCEL", "UNSUBSCRIBE"]
    assert (PACKS["us"].help, PACKS["ca"].opt_out, PACKS["ca"].help) == (
        ["HELP", "INFO"],
        ["STOP", "ARRET"],
        ["HELP", "AIDE", "INFO"],
    )
    assert [slug for slug, pack in PACKS.items() if pack.expected] == ["ca", "us"]


def test_with_both_packs_every_expected_word_is_heard() -> None:
    assert unreachable(webhook_of(packs=["us", "ca"]), PACKS) == []


def test_each_expected_word_that_no_list_reaches_is_named_once() -> None:
    assert unreachable(webhook_of(), PACKS) == [
        "webhook acme does not hear 'ARRET', which is opt_out by the Canadian short-code rules; "
        'add packs = ["ca"] or the word itself',
        "webhook acme does not hear 'AIDE', which is help by the Canadian short-code rules; "
        'add packs = ["ca"] or the word itself',
        "webhook acme does not hear 'INFO', which is help by the Canadian short-code rules; "
        'add packs = ["ca"] or the word itself',
        "webhook acme does not hear 'REVOKE', which is opt_out by 47 CFR 64.1200(a)(10) and the CTIA Messaging "
        'Principles of May 2023; add packs = ["us"] or the word itself',
        "webhook acme does not hear 'OPT OUT', which is opt_out by 47 CFR 64.1200(a)(10) and the CTIA Messaging "
        'Principles of May 2023; add packs = ["us"] or the word itself',
    ]


def test_a_list_without_stop_is_noticed() -> None:
    own = {"opt_out": {"keywords": ["ARRET"]}, "help": {"keywords": ["AIDE", "INFO"]}}

    missing = [line.split("'")[1] for line in unreachable(webhook_of(keywords=own), PACKS)]

    assert missing == ["STOP", "HELP", "QUIT", "END", "REVOKE", "OPT OUT", "CANCEL", "UNSUBSCRIBE"]


def test_an_expected_word_in_another_category_is_noticed() -> None:
    own = {"custom": [{"keywords": ["INFO"]}]}
    canada = {"ca": PACKS["ca"]}

    assert unreachable(webhook_of(keywords=own | {"opt_out": {"keywords": ["stop", "arret"]}}), canada) == [
        "webhook acme does not hear 'AIDE', which is help by the Canadian short-code rules; "
        'add packs = ["ca"] or the word itself',
        "webhook acme hears, in custom list 1, 'INFO', which is help by the Canadian short-code rules; move it",
    ]


def test_a_webhook_for_receipts_has_nothing_to_hear() -> None:
    assert unreachable(webhook_of(type="feedback"), PACKS) == []


def test_packs_that_no_law_stands_behind_are_not_asked_for() -> None:
    pack = Pack(slug="slang", source="nobody", opt_out=["GO AWAY"], expected=False)

    assert unreachable(webhook_of(), {"slang": pack}) == []


# --- the provider's flag ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("normal", "flag", "match"),
    [
        # our lists say nothing: the flag counts
        ("arret", Category.OPT_OUT, Match(Category.OPT_OUT, "provider flag")),
        ("vamos", Category.OPT_IN, Match(Category.OPT_IN, "provider flag")),
        ("tell me", Category.HELP, Match(Category.HELP, "provider flag")),
        # both say the same: our keyword is the better evidence
        ("stop", Category.OPT_OUT, Match(Category.OPT_OUT, "default keyword", "STOP")),
        ("hello", Category.DEFAULT, Match(Category.DEFAULT, "default")),
        # both speak, and not alike: ours …
        ("stop", Category.OPT_IN, Match(Category.OPT_OUT, "default keyword", "STOP")),
        ("start", Category.HELP, Match(Category.OPT_IN, "default keyword", "START")),
        ("stop", Category.DEFAULT, Match(Category.OPT_OUT, "default keyword", "STOP")),
        # … but an opt-out is one
        ("start", Category.OPT_OUT, Match(Category.OPT_OUT, "provider flag")),
        ("don t stop", Category.OPT_OUT, Match(Category.OPT_OUT, "provider flag")),
        # no flag
        ("stop", None, Match(Category.OPT_OUT, "default keyword", "STOP")),
        ("hello", None, Match(Category.DEFAULT, "default")),
    ],
)
def test_the_provider_has_its_say(normal: str, flag: Category | None, match: Match) -> None:
    assert classify(normal, flag, RULES) == match


# --- texts and the list version -----------------------------------------------------------------------------------


def texts_of(rules: Rules) -> dict[Category, str]:
    assert {reply.content for reply in rules.replies.values()} == {""}
    return {category: reply.text for category, reply in rules.replies.items()}


def test_standard_texts_stand_in_where_the_operator_gives_none() -> None:
    assert texts_of(rules_of()) == {
        Category.OPT_OUT: "You are unsubscribed and will receive no more messages. Reply HELP for help.",
        Category.OPT_IN: "You are subscribed. Message frequency varies. Msg & data rates may apply. "
        "Reply HELP for help, STOP to end.",
        Category.DOUBLE_OPT_IN: "Reply YES to confirm that you want our messages. Message frequency varies. "
        "Msg & data rates may apply. HELP for help, STOP to end.",
        Category.HELP: "This is an automatic message service. Message frequency varies. Msg & data rates may apply. "
        "For support contact the sender. Reply STOP to end.",
        Category.DEFAULT: "",
    }


def test_every_standard_text_fits_into_one_message() -> None:
    assert [text for text in texts_of(rules_of()).values() if len(text) > 160 or not text.isascii()] == []


def test_standard_texts_name_words_that_are_heard() -> None:
    words = {"opt_out": {"keywords": ["ARRET"]}, "help": {"keywords": []}, "opt_in": {"keywords": ["OUI", "SI"]}}

    texts = texts_of(rules_of(keywords=words))

    assert texts[Category.DOUBLE_OPT_IN] == (
        "Reply OUI to confirm that you want our messages. Message frequency varies. Msg & data rates may apply. "
        "HELP for help, ARRET to end."
    )


def test_a_usual_word_that_means_something_else_is_not_named() -> None:
    words = {"opt_in": {"keywords": ["JOIN"]}, "custom": [{"keywords": ["YES"]}]}

    assert texts_of(rules_of(keywords=words))[Category.DOUBLE_OPT_IN].startswith("Reply JOIN to confirm")


def test_replies_are_written_in_place_or_named_or_switched_off() -> None:
    words = {
        "opt_in": {"reply": "@hello"},
        "opt_out": {"reply": ""},
        "default": {"reply": "Thanks!"},
        "custom": [{"keywords": ["A"], "reply": "@hello"}, {"keywords": ["B"]}],
    }

    rules = rules_of({"hello": "Hello you"}, keywords=words)

    assert [rules.replies[c] for c in (Category.OPT_IN, Category.OPT_OUT, Category.DEFAULT)] == [
        Wording("Hello you"),
        Wording(""),
        Wording("Thanks!"),
    ]
    assert rules.custom_replies == (Wording("Hello you"), Wording(""))


RICH = {"text": "More?", "suggestions": [{"text": "YES"}, {"text": "Site", "url": "https://acme.example"}]}
CONTENT = '{"suggestions":[{"text":"YES"},{"text":"Site","url":"https://acme.example"}]}'


def test_a_rich_reply_is_written_in_place_or_named() -> None:
    words = {
        "help": {"reply": RICH | {"fallback": "More? Reply YES"}},
        "default": {"reply": "@more"},
        "custom": [{"keywords": ["A"], "reply": {"text": "Only a text"}}],
    }

    rules = rules_of({"more": Reply(**RICH)}, keywords=words)

    fallback = CONTENT[:-1] + ',"fallback":"More? Reply YES"}'
    assert rules.replies[Category.HELP] == Wording("More?", fallback, "More? Reply YES")
    assert rules.replies[Category.DEFAULT] == Wording("More?", CONTENT)
    assert rules.custom_replies == (Wording("Only a text"),)


def test_a_fallback_that_comes_back_is_known_as_ours_and_a_suggestion_is_what_people_answer() -> None:
    words = {"default": {"reply": RICH | {"fallback": "Reply to hear more!"}}}

    rules = rules_of(keywords=words)

    assert {"more", "reply to hear more"} <= rules.own_texts
    assert {"yes", "site"} & rules.own_texts == set()


def test_suggestions_are_part_of_the_list_version() -> None:
    plain = rules_of(keywords={"default": {"reply": "More?"}})
    rich = rules_of(keywords={"default": {"reply": RICH}})

    assert plain.list_version != rich.list_version
    assert orjson.loads(rich.lists)["default"] == {
        "keywords": {},
        "reply": "More?",
        "content": orjson.loads(CONTENT),
    }


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (7, "is neither a text nor a table with a text"),
        ("a\0b", "has a NUL character in it"),
        ({}, "Field required"),
        ({"text": ""}, "at least 1 character"),
        ({"text": "x" * 1601}, "at most 1600 characters"),
        ({"text": "Hi", "fallback": "x" * 1601}, "at most 1600 characters"),
        ({"text": "Hi", "buttons": []}, "Extra inputs are not permitted"),
        ({"text": "Hi", "suggestions": [{"text": "x" * 26}]}, "at most 25 characters"),
        ({"text": "Hi", "suggestions": [{"text": ""}]}, "at least 1 character"),
        ({"text": "Hi", "suggestions": [{"text": "Yes"}] * 12}, "at most 11 items"),
        ({"text": "Hi", "suggestions": [{"text": "Site", "url": "javascript:alert(1)"}]}, "match pattern"),
        ({"text": "Hi", "suggestions": [{"text": "Call", "phone": "911"}]}, "match pattern"),
        ({"text": "Hi", "suggestions": [{"text": "Yes", "postback": "x" * 2049}]}, "at most 2048 characters"),
        (
            {"text": "Hi", "suggestions": [{"text": "Both", "url": "https://acme.example", "phone": "+14155550100"}]},
            "opens a url or dials a phone, not both",
        ),
    ],
)
def test_a_reply_that_no_phone_could_show_is_refused_with_one_sentence(reply: object, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence) as refused:
        webhook_of(keywords={"default": {"reply": reply}})

    assert refused.value.error_count() == 1


def test_the_list_version_names_exactly_these_lists_and_texts() -> None:
    words = {"help": {"keywords": ["HELP"], "reply": "@faq"}, "custom": [{"keywords": ["A"], "preference": {"x": "y"}}]}

    first = rules_of({"faq": "See our page"}, packs=["ca"], keywords=words)

    lists = orjson.loads(first.lists)
    assert lists["help"] == {
        "keywords": {"HELP": "keyword", "AIDE": "pack ca", "INFO": "pack ca"},
        "reply": "See our page",
    }
    assert lists["custom 1"] == {"keywords": {"A": "keyword"}, "reply": "", "preference": ["x", "y"]}
    assert set(lists) == {"opt_out", "opt_in", "double_opt_in", "help", "default", "custom 1"}
    assert re.fullmatch("[0-9a-f]{16}", first.list_version)
    versions = {
        first.list_version,
        rules_of({"faq": "See our new page"}, packs=["ca"], keywords=words).list_version,
        rules_of({"faq": "See our page"}, packs=["ca", "us"], keywords=words).list_version,
        rules_of({"faq": "See our page"}, packs=["ca"], keywords=words, sender="+14155550198").list_version,
    }
    assert len(versions) == 3  # the sender is no part of it


def test_the_defaults_are_the_documents() -> None:
    assert {category.value: " ".join(words) for category, words in DEFAULTS.items()} == {
        "opt_in": "SUBSCRIBE YES UNSTOP START CONTINUE RESUME BEGIN",
        "opt_out": "STOP QUIT CANCEL END UNSUBSCRIBE NO",
        "double_opt_in": "",
        "help": "HELP",
    }


# --- explain ------------------------------------------------------------------------------------------------------


def test_a_decision_can_be_explained_beforehand() -> None:
    assert explain("Stop 🛑", RULES, Standing(), NOON) == Explanation(
        category="opt_out",
        rule="default keyword",
        keyword="STOP",
        normal="stop",
        list_version=RULES.list_version,
        old_state="unknown",
        new_state="opted_out",
        reply="goodbye",
        reason="queued",
        action="",
    )


def test_a_silence_is_explained_too() -> None:
    gone = Standing(ConsentState.OPTED_OUT, NOON, NOON, "keyword", confirmed=True)

    found = explain("hello?", RULES, gone, NOON)

    assert (found.category, found.old_state, found.new_state, found.reply, found.reason) == (
        "default",
        "opted_out",
        "opted_out",
        "",
        "opted out",
    )
