"""Errors of ours: what the log says of them, and what becomes of the message that met one."""

import traceback
from typing import Any

import structlog

from app.errors import SendFailed

log = structlog.get_logger()


def complain(event: str, error: BaseException, **facts: Any) -> None:
    """Log an error by its kind and place. Its text may quote a row, and rows hold numbers and messages."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    log.error(event, error=type(error).__name__ + place, **facts)


def error_of_ours(error: Exception) -> SendFailed:
    """The failure to raise `from` an error that came before the first byte: nothing has left, and it is tried again."""
    return SendFailed(f"an error of ours: {type(error).__name__}")
