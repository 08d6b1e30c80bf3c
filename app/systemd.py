"""What systemd and its like pass to a service: sockets that outlive a restart, and a place to say "ready".

Both are environment variables and a few bytes: sd_listen_fds(3) and sd_notify(3).
"""

import os
import socket
from collections.abc import MutableMapping

from app.errors import BadInput

#: the first descriptor that is passed, by sd_listen_fds(3)
_FIRST = 3
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def inherited(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The listening sockets that were passed to this process, none where it was started by hand.

    While one process ends and the next one starts, callers wait in the socket's queue instead of being refused. Raises
    BadInput for a socket that no HTTP server can listen on. The variables are taken away, so no child believes them.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    return [_taken(number) for number in range(_FIRST, _FIRST + int(count))]


def _taken(number: int) -> socket.socket:
    os.set_inheritable(number, False)
    taken = socket.socket(fileno=number)
    listens = taken.type == socket.SOCK_STREAM and taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not listens or taken.family not in _FAMILIES:
        raise BadInput(
            f"descriptor {number} was passed to textback, but it is no listening TCP socket; in the .socket unit write"
            " ListenStream= with an address and a port"
        )
    return taken


def tell(state: str) -> None:
    """Tell whoever started this process: `READY=1` or `STOPPING=1`. Nothing where nobody asked to be told."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.sendto(state.encode(), f"\0{place[1:]}" if place.startswith("@") else place)
