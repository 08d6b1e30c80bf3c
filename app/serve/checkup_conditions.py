"""What `textback check` says of names in conditions that nothing has: JSONata takes a slip for "not there", in silence.

Only paths outside of brackets are looked at; within them a name may be one of any field's own.
"""

from collections.abc import Iterator, Mapping, Set

from app.action import CONSENT_FIELDS
from app.audience import Audience
from app.events import EVERY_PROGRAM
from app.expression import tokens
from app.policy import EVENT_FIELDS, Policy
from app.record.registry import Registered
from app.serve.finding import Finding, warning

_Tree = Mapping[str, "_Tree | None"]
"""The names at each step; None: any may follow."""

_CONSENT: _Tree = dict.fromkeys(CONSENT_FIELDS)
_OF_POLICIES: _Tree = {"event": dict.fromkeys(sorted(EVENT_FIELDS)), "profile": None, "consent": _CONSENT}
_MESSAGES = ("sent", "delivered", "read", "failed", "last_at", "last_status")
#: names that are no fields
_WORDS = frozenset({"and", "or", "in", "true", "false", "null", "function", "λ"})


def check_conditions(registered: Registered) -> Iterator[Finding]:
    """Audiences and policies with a name in them that is no field's."""
    programs = {"default", EVERY_PROGRAM} | {entry.webhook.program for entry in registered.webhooks}
    for audience in registered.others.audiences.values():
        yield from map(warning, _of_audience(audience, programs))
    for policy in registered.others.policies.values():
        yield from map(warning, _of_policy(policy))


def _of_audience(audience: Audience, programs: Set[str]) -> Iterator[str]:
    known: _Tree = {
        "address": None,
        "consent": dict.fromkeys(sorted(programs), _CONSENT),
        "profile": None,
        "messages": dict.fromkeys(_MESSAGES),
        "inbound": dict.fromkeys(("count", "last_at")),
    }
    for name, choices in _unknown(audience.condition, known):
        yield f"audience '{audience.name}': nothing is called {name}, so nobody may be in it; there are {choices}"


def _of_policy(policy: Policy) -> Iterator[str]:
    for name, choices in _unknown(policy.require or "", _OF_POLICIES):
        yield f"policy '{policy.name}': nothing is called {name}, so it may leave everybody out; there are {choices}"


def _unknown(condition: str, known: _Tree) -> Iterator[tuple[str, str]]:
    """(the path up to the name that is not there, what is there), each once."""
    found = {}
    for path in _paths(condition):
        here: _Tree | None = known
        for at, name in enumerate(path):
            if here is None:
                break
            if name not in here:
                found[".".join(path[: at + 1])] = ", ".join(here)
                break
            here = here[name]
    return iter(found.items())


def _paths(condition: str) -> Iterator[list[str]]:
    """The paths of names that begin with one, outside of brackets and braces."""
    path: list[str] = []
    depth, dotted = 0, False
    for kind, word in tokens(condition):
        if kind == "blank":
            continue
        depth += (word in ("[", "{")) - (word in ("]", "}"))
        is_name = kind == "operand" and not depth
        if is_name and dotted and path:
            path.append(word.strip("`\"'"))
        elif word != "." or depth:
            yield from _begun(path)
            path = [word] if is_name and not dotted else []
        dotted = word == "."
    yield from _begun(path)


def _begun(path: list[str]) -> Iterator[list[str]]:
    """The path, if it begins with a field's name: not with a variable, a text, a number or a word of the language."""
    if path and path[0] not in _WORDS and (path[0][0].isalpha() or path[0][0] in "_`"):
        yield [path[0].strip("`"), *path[1:]]
