"""Where an outgoing call may go: to public addresses over https, and wherever the operator has allowed by name.

A host is resolved here, every address it has must pass, and the connection is made to an address that passed: a name
that points elsewhere a moment later (DNS rebinding) leads nowhere. Odd spellings of an address (`2130706433`, `0x7f.1`)
are resolved and judged like any other host.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from app.errors import BadInput, SendFailed

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: (host, port) -> its addresses; raises OSError where it has none
Resolve = Callable[[str, int], Awaitable[Iterable[str]]]

CACHE_SECONDS = 30.0
_CACHE_SIZE = 1024
_PORTS = {"http": 80, "https": 443}
_UNSAFE = re.compile(r"[^\x21-\x7e]|[\\\"<>^`{|}]")
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?|[0-9a-f]*:[0-9a-f:.]+")
_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: public by the letter, and yet the door to a cloud's own metadata: Azure's wire server, Oracle's
_METADATA = (ipaddress.IPv4Network("168.63.129.16/32"), ipaddress.IPv4Network("192.0.0.0/24"))

_PLAIN = "would be called over plain http"


class Origin(NamedTuple):
    """Whom to call."""

    scheme: str
    host: str
    port: int


class Place(NamedTuple):
    """A URL, taken apart."""

    origin: Origin
    authority: str
    """What the Host header says."""
    target: str
    """Path and query."""


@lru_cache(maxsize=1024)
def place(url: str) -> Place:
    """The URL, taken apart. Raises BadInput where it is not a plain http or https URL."""
    if _UNSAFE.search(url):
        raise BadInput("the URL has characters in it that must be percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadInput(f"this is not a URL: {error}") from None
    host = parts.hostname or ""
    if parts.scheme not in _PORTS or not _HOST.fullmatch(host):
        raise BadInput("the URL must be like https://api.example.com/messages")
    if "@" in parts.netloc:
        raise BadInput("the URL has a user name in it; give it to the credential's auth instead")
    authority = f"[{host}]" if ":" in host else host
    authority = authority if port in (None, _PORTS[parts.scheme]) else f"{authority}:{port}"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(Origin(parts.scheme, host, port or _PORTS[parts.scheme]), authority, target)


def is_public(address: IP) -> bool:
    """Whether an address belongs to the open internet, and to nobody's machine room."""
    if isinstance(address, ipaddress.IPv4Address):
        odd = address.is_multicast or address.is_reserved or any(address in network for network in _METADATA)
        return address.is_global and not odd
    tunnelled = (address.sixtofour, address.teredo[1] if address.teredo else None)
    return address in _GLOBAL_IPV6 and address.is_global and all(is_public(inner) for inner in tunnelled if inner)


async def system_addresses(host: str, port: int) -> list[str]:
    """What the system's resolver says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Destinations:
    """The guard. `allowed`: hosts, addresses and CIDRs that may be called although private or over plain http."""

    def __init__(self, allowed: Iterable[str] = (), *, resolve: Resolve = system_addresses) -> None:
        self._resolve = resolve
        self._hosts: set[str] = set()
        self._networks: list[Network] = []
        self._known: dict[Origin, tuple[float, tuple[str, ...]]] = {}
        self._asking: dict[Origin, asyncio.Task[tuple[str, ...]]] = {}
        for entry in allowed:
            self._allow(entry)

    def _allow(self, entry: str) -> None:
        try:
            self._networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
        except ValueError:
            host = entry.lower().rstrip(".")
            if not _HOST.fullmatch(host):
                raise BadInput(f"'{entry}' in ALLOWED_PRIVATE_DESTINATIONS is not a host, address or CIDR") from None
            self._hosts.add(host)

    async def addresses(self, origin: Origin) -> tuple[str, ...]:
        """The checked addresses, in the order to try. Raises SendFailed where the host is unknown or forbidden."""
        known = self._known.get(origin)
        if known is not None and known[0] > asyncio.get_running_loop().time():
            return known[1]
        asking = self._asking.get(origin)
        if asking is None:
            # One question for all who wait: a burst of replies must not become a burst of look-ups.
            asking = self._asking[origin] = asyncio.create_task(self._look_up(origin))
            asking.add_done_callback(lambda task: self._answered(origin, task))
        return await asyncio.shield(asking)

    def refusal(self, url: str) -> str:
        """Why this URL is never called, as far as that is known without the DNS; empty: nothing speaks against it.

        Raises BadInput where it is none.
        """
        origin = place(url).origin
        addresses = _literal(origin.host)
        try:
            for address in addresses:
                self._judge(origin, address)
        except SendFailed as failed:
            return str(failed)
        # a name may lead into an allowed network, where plain http is fine
        unknown = not addresses and not self._networks and origin.host.rstrip(".") not in self._hosts
        return str(_forbidden(origin, _PLAIN)) if unknown and origin.scheme != "https" else ""

    def _answered(self, origin: Origin, task: "asyncio.Task[tuple[str, ...]]") -> None:
        del self._asking[origin]
        if not task.cancelled() and task.exception() is None:
            if len(self._known) >= _CACHE_SIZE:
                self._known.clear()
            self._known[origin] = (asyncio.get_running_loop().time() + CACHE_SECONDS, task.result())

    async def _look_up(self, origin: Origin) -> tuple[str, ...]:
        try:
            addresses = tuple(dict.fromkeys(await self._resolve(origin.host, origin.port)))
        except (OSError, UnicodeError) as error:
            raise SendFailed(f"{origin.host} was not found in the DNS: {error}") from None
        for address in addresses:
            self._judge(origin, address)
        return addresses

    def _judge(self, origin: Origin, address: str) -> None:
        if origin.host.rstrip(".") in self._hosts:
            return
        plain = _unwrapped(ipaddress.ip_address(address.partition("%")[0]))
        if any(plain in network for network in self._networks):
            return
        if not is_public(plain):
            raise _forbidden(origin, "is a private address")
        if origin.scheme != "https":
            raise _forbidden(origin, _PLAIN)


def _literal(host: str) -> list[str]:
    """The addresses of a host that is written as one, however oddly, or that is this machine by its name (RFC 6761)."""
    if re.fullmatch(r"(?:.*\.)?localhost\.?", host):
        return ["127.0.0.1"]
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)]
    except OSError:
        return []


def _unwrapped(address: IP) -> IP:
    """The IPv4 address inside of an IPv6 one (`::ffff:127.0.0.1`, and NAT64's, where that is all there is)."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _forbidden(origin: Origin, why: str) -> SendFailed:
    return SendFailed(
        f"{origin.host} {why}; where that is meant, add it to TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS", permanent=True
    )
