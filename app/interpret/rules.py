"""Everything about a webhook that decisions rest on, compiled once when the registry changes."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.events import Category
from app.interpret.guard import Policy
from app.interpret.keywords import Match, compile_keywords
from app.interpret.normal import normalise
from app.interpret.replies import SILENCE, Named, Wording, category_replies, custom_replies
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
    lists = orjson.dumps(_lists(keywords, standard, custom), option=orjson.OPT_SORT_KEYS)
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
        own_texts=frozenset(_own_texts(*standard.values(), *custom)),
        own_numbers=own_numbers,
        policy=policy,
    )


def version_of(lists: bytes) -> str:
    """The name of exactly these lists, as ledger and messages give it."""
    return hashlib.sha256(lists).hexdigest()[:16]


def _own_texts(*replies: Wording) -> Iterator[str]:
    for reply in replies:
        yield from filter(None, map(normalise, (reply.text, reply.fallback)))


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
