"""Everything about a webhook that decisions rest on, compiled once when the registry changes."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.events import Category, Status
from app.interpret.guard import Policy
from app.interpret.keywords import Match, compile_keywords
from app.interpret.normal import normalise
from app.interpret.replies import SILENCE, Named, Wording, category_replies, custom_replies
from app.interpret.waiting import Trigger, trigger_of
from app.webhook import Pack, Webhook


@dataclass(frozen=True, slots=True)
class Rules:
    """One webhook's rules."""

    webhook: str
    credential: str
    """Replies leave through it; empty: nothing is answered."""
    sender: str
    """Where replies come from; empty: from the number that the person wrote to."""
    keywords: Mapping[str, Match]
    """By normal form."""
    replies: Mapping[Category, Wording]
    custom_replies: tuple[Wording, ...]
    list_version: str
    """Names exactly these lists and texts."""
    lists: str
    """They as JSON, for table `keyword_lists`."""
    provider_answers: frozenset[Category]
    own_texts: frozenset[str]
    """Normal forms of our reply texts, to know them when they come back."""
    own_numbers: frozenset[str]
    policy: Policy
    triggers: Mapping[Category, Trigger]
    """The actions that the lists call."""
    custom_triggers: tuple[Trigger | None, ...]
    calls: bool
    """Whether a message may call an action."""
    receipt_actions: Mapping[Status, str]
    """The actions that receipts call, by the status to which they raise a message."""

    def trigger(self, answer: Category, match: Match) -> Trigger | None:
        """What is called by a message that is answered so; None: nothing."""
        if answer is not Category.CUSTOM:
            return self.triggers.get(answer)
        return self.custom_triggers[match.custom] if self.custom_triggers and match.custom is not None else None

    def reply(self, answer: Category, match: Match) -> Wording:
        """The answer to a match."""
        if answer is Category.CUSTOM:
            return SILENCE if match.custom is None else self.custom_replies[match.custom]
        return self.replies[answer]


def rules(
    webhook: Webhook,
    packs: Mapping[str, Pack],
    replies: Named,
    own_numbers: frozenset[str],
    policy: Policy,
) -> Rules:
    """A webhook's rules. `packs` are all packs by slug, `replies` the named ones, `own_numbers` normalised addresses.

    Raises BadInput with a sentence for the operator: see `compile_keywords`, and an unknown `@name`.
    """
    keywords = compile_keywords(webhook, packs)
    standard, custom = category_replies(webhook, keywords, replies), custom_replies(webhook, replies)
    triggers, custom_triggers = _triggers(webhook, standard, replies), _custom_triggers(webhook, custom, replies)
    listed = _lists(keywords, standard, custom)
    _list_triggers(listed, triggers, custom_triggers)
    lists = orjson.dumps(listed, option=orjson.OPT_SORT_KEYS)
    return Rules(
        webhook=webhook.name,
        credential=webhook.credential or "",
        sender=webhook.sender or "",
        keywords=keywords,
        replies=standard,
        custom_replies=custom,
        list_version=version_of(lists),
        lists=lists.decode(),
        provider_answers=frozenset(webhook.provider_answers),
        own_texts=frozenset(_own_texts(*standard.values(), *custom, *_instead(triggers, custom_triggers))),
        own_numbers=own_numbers,
        policy=policy,
        triggers=triggers,
        custom_triggers=custom_triggers,
        calls=bool(triggers or custom_triggers),
        receipt_actions=webhook.receipt_actions,
    )


def version_of(lists: bytes) -> str:
    """The name of exactly these lists, as ledger and messages give it."""
    return hashlib.sha256(lists).hexdigest()[:16]


def _own_texts(*replies: Wording) -> Iterator[str]:
    for reply in replies:
        yield from filter(None, map(normalise, (reply.text, reply.fallback)))


# --- the actions --------------------------------------------------------------------------------------------------


def _triggers(webhook: Webhook, replies: Mapping[Category, Wording], named: Named) -> dict[Category, Trigger]:
    found = {each: trigger_of(webhook, webhook.keywords.of(each), reply, named) for each, reply in replies.items()}
    return {category: trigger for category, trigger in found.items() if trigger}


def _custom_triggers(webhook: Webhook, replies: tuple[Wording, ...], named: Named) -> tuple[Trigger | None, ...]:
    """One for each list; empty where none of them calls anything."""
    pairs = zip(webhook.keywords.custom, replies, strict=True)
    found = tuple(trigger_of(webhook, listed, reply, named) for listed, reply in pairs)
    return found if any(found) else ()


def _instead(triggers: Mapping[Category, Trigger], custom: tuple[Trigger | None, ...]) -> Iterator[Wording]:
    for trigger in (*triggers.values(), *custom):
        yield from trigger.otherwise.values() if trigger else ()


def _list_triggers(
    lists: dict[str, Any], triggers: Mapping[Category, Trigger], custom: tuple[Trigger | None, ...]
) -> None:
    """Beside the reply of a list: `"action": "crm"`, and where there are any `"otherwise": {"error": "…"}`."""
    numbered = {f"custom {number}": trigger for number, trigger in enumerate(custom, 1)}
    for name, trigger in ({each.value: one for each, one in triggers.items()} | numbered).items():
        if trigger:
            lists[name]["action"] = trigger.action
            if trigger.otherwise:
                lists[name]["otherwise"] = {ending: each.text for ending, each in trigger.otherwise.items()}


# --- the lists ----------------------------------------------------------------------------------------------------


def _lists(
    keywords: Mapping[str, Match], replies: Mapping[Category, Wording], custom: tuple[Wording, ...]
) -> dict[str, Any]:
    """`{"opt_out": {"keywords": {"STOP": "default keyword"}, "reply": "…"}, …, "custom 1": {…, "preference": […]}}`.

    A rich reply has `content` beside it.
    """
    lists: dict[str, Any] = {category.value: _listed(reply) for category, reply in replies.items()}
    lists |= {f"custom {number}": _listed(reply) for number, reply in enumerate(custom, 1)}
    for match in keywords.values():
        listed = lists[match.category.value if match.custom is None else f"custom {match.custom + 1}"]
        listed["keywords"][match.keyword] = match.rule
        if match.preference:
            listed["preference"] = match.preference
    return lists


def _listed(reply: Wording) -> dict[str, Any]:
    listed: dict[str, Any] = {"keywords": {}, "reply": reply.text}
    return {**listed, "content": orjson.loads(reply.content)} if reply.content else listed
