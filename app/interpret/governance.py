"""What may leave, and about whom: the labels of fields, and the policies over them. Pure.

A field is denied for a use where one of its labels is denied by a policy that is about one of the use's marketing
actions. What is computed from a field of an event bears that field's labels too. Expressions never see a denied field:
they are given a projection without it, so that no way of naming it, computed names included, can reach it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from app.errors import Unreadable
from app.expression import expression
from app.policy import Labels, Policy

Fields = Mapping[str, Any]
"""`{"event": {…}, "profile": {…}, "consent": {…}}`, and whatever else a use has; see `app.action`."""

#: what is made of another field, and tells as much
DERIVED: Mapping[str, str] = {"event.normal": "event.text", "event.keyword": "event.text"}


class Denial(NamedTuple):
    """Why a field may not leave."""

    field: str
    label: str
    policy: str

    def __str__(self) -> str:
        return f"field {self.field} has label {self.label}, which policy {self.policy} denies"


class Governance:
    """The labels and policies, ready to be asked. Raises BadInput for a requirement that is no JSONata."""

    def __init__(self, labels: Iterable[Labels] = (), policies: Iterable[Policy] = ()) -> None:
        self._labels = {each.name: tuple(each.labels) for each in labels}
        self._policies = tuple(policies)
        self._required = [(policy, expression(policy.require)) for policy in self._policies if policy.require]

    def denied(self, marketing_actions: Sequence[str]) -> dict[str, Denial]:
        """The fields that may not leave for these marketing actions, each with the first reason."""
        found: dict[str, Denial] = {}
        for field, label in self._labelled:
            for policy in self._policies:
                if label in policy.deny and _is_about(policy, marketing_actions):
                    found.setdefault(field, Denial(field, label, policy.name))
        return found

    @cached_property
    def _labelled(self) -> tuple[tuple[str, str], ...]:
        own = [(field, label) for field, labels in self._labels.items() for label in labels]
        inherited = [(made, label) for made, source in DERIVED.items() for label in self._labels.get(source, ())]
        return (*own, *inherited)

    def excludes(self, marketing_actions: Sequence[str], fields: Fields) -> str | None:
        """The consent policy that leaves this person out; None: none does.

        `fields` are all of them, denied ones too: a policy decides about data and sends none. One that cannot be
        evaluated leaves the person out, for nobody can say that its requirement is met.
        """
        for policy, met in self._required:
            if _is_about(policy, marketing_actions) and not _is_true(met, fields):
                return policy.name
        return None


def project(fields: Fields, denied: Iterable[str]) -> dict[str, Any]:
    """A copy of the fields without the denied ones."""
    left = {root: dict(values) if isinstance(values, Mapping) else values for root, values in fields.items()}
    for name in denied:
        root, _, field = name.partition(".")
        if isinstance(left.get(root), dict):
            left[root].pop(field, None)
    return left


def violations(denied: Mapping[str, Denial], mentioned: Iterable[str]) -> Iterator[Denial]:
    """The denials of what a template mentions, each once."""
    for name in dict.fromkeys(mentioned):
        if name in denied:
            yield denied[name]


def _is_about(policy: Policy, marketing_actions: Sequence[str]) -> bool:
    return not policy.marketing_actions or not set(policy.marketing_actions).isdisjoint(marketing_actions)


def _is_true(met: Any, fields: Fields) -> bool:
    try:
        return met(fields) is True
    except Unreadable:
        return False
