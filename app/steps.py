"""The steps on the way of an event that a crash could fall between, by name, for tests that make it fall there."""

from collections.abc import Callable


def _nothing(_step: str) -> None:
    """In production a step is only passed."""


#: called at each step; only a test's own launcher ever puts another function here (no setting and no request can)
reached: Callable[[str], None] = _nothing
