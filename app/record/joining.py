"""How parts become a message: in any order, a repeat under another id, a part too late, a reference used anew."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import groupby
from typing import Literal, NamedTuple

import orjson

from app.events import Category, Heard, Inbound, RawRequest, Reading
from app.record.ids import new_id

#: a part that was missed, or is sent again, can come so long after; phones count their messages in one byte or two, and
#: then anew
LATE_WITHIN = timedelta(days=2)
#: in the place of parts that are missing; a keyword before or after it is found all the same
GAP = " […] "
#: What a message waited longer was not for its parts: no server ran, or its webhook was gone. Then its answer is late
#: as any other would be, and nobody is told of a STOP of yesterday.
_WAIT_FORGIVEN = timedelta(hours=1)


class Group(NamedTuple):
    """What the parts of one message have in common. Nobody's parts are ever joined with another's.

    The webhook is not among it: a provider may send the parts of a message to two URLs of one account.
    """

    account: str
    program: str
    address: str
    sender: str
    whole: str
    total: int


class Part(NamedTuple):
    """A row of table `inbound_parts`: a part that waits for the others."""

    id: int
    raw_id: int | None
    webhook: str
    account: str
    program: str
    address: str
    sender: str
    whole: str
    total: int
    number: int
    provider_id: str
    channel: str
    text: str
    category: str
    answered: bool
    signature: str
    provider_time: datetime | None
    received_at: datetime
    stored_at: datetime

    @property
    def group(self) -> Group:
        """Whose part it is."""
        return Group(self.account, self.program, self.address, self.sender, self.whole, self.total)


class Decided(NamedTuple):
    """A row of table `decided_parts`: all that is kept of a message that was decided, to know its parts again."""

    id: int
    account: str
    program: str
    address: str
    sender: str
    whole: str
    total: int
    texts: str
    """JSON object: the number of each part that has come -> what tells its text from others. None missing: complete."""
    received_at: datetime

    @property
    def group(self) -> Group:
        """Which message it was."""
        return Group(self.account, self.program, self.address, self.sender, self.whole, self.total)


class Found(NamedTuple):
    """Parts that are decided now, by their numbers."""

    parts: Sequence[Part]
    fragment: Literal["", "incomplete", "late part"] = ""


class Stored(NamedTuple):
    """What lay on a shelf at first, by id."""

    parts: frozenset[int]
    decided: frozenset[int]


class Shelf:
    """Some messages: the parts of each that were stored, with those of a batch laid beside them."""

    def __init__(self, parts: Iterable[Part], decided: Iterable[Decided]) -> None:
        self._waiting: dict[Group, dict[int, Part]] = {}
        for part in parts:
            self._waiting.setdefault(part.group, {})[part.number] = part
        self._decided = {message.group: message for message in decided}
        self._waited = frozenset(self._waiting)
        #: the rows to change when it is put back
        self.before = Stored(
            frozenset(part.id for part in self.waiting()), frozenset(message.id for message in self.decided())
        )

    def waiting(self) -> list[Part]:
        """The parts that lie there now."""
        return [part for group in self._waiting.values() for part in group.values()]

    def decided(self) -> Collection[Decided]:
        """The messages that were decided, here or lately."""
        return self._decided.values()

    def begun(self) -> list[Part]:
        """A part of each message that began here and waits."""
        begun = (parts for group, parts in self._waiting.items() if group not in self._waited)
        return [part for parts in begun for part in list(parts.values())[:1]]

    def lay(self, part: Part) -> list[Found] | None:
        """What can be decided now that this part has come. None: it came before, and counts no second time.

        A part that equals one of a message decided lately is that one again. Were it taken for the beginning of the
        next message, a STOP would be heard twice, the second time maybe after a START.
        """
        waiting = self._waiting.setdefault(part.group, {})
        before = waiting.get(part.number)
        if before and before.text == part.text:
            return None
        if not waiting and (lately := self._decided_lately(part)):
            known = orjson.loads(lately.texts).get(str(part.number))
            if known is None:
                return [self._take_late(part, lately)]
            if known == _digest(part):
                return None
        # the same number with another text: the phone counts anew, and what waits is of an earlier message
        found = [self._take_waiting(part.group, "incomplete")] if before else []
        waiting[part.number] = part
        return [*found, self._take_waiting(part.group)] if len(waiting) == part.total else found

    def take(self, group: Group) -> list[Found]:
        """What is there of a message, decided as it stands; nothing, if it is decided already."""
        return [self._take_waiting(group, "incomplete")] if self._waiting.get(group) else []

    def called(self, key: str) -> list[Found]:
        """What is there of the message of this `call_key`; nothing, if a part has come since, or it is decided."""
        groups = (group for group, waiting in self._waiting.items() if waiting and _key_of(waiting) == key)
        return [found for group in list(groups) for found in self.take(group)]

    def _decided_lately(self, part: Part) -> Decided | None:
        lately = self._decided.get(part.group)
        return lately if lately and abs(part.received_at - lately.received_at) < LATE_WITHIN else None

    def _take_late(self, part: Part, lately: Decided) -> Found:
        texts = orjson.loads(lately.texts) | _digests([part])
        self._decided[part.group] = lately._replace(id=new_id(), texts=orjson.dumps(texts).decode())
        return Found([part], "late part")

    def _take_waiting(self, group: Group, fragment: Literal["", "incomplete"] = "") -> Found:
        waiting = self._waiting[group]
        found = Found([waiting[number] for number in sorted(waiting)], fragment)
        waiting.clear()
        texts = orjson.dumps(_digests(found.parts)).decode()
        newest = max(part.received_at for part in found.parts)
        self._decided[group] = Decided(new_id(), *group, texts=texts, received_at=newest)
        return found


def call_key(newest_id: int, parts: int) -> str:
    """The key of an event by which a message is decided as it stands: how many parts, and the newest one's id."""
    return f"p|{newest_id}|{parts}"


