"""The sockets under PostgreSQL's connections, so that another thread can cut one whose server does not answer.

A frozen server (a stopped process, a hanging disk) still acknowledges every packet, because its kernel does: no limit
of TCP ever ends the wait. Shutting the socket down does; the waiting thread then gets the driver's OperationalError.
"""

import os
import socket
import threading
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine


class Wires:
    """The sockets of all connections of one engine. Safe from every thread."""

    def __init__(self, engine: Engine) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._lock = threading.Lock()
        if engine.dialect.name != "postgresql":
            return
        # first of all: what else is done to a new connection may already hang
        sa.event.listen(engine, "connect", self._keep, insert=True)
        sa.event.listen(engine, "close", self._forget)

    def cut(self) -> int:
        """Shut down every socket; how many. Whoever waits at one gets an OperationalError."""
        with self._lock:
            for one in self._sockets.values():
                _shut(one)
            return len(self._sockets)

    def cut_one(self, dbapi_connection: Any) -> None:
        """Shut down the socket of this connection of the driver, where it is still open."""
        with self._lock:
            if found := self._sockets.get(id(dbapi_connection)):
                _shut(found)

    def _keep(self, connection: Any, _record: Any) -> None:
        # a duplicate: the driver's own number may be closed, and be another file's, when it is wanted
        with self._lock:
            self._sockets[id(connection)] = socket.socket(fileno=os.dup(connection.fileno()))

    def _forget(self, connection: Any, _record: Any) -> None:
        with self._lock:
            if found := self._sockets.pop(id(connection), None):
                found.close()


def _shut(one: socket.socket) -> None:
    with suppress(OSError):  # the other end was quicker
        one.shutdown(socket.SHUT_RDWR)
