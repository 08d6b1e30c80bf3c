"""One kept-alive HTTP/1.1 connection to a provider, one exchange at a time.

A protocol and no stream: a call costs a tenth of what it costs through aiohttp, and replies leave on the core that
hears.
"""

import asyncio
import re
import ssl
from typing import NamedTuple, cast

import httptools

#: what a server says that does not like our certificate, or misses one. In TLS 1.3 it says so only after we have begun
#: to write, and reads nothing of it (https://www.rfc-editor.org/rfc/rfc8446#section-4.4.2.4)
_CERTIFICATE_ALERT = re.compile("ALERT_(.*CERTIFICATE.*|UNKNOWN_CA|ACCESS_DENIED|DECRYPT_ERROR)")


class CertificateRefused(ConnectionError):
    """The other side ended the TLS handshake over our certificate, and has read nothing."""


class AnswerTooLong(ConnectionError):
    """The answer is larger than it may be; asked again, it would be as long."""


class Answer(NamedTuple):
    """A provider's answer. `headers` has lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """Give it a request with `exchange`; it may be used again as long as it is `free`."""

    __slots__ = (
        "_body", "_broken", "_headed", "_headers", "_limit", "_parser", "_received", "_transport", "_waiter",
        "idle_since",
    )  # fmt: skip

    _transport: asyncio.Transport
    _parser: httptools.HttpResponseParser

    def __init__(self) -> None:
        self._limit = 0
        self._waiter: asyncio.Future[Answer] | None = None
        self._broken = False
        self.idle_since = 0.0
        """Loop time at which the last answer was complete."""
        self._clear()

    @property
    def free(self) -> bool:
        """Open, in step with the provider, and without an exchange under way."""
        return not self._broken and self._waiter is None and not self._transport.is_closing()

    def exchange(self, request: bytes, limit: int) -> "asyncio.Future[Answer]":
        """Write the request; its answer, of at most `limit` bytes.

        Raises ConnectionError where none, a broken or an oversized one comes.
        """
        self._parser = httptools.HttpResponseParser(self)
        self._limit = limit
        self._received = 0
        self._clear()
        waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        self._transport.write(request)
        return waiter

    def abort(self) -> None:
        """Close at once."""
        self._broken = True
        self._transport.abort()

    # --- from the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, and does not inherit from it

    def data_received(self, data: bytes) -> None:
        """A piece of the answer. What nobody asked for would be taken for the next one, so it ends the connection."""
        self._received += len(data)
        if self._waiter is None:
            self.abort()
        elif self._received > self._limit:
            self._fail(AnswerTooLong(f"the answer is larger than {self._limit} bytes"))
        else:
            self._parse(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed. Without a length, the end of the connection is the end of the answer."""
        self._broken = True
        if self._waiter is None:
            return
        if exc is None and self._headed and self._ends_by_closing():
            self._complete()
        elif isinstance(exc, ssl.SSLError) and not self._received and _CERTIFICATE_ALERT.search(exc.reason or ""):
            self._fail(CertificateRefused(exc.reason))
        else:
            self._fail(ConnectionError("the connection was closed before the answer was complete"))

    # --- from the parser ---

    def on_message_begin(self) -> None:
        """A second answer behind the first: the two sides are out of step."""
        if self._waiter is None:
            self._broken = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The headers are whole."""
        self._headed = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body, freed of its chunk."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it is one of the 1xx, which only announce another."""
        if self._parser.get_status_code() < 200:
            self._clear()
        elif self._waiter is not None:
            self._broken = self._broken or not self._parser.should_keep_alive()
            self._complete()

    # --- ours ---

    def _clear(self) -> None:
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._headed = False

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(ConnectionError("the answer is not HTTP/1.1"))

    def _ends_by_closing(self) -> bool:
        return "content-length" not in self._headers and "transfer-encoding" not in self._headers

    def _complete(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(Answer(self._parser.get_status_code(), self._headers, b"".join(self._body)))

    def _fail(self, error: ConnectionError) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        self.abort()
