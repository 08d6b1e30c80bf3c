"""What came in: one HTTP request, its bytes exactly as they were sent."""

from datetime import datetime
from typing import Any
from urllib.parse import unquote_to_bytes

Pairs = list[tuple[str, str]]


def parse_pairs(encoded: str) -> Pairs:
    """Names and values of a form or query, decoded as UTF-8, in order, empty values kept.

    The standard library's parse_qsl costs four times as much, and this runs for every request.
    """
    pairs = []
    for part in encoded.split("&"):
        if part:
            name, _, value = part.partition("=")
            if "%" in part or "+" in part:
                name, value = _unquoted(name), _unquoted(value)
            pairs.append((name, value))
    return pairs


def _unquoted(text: str) -> str:
    text = text.replace("+", " ")
    if "%" not in text:
        return text
    if text.startswith("%2B") and text.find("%", 3) < 0:  # a phone number
        return "+" + text[3:]
    return unquote_to_bytes(text).decode("utf-8", "replace")


class Request:
    """A provider's request. `headers` has lower-case names; a repeated header's values are joined with a comma."""

    __slots__ = ("_form", "body", "client", "headers", "method", "query", "received_at", "tree", "url", "via_proxy")

    def __init__(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes,
        received_at: datetime,
        *,
        query: str = "",
        client: str = "",
        via_proxy: bool = False,
    ) -> None:
        self.method = method
        self.url = url
        """The public URL with the query, as the provider called and signed it."""
        self.query = query
        """The raw query string, without the question mark."""
        self.headers = headers
        self.body = body
        self.received_at = received_at
        self.client = client
        """The caller's IP address."""
        self.via_proxy = via_proxy
        """It came from an address in TRUSTED_PROXIES, so headers that such a proxy sets are believed."""
        self.tree: Any = None
        """decode's: the body as it has been read, so that handshake and events read it once."""
        self._form: Pairs | None = None

    @property
    def content_type(self) -> str:
        """The media type, lower case, without parameters; empty where none was sent."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_json(self) -> bool:
        """The body begins like an object or array of JSON: so it is read, whatever content type it comes with.

        What proves a body and what reads it ask here alike. If each had a rule of its own, a body could be proved as
        one thing and read as another.
        """
        return self.body[:1] in (b"{", b"[")

    @property
    def form(self) -> Pairs:
        """The body read as a form; no pairs where the content type or its beginning say that it is something else."""
        if self._form is None:
            is_form = self.content_type == "application/x-www-form-urlencoded" and not self.is_json
            self._form = parse_pairs(self.body.decode("utf-8", "replace")) if is_form else []
        return self._form
