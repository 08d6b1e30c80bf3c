"""A document from elsewhere: a certificate, a key set, or the page that confirms a subscription."""

from app.errors import SendFailed
from app.send.http import Client


async def fetch(client: Client, url: str, *, limit: int = 65_536, timeout: float = 10.0) -> bytes:  # noqa: ASYNC109
    """The body at `url`, through the same guards as messages. `limit`: bytes, headers included; `timeout`: seconds.

    Raises SendFailed unless the answer is a 2xx; the URL is not in its text, for a URL may have a token in it.
    """
    answer = await client.request("GET", url, {}, timeout=timeout, limit=limit)
    if not 200 <= answer.status < 300:
        raise SendFailed(f"a document was asked for, and the answer was {answer.status}")
    return answer.body
