"""What `textback check` has found, one sentence each."""

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """One sentence, with its mend.

    A problem keeps something from working; a warning is for a person to decide; a note is good to know.
    """

    level: Literal["problem", "warning", "note"]
    sentence: str


def problem(sentence: str) -> Finding:
    """It keeps something from working."""
    return Finding("problem", sentence)


def warning(sentence: str) -> Finding:
    """A person must decide."""
    return Finding("warning", sentence)


def note(sentence: str) -> Finding:
    """Good to know."""
    return Finding("note", sentence)
