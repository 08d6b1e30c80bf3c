"""The HTTP client for everything that leaves: kept-alive connections to checked addresses, and exact news of failures.

It follows no redirect, knows no proxy, and never repeats a request: whether a message may be sent again is the worker's
to decide, and the answer hangs on `SendFailed.departed`.
"""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Mapping
from functools import cache

from app import __version__
from app.errors import BadInput, SendFailed
from app.send.complaint import error_of_ours
from app.send.connection import Answer, CertificateRefused, Connection
from app.send.destinations import Destinations, Origin, Place, place

ANSWER_LIMIT = 1_048_576
#: most servers close an idle connection after five seconds or later; a request that meets the closing is ambiguous
IDLE_SECONDS = 4.0
#: for one of several addresses, so that a dead one does not eat the whole call's time
CONNECT_SECONDS = 5.0

#: headers that say where a message begins and ends are the client's alone
OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "te"})
_STANDING_LINES = f"User-Agent: textback/{__version__}\r\nAccept: */*\r\n"

#: whom, at which address, and as whom: what was proved with one certificate is not for a caller with another
_Key = tuple[Origin, str, ssl.SSLContext | None]


class Client:
    """All outgoing calls of a process, on one event loop. Close it in the end."""

    def __init__(
        self, destinations: Destinations, *, tls: ssl.SSLContext | None = None, answer_limit: int = ANSWER_LIMIT
    ) -> None:
        self._destinations = destinations
        self._tls = tls
        self._limit = answer_limit
        self._idle: defaultdict[_Key, list[Connection]] = defaultdict(list)
        self._sweep: asyncio.TimerHandle | None = None

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        timeout: float,  # noqa: ASYNC109
        tls: ssl.SSLContext | None = None,
        limit: int | None = None,
    ) -> Answer:
        """The answer, whatever its status. `timeout`: seconds for the whole call, from the DNS to the last byte.

        `tls`: whom we trust and who we are, in the place of the usual; `limit`: bytes of the answer.
        Raises SendFailed; `departed` is False only where not one byte was written, or none was read.
        """
        where = placed(url)
        data = _encode(method, where, headers, body)
        departed, key, connection = False, None, None
        try:
            async with asyncio.timeout(timeout):
                key, connection = await self._open_connection(where.origin, tls)
                departed = True
                return await connection.exchange(data, limit or self._limit)
        except TimeoutError:
            raise SendFailed(f"{where.origin.host} did not answer within {timeout:.3g} s", departed=departed) from None
        except CertificateRefused as error:
            raise SendFailed(f"{where.origin.host} refused the client certificate: {error}") from None
        except OSError as error:
            what = "did not answer" if departed else "could not be reached"
            raise SendFailed(f"{where.origin.host} {what}: {error}", departed=departed) from None
        finally:
            if key and connection:
                self._give_back(key, connection)

    def close(self) -> None:
        """Close the idle connections."""
        if self._sweep:
            self._sweep.cancel()
            self._sweep = None
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()

    async def _open_connection(self, origin: Origin, tls: ssl.SSLContext | None) -> tuple[_Key, Connection]:
        """One that is ready. Raises SendFailed or OSError, and nothing has left."""
        try:
            addresses = await self._destinations.addresses(origin)
            key, connection = self._take(origin, addresses, tls) or await self._connect(origin, addresses, tls)
        except (SendFailed, OSError):
            raise
        except Exception as error:
            raise error_of_ours(error) from error
        if not connection.free:  # closed since it was opened: not one byte would leave
            connection.abort()
            raise ConnectionResetError("it closes connections at once")
        return key, connection

    def _take(
        self, origin: Origin, addresses: tuple[str, ...], tls: ssl.SSLContext | None
    ) -> tuple[_Key, Connection] | None:
        """An idle connection that is known to be open; one that was closed meanwhile is dropped before any byte."""
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        for address in addresses:
            key = (origin, address, tls)
            idle = self._idle.get(key)
            while idle:
                connection = idle.pop()
                if connection.free and connection.idle_since > oldest:
                    return key, connection
                connection.abort()
        return None

    async def _connect(
        self, origin: Origin, addresses: tuple[str, ...], tls: ssl.SSLContext | None
    ) -> tuple[_Key, Connection]:
        """A new connection to the first address that takes one."""
        failure: OSError = OSError("it has no address")
        for address in addresses:
            try:
                async with asyncio.timeout(CONNECT_SECONDS if len(addresses) > 1 else None):
                    return (origin, address, tls), await self._open(origin, address, tls)
            except OSError as error:
                failure = error
        raise failure

    async def _open(self, origin: Origin, address: str, tls: ssl.SSLContext | None) -> Connection:
        """Connected to the checked address; the certificate is still held against the name."""
        secure = origin.scheme == "https"
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection,
            address,
            origin.port,
            ssl=(tls or self._tls or _verifying()) if secure else None,
            server_hostname=origin.host.rstrip(".") if secure else None,
        )
        return connection

    def _give_back(self, key: _Key, connection: Connection) -> None:
        if not connection.free:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle[key].append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(IDLE_SECONDS, self._drop_stale)

    def _drop_stale(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - IDLE_SECONDS
        for key, connections in list(self._idle.items()):
            kept = [c for c in connections if c.free and c.idle_since > oldest]
            for connection in set(connections) - set(kept):
                connection.abort()
            self._idle[key] = kept
            if not kept:
                del self._idle[key]
        self._sweep = loop.call_later(IDLE_SECONDS, self._drop_stale) if self._idle else None


@cache
def _verifying() -> ssl.SSLContext:
    """The system's trusted authorities, certificate and host name checked; loading them takes milliseconds."""
    return ssl.create_default_context()


def placed(url: str) -> Place:
    """The URL, taken apart. Raises SendFailed where it is none."""
    try:
        return place(url)
    except BadInput as error:
        raise SendFailed(str(error), permanent=True) from None


def _encode(method: str, where: Place, headers: Mapping[str, str], body: bytes) -> bytes:
    """The request's bytes. A line break that came in with a value would begin a header of its own, and is refused."""
    if not OWN_HEADERS.isdisjoint(map(str.lower, headers)):
        raise SendFailed("a header is set that only the HTTP client may set", permanent=True)
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    head = (
        f"{method} {where.target} HTTP/1.1\r\nHost: {where.authority}\r\n{_STANDING_LINES}{lines}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    expected = len(headers) + 6
    if head.count("\r") != expected or head.count("\n") != expected or "\0" in head or not head.isascii():
        raise SendFailed("a header has a line break or a character beyond ASCII in it", permanent=True)
    return head.encode("ascii") + body
