"""What is found in a request: rules go over its items, and nothing that they leave is lost."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from app.decode.conditions import Compiled
from app.decode.mapping import Read
from app.decode.paths import Frame, Spread
from app.errors import BadAddress, Unreadable
from app.events import Event, Trouble

#: characters of an item that the work list keeps
ITEM_LENGTH = 4000


class Rule(NamedTuple):
    """A compiled rule."""

    kind: str
    when: Compiled
    read: Read | None
    """None: its items are ignored."""
    answer: str
    """Which of the provider file's answers its request gets."""


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
    answer: str = ""
    """For the first of its events and troubles; empty: there are none."""
    answer_ignored: str = ""
    """For the first item that is ignored."""
    read: list[Frame] = field(default_factory=list)
    read_ids: set[int] = field(default_factory=set)
    """Of the objects and arrays among them; a text or number may be one object in several places."""
    unread: list[Frame] = field(default_factory=list)


def read_group(group: Group, root: Frame, findings: Findings) -> None:
    """Reads each item by the first rule that holds; items that have been read already are left out."""
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
    if rule.read is None:
        findings.answer_ignored = findings.answer_ignored or rule.answer
        return
    findings.answer = findings.answer or rule.answer
    try:
        findings.events.append(rule.read(frame))
    except Unreadable as error:
        findings.troubles.append(Trouble("item", str(error), _shown(frame.item)))
    except BadAddress as error:
        findings.troubles.append(Trouble("address", str(error), _shown(frame.item)))


def add_leftovers(findings: Findings, teller: str) -> None:
    """Items that no rule reads, nor any rule for what is around or inside them: a person shall look at them."""
    holding = {id(outer.item) for frame in findings.read for outer in _around(frame)}
    left = {
        (id(frame.item), id(frame.around and frame.around.item)): frame.item
        for frame in findings.unread
        if id(frame.item) not in holding and not _is_inside(frame, findings.read_ids)
    }
    reason = f"{teller} tells no event of this form"
    findings.troubles.extend(Trouble("item", reason, _shown(item)) for item in left.values())


def problem(groups: list[Group], root: Frame, teller: str) -> str:
    """One sentence: what was looked for and not found."""
    wants = dict.fromkeys(want for group in groups for want in _wants(group, root))
    return f"This is none of the events that {teller} tells: {'; '.join(wants)}."


def _is_inside(frame: Frame, read_ids: set[int]) -> bool:
    """Whether the item, or one that it stands in, has been read."""
    return id(frame.item) in read_ids or any(id(outer.item) in read_ids for outer in _around(frame))


def _around(frame: Frame) -> Iterator[Frame]:
    outer = frame.around
    while outer is not None:
        yield outer
        outer = outer.around


def _wants(group: Group, root: Frame) -> Iterator[str]:
    first = next(iter(group.spread(root, [])), None)
    for rule in group.rules:
        if rule.read is not None:
            lacks = rule.when.lacks(first) if first else f"something at {group.each}"
            yield f"{rule.kind} needs {lacks}" + (f" in {group.each}" if first and group.each else "")


def _shown(item: Any) -> str:
    return json.dumps(item, ensure_ascii=False)[:ITEM_LENGTH]
