"""How parts become a message: in any order, a repeat under another id, a part too late, a reference used anew."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Literal, NamedTuple

from app.events import Category, Heard, Inbound, RawRequest, Reading
from app.record.ids import new_id

#: a part that was missed can come so long after; phones count their messages in one byte or two, and then anew
LATE_WITHIN = timedelta(days=2)
#: in the place of parts that are missing; a keyword before or after it is found all the same
GAP = " […] "


class Group(NamedTuple):
    """What the parts of one message have in common. Nobody's parts are ever joined with another's."""

    webhook: str
    address: str
    sender: str
    whole: str
    total: int


class Part(NamedTuple):
    """A row of table `inbound_parts`."""

    id: int
    raw_id: int | None
    webhook: str
    address: str
    sender: str
    whole: str
    number: int
    total: int
    missed: bool
    provider_id: str
    channel: str
    text: str
    category: str
    answered: bool
    signature: str
    provider_time: datetime | None
    received_at: datetime

    @property
    def group(self) -> Group:
        """Whose part it is."""
        return Group(self.webhook, self.address, self.sender, self.whole, self.total)


class Found(NamedTuple):
    """Parts that are decided now, by their numbers."""

    parts: Sequence[Part]
    fragment: Literal["", "incomplete", "late part"] = ""


class Shelf:
    """The parts of some people's messages: those that were stored, and those of a batch laid beside them."""

    def __init__(self, stored: Iterable[Part]) -> None:
        self._waiting: dict[Group, dict[int, Part]] = {}
        self._missed: dict[Group, dict[int, Part]] = {}
        for part in stored:
            lies = self._missed if part.missed else self._waiting
            lies.setdefault(part.group, {})[part.number] = part

    def parts(self) -> list[Part]:
        """What lies there now."""
        groups = (*self._waiting.values(), *self._missed.values())
        return [part for group in groups for part in group.values()]

    def lay(self, part: Part) -> list[Found]:
        """What can be decided now that this part has come."""
        waiting = self._waiting.setdefault(part.group, {})
        before = waiting.get(part.number)
        if before and before.text == part.text:
            return []  # the same part under another id
        if not waiting and self._was_missed(part):
            return [Found([part], "late part")]
        # the same number with another text: the phone counts anew, and what waits is of an earlier message
        found = [_taken(waiting, "incomplete")] if before else []
        waiting[part.number] = part
        return [*found, _taken(waiting)] if len(waiting) == part.total else found

    def call(self, group: Group, key: str) -> list[Found]:
        """What is there of a message, unless a part has come since, or it was decided. `key`: of `call_key`."""
        waiting = self._waiting.get(group)
        if not waiting or call_key(max(part.id for part in waiting.values())) != key:
            return []
        self._missed[group] = _gaps(waiting)
        return [_taken(waiting, "incomplete")]

    def _was_missed(self, part: Part) -> bool:
        missed = self._missed.get(part.group, {}).pop(part.number, None)
        return missed is not None and abs(part.received_at - missed.received_at) < LATE_WITHIN


def call_key(newest_id: int) -> str:
    """The key of an event by which a message is decided as it stands: its newest part has this id."""
    return f"p|{newest_id}"


def _taken(waiting: dict[int, Part], fragment: Literal["", "incomplete"] = "") -> Found:
    found = Found([waiting[number] for number in sorted(waiting)], fragment)
    waiting.clear()
    return found


def _gaps(waiting: dict[int, Part]) -> dict[int, Part]:
    """A row for each part that is missing, by which it is known when it comes."""
    like = max(waiting.values(), key=lambda part: part.received_at)
    return {
        number: like._replace(id=new_id(), raw_id=None, number=number, missed=True, provider_id="", text="")
        for number in range(1, like.total + 1)
        if number not in waiting
    }


def message(heard: Heard, found: Found) -> Heard:
    """The parts as one message, in a request of its own with the rules of `heard`.

    It was received with its last part, for it could not be answered before, and its reply's deadline runs from then. It
    counts from when its first was received, for a STOP counts when it was said. Its id and evidence are the first's.
    """
    parts, first = found.parts, found.parts[0]
    flags = [Category(part.category) for part in parts if part.category]
    event = Inbound(
        key="",
        provider_id=first.provider_id,
        address=first.address,
        sender=first.sender,
        text=first.text if found.fragment == "late part" else _text(parts, first.total),
        channel=first.channel,
        provider_time=min((part.provider_time for part in parts if part.provider_time), default=None),
        provider_category=Category.OPT_OUT if Category.OPT_OUT in flags else next(iter(flags), None),
        provider_answered=any(part.answered for part in parts),
        begun_at=min(part.received_at for part in parts),
        fragment=found.fragment,
    )
    raw = RawRequest(first.raw_id, "", "", "", b"", "", first.signature, Reading.EVENTS) if first.raw_id else None
    received_at = max(part.received_at for part in parts)
    return Heard(
        heard.webhook, heard.provider, heard.account, heard.program, received_at, (event,), heard.rules, raw=raw
    )


def _text(parts: Sequence[Part], total: int) -> str:
    texts = {part.number: part.text for part in parts}
    if len(texts) == total:
        return "".join(texts.values())
    pieces = (texts.get(number, GAP) for number in range(1, total + 1))
    runs = groupby(pieces, lambda piece: piece is GAP)
    return "".join(GAP if missing else "".join(run) for missing, run in runs).strip()
