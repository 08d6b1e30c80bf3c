"""Which custom actions the document system may run: those that have a name there."""

from app.action import Action
from app.record.registry import Registered


class Offered:
    """Follows the registry, so that a stranger who asks for the list costs no question to the database."""

    def __init__(self) -> None:
        self._actions: dict[str, Action] = {}

    def follow(self, registered: Registered) -> None:
        """As they are registered now."""
        actions = registered.others.actions
        self._actions = {name: actions[name] for name in sorted(actions) if actions[name].document}

    def get(self, name: str) -> Action | None:
        """None where there is none of this name, or it is not for documents."""
        return self._actions.get(name)

    @property
    def names(self) -> list[tuple[str, str]]:
        """(name, name in the document system), in the order of the first."""
        return [(name, action.document or "") for name, action in self._actions.items()]
