"""Proofs that are made at the moment of sending: signed requests, and tokens that end."""

from collections.abc import Iterable
from typing import Protocol

from app.credential import Auth, Credential, JwtAuth, MacAuth, MacRecipe, OAuthAuth
from app.errors import BadInput
from app.send.authorization import header_name, prefixed, replaced
from app.send.fetched_token import FetchedTokens
from app.send.http import Client
from app.send.mac import MacSigner
from app.send.own_token import OwnTokens
from app.send.render import Outgoing
from app.send.token_call import token_call
from app.sending import Send


class Authorizer(Protocol):
    """Proves requests, one by one."""

    headers: frozenset[str]
    """The headers it sets, in lower case."""

    async def prove(self, outgoing: Outgoing) -> Outgoing:
        """The request with its proof. Raises SendFailed; nothing of the request has left then."""

    def refused(self, outgoing: Outgoing) -> bool:
        """To be told of a 401 to a request that it proved: whether another try will be proved in another way."""


class Tokens(Protocol):
    """Where a token comes from."""

    async def get(self) -> str:
        """A token that is good now. Raises SendFailed where none can be had."""

    def forget(self, token: str) -> bool:
        """This token was refused; whether there is, or will be, another. One that is kept by now stays."""


class TokenHeader:
    """A token in a header."""

    def __init__(self, auth: JwtAuth | OAuthAuth, tokens: Tokens) -> None:
        self._name = header_name(auth.header)
        self._prefix = prefixed(auth.prefix)
        self._tokens = tokens
        self.headers = frozenset({self._name.lower()})

    async def prove(self, outgoing: Outgoing) -> Outgoing:
        """The request with a token. Raises SendFailed where none can be had."""
        token = await self._tokens.get()
        return outgoing._replace(headers=replaced(outgoing.headers, {self._name: self._prefix + token}))

    def refused(self, outgoing: Outgoing) -> bool:
        """The token was refused; another try has another one, unless this one was new."""
        return self._tokens.forget(outgoing.headers[self._name].removeprefix(self._prefix))


def authorizer(credential: Credential, rules: Send, client: Client) -> Authorizer | None:
    """What proves each request of the credential; None where the proof is the same for all, see `authorization`.

    `client`: for token calls. Raises BadInput for what could never be sent.
    """
    return prover(credential.auth, credential.headers, client, rules.mac)


def prover(auth: Auth, headers: Iterable[str], client: Client, recipe: MacRecipe | None = None) -> Authorizer | None:
    """The same for what is no credential; `headers`: the names of those that are set beside."""
    made = _made(auth, recipe, client)
    if made and not made.headers.isdisjoint(map(str.lower, headers)):
        raise BadInput("headers and auth set the same header; leave it to auth")
    return made


def _made(auth: Auth, recipe: MacRecipe | None, client: Client) -> Authorizer | None:
    match auth:
        case MacAuth():
            return MacSigner(auth, auth.recipe or recipe or MacRecipe())
        case JwtAuth():
            return TokenHeader(auth, OwnTokens(auth))
        case OAuthAuth():
            return TokenHeader(auth, FetchedTokens(token_call(auth, client)))
    return None
