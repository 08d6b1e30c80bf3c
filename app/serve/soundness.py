"""Whether all that is registered fits together: what one registration says of another, and what policies forbid.

Asked of the whole, before a change and after it: what a change breaks blocks it, wherever it breaks; what was broken
before blocks nobody. So a label that a saved action's payload violates cannot be added either.
"""

from collections.abc import Callable, Iterator, Sequence

from app.errors import BadInput
from app.interpret.governance import Governance
from app.send import Client, Destinations
from app.send.actions.ready import check as check_action
from app.send.streams.courier import check_inlet, ready
from app.serve import governed
from app.serve.sound_audiences import audience_faults, destination_faults
from app.serve.trigger_checks import faults_of_triggers
from app.serve.whole import Whole


def _actions(found: Whole) -> Iterator[str]:
    """Every action can be called, as far as that is known before there is an event."""
    for name, action in found.others.actions.items():
        try:
            check_action(action)
        except BadInput as error:
            yield f"action '{name}': {error}"


def stream_faults(found: Whole) -> Iterator[str]:
    """What keeps a stream from ever telling anything."""
    nothing_denied, client = Governance(), Client(Destinations())
    for name, stream in found.others.streams.items():
        try:
            ready(stream, nothing_denied, client, "deny")
            check_inlet(stream)
        except BadInput as error:
            yield f"stream '{name}': {error}"


#: each gives one sentence per fault; the sentences name whose fault it is, and the mend
CHECKS: Sequence[Callable[[Whole], Iterator[str]]] = (
    _actions,
    faults_of_triggers,
    stream_faults,
    lambda found: audience_faults(found.others),
    lambda found: destination_faults(found.others),
    lambda found: governed.violations(found.others),
)


def faults_of(found: Whole) -> list[str]:
    """One sentence for each fault."""
    return [sentence for check in CHECKS for sentence in check(found)]


def new_faults(before: Whole, after: Whole) -> list[str]:
    """The faults that a change would make."""
    known = set(faults_of(before))
    return [sentence for sentence in faults_of(after) if sentence not in known]
