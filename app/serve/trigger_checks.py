"""Whether what webhooks call is there, and whether replies can say what they promise to say of the answer."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from app.action import Action
from app.errors import BadInput
from app.events import Category
from app.interpret.waiting import ANY_FAILURE, mentions_action
from app.reply import Reply
from app.send.actions.awaited import value_in
from app.send.template import taken_apart
from app.serve.whole import Whole
from app.webhook import CustomKeywords, KeywordList, Webhook

#: who says one of these must be told what became of it, also where a call fails
_OWED = (Category.OPT_IN.value, Category.DOUBLE_OPT_IN.value)
_OUT = Category.OPT_OUT.value


class _Listed(NamedTuple):
    """A keyword list, and what it is called."""

    place: str
    keywords: KeywordList | CustomKeywords
    texts: list[str]
    """Of its reply: text and fallback, by its name or in place."""
    otherwise: dict[str, list[str]]


def faults_of_triggers(found: Whole) -> Iterator[str]:
    """One sentence for each fault of a webhook's actions, and of the replies that wait for them."""
    for webhook in found.webhooks.values():
        for fault in _faults(found, webhook):
            yield f"webhook '{webhook.name}': {fault}"


def _faults(found: Whole, webhook: Webhook) -> Iterator[str]:
    for status, action in webhook.receipt_actions.items():
        yield from _missing(found, action, f"receipt_actions.{status}")
    if webhook.receipt_actions and webhook.type == "inbound":
        yield "receipt_actions are called by receipts, and it hears none; make its type both or feedback."
    for listed in _lists(found, webhook):
        yield from _missing(found, listed.keywords.action, listed.place)
        for fault in _faults_of_list(found, listed):
            yield f"{listed.place}: {fault}"


def _missing(found: Whole, action: str | None, place: str) -> Iterator[str]:
    there = found.others.actions.keys() | {name for kind, name in found.others.broken if kind == "action"}
    if action is not None and action not in there:
        yield (
            f"{place} calls action '{action}', and there is none; there are: {', '.join(sorted(there)) or 'none'}. "
            "Add it to the file, or apply it first."
        )


def _lists(found: Whole, webhook: Webhook) -> Iterator[_Listed]:
    keywords, words = webhook.keywords, partial(_texts, found.replies)
    for category in Category:
        if category is not Category.CUSTOM:
            yield _listed(category.value, keywords.of(category), words)
    for number, custom in enumerate(keywords.custom, 1):
        yield _listed(f"custom {number}", custom, words)


def _listed(place: str, keywords: KeywordList | CustomKeywords, words: Callable[[Any], list[str]]) -> _Listed:
    otherwise = {ending: words(reply) for ending, reply in keywords.otherwise.items()}
    return _Listed(f"keywords.{place}", keywords, words(keywords.reply), otherwise)


def _texts(named: Mapping[str, str | Reply], reply: str | Reply | None) -> list[str]:
    """An unknown `@name` is told of elsewhere."""
    if isinstance(reply, str) and reply.startswith("@"):
        reply = named.get(reply[1:], "")
    if reply is None:
        return []
    return [reply] if isinstance(reply, str) else [reply.text, reply.fallback]


# --- a list -------------------------------------------------------------------------------------------------------


def _faults_of_list(found: Whole, listed: _Listed) -> Iterator[str]:
    waits, action = any(map(mentions_action, listed.texts)), listed.keywords.action
    if waits and action is None:
        yield "its reply has {{action.…}} in it, and it calls no action; name one with action, or take the place out."
    elif listed.keywords.otherwise and not waits:
        yield (
            "otherwise says what is answered when the call fails, and its reply does not wait for the call; put"
            " {{action.field}} into the reply, or take otherwise out."
        )
    elif waits:
        yield from _faults_of_waiting(listed)
        yield from _lacking(found.others.actions.get(action or ""), listed)


def _faults_of_waiting(listed: _Listed) -> Iterator[str]:
    category = listed.place.removeprefix("keywords.")
    if category == _OUT:
        yield (
            "the confirmation of an opt-out may not wait for a call, for the law gives it minutes (47 CFR"
            " 64.1200(a)(12)); take {{action.…}} out of the reply. The action is called all the same."
        )
    if category in _OWED and ANY_FAILURE not in listed.keywords.otherwise:
        yield (
            "who opts in is to be told so, also where the call fails; add otherwise.error with a text that needs no"
            " answer."
        )


def _lacking(action: Action | None, listed: _Listed) -> Iterator[str]:
    if action is None:
        return
    for text in listed.texts:
        yield from _not_in(action, "response", action.response, text)
    for ending, texts in listed.otherwise.items():
        for text in texts:
            for fault in _not_in(action, "error_response", action.error_response, text):
                yield f"otherwise.{ending}: {fault}"


def _not_in(action: Action, sample: str, answer: Any, text: str) -> Iterator[str]:
    """The places of the text that the sample of the answer has no value for; without a sample, nobody knows."""
    if answer is None:
        return
    values = {"action": answer, "profile": {}, "fromNumber": "", "toNumber": "", "messageReference": ""}
    for name in taken_apart(text)[1]:
        if mentions_action("{{" + name + "}}") and _value(name, values) is None:
            yield f"{{{{{name}}}}} finds nothing in the {sample} of action '{action.name}'; mend the one or the other."


def _value(name: str, values: Mapping[str, Any]) -> Any:
    try:
        return value_in(name, values)
    except BadInput:  # no JSONata at all: told of where the text is checked
        return ""
