"""One request, proved where it has to be, and its answer: the way of replies, calls of actions, and streams."""

import asyncio
import ssl

from app.errors import SendFailed
from app.send.authorizer import Authorizer
from app.send.complaint import error_of_ours
from app.send.connection import Answer
from app.send.http import Client
from app.send.render import Outgoing

#: what the other side says that does not know a token (any more)
_UNAUTHORIZED = 401
#: the part of a try's time that its proof may take, so that enough is left for the request
_PROOF_SHARE = 0.5


async def answer_to(
    outgoing: Outgoing,
    client: Client,
    authorizer: Authorizer | None,
    *,
    timeout: float,  # noqa: ASYNC109 - the client keeps it
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """The answer, whatever its status. `authorizer`: None where the request is proved already. Raises SendFailed.

    A token that the other side does not know any more is replaced once, within the same time.
    """
    if authorizer is None:
        return await client.request(*outgoing, timeout=timeout, tls=tls)
    ends_at = asyncio.get_running_loop().time() + timeout
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
