"""Where a request came from and which URL the provider called: what signatures are made over.

`PUBLIC_URL` counts before everything; X-Forwarded-* only from a trusted proxy; otherwise what the socket says.
"""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache

from starlette.types import Scope

from app.settings import Network, Settings


class Origin:
    """Reads client address and public URL off a scope, by the settings."""

    def __init__(self, settings: Settings) -> None:
        self._public_url = settings.public_url
        self._proxies = settings.proxies

    def url(self, scope: Scope, headers: Mapping[str, str], query: str) -> str:
        """The URL as the provider called it, query included."""
        path = scope["raw_path"].decode("latin-1")
        base = self._public_url or self._base(scope, headers)
        return f"{base}{path}?{query}" if query else base + path

    def client(self, scope: Scope, headers: Mapping[str, str]) -> str:
        """The caller's address: behind trusted proxies the last one that is not one of them."""
        peer = scope["client"][0] if scope.get("client") else ""
        forwarded = headers.get("x-forwarded-for")
        if not forwarded or not self._trusts(peer):
            return str(peer)
        hops = [hop.strip() for hop in forwarded.split(",")]
        return next((hop for hop in reversed(hops) if not self._trusts(hop)), hops[0])

    def via_proxy(self, scope: Scope) -> bool:
        """Whether a trusted proxy brought it, so that headers which such a proxy sets are believed."""
        return bool(self._proxies) and bool(scope.get("client")) and self._trusts(scope["client"][0])

    def _base(self, scope: Scope, headers: Mapping[str, str]) -> str:
        scheme, host, prefix = scope["scheme"], headers.get("host", ""), ""
        if scope.get("client") and self._trusts(scope["client"][0]):
            scheme = _first(headers.get("x-forwarded-proto", "")) or scheme
            host = _first(headers.get("x-forwarded-host", "")) or host
            prefix = _first(headers.get("x-forwarded-prefix", "")).rstrip("/")
        return f"{scheme}://{host}{prefix}"

    def _trusts(self, address: str) -> bool:
        return bool(self._proxies) and _is_in(address, self._proxies)


@lru_cache(maxsize=1024)
def _is_in(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def _first(value: str) -> str:
    return value.partition(",")[0].strip()
