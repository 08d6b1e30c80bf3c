"""How the evidence page says things. Whatever others have sent is escaped here, and nowhere else."""

import re
from collections.abc import Iterable
from datetime import datetime
from html import escape

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def shown(text: str) -> str:
    """The text as HTML: no mark-up of its own, no control characters."""
    return escape(_CONTROL.sub("\ufffd", text))


def said(text: str) -> str:
    """What somebody wrote; isolated, so that a text that runs the other way turns nothing around it."""
    return f"<bdi>{shown(text)}</bdi>"


def words(name: str) -> str:
    """`opted_out` as people say it."""
    return shown(name.replace("_", " "))


def moment(at: datetime) -> str:
    """`2026-11-22 17:18:00.123`."""
    return f'<span class="moment">{at:%Y-%m-%d %H:%M:%S}<small>.{at.microsecond // 1000:03}</small></span>'


def after(seconds: float | None) -> str:
    """A duration in HTML, the longer the coarser."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.3f}&nbsp;s" if seconds < 10 else f"{seconds:.1f}&nbsp;s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}&nbsp;min {rest}&nbsp;s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}&nbsp;h {minutes}&nbsp;min" if hours < 48 else f"{hours // 24}&nbsp;days"


def facts(listed: Iterable[tuple[str, str]]) -> str:
    """Names and values (HTML already); those without a value are left out."""
    pairs = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in listed if value)
    return f"<dl>{pairs}</dl>" if pairs else ""
