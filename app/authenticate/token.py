"""The unguessable webhook URL alone: whoever knows it is believed. For providers that sign nothing."""

from app.request import Request


def verify(_request: Request) -> str:
    """Always the evidence "token": the request found its webhook, so its caller knew the URL."""
    return "token"
