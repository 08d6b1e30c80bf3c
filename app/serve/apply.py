"""What an apply file says, checked as a whole, and written in one transaction or not at all.

The command line and the admin API save through the same functions, so that neither can register what cannot work.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import sqlalchemy as sa

from app import switchboard
from app.credential import Credential
from app.errors import BadInput
from app.events import Category
from app.provider import Provider
from app.record import registrations, registry
from app.record.registered import Outcome, lock
from app.record.registry import Registered
from app.record.vault import Vault
from app.registration import Kind
from app.reply import Reply
from app.send import courier
from app.send.personal import check_text
from app.serve.apply_file import ApplyFile, parse
from app.serve.soundness import new_faults
from app.serve.whole import Whole, whole
from app.spec import Spec
from app.webhook import CUSTOM, CustomKeywords, KeywordList, Pack, Webhook

_LISTS = tuple(category for category in Category if category is not Category.CUSTOM)


class Catalogue(NamedTuple):
    """The provider files and keyword packs by slug, that what is registered must fit."""

    providers: Mapping[str, Provider]
    packs: Mapping[str, Pack]


class Applied(NamedTuple):
    """What became of each name."""

    credentials: dict[str, Outcome]
    webhooks: dict[str, Outcome]
    replies: dict[str, Outcome]
    others: dict[tuple[str, str], Outcome] = {}
    """By kind and name."""


# --- the change ---------------------------------------------------------------------------------------------------


def apply(conn: sa.Connection, vault: Vault, catalogue: Catalogue, wanted: ApplyFile, now: datetime) -> Applied:
    """Check everything, then write it. Raises BadInput with one sentence per fault, and nothing is written."""
    lock(conn)
    problems = list(_problems(registry.load(conn, vault), catalogue, wanted))
    if problems:
        raise BadInput("\n".join(problems))
    return Applied(
        {c.name: registry.save_credential(conn, vault, c, now) for c in wanted.credentials},
        {w.name: registry.save_webhook(conn, vault, w, now) for w in wanted.webhooks},
        {name: registry.save_reply(conn, name, reply, now) for name, reply in wanted.replies.items()},
        {
            (kind.name, name): registrations.save(conn, vault, kind, model, now)
            for kind, name, model in wanted.others.all()
        },
    )


def save_credential_checked(
    conn: sa.Connection, vault: Vault, catalogue: Catalogue, credential: Credential, now: datetime
) -> Outcome:
    """One credential, checked like an apply file."""
    wanted = ApplyFile(credentials=[credential])
    return apply(conn, vault, catalogue, wanted, now).credentials[credential.name]


def save_webhook_checked(
    conn: sa.Connection, vault: Vault, catalogue: Catalogue, webhook: Webhook, now: datetime
) -> Outcome:
    """One webhook, checked like an apply file."""
    return apply(conn, vault, catalogue, ApplyFile(webhooks=[webhook]), now).webhooks[webhook.name]


def save_reply_checked(  # noqa: PLR0917 - the order of its neighbours
    conn: sa.Connection, vault: Vault, catalogue: Catalogue, name: str, reply: str | Reply, now: datetime
) -> Outcome:
    """One named reply, checked like an apply file."""
    wanted = parse({"replies": {name: reply}})
    return apply(conn, vault, catalogue, wanted, now).replies[name]


def save_other_checked(conn: sa.Connection, vault: Vault, catalogue: Catalogue, kind: Kind, model: Spec) -> Outcome:
    """One registration of another kind, checked like an apply file."""
    wanted = ApplyFile.model_validate({kind.plural: [model]})
    return apply(conn, vault, catalogue, wanted, datetime.now(UTC)).others[kind.name, getattr(model, "name")]  # noqa: B009


def provider_of(catalogue: Catalogue, slug: str) -> Provider:
    """The provider file. Raises BadInput that names those there are."""
    found = catalogue.providers.get(slug)
    if found is None:
        raise BadInput(f"there is no provider '{slug}'; choose from {', '.join(sorted(catalogue.providers))}.")
    return found


# --- the checks ---------------------------------------------------------------------------------------------------


def _problems(before: Registered, catalogue: Catalogue, wanted: ApplyFile) -> Iterator[str]:
    kinds = webhook_types(before) | {w.name: w.type for w in wanted.webhooks}
    for credential in wanted.credentials:
        yield from faults("credential", credential.name, partial(check_credential, catalogue, credential))
    for credential in _told_where(before, wanted):
        yield from faults("credential", credential.name, partial(check_feedback, credential, kinds))
    stored = before.credentials.keys() | before.broken_credentials.keys()
    credentials = stored | {c.name for c in wanted.credentials}
    replies = {**before.replies, **wanted.replies}
    for name, reply in wanted.replies.items():
        yield from faults("reply", name, partial(check_words, [reply]))
    for webhook in wanted.webhooks:
        yield from faults("webhook", webhook.name, partial(check_words, given_replies(webhook)))
    for webhook in _touched(before, wanted):
        check = partial(_check_webhook, catalogue, webhook, credentials, replies)
        yield from faults("webhook", webhook.name, check)
    yield from new_faults(whole(before), _after(before, wanted))


def _after(before: Registered, wanted: ApplyFile) -> Whole:
    return Whole(
        {entry.webhook.name: entry.webhook for entry in before.webhooks} | {w.name: w for w in wanted.webhooks},
        {**before.replies, **wanted.replies},
        before.others.with_(wanted.others),
    )


def webhook_types(registered: Registered) -> dict[str, str]:
    """The types of the registered webhooks; empty for those that cannot be read."""
    broken = {name: "" for name, _ in registered.broken.values()}
    return broken | {entry.webhook.name: entry.webhook.type for entry in registered.webhooks}


def _told_where(before: Registered, wanted: ApplyFile) -> Iterator[Credential]:
    """The credentials given, and those whose receipts come to a webhook that is given: it may take none any more."""
    yield from wanted.credentials
    given, changed = {c.name for c in wanted.credentials}, {w.name for w in wanted.webhooks}
    yield from (c for c in before.credentials.values() if c.name not in given and c.feedback in changed)


def _touched(before: Registered, wanted: ApplyFile) -> Iterator[Webhook]:
    """The webhooks given, and those that answer with a reply that is given: it may no longer suit them."""
    yield from wanted.webhooks
    named = {webhook.name for webhook in wanted.webhooks}
    for entry in before.webhooks:
        if entry.webhook.name not in named and _named_replies(entry.webhook) & wanted.replies.keys():
            yield entry.webhook


def _named_replies(webhook: Webhook) -> set[str]:
    return {reply[1:] for reply in given_replies(webhook) if isinstance(reply, str) and reply.startswith("@")}


def given_replies(webhook: Webhook) -> list[str | Reply]:
    """The replies of its keyword lists, texts and names (`@name`)."""
    lists: list[KeywordList | CustomKeywords] = [*map(webhook.keywords.of, _LISTS), *webhook.keywords.custom]
    return [reply for each in lists for reply in (each.reply, *each.otherwise.values()) if reply]


def faults(kind: str, name: str, check: Callable[[], None]) -> Iterator[str]:
    """The fault that `check` raises as BadInput, as a sentence that names whose it is; none where all is well."""
    try:
        check()
    except BadInput as error:
        told = str(error)
        yield told if told.startswith(f"{kind} ") else f"{kind} '{name}': {told}"


def check_credential(catalogue: Catalogue, credential: Credential) -> None:
    """Raises BadInput where nothing could be sent through it."""
    courier(credential, None if credential.provider == CUSTOM else provider_of(catalogue, credential.provider))


def check_feedback(credential: Credential, types: Mapping[str, str]) -> None:
    """Raises BadInput where no webhook of these types takes the receipts that the provider is told to send there."""
    if credential.feedback is None:
        return
    if credential.feedback not in types:
        raise BadInput(f"there is no webhook '{credential.feedback}' for its feedback; add it, or apply it first.")
    if types[credential.feedback] == "inbound":
        raise BadInput(f"its feedback goes to webhook '{credential.feedback}', which is of type inbound; make it both.")


def check_words(replies: Iterable[str | Reply]) -> None:
    """Raises BadInput for a reply with a place that could never be filled in."""
    for reply in replies:
        for text in (reply,) if isinstance(reply, str) else (reply.text, reply.fallback):
            check_text(text)


def _check_webhook(
    catalogue: Catalogue, webhook: Webhook, credentials: Set[str], replies: Mapping[str, str | Reply]
) -> None:
    if webhook.credential is not None and webhook.credential not in credentials:
        raise BadInput(f"there is no credential '{webhook.credential}'; add it to the file, or apply it first.")
    # own numbers only matter when a message comes in, so none are needed to see whether the rest fits
    switchboard.check_webhook(webhook, provider_of(catalogue, webhook.provider), catalogue.packs, replies, frozenset())
