"""How old a proof may be. Only where the provider documents that each attempt is signed anew: else a repeat is lost.

Compared with the time at which the request came in, so that a proof which was looked at once may be looked at again.
"""

import re

from app.authenticate.evidence import header
from app.errors import Refused
from app.request import Request
from app.scheme import Window

_SECONDS = re.compile(r"[0-9]{1,12}")


def check_window(request: Request, window: Window) -> None:
    """Raises Refused where the window's header is missing, unreadable, or too far from our clock."""
    name = window.header.lower()
    stamp = unix_seconds(f"header {name}", header(request, name).decode("latin-1"))
    check_age(request, f"header {name}", stamp, window.seconds)


def unix_seconds(what: str, text: str) -> int:
    """The number. Raises Refused, which says `what` is unreadable."""
    if not _SECONDS.fullmatch(text):
        raise Refused(f"{what} is not a time in unix seconds")
    return int(text)


def check_age(request: Request, what: str, stamp: float, allowed: int) -> None:
    """Raises Refused where the time `stamp` lies more than `allowed` seconds before or after the request."""
    late = request.received_at.timestamp() - stamp
    if abs(late) > allowed:
        side = "behind" if late > 0 else "ahead of"
        raise Refused(
            f"{what} is {abs(late):.0f} seconds {side} our clock and {allowed} are allowed; check the server's clock"
        )
