"""Names without regard to case and to blanks around them, for a provider whose documents and requests disagree.

Names of the body and paths of the provider file are folded alike; so only a provider that says `fold_names` pays.
"""

from typing import Any

from app.decode.envelope import PREFIXES
from app.decode.paths import PLACE, parts_of
from app.provider import Alternative, EventRule, Handshake, Provider, Value
from app.spec import Condition, When

#: the fields of a rule that say where a value stands
VALUE_FIELDS = tuple(name for name, field in EventRule.model_fields.items() if field.annotation == Value | None)


def fold_tree(tree: Any) -> Any:
    """The tree with folded names. Of names that become one, the first with a value counts."""
    match tree:
        case dict():
            folded: dict[str, Any] = {}
            for name, value in tree.items():
                key = _fold(name)
                if folded.get(key) in (None, ""):
                    folded[key] = fold_tree(value)
            return folded
        case list():
            return [fold_tree(item) for item in tree]
    return tree


def fold_paths(provider: Provider) -> Provider:
    """The rules of the provider file as they read a tree with folded names. Raises BadInput."""
    if not provider.fold_names:
        return provider
    return provider.model_copy(
        update={
            "events": [_rule(rule) for rule in provider.events],
            "status_rules": [rule.model_copy(update={"when": _when(rule.when)}) for rule in provider.status_rules],
            "handshakes": [_handshake(one) for one in provider.handshakes],
        }
    )


def fold_path(path: str) -> str:
    """A path of a provider file; names of headers have no case anyway, those of the query keep theirs."""
    return path if path.startswith(PREFIXES) else ".".join(_fold(part) for part in parts_of(path))


def _fold(name: str) -> str:
    return name.strip().casefold()


def _rule(rule: EventRule) -> EventRule:
    values = {name: _value(getattr(rule, name)) for name in VALUE_FIELDS}
    return rule.model_copy(update={**values, "when": _when(rule.when), "each": fold_path(rule.each)})


def _handshake(one: Handshake) -> Handshake:
    return one.model_copy(
        update={
            "when": _when(one.when),
            "token": _value(one.token),
            "visit": _value(one.visit),
            "body": _places(one.body),
            "headers": {name: _places(value) for name, value in one.headers.items()},
        }
    )


def _places(template: str) -> str:
    return PLACE.sub(lambda found: "{{" + fold_path(found[1]) + "}}", template)


def _value(value: Value | None) -> Value | None:
    match value:
        case list():
            return [_alternative(one) for one in value]
        case str() | Alternative():
            return _alternative(value)
    return None


def _alternative(one: str | Alternative) -> str | Alternative:
    if isinstance(one, str):
        return fold_path(one)
    return one.model_copy(update={"path": fold_path(one.path), "among": fold_path(one.among), "when": _when(one.when)})


def _when(when: When) -> When:
    return [_condition(one) for one in when] if isinstance(when, list) else _condition(when)


def _condition(condition: Condition) -> Condition:
    return {fold_path(path): wanted for path, wanted in condition.items()}
