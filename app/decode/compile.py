"""From a provider file and a webhook to the function that reads its requests."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from app.decode.body import read_body
from app.decode.fields import Compiled, condition_of
from app.decode.mapping import Read, reader
from app.decode.paths import Frame, Spread, fan_out
from app.decode.template import template_rules
from app.errors import BadAddress, BadInput, Unreadable
from app.events import Decoded, Event, Reading, Trouble
from app.provider import EventRule, Provider
from app.request import Request
from app.webhook import Webhook

#: characters of an item that the work list keeps
ITEM_LENGTH = 4000


class Rule(NamedTuple):
    """A compiled rule."""

    kind: str
    when: Compiled
    read: Read | None


class Group(NamedTuple):
    """The rules that read the same items."""

    each: str
    spread: Spread
    rules: list[Rule]


@dataclass(slots=True)
class Findings:
    """What has been made of a request so far."""

    events: list[Event] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    """The kinds of its events and troubles, in order."""
    read: list[Frame] = field(default_factory=list)
    read_ids: set[int] = field(default_factory=set)
    """Of the objects and arrays among them; a text or number may be one object in several places."""
    unread: list[Frame] = field(default_factory=list)


def decoder(provider: Provider, webhook: Webhook) -> Callable[[Request], Decoded]:
    """The function that reads this webhook's requests: pure, and it raises nothing.

    Raises BadInput where the provider file or the webhook's payload cannot be used.
    """
    groups = _groups(_rules(provider, webhook), provider, webhook)
    teller = "the provider file" if provider.events else "the payload"
    otherwise = "receipt" if webhook.type == "feedback" else "inbound"

    def decode(request: Request) -> Decoded:
        try:
            root = Frame(read_body(request))
        except Unreadable as error:
            return Decoded(Reading.UNDECODED, problem=str(error), answer=otherwise)
        findings = Findings()
        for group in groups:
            _read_group(group, root, findings)
        if not findings.read:
            return Decoded(Reading.UNDECODED, problem=_problem(groups, root, teller), answer=otherwise)
        if findings.unread:
            _add_leftovers(findings, teller)
        if not findings.events and not findings.troubles:
            return Decoded(Reading.IGNORED, answer="ignore")
        answer = findings.kinds[0] if findings.kinds else "ignore"
        return Decoded(Reading.EVENTS, tuple(findings.events), tuple(findings.troubles), answer=answer)

    return decode


def _rules(provider: Provider, webhook: Webhook) -> list[EventRule]:
    """A provider file's own, or those of the webhook's payload where the file tells no events."""
    try:
        if not provider.events:
            return template_rules(webhook)
    except BadInput as error:
        raise BadInput(f"webhook {webhook.name}: {error}") from None
    if webhook.payload or webhook.feedback_payload:
        raise BadInput(
            f"webhook {webhook.name}: {provider.name} needs no payload, its provider file tells it; remove it"
        )
    return provider.events


def _groups(rules: Sequence[EventRule], provider: Provider, webhook: Webhook) -> list[Group]:
    groups: dict[str, Group] = {}
    try:
        for rule in rules:
            group = groups.setdefault(rule.each, Group(rule.each, fan_out(rule.each), []))
            group.rules.append(Rule(rule.kind, condition_of(rule.when), reader(rule, provider, webhook)))
    except BadInput as error:
        raise BadInput(f"provider file {provider.slug}: {error}") from None
    return list(groups.values())


def _read_group(group: Group, root: Frame, findings: Findings) -> None:
    for frame in group.spread(root, findings.unread):
        if findings.read_ids and _is_inside(frame, findings.read_ids):
            continue
        for rule in group.rules:
            if rule.when.holds(frame):
                _read_item(rule, frame, findings)
                break
        else:
            findings.unread.append(frame)


def _read_item(rule: Rule, frame: Frame, findings: Findings) -> None:
    findings.read.append(frame)
    if type(frame.item) in (dict, list):
        findings.read_ids.add(id(frame.item))
    kind, _, read = rule
    if read is None:
        return
    findings.kinds.append(kind)
    try:
        findings.events.append(read(frame))
    except Unreadable as error:
        findings.troubles.append(Trouble("item", str(error), _shown(frame.item)))
    except BadAddress as error:
        findings.troubles.append(Trouble("address", str(error), _shown(frame.item)))


def _add_leftovers(findings: Findings, teller: str) -> None:
    """Items that no rule reads, nor any rule for what is around or inside them: a person shall look at them."""
    holding = {id(outer.item) for frame in findings.read for outer in _around(frame)}
    left = {
        (id(frame.item), id(frame.around and frame.around.item)): frame.item
        for frame in findings.unread
        if id(frame.item) not in holding and not _is_inside(frame, findings.read_ids)
    }
    reason = f"{teller} tells no event of this form"
    findings.troubles.extend(Trouble("item", reason, _shown(item)) for item in left.values())


def _is_inside(frame: Frame, read_ids: set[int]) -> bool:
    """Whether the item, or one that it stands in, has been read."""
    return id(frame.item) in read_ids or any(id(outer.item) in read_ids for outer in _around(frame))


def _around(frame: Frame) -> Iterator[Frame]:
    outer = frame.around
    while outer is not None:
        yield outer
        outer = outer.around


def _problem(groups: list[Group], root: Frame, teller: str) -> str:
    """One sentence: what was looked for and not found."""
    wants = dict.fromkeys(want for group in groups for want in _wants(group, root))
    return f"This is none of the events that {teller} tells: {'; '.join(wants)}."


def _wants(group: Group, root: Frame) -> Iterator[str]:
    first = next(iter(group.spread(root, [])), None)
    for rule in group.rules:
        if rule.read is not None:
            lacks = rule.when.lacks(first) if first else f"something at {group.each}"
            yield f"{rule.kind} needs {lacks}" + (f" in {group.each}" if first and group.each else "")


def _shown(item: Any) -> str:
    return json.dumps(item, ensure_ascii=False)[:ITEM_LENGTH]
