"""A credential, ready to send: what to write, how it is proved, how to read the answer, and whose ids they are."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.credential import Credential
from app.errors import BadInput, SendFailed
from app.provider import Provider
from app.send.answer import Reader, reader
from app.send.authorizer import Authorizer, authorizer
from app.send.certificate import tls_for
from app.send.complaint import error_of_ours
from app.send.connection import Answer
from app.send.destinations import Destinations
from app.send.http import Client
from app.send.personal import needs_profile
from app.send.render import Message, Outgoing, composer, send_rules

#: what a provider says that does not know a token (any more)
_UNAUTHORIZED = 401
#: the part of a try's time that its proof may take, so that enough is left for the message
_PROOF_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Courier:
    """Compiled once per credential, and again when the credential changes."""

    name: str
    provider: str
    account: str
    """The account that message ids are unique in."""
    idempotent: bool
    """The provider refuses a second message with the same reference, so a doubtful one may be repeated."""
    needs_profile: bool
    """Its requests may have attributes of the person in them."""
    compose: Callable[[Message], Outgoing]
    read: Reader
    authorizer: Authorizer | None
    """What proves each request; None where `compose` has proved it already."""
    tls: ssl.SSLContext | None
    """Our certificate, where the provider wants to see one."""
    made_of: tuple[Credential, str] = field(repr=False)
    """The credential and the feedback URL: as long as they are the same, so is the courier, with the token it keeps."""


def courier(
    credential: Credential, provider: Provider | None, client: Client | None = None, feedback_url: str = ""
) -> Courier:
    """The courier of a credential; `provider` is its file, None for "custom". Raises BadInput with the name in it.

    `client` fetches access tokens; without it, one of its own does, which reaches public addresses only.
    `feedback_url`: where the provider shall send its receipts; empty where it need not be told.
    """
    try:
        rules = send_rules(credential, provider)
        return Courier(
            name=credential.name,
            provider=credential.provider,
            account=credential.ids_account,
            idempotent=rules.idempotent,
            needs_profile=needs_profile(credential, rules),
            compose=composer(credential, rules, feedback_url),
            read=reader(rules),
            authorizer=authorizer(credential, rules, client or Client(Destinations())),
            tls=tls_for(rules.url, credential.client_certificate),
            made_of=(credential, feedback_url),
        )
    except BadInput as error:
        raise BadInput(f"credential {credential.name}: {error}") from None


async def deliver(carrier: Courier, client: Client, message: Message, *, timeout: float) -> str:  # noqa: ASYNC109
    """Send one message. Its id at the provider; our own reference where the answer names none. Raises SendFailed."""
    try:
        outgoing = carrier.compose(message)
    except SendFailed:
        raise
    except Exception as error:
        raise error_of_ours(error) from error
    if carrier.authorizer is None:
        answer = await client.request(*outgoing, timeout=timeout, tls=carrier.tls)
    else:
        answer = await proved(carrier.authorizer, client, outgoing, carrier.tls, timeout)
    return carrier.read(answer, datetime.now(UTC)) or message.reference


async def proved(
    authorizer: Authorizer, client: Client, outgoing: Outgoing, tls: ssl.SSLContext | None, seconds: float
) -> Answer:
    """The answer to a request that `authorizer` proves.

    A token that the provider does not know any more is replaced once, within the same time. Raises SendFailed.
    """
    ends_at = asyncio.get_running_loop().time() + seconds
    request = await _prove(authorizer, outgoing, ends_at)
    answer = await client.request(*request, timeout=_left(ends_at), tls=tls)
    if answer.status == _UNAUTHORIZED and authorizer.refused(request):
        request = await _prove(authorizer, outgoing, ends_at)
        answer = await client.request(*request, timeout=_left(ends_at), tls=tls)
    return answer


async def _prove(authorizer: Authorizer, outgoing: Outgoing, ends_at: float) -> Outgoing:
    seconds = _left(ends_at) * _PROOF_SHARE
    try:
        async with asyncio.timeout(seconds):
            return await authorizer.prove(outgoing)
    except TimeoutError:
        raise SendFailed(f"no access token within {seconds:.3g} s") from None
    except SendFailed:
        raise
    except Exception as error:
        raise error_of_ours(error) from error


def _left(ends_at: float) -> float:
    return ends_at - asyncio.get_running_loop().time()
