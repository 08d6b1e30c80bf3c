"""A new URL for a webhook whose old one has become known."""

import secrets
from datetime import datetime

import sqlalchemy as sa

from app.record import registry, tables
from app.record.vault import Vault


def rotate(conn: sa.Connection, vault: Vault, name: str, now: datetime) -> bool:
    """Whether there is such a webhook. From now on its old URL is nobody's."""
    registry.lock(conn)
    token = secrets.token_urlsafe(24)
    fresh = {"token": vault.encrypt(token), "token_hash": registry.token_hash(token), "updated_at": now}
    changed = conn.execute(tables.webhooks.update().where(tables.webhooks.c.name == name).values(fresh)).rowcount > 0
    if changed:
        counter = tables.registry_version
        conn.execute(counter.update().values(version=counter.c.version + 1))
    return changed
