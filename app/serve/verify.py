"""Verify connection: a real message through a credential, and what became of it. Nothing is recorded."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, NamedTuple

import sqlalchemy as sa
from pydantic import Field

from app.address import is_reachable
from app.credential import Credential
from app.errors import BadAddress, BadInput
from app.events import EVERY_PROGRAM, ConsentState
from app.interpret import effective
from app.provider import Provider
from app.record import profiles, queries, registry
from app.record.ids import new_id
from app.record.registry import Registered
from app.record.tokens import Scope
from app.record.vault import Vault
from app.reply import ReplyText
from app.send import Destinations, Message, Trial, try_out
from app.serve.feedback import Feedback, feedback
from app.serve.fields import NO_SUCH_NAME, NameParams, RawAddress, Said, person
from app.serve.operation import Call, Operation
from app.serve.problems import Problem, not_found
from app.settings import Settings
from app.spec import Spec


class WantedTrial(Spec):
    """To whom, and what."""

    number: RawAddress
    message: Annotated[ReplyText, Field(description="It is sent as it stands, without placeholders.")]
    sender: Annotated[
        Said | None, Field(description="null: the sender of the first webhook whose replies leave through it")
    ] = None


class Prepared(NamedTuple):
    """A trial that may begin."""

    credential: Credential
    provider: Provider | None
    feedback: Feedback
    message: Message


async def verify(call: Call[NameParams, WantedTrial]) -> Trial:
    """Send the message, and tell."""
    parts, name, wanted = call.parts, call.params.name, call.body
    ready = await parts.database.read(
        lambda conn: prepare(conn, parts.vault, parts.settings, parts.providers, name, wanted)
    )
    return await begin(ready, parts.settings)


def prepare(  # noqa: PLR0917 - what a command and the API both have at hand
    conn: sa.Connection,
    vault: Vault,
    settings: Settings,
    providers: Mapping[str, Provider],
    name: str,
    wanted: WantedTrial,
) -> Prepared:
    """Look everything up that a trial needs. Raises a Problem where it must not begin."""
    address = _recipient(wanted.number)
    registered = registry.load(conn, vault)
    credential = _credential(registered, name)
    _refuse_opted_out(conn, address)
    provider = providers.get(credential.provider)
    message = Message(
        from_number=wanted.sender or _usual_sender(registered, credential, provider),
        to_number=address,
        text=wanted.message,
        reference=str(new_id()),
        profile=profiles.read(conn, [address])[address],
    )
    return Prepared(credential, provider, feedback(settings, registered, providers, credential), message)


async def begin(ready: Prepared, settings: Settings) -> Trial:
    """Send the message. Raises a 409 Problem where none could ever be sent through the credential."""
    try:
        trial = await try_out(
            ready.credential,
            ready.provider,
            ready.message,
            # new ones, so that an address that the DNS said a moment ago is not believed
            Destinations(settings.allowed_private_destinations),
            feedback_url=ready.feedback.url,
            timeout=settings.send_timeout,
        )
    except BadInput as error:
        raise Problem(409, f"Nothing can be sent through it: {error}") from None
    return _without_receipts(trial, ready.feedback.problem) if ready.feedback.problem else trial


def _without_receipts(trial: Trial, problem: str) -> Trial:
    """Replies leave all the same, and so does this message."""
    mend = f"The provider is told no URL for its receipts, so none will come: {problem}."
    return replace(trial, mend=" ".join(filter(None, (trial.mend, mend))))


def _recipient(number: str) -> str:
    try:
        address = person(number)
    except BadAddress as error:
        raise Problem(400, f"number: {error}") from None
    if not is_reachable(address):
        raise Problem(400, "number: This is a short code or an alphanumeric sender, which no message reaches.")
    return address


def _credential(registered: Registered, name: str) -> Credential:
    if name in registered.broken_credentials:
        raise Problem(409, registered.broken_credentials[name])
    if name not in registered.credentials:
        raise not_found("credential of this name")
    return registered.credentials[name]


def _refuse_opted_out(conn: sa.Connection, address: str) -> None:
    """In whichever program they said STOP: a trial has no program, and no test is worth a message to them."""
    for program in queries.programs_of(conn, address):
        standing = effective(*queries.standings(conn, program, [address])[address])
        if standing.state is ConsentState.OPTED_OUT:
            where = "all programs" if program == EVERY_PROGRAM else f"program {program}"
            raise Problem(
                409,
                f"This number has opted out of {where}, so it gets no test message; try another number, or text an"
                " opt-in keyword from it first.",
            )


def _usual_sender(registered: Registered, credential: Credential, provider: Provider | None) -> str:
    webhooks = (entry.webhook for entry in registered.webhooks)
    senders = (webhook.sender for webhook in webhooks if webhook.credential == credential.name)
    found = next((sender for sender in senders if sender), "")
    if not found and _names_sender(credential, provider):
        raise Problem(422, "sender: No webhook's replies leave through this credential, so say from whom to send.")
    return found


def _names_sender(credential: Credential, provider: Provider | None) -> bool:
    rules = provider.send.get(credential.channel) if provider else None
    return "fromNumber" in f"{credential.model_dump_json()}{rules.model_dump_json() if rules else ''}"


OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/credentials/{name}/verify",
        summary="Send a real message through a credential, and show request, answer and what to mend, without secrets",
        handler=verify,
        scope=Scope.ADMIN,
        params=NameParams,
        body=WantedTrial,
        answer=Trial,
        problems=NO_SUCH_NAME
        | {400: "The number is none that a message reaches.", 409: "It cannot send, or the number has opted out."},
    ),
)