def _key_of(waiting: Mapping[int, Part]) -> str:
    return call_key(max(part.id for part in waiting.values()), len(waiting))


def _digests(parts: Iterable[Part]) -> dict[str, str]:
    return {str(part.number): _digest(part) for part in parts}


def _digest(part: Part) -> str:
    return sha256(part.text.encode("utf-8", "replace")).hexdigest()[:16]


# --- the message --------------------------------------------------------------------------------------------------


def message(heard: Heard, found: Found, now: datetime) -> Heard:
    """The parts as one message, in a request of its own with the rules of `heard`.

    It counts from when its first was received, for a STOP counts when it was said. Its id and evidence are the first's.
    """
    parts, first = found.parts, found.parts[0]
    flags = [Category(part.category) for part in parts if part.category]
    event = Inbound(
        key="",
        provider_id=first.provider_id,
        address=first.address,
        sender=first.sender,
        text=first.text if found.fragment == "late part" else text_of(parts),
        channel=first.channel,
        provider_time=min((part.provider_time for part in parts if part.provider_time), default=None),
        provider_category=Category.OPT_OUT if Category.OPT_OUT in flags else next(iter(flags), None),
        provider_answered=any(part.answered for part in parts),
        begun_at=min(part.received_at for part in parts),
        fragment=found.fragment,
    )
    raw = RawRequest(first.raw_id, "", "", "", b"", "", first.signature, Reading.EVENTS) if first.raw_id else None
    return Heard(
        heard.webhook, heard.provider, heard.account, heard.program, _received_at(found, now), (event,), heard.rules,
        raw=raw,
    )  # fmt: skip


def _received_at(found: Found, now: datetime) -> datetime:
    """With its last part, for it could not be answered before, and the deadline of its reply runs from then.

    Where we waited for more the wait is ours, and so a message counts as received when it is decided. What is replayed
    is as old as ever: only the time since its newest part was stored is added.
    """
    newest = max(part.received_at for part in found.parts)
    if found.fragment != "incomplete":
        return newest
    waited = now - max(part.stored_at for part in found.parts)
    # a clock that was set back makes no message older than it is
    return newest + min(max(waited, timedelta(0)), _WAIT_FORGIVEN)


def text_of(parts: Sequence[Part]) -> str:
    """The text of a message, with a gap where parts are missing."""
    texts = {part.number: part.text for part in parts}
    total = parts[0].total
    if len(texts) == total:
        return "".join(texts.values())
    pieces = (texts.get(number, GAP) for number in range(1, total + 1))
    runs = groupby(pieces, lambda piece: piece is GAP)
    return "".join(GAP if missing else "".join(run) for missing, run in runs).strip()
