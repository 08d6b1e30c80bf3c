"""Which words a webhook hears: the defaults or the operator's own lists, and the packs, as one dictionary.

A keyword equals the whole normalised message. What cannot work is refused when it is configured, not when it is heard.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from app.errors import BadInput
from app.events import Category
from app.interpret.normal import normalise
from app.webhook import Pack, Webhook

#: heard where the operator gives no list of the category
DEFAULTS: Mapping[Category, tuple[str, ...]] = {
    Category.OPT_OUT: ("STOP", "QUIT", "CANCEL", "END", "UNSUBSCRIBE", "NO"),
    Category.OPT_IN: ("SUBSCRIBE", "YES", "UNSTOP", "START", "CONTINUE", "RESUME", "BEGIN"),
    Category.DOUBLE_OPT_IN: (),
    Category.HELP: ("HELP",),
}


class Match(NamedTuple):
    """What a message was found to be, and why."""

    category: Category
    rule: str
    """`keyword` (the operator's list), `default keyword`, `pack us`, `provider flag`; `incomplete` or `late part`: a
    fragment of a message; `default`: no rule held."""
    keyword: str = ""
    """As its list writes it."""
    custom: int | None = None
    """Which of the operator's custom lists, from 0."""
    preference: tuple[str, str] | None = None
    """(name, value) to record of the subscriber."""


def compile_keywords(webhook: Webhook, packs: Mapping[str, Pack]) -> dict[str, Match]:
    """Normal form -> match, for every word that the webhook hears.

    Raises BadInput for an unknown pack, a keyword without letter or digit, and a word in two categories.
    """
    compiled: dict[str, Match] = {}
    for match in _listed(webhook, packs):
        normal = normalise(match.keyword)
        if not normal:
            raise BadInput(
                f"webhook {webhook.name}: keyword '{match.keyword}' of {_place(match)} has neither letter nor digit, "
                "so no message can equal it; take it out or write it as a word"
            )
        other = compiled.setdefault(normal, match)
        if (other.category, other.custom) != (match.category, match.custom):
            raise BadInput(
                f"webhook {webhook.name}: '{match.keyword}' stands in {_place(other)} and in {_place(match)}; "
                "take it out of one of them (a list of your own replaces the defaults of its category)"
            )
    return compiled


def _listed(webhook: Webhook, packs: Mapping[str, Pack]) -> Iterator[Match]:
    chosen = [_pack(webhook, slug, packs) for slug in webhook.packs]
    for category, defaults in DEFAULTS.items():
        own = webhook.keywords.of(category).keywords
        rule = "default keyword" if own is None else "keyword"
        yield from (Match(category, rule, word) for word in (defaults if own is None else own))
        for pack in chosen:
            words = _words(pack, category) + (pack.opt_out_spellings if category is Category.OPT_OUT else [])
            yield from (Match(category, f"pack {pack.slug}", word) for word in words)
    for index, custom in enumerate(webhook.keywords.custom):
        preference = next(iter(custom.preference.items()), None)
        yield from (Match(Category.CUSTOM, "keyword", word, index, preference) for word in custom.keywords)


def _pack(webhook: Webhook, slug: str, packs: Mapping[str, Pack]) -> Pack:
    if slug not in packs:
        raise BadInput(f"webhook {webhook.name}: there is no keyword pack '{slug}'; there are: {', '.join(packs)}")
    return packs[slug]


def _words(pack: Pack, category: Category) -> list[str]:
    named = {Category.OPT_IN: pack.opt_in, Category.OPT_OUT: pack.opt_out, Category.HELP: pack.help}
    return named.get(category, [])


def _place(match: Match) -> str:
    if match.custom is not None:
        return f"custom list {match.custom + 1}"
    return f"{match.category} ({match.rule})"


def unreachable(webhook: Webhook, packs: Mapping[str, Pack]) -> list[str]:
    """One sentence for each legally expected word that the webhook does not hear as what it means.

    A webhook that hears receipts alone has nothing to hear. Raises BadInput as `compile_keywords` does.
    """
    if webhook.type == "feedback":
        return []
    compiled = compile_keywords(webhook, packs)
    missing: dict[tuple[Category, str], str] = {}
    for pack in packs.values():
        if pack.expected:
            for category in DEFAULTS:
                for word in _words(pack, category):
                    match = compiled.get(normalise(word))
                    if match is None or match.category is not category:
                        sentence = _missing(webhook, pack, category, word, match)
                        missing.setdefault((category, normalise(word)), sentence)
    return list(missing.values())


def _missing(webhook: Webhook, pack: Pack, category: Category, word: str, match: Match | None) -> str:
    heard = "does not hear" if match is None else f"hears, in {_place(match)},"
    mend = f'add packs = ["{pack.slug}"] or the word itself' if match is None else "move it"
    return f"webhook {webhook.name} {heard} '{word}', which is {category} by {pack.source}; {mend}"
