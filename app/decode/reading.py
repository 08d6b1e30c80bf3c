"""How a request is read, told to people: the same rules as decode's own, gone through one by one."""

import re
from collections.abc import Iterator

from app.decode.compile import decoder, rules_of
from app.decode.conditions import condition_of
from app.decode.explained import Explained, FieldRead, HandshakeRead, Looked, RuleRead
from app.decode.fields import listed, spelt_one, texts_of
from app.decode.folding import VALUE_FIELDS, fold_paths
from app.decode.handshake import Greeting, greetings_of, handshaker, refusal
from app.decode.opening import opener
from app.decode.paths import Frame
from app.decode.places import Item, Place, condition_places, items_of, leaves, places_of, spelt_place
from app.decode.times import read_time
from app.errors import Unreadable
from app.provider import Alternative, EventRule, Provider, Value
from app.request import Request
from app.webhook import Webhook

#: items of a request that are explained, and paths of what is left
MOST_ITEMS, MOST_LEFT = 50, 200
#: characters of a value
LONGEST = 1000

_WORD = re.compile(r"\w+")


def explain_reading(provider: Provider, webhook: Webhook, request: Request) -> Explained:
    """How this webhook reads a request, be it proved or not.

    Raises BadInput where the provider file or the webhook's payload cannot be used.
    """
    decoded, shake = decoder(provider, webhook)(request), handshaker(provider, webhook)
    is_handshake = bool(shake and shake(request))
    file = fold_paths(provider.model_copy(update={"events": rules_of(provider, webhook)}))
    try:
        root = Frame(opener(provider)(request), None, request)
    except Unreadable:
        return Explained(decoded, is_handshake)
    rules = tuple(_rules(file, root))
    handshakes = tuple(
        HandshakeRead(number, _greeting_lacks(greeting, root)) for number, greeting in enumerate(greetings_of(file), 1)
    )
    return Explained(decoded, is_handshake, handshakes, rules, tuple(_left(file, root)))


def _greeting_lacks(greeting: Greeting, root: Frame) -> str:
    if root.request is not None and root.request.method != greeting.method:
        return f"method {greeting.method}"
    return greeting.when.lacks(root) if not greeting.when.holds(root) else refusal([greeting], root)


def _rules(file: Provider, root: Frame) -> Iterator[RuleRead]:
    """Every rule with each of its items."""
    taken: set[tuple[str, str]] = set()
    for number, rule in enumerate(file.events, 1):
        when = condition_of(rule.when)
        for item in items_of(rule.each, root)[:MOST_ITEMS]:
            holds, place = when.holds(item.frame), (rule.each, item.place)
            reads = holds and place not in taken
            taken |= {place} if reads else set()
            fields = tuple(_fields(rule, item)) if holds else ()
            yield RuleRead(number, rule.kind, item.place, "" if holds else when.lacks(item.frame), reads, fields)


def _fields(rule: EventRule, item: Item) -> Iterator[FieldRead]:
    for name in VALUE_FIELDS:
        value = getattr(rule, name)
        if value is not None:
            yield _field(name, value, rule, item)


def _field(name: str, value: Value, rule: EventRule, item: Item) -> FieldRead:
    looked, problem = [], ""
    for one, text in zip(listed(value), texts_of(value), strict=True):
        try:
            found = text(item.frame)
        except Unreadable as error:
            found, problem = "", str(error)
        looked.append(Looked(spelt_one(one), found[:LONGEST]))
    first = next((look for look in looked if look.value), Looked("", ""))
    if name == "time" and first.value and read_time(first.value, rule.time_format) is None:
        problem = "this is no time that can be read; the time of receipt counts"
    return FieldRead(name, first.value, first.path, tuple(looked), problem)


def _left(file: Provider, root: Frame) -> Iterator[str]:
    """What neither the rules that hold nor the conditions look at."""
    seen = set(_seen(file, root))
    words = set(_words_of_expressions(file))
    left = (place for place in leaves(root.item) if place not in seen and not words.intersection(place[-1:]))
    for _, place in zip(range(MOST_LEFT), left, strict=False):
        yield spelt_place(place)


def _seen(file: Provider, root: Frame) -> Iterator[Place]:
    for rule in file.events:
        holds = condition_of(rule.when).holds
        for item in items_of(rule.each, root):
            if holds(item.frame):
                yield from condition_places(rule.when, item)
                for one in _alternatives(rule):
                    yield from places_of(one, item)
                if rule.kind == "receipt":
                    for status_rule in file.status_rules:
                        yield from condition_places(status_rule.when, item)


def _alternatives(rule: EventRule) -> Iterator[str | Alternative]:
    for name in VALUE_FIELDS:
        yield from listed(getattr(rule, name))


def _words_of_expressions(file: Provider) -> Iterator[str]:
    """An expression does not tell where it looks; a name that stands in it counts as looked at."""
    for rule in file.events:
        for one in _alternatives(rule):
            if isinstance(one, Alternative) and one.expr:
                yield from _WORD.findall(one.expr)
