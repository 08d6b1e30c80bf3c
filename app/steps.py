"""The steps on the way of an event that a crash could fall between, by name, for tests that make it fall there."""

from collections.abc import Callable
from typing import NamedTuple


class Step(NamedTuple):
    """One place in the code that calls `reached`."""

    name: str
    room: str
    """Who passes it: writer, spool (only while PostgreSQL is away, or when it is back), send, or call (only where there
    are actions)."""
    meaning: str
    """What is done by then, and what is not."""


#: every step, in the order of an event's way; a test crashes a process at each of them
STEPS = (
    Step("taken", "writer", "A batch has left the queue, and nothing of it is written."),
    Step("written", "writer", "A batch is written inside its transaction, and not committed."),
    Step("committed", "writer", "A batch is committed, and nobody has been told: its requests will come again."),
    Step("told", "writer", "The callers are about to answer their providers."),
    Step("spool written", "spool", "Requests are written to the spool, and not committed there."),
    Step("spool committed", "spool", "They are on the spool's disk, and nobody has been told."),
    Step("drained", "spool", "PostgreSQL has committed them, and the spool still holds them: they are drained again."),
    Step("spool deleted", "spool", "They have left the spool."),
    Step("claimed", "send", "Replies are claimed in the outbox, and none of them has left."),
    Step("leaving", "send", "A reply is composed and not yet on its way to the provider."),
    Step("answered", "send", "The provider has taken the reply, and nothing of ours knows it: it will leave twice."),
    Step("marking", "send", "The outcomes of a batch are about to be written: what left in it will leave twice."),
    Step("calling", "call", "A call of an action is claimed, and its request has not left."),
    Step("called", "call", "The third party has answered, and nothing of ours knows it: it is called again."),
    Step("calls ending", "call", "The ends of a batch of calls are about to be written, with the replies that waited."),
    Step("marked", "send", "The outcomes are committed, and nobody here has been told."),
)


def _nothing(_step: str) -> None:
    """In production a step is only passed."""


#: called at each step; only a test's own launcher ever puts another function here (no setting and no request can)
reached: Callable[[str], None] = _nothing
