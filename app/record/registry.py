"""What operators registered: credentials, webhooks and named replies. Their secrets are stored encrypted.

Every change raises the registry's version in its own transaction; saving what is there already changes nothing.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

import orjson
import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.dialects import postgresql, sqlite

from app.credential import Credential
from app.errors import BadInput
from app.events import Category
from app.record import last_known, registrations, tables
from app.record.ids import new_id
from app.record.last_known import Rows
from app.record.registered import UNUSABLE, Outcome, fields_of, lock, raised
from app.record.vault import Vault, joined, split
from app.registration import Registrations
from app.reply import Reply, reply_of, text_and_content
from app.webhook import Webhook

Model = TypeVar("Model", Credential, Webhook)
T = TypeVar("T")

#: fields of a credential in which providers without a standard authentication want their passwords
_SEALED_WHOLE = ("url", "headers", "payload")


class _Sealed(BadInput):
    """A row that none of the keys opens."""


class RegisteredWebhook(NamedTuple):
    """A webhook and the token of its URL."""

    id: int
    token: str
    token_hash: str
    webhook: Webhook


class Registered(NamedTuple):
    """Everything registered, as of a version."""

    version: int
    credentials: dict[str, Credential]
    webhooks: list[RegisteredWebhook]
    replies: dict[str, str | Reply]
    broken: Mapping[str, tuple[str, str]] = {}
    """Webhooks that cannot be used: hash of the token -> (name, why)."""
    broken_credentials: Mapping[str, str] = {}
    """Credentials that cannot be used: name -> why."""
    others: Registrations = Registrations()
    """Every other kind: actions, streams, audiences, policies …"""


def token_hash(token: str) -> str:
    """SHA-256 in hex: how a token is found without being stored readable."""
    return hashlib.sha256(token.encode()).hexdigest()


# --- reading ------------------------------------------------------------------------------------------------------


def load(conn: sa.Connection, vault: Vault) -> Registered:
    """Everything, as the database holds it now; see `opened`."""
    return opened(last_known.read(conn), vault)


def opened(rows: Rows, vault: Vault) -> Registered:
    """Everything; rows that cannot be used are named with their reason, and their neighbours serve on.

    Raises BadInput where no row at all can be decrypted: then it is the key that is wrong.
    """
    credentials = [(row, _tried(partial(_opened, vault, row, Credential))) for row in rows.credentials]
    webhooks = [(row, _tried(partial(_registered, vault, row))) for row in rows.webhooks]
    _refuse_wrong_key([found for _, found in (*credentials, *webhooks)])
    return Registered(
        rows.version,
        {row.name: found for row, found in credentials if isinstance(found, Credential)},
        [found for _, found in webhooks if isinstance(found, RegisteredWebhook)],
        {row.name: reply_of(row.text, row.content) for row in rows.replies},
        {row.token_hash: (row.name, str(found)) for row, found in webhooks if isinstance(found, BadInput)},
        {row.name: str(found) for row, found in credentials if isinstance(found, BadInput)},
        registrations.opened(rows.registrations, vault),
    )


def read_credential(conn: sa.Connection, vault: Vault, name: str) -> Credential | None:
    """One credential with its secrets; None where there is none of that name."""
    row = _row(conn, tables.credentials, name)
    return _opened(vault, row, Credential) if row else None


def read_webhook(conn: sa.Connection, vault: Vault, name: str) -> RegisteredWebhook | None:
    """One webhook with its secrets and token; None where there is none of that name."""
    row = _row(conn, tables.webhooks, name)
    return _registered(vault, row) if row else None


def _row(conn: sa.Connection, table: sa.Table, name: str) -> "sa.Row[Any] | None":
    return conn.execute(sa.select(table).where(table.c.name == name)).one_or_none()


def _tried(read: Callable[[], T]) -> T | BadInput:
    try:
        return read()
    except BadInput as error:
        return error


def _refuse_wrong_key(found: Sequence[object]) -> None:
    if found and all(isinstance(each, _Sealed) for each in found):
        first = found[0]
        assert isinstance(first, _Sealed)
        raise first


def _registered(vault: Vault, row: Any) -> RegisteredWebhook:
    token = _decrypted(vault, row, row.token, Webhook)
    return RegisteredWebhook(row.id, token, row.token_hash, _opened(vault, row, Webhook))


def _opened(vault: Vault, row: Any, model: type[Model]) -> Model:
    secret = _decrypted(vault, row, row.secrets, model)
    try:
        return joined(row.settings, secret, model)
    except UNUSABLE as error:
        fields = fields_of(error) if isinstance(error, ValidationError) else "its secrets do not fit its settings"
        raise BadInput(f"The stored {_kind(model)} '{row.name}' cannot be used ({fields}); apply it again.") from None


def _decrypted(vault: Vault, row: Any, sealed: str, model: type[Credential | Webhook]) -> str:
    try:
        return vault.decrypt(sealed)
    except BadInput as error:
        raise _Sealed(f"{_kind(model)} '{row.name}': {error}") from None


def _kind(model: type[Credential | Webhook]) -> str:
    return model.__name__.lower()


# --- changing -----------------------------------------------------------------------------------------------------


def save_credential(conn: sa.Connection, vault: Vault, credential: Credential, now: datetime) -> Outcome:
    """Create or change the credential of this name."""
    return _save(conn, vault, tables.credentials, credential, now)


def save_webhook(conn: sa.Connection, vault: Vault, webhook: Webhook, now: datetime) -> Outcome:
    """Create or change the webhook of this name. Its URL is made once and stays through every change."""
    return _save(conn, vault, tables.webhooks, webhook, now)


def rotate_webhook(conn: sa.Connection, vault: Vault, name: str, now: datetime) -> bool:
    """Give a webhook a new URL, for the old one has become known and is nobody's from now on. Whether there is one."""
    lock(conn)
    values = {**_new_token(vault), "updated_at": now}
    changed = conn.execute(tables.webhooks.update().where(tables.webhooks.c.name == name), values).rowcount > 0
    if changed:
        raised(conn, "changed")
    return changed


