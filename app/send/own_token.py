"""JSON Web Tokens of our own signing (RFC 7519): a proof of their own, or the assertion for an access token."""

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import jwt

from app.credential import Claims
from app.errors import BadInput
from app.send.authorization import present

#: the part of a token's life after which another is made
_RENEW_AFTER = 0.8
#: seconds in which a token that is refused is not replaced: the next would be refused too, and each message that waits
#: would cost another try, and a call of the token server
SETTLING = 30.0

Clock = Callable[[], float]


def token_maker(given: Claims, usual: Mapping[str, Any] = {}, *, clock: Clock = time.time) -> Callable[[], str]:
    """The function that signs a token. `usual`: claims that stand unless `given` says otherwise, as iat, exp, jti do.

    Raises BadInput for a key that does not fit its algorithm, and for claims that are no JSON.
    """
    key = _key(given)
    header = {"kid": given.key_id} if given.key_id else None

    def make() -> str:
        now = int(clock())
        claims = {"iat": now, "exp": now + given.lifetime, "jti": uuid.uuid4().hex, **usual, **given.claims}
        return jwt.encode(claims, key, given.algorithm, header)

    _try(make)
    return make


def _key(given: Claims) -> Any:
    """The key, read once: to read one takes longer than to sign."""
    text = present("key", given.key.get_secret_value())
    if given.algorithm.startswith("HS"):
        return text
    try:
        key = jwt.get_algorithm_by_name(given.algorithm).prepare_key(text)
    except (jwt.PyJWTError, ValueError, TypeError):
        raise _unfit(given) from None
    if not hasattr(key, "sign"):  # a public one
        raise _unfit(given)
    return key


def _unfit(given: Claims) -> BadInput:
    return BadInput(f"auth: {given.algorithm} needs a private key that fits it, in PEM and without a password")


def _try(make: Callable[[], str]) -> None:
    try:
        make()
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise BadInput(f"auth: no token can be signed with this key and these claims: {error}") from None


class OwnTokens:
    """A token of our own, kept for most of its life."""

    def __init__(self, given: Claims, *, clock: Clock = time.time) -> None:
        self._make = token_maker(given, clock=clock)
        self._clock = clock
        self._usual_time = given.lifetime * _RENEW_AFTER
        self._token, self._made_at, self._kept_for = "", 0.0, 0.0

    async def get(self) -> str:
        """A token that is good for a while yet."""
        now = self._clock()
        if not 0 <= now - self._made_at < self._kept_for:
            self._token, self._made_at, self._kept_for = self._make(), now, self._usual_time
        return self._token

    def forget(self, token: str) -> bool:
        """It was refused; whether another will be made at once. One that was new says that a newer one is no better."""
        if token != self._token:
            return True
        settled = not 0 <= self._clock() - self._made_at < SETTLING
        self._kept_for = 0.0 if settled else min(self._kept_for, SETTLING)
        return settled
