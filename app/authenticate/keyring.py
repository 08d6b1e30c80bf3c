"""Providers' public keys, fetched when they are wanted and kept for a while: certificates (PEM) and key sets (JWKS).

A verifier never waits. It raises KeyWanted, the door has the key fetched (`fill`) and proves the request once more.
Which URLs may be asked is the verifier's to say, before it asks for a key: the keyring fetches what it is told.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, NoReturn

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from app.errors import KeyWanted, NotReady, SendFailed

Fetch = Callable[[str], Awaitable[bytes]]
"""A guarded GET that verifies the host's certificate. Raises SendFailed."""

Chain = tuple[x509.Certificate, ...]
"""A certificate, and behind it those of its issuers that came along."""

#: bytes; the largest key set that a provider is known to publish has 20,000
LARGEST = 65_536
MOST_ENTRIES = 100
CERTIFICATE_KEPT = timedelta(days=1)
KEY_SET_KEPT = timedelta(hours=1)
#: a key that is not in its set is asked for no more often, so that invented ones do not become requests of ours
ASKED_AGAIN = timedelta(minutes=1)
#: a URL that failed is left alone for so long
FAILURE_KEPT = timedelta(seconds=30)


class _Held(NamedTuple):
    keys: Chain | jwt.PyJWKSet
    fetched_at: datetime
    """When it was asked for: what was published later may be missing."""
    until: datetime


class _Failure(NamedTuple):
    reason: str
    at: datetime


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Keyring:
    """The keys at hand, by URL. It belongs to one event loop."""

    def __init__(self, fetch: Fetch, clock: Callable[[], datetime] = _utc_now) -> None:
        self._fetch = fetch
        self._now = clock
        self._held: dict[str, _Held] = {}
        self._failed: dict[str, _Failure] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def certificate(self, url: str) -> x509.Certificate:
        """The certificate at a URL; the first where there are several. Raises as `chain` does."""
        return self.chain(url)[0]

    def chain(self, url: str) -> Chain:
        """The certificate at a URL and its issuers as far as they came along. Raises KeyWanted and NotReady.

        It may be past its validity: to tell that is the verifier's, which knows when the request came.
        """
        held = self._at_hand(url)
        if not isinstance(held.keys, tuple):
            self._fetch_anew(url, held, "where a provider's certificate should be there is a key set")
        return held.keys

    def key_set(self, url: str) -> jwt.PyJWKSet:
        """The key set at a URL. Raises KeyWanted where there is none, and NotReady where there is something else."""
        held = self._at_hand(url)
        if not isinstance(held.keys, jwt.PyJWKSet):
            self._fetch_anew(url, held, "the URL of the scheme's keys holds a certificate; enter the issuer's jwks_uri")
        return held.keys

    def key(self, url: str, kid: str, asked_at: datetime) -> jwt.PyJWK | None:
        """The key `kid` of the set at a URL; None where it lacks the key and was fetched after `asked_at`.

        An older set is fetched anew, for the issuer may have changed its keys: KeyWanted. But once a minute at most:
        NotReady until then. So an invented key puts off its own request alone.
        """
        found = next((key for key in self.key_set(url) if key.key_id == kid), None)
        held = self._held[url]
        if found is None and held.fetched_at < asked_at:
            self._fetch_anew(url, held, "a token is signed with a key that was not in the key set a moment ago")
        return found

    async def fill(self, url: str) -> None:
        """Fetch what stands at a URL; callers at the same time share one request. Raises NotReady.

        What was fetched within the last minute is not fetched again, and what failed not for half a minute.
        """
        held = self._held.get(url)
        if held and self._now() - held.fetched_at < ASKED_AGAIN:
            return
        self._raise_failure(url)
        # shielded: a provider that hangs up must not end the fetch that others wait for
        await asyncio.shield(self._under_way.get(url) or self._begin(url))
        self._raise_failure(url)

    def _at_hand(self, url: str) -> _Held:
        held = self._held.get(url)
        if held is None or self._now() >= held.until:
            raise KeyWanted(url)
        return held

    def _fetch_anew(self, url: str, held: _Held, reason: str) -> NoReturn:
        if self._now() - held.fetched_at >= ASKED_AGAIN:
            raise KeyWanted(url)
        raise NotReady(f"{reason}; it is fetched anew after a minute")

    def _raise_failure(self, url: str) -> None:
        failure = self._failed.get(url)
        if failure and self._now() - failure.at < FAILURE_KEPT:
            raise NotReady(f"a provider's public key could not be fetched: {failure.reason}")

    def _begin(self, url: str) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(self._ask(url))
        self._under_way[url] = task
        task.add_done_callback(lambda _: self._under_way.pop(url))
        return task

    async def _ask(self, url: str) -> None:
        at = self._now()
        try:
            held = _read(await self._fetch(url), at)
        except (SendFailed, ValueError) as error:
            self._failed.pop(url, None)
            self._failed[url] = _Failure(str(error), self._now())
            _forget_oldest(self._failed)
        else:
            self._held.pop(url, None)
            self._held[url] = held
            self._failed.pop(url, None)
            _forget_oldest(self._held)


def _forget_oldest(entries: dict[str, _Held] | dict[str, _Failure]) -> None:
    """Dictionaries keep the order in which their entries came."""
    while len(entries) > MOST_ENTRIES:
        del entries[next(iter(entries))]


def _read(raw: bytes, at: datetime) -> _Held:
    """What was fetched. Raises ValueError that says what it is not."""
    if len(raw) > LARGEST:
        raise ValueError(f"the answer has more than {LARGEST} bytes")
    if raw.lstrip()[:1] == b"{":
        return _Held(_key_set(raw), at, at + KEY_SET_KEPT)
    chain = _certificates(raw)
    return _Held(chain, at, _kept_until(chain, at))


def _kept_until(chain: Sequence[x509.Certificate], at: datetime) -> datetime:
    """One that has ended already is kept for a minute: its requests are refused, instead of put off for ever."""
    return max(min(chain[0].not_valid_after_utc, at + CERTIFICATE_KEPT), at + ASKED_AGAIN)


def _certificates(raw: bytes) -> Chain:
    try:
        return tuple(x509.load_pem_x509_certificates(raw))
    except ValueError:
        page = ", but a page for people" if raw.lstrip()[:1] == b"<" else ""
        raise ValueError(f"the answer is neither a certificate in PEM nor a key set{page}") from None


#: whatever a key may provoke that is not what it should be
_UNUSABLE = (jwt.PyJWTError, UnsupportedAlgorithm, ArithmeticError, AttributeError, LookupError, RecursionError,
             TypeError, ValueError)  # fmt: skip


def _key_set(raw: bytes) -> jwt.PyJWKSet:
    try:
        return jwt.PyJWKSet.from_dict(json.loads(raw))
    except _UNUSABLE:
        if b'"jwks_uri"' in raw:
            raise ValueError("the answer is the issuer's configuration; enter the jwks_uri that stands in it") from None
        raise ValueError("the answer is no key set with a key that can be used") from None
