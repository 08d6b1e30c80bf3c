"""Webhooks that a test registers as `textback apply` does, without the command's start."""

import tomllib
from datetime import UTC, datetime

from app.provider import load_providers
from app.record import registry
from app.record.database import Database
from app.record.vault import Vault
from app.serve import apply, apply_file
from app.settings import CONFIG_DIR
from app.webhook import load_packs


def registered(database_url: str, file: str, secret_key: str) -> str:
    """The path of the only webhook of an apply file."""
    vault, catalogue = Vault(secret_key), apply.Catalogue(load_providers(CONFIG_DIR), load_packs(CONFIG_DIR))
    wanted, database = apply_file.parse(tomllib.loads(file)), Database(database_url)
    try:
        database.write_now(lambda conn: apply.apply(conn, vault, catalogue, wanted, datetime.now(UTC)))
        [entry] = database.read_now(lambda conn: registry.load(conn, vault)).webhooks
    finally:
        database.close()
    return f"/in/{entry.token}"
