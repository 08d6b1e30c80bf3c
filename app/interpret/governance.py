"""What may leave, and about whom: the labels of fields, and the policies over them. Pure.

A field is denied for a use where one of its labels is denied by a policy that is about one of the use's marketing
actions. What is computed from a field bears that field's labels too. Expressions never see a denied field: they are
given a projection without it, so that no way of naming it, computed names included, can reach it.

What cannot be read forbids: a field whose labels are broken is denied for every use, and a policy that is broken
leaves everybody out, since nobody can say any more that it would not.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from app.errors import BadInput, TookTooLong, Unreadable
from app.events import Standing
from app.expression import Expression, expression
from app.interpret.consent import may_send
from app.policy import Labels, Policy
from app.registration import Registrations

Fields = Mapping[str, Any]
"""`{"event": {…}, "profile": {…}, "consent": {…}}`, and whatever else a use has; see `app.action`."""
_Broken = Mapping[tuple[str, str], str]

#: what is made of another field, and tells as much
DERIVED: Mapping[str, str] = {
    "event.normal": "event.text",
    "event.keyword": "event.text",
    "event.status": "event.provider_status",
    "event.old_state": "consent.state",
    "event.new_state": "consent.state",
    "event.cause": "consent.cause",
    "consent.may_send": "consent.state",
}
#: what stands beside the roots, and is a field of an event
ALIASES: Mapping[str, str] = {"_id": "event._id"}


class Denial(NamedTuple):
    """Why a field may not leave."""

    field: str
    label: str
    """Empty: its labels cannot be read."""
    policy: str
    marketing_actions: Sequence[str] = ()
    """Those of the use that the policy is about; none: it is about every use."""
    source: str = ""
    """The field that has the label, where this one is made of it."""

    @property
    def labelled(self) -> str:
        """The field that has the label."""
        return self.source or self.field

    def __str__(self) -> str:
        if not self.label:
            return f"the labels of field {self.field} cannot be read"
        use = f" for {', '.join(self.marketing_actions)}" if self.marketing_actions else ""
        made = f"is made of {self.source}, which has" if self.source else "has"
        return f"field {self.field} {made} label {self.label}, which policy '{self.policy}' denies{use}"


class Verdict(NamedTuple):
    """What a consent policy says of a person."""

    policy: str
    is_met: bool
    """False: it leaves the person out."""
    problem: str = ""
    """Why it could not be worked out; such a one is not met."""


class Governance:
    """The labels and policies, ready to be asked. `broken`: those that cannot be used, (kind, name) -> why."""

    def __init__(
        self, labels: Iterable[Labels] = (), policies: Iterable[Policy] = (), broken: _Broken | None = None
    ) -> None:
        self._labels = {each.name: tuple(each.labels) for each in labels}
        self._policies = tuple(policies)
        self._requirements = [(each, _requirement(each.require)) for each in self._policies if each.require]
        self._unread = {kind: [name for k, name in broken or () if k == kind] for kind in ("labels", "policy")}

    def denials(self, marketing_actions: Sequence[str]) -> Iterator[Denial]:
        """Every reason for which a field may not leave for these marketing actions."""
        unread = self._unread["labels"]
        for field in (*unread, *(made for made, source in DERIVED.items() if source in unread)):
            yield Denial(field, "", "")
        for field, label, source in self._labelled:
            for policy in self._policies:
                if label in policy.deny and _is_about(policy, marketing_actions):
                    about = tuple(action for action in marketing_actions if action in policy.marketing_actions)
                    yield Denial(field, label, policy.name, about, source)

    def denied(self, marketing_actions: Sequence[str]) -> dict[str, Denial]:
        """The fields that may not leave for these marketing actions, each with the first reason."""
        found: dict[str, Denial] = {}
        for denial in self.denials(marketing_actions):
            found.setdefault(denial.field, denial)
        return found

    @cached_property
    def _labelled(self) -> tuple[tuple[str, str, str], ...]:
        """(field, label, the field it is made of): its own, and those that it bears as well."""
        own = [(field, label, "") for field, labels in self._labels.items() for label in labels]
        borne = [(made, label, source) for made, source in DERIVED.items() for label in self._labels.get(source, ())]
        return (*own, *(each for each in borne if (each[0], each[1], "") not in own))

    def excludes(self, marketing_actions: Sequence[str], fields: Fields) -> str | None:
        """The consent policy that leaves this person out; None: none does.

        `fields` are all of them, denied ones too: a policy decides about data and sends none. One that cannot be
        evaluated leaves the person out, for nobody can say that its requirement is met.
        """
        return next((found.policy for found in self.verdicts(marketing_actions, fields) if not found.is_met), None)

    def verdicts(self, marketing_actions: Sequence[str], fields: Fields) -> Iterator[Verdict]:
        """What each consent policy that is about these marketing actions says of this person."""
        for name in self._unread["policy"]:
            yield Verdict(name, False, "the policy cannot be read; apply it again")
        for policy, judge in self._requirements:
            if _is_about(policy, marketing_actions):
                yield Verdict(policy.name, *judge(fields))


def governed_by(others: Registrations) -> Governance:
    """The governance of what is registered; what is broken there forbids."""
    return Governance(others.labels.values(), others.policies.values(), others.broken)


def consent_fields(standing: Standing, unknown_consent: str, *, withheld: bool) -> dict[str, Any]:
    """How a person stands, as the fields `consent.…`. `withheld`: nobody may be written to, whatever they said."""
    return {
        "state": standing.state.value,
        "since": standing.since and standing.since.isoformat(),
        "cause": standing.cause,
        "may_send": may_send(standing.state, unknown_consent) and not withheld,
    }


def project(fields: Fields, denied: Iterable[str]) -> dict[str, Any]:
    """A copy of the fields without the denied ones; where one is a tree, without that branch of it."""
    left = dict(fields)
    for name in denied:
        root, *path = name.split(".")
        left[root] = _pruned(left.get(root), path)
        for alias in (alias for alias, field in ALIASES.items() if field == name):
            left.pop(alias, None)
    return {root: value for root, value in left.items() if root in fields}


def _pruned(value: Any, path: Sequence[str]) -> Any:
    """The value without what this path leads to: a name may have dots, or its parts may be objects in objects."""
    if isinstance(value, list | tuple) and path:
        return [_pruned(item, path) for item in value]
    if not isinstance(value, Mapping) or not path:
        return value
    gone = ".".join(path)
    return {name: _pruned(inner, _rest(path, name)) for name, inner in value.items() if name != gone}


def _rest(path: Sequence[str], name: str) -> Sequence[str]:
    """What of the path is left behind this name; nothing where it does not lead through it."""
    led = len(name.split("."))
    return path[led:] if ".".join(path[:led]) == name else ()


def violations(denied: Mapping[str, Denial], mentioned: Iterable[str]) -> Iterator[Denial]:
    """The denials of what a template mentions, each once."""
    for name in dict.fromkeys(mentioned):
        if name in denied:
            yield denied[name]


def _is_about(policy: Policy, marketing_actions: Sequence[str]) -> bool:
    return not policy.marketing_actions or not set(policy.marketing_actions).isdisjoint(marketing_actions)


def _requirement(text: str) -> Callable[[Fields], tuple[bool, str]]:
    """Whether it is met, and why that cannot be said."""
    try:
        evaluate = expression(text)
    except BadInput as error:  # it is refused when it is saved; one that an older release took is met by nobody
        unusable = (False, str(error))
        return lambda _: unusable

    def judge(fields: Fields) -> tuple[bool, str]:
        try:
            return _twice(evaluate, fields) is True, ""
        except Unreadable as error:
            return False, str(error)

    return judge


def _twice(evaluate: Expression, fields: Fields) -> Any:
    """Nobody shall be left out because the machine had much to do for a moment."""
    try:
        return evaluate(fields)
    except TookTooLong:
        return evaluate(fields)
