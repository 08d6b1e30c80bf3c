"""Everything about a webhook that decisions rest on, compiled once when the registry changes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.events import Category
from app.interpret.guard import Policy
from app.interpret.keywords import Match, compile_keywords
from app.interpret.normal import normalise
from app.interpret.replies import category_texts, custom_texts
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
    replies: Mapping[Category, str]
    custom_replies: tuple[str, ...]
    list_version: str
    """Names exactly these lists and texts."""
    lists: str
    """They as JSON, for table `keyword_lists`."""
    provider_answers: frozenset[Category]
    own_texts: frozenset[str]
    """Normal forms of our reply texts, to know them when they come back."""
    own_numbers: frozenset[str]
    policy: Policy

    def text(self, answer: Category, match: Match) -> str:
        """The text of an answer to a match; empty: there is none."""
        if answer is Category.CUSTOM:
            return "" if match.custom is None else self.custom_replies[match.custom]
        return self.replies[answer]


def rules(
    webhook: Webhook,
    packs: Mapping[str, Pack],
    replies: Mapping[str, str],
    own_numbers: frozenset[str],
    policy: Policy,
) -> Rules:
    """A webhook's rules. `packs` are all packs by slug, `replies` the named texts, `own_numbers` normalised addresses.

    Raises BadInput with a sentence for the operator: see `compile_keywords`, and an unknown `@name`.
    """
    keywords = compile_keywords(webhook, packs)
    texts, custom = category_texts(webhook, keywords, replies), custom_texts(webhook, replies)
    lists = orjson.dumps(_lists(keywords, texts, custom), option=orjson.OPT_SORT_KEYS)
    return Rules(
        webhook=webhook.name,
        credential=webhook.credential or "",
        sender=webhook.sender or "",
        keywords=keywords,
        replies=texts,
        custom_replies=custom,
        list_version=hashlib.sha256(lists).hexdigest()[:16],
        lists=lists.decode(),
        provider_answers=frozenset(webhook.provider_answers),
        own_texts=frozenset(map(normalise, (*texts.values(), *custom))) - {""},
        own_numbers=own_numbers,
        policy=policy,
    )


def _lists(keywords: Mapping[str, Match], texts: Mapping[Category, str], custom: tuple[str, ...]) -> dict[str, Any]:
    """`{"opt_out": {"keywords": {"STOP": "default keyword"}, "reply": "…"}, …, "custom 1": {…, "preference": […]}}`."""
    lists: dict[str, Any] = {category.value: {"keywords": {}, "reply": text} for category, text in texts.items()}
    lists |= {f"custom {number}": {"keywords": {}, "reply": text} for number, text in enumerate(custom, 1)}
    for match in keywords.values():
        listed = lists[match.category.value if match.custom is None else f"custom {match.custom + 1}"]
        listed["keywords"][match.keyword] = match.rule
        if match.preference:
            listed["preference"] = match.preference
    return lists