def save_reply(conn: sa.Connection, name: str, reply: str | Reply, now: datetime) -> Outcome:
    """Create or change a named reply."""
    lock(conn)
    row, (text, content) = _row(conn, tables.replies, name), text_and_content(reply)
    if row is not None and (row.text, row.content) == (text, content):
        return "unchanged"
    values = {"text": text, "content": content, "updated_at": now}
    if row is None:
        conn.execute(tables.replies.insert(), {"name": name, **values})
    else:
        conn.execute(tables.replies.update().where(tables.replies.c.name == name), values)
    return raised(conn, "created" if row is None else "changed")


def delete_credential(conn: sa.Connection, name: str) -> bool:
    """Whether there was one. Raises BadInput while a webhook's replies leave through it."""
    lock(conn)
    users = [webhook for webhook, settings in _settings(conn, tables.webhooks) if settings["credential"] == name]
    _refuse_if_used(f"Credential '{name}'", "webhook", users)
    return _delete(conn, tables.credentials, name)


def delete_webhook(conn: sa.Connection, name: str) -> bool:
    """Whether there was one; what it heard stays. Raises BadInput while a credential has receipts sent to it."""
    lock(conn)
    users = [user for user, settings in _settings(conn, tables.credentials) if settings.get("feedback") == name]
    _refuse_if_used(f"Webhook '{name}'", "credential", users)
    return _delete(conn, tables.webhooks, name)


def delete_reply(conn: sa.Connection, name: str) -> bool:
    """Whether there was one. Raises BadInput while a webhook answers with it."""
    lock(conn)
    users = [webhook for webhook, settings in _settings(conn, tables.webhooks) if f"@{name}" in _replies_of(settings)]
    _refuse_if_used(f"Reply '{name}'", "webhook", users)
    return _delete(conn, tables.replies, name)


def keep_list_version(conn: sa.Connection, list_version: str, webhook: str, lists_json: str, now: datetime) -> None:
    """Keep what a list version was made of, at its first use; decisions in the ledger name it."""
    insert = (postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert)(tables.keyword_lists)
    row = {"version": list_version, "webhook": webhook, "lists": lists_json, "first_used_at": now}
    conn.execute(insert.values(row).on_conflict_do_nothing())


def _save(conn: sa.Connection, vault: Vault, table: sa.Table, model: Credential | Webhook, now: datetime) -> Outcome:
    lock(conn)
    row = _row(conn, table, model.name)
    if row is not None and _holds(vault, row, model):
        return "unchanged"
    settings, sealed = split(model, _SEALED_WHOLE if table is tables.credentials else ())
    values = {"provider": model.provider, "settings": settings, "secrets": vault.encrypt(sealed), "updated_at": now}
    if row is not None:
        conn.execute(table.update().where(table.c.id == row.id), values)
        return raised(conn, "changed")
    born = _new_token(vault) if table is tables.webhooks else {}
    conn.execute(table.insert(), {"id": new_id(), "name": model.name, "created_at": now, **values, **born})
    return raised(conn, "created")


def _new_token(vault: Vault) -> dict[str, str]:
    token = secrets.token_urlsafe(24)
    return {"token": vault.encrypt(token), "token_hash": token_hash(token)}


def _delete(conn: sa.Connection, table: sa.Table, name: str) -> bool:
    gone = conn.execute(table.delete().where(table.c.name == name)).rowcount > 0
    if gone:
        raised(conn, "changed")
    return gone


def _settings(conn: sa.Connection, table: sa.Table) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, settings in conn.execute(sa.select(table.c.name, table.c.settings).order_by(table.c.name)):
        yield name, orjson.loads(settings)


def _replies_of(settings: dict[str, Any]) -> list[Any]:
    keywords = settings["keywords"]
    lists = [keywords[category.value] for category in Category if category is not Category.CUSTOM]
    return [
        reply
        for each in [*lists, *keywords["custom"]]
        for reply in (each["reply"], *each.get("otherwise", {}).values())
    ]


def _refuse_if_used(what: str, kind: str, users: list[str]) -> None:
    if users:
        one = len(users) == 1
        names = ", ".join(f"'{name}'" for name in users)
        raise BadInput(
            f"{what} is used by {kind}{'' if one else 's'} {names}; change or delete {'it' if one else 'them'} first."
        )


def _holds(vault: Vault, row: "sa.Row[Any]", model: Credential | Webhook) -> bool:
    if isinstance(model, Webhook):
        _decrypted(vault, row, row.token, Webhook)  # refused like its secrets: nobody could be told its URL
    secret = _decrypted(vault, row, row.secrets, type(model))
    try:
        return joined(row.settings, secret, type(model)) == model
    except UNUSABLE:  # stored by a version whose form no longer holds: what is given now replaces it
        return False
