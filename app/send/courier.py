"""A credential, ready to send: what to write, how to read the answer, and whose ids they are."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from app.credential import Credential
from app.errors import BadInput
from app.provider import Provider
from app.send.answer import Reader, reader
from app.send.http import Client
from app.send.render import Message, Outgoing, composer, send_rules


@dataclass(frozen=True, slots=True)
class Courier:
    """Compiled once per credential, and again when the credential changes."""

    name: str
    provider: str
    account: str
    """The account that message ids are unique in."""
    idempotent: bool
    """The provider refuses a second message with the same reference, so a doubtful one may be repeated."""
    compose: Callable[[Message], Outgoing]
    read: Reader


def courier(credential: Credential, provider: Provider | None) -> Courier:
    """The courier of a credential; `provider` is its file, None for "custom". Raises BadInput with the name in it."""
    try:
        rules = send_rules(credential, provider)
        return Courier(
            name=credential.name,
            provider=credential.provider,
            account=credential.ids_account,
            idempotent=rules.idempotent,
            compose=composer(credential, rules),
            read=reader(rules),
        )
    except BadInput as error:
        raise BadInput(f"credential {credential.name}: {error}") from None


async def deliver(carrier: Courier, client: Client, message: Message, *, timeout: float) -> str:  # noqa: ASYNC109
    """Send one message. Its id at the provider; our own reference where the answer names none. Raises SendFailed."""
    outgoing = carrier.compose(message)
    answer = await client.request(*outgoing, timeout=timeout)
    return carrier.read(answer, datetime.now(UTC)) or message.reference
