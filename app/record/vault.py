"""Secrets at rest: encrypted with TEXTBACK_SECRET_KEY, readable through nothing else."""

import base64
from collections.abc import Sequence
from typing import Any, TypeVar

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import BaseModel, SecretStr

from app.errors import BadInput

Model = TypeVar("Model", bound=BaseModel)

_WRONG_KEY = (
    "A stored secret cannot be decrypted with TEXTBACK_SECRET_KEY. Set the key it was stored with"
    " (while you rotate: new,old), or apply the credentials and webhooks again under the new key"
    " after deleting them."
)


class Vault:
    """`secret_key`: one or more keys, comma-separated. The first encrypts, all decrypt, so that keys can be rotated."""

    def __init__(self, secret_key: str) -> None:
        keys = [key.strip() for key in secret_key.split(",") if key.strip()]
        if not keys:
            raise BadInput("TEXTBACK_SECRET_KEY is not set; make one with: openssl rand -hex 32")
        self._fernet = MultiFernet([Fernet(_derive(key)) for key in keys])

    def encrypt(self, text: str) -> str:
        """Under the first key."""
        return self._fernet.encrypt(text.encode()).decode("ascii")

    def decrypt(self, sealed: str) -> str:
        """What `encrypt` was given, under any of the keys. Raises BadInput where none fits."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise BadInput(_WRONG_KEY) from None


def _derive(key: str) -> bytes:
    # The key has full entropy (openssl rand), so it is stretched to Fernet's size and not hardened like a password.
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"textback stored secrets")
    return base64.urlsafe_b64encode(derivation.derive(key.encode()))


def split(model: BaseModel, whole: Sequence[str] = ()) -> tuple[str, str]:
    """(settings with null in the place of each secret, the secrets with their paths), both as JSON.

    `whole`: top-level fields that count as secret altogether.
    """
    found: list[tuple[list[str | int], Any]] = []
    settings = _without_secrets(model.model_dump(), [], found)
    for name in whole:
        found.append(([name], settings[name]))
        settings[name] = None
    # a table by status has members of an enumeration as its keys
    return orjson.dumps(settings, option=orjson.OPT_NON_STR_KEYS).decode(), orjson.dumps(found).decode()


def joined(settings: str, secrets: str, model: type[Model]) -> Model:
    """The model that was split. Raises pydantic's ValidationError where its form has changed since."""
    tree = orjson.loads(settings)
    for path, secret in orjson.loads(secrets):
        place = tree
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = secret
    return model.model_validate(tree)


def _without_secrets(value: Any, path: list[str | int], found: list[tuple[list[str | int], Any]]) -> Any:
    if isinstance(value, SecretStr):
        found.append((path, value.get_secret_value()))
        return None
    if isinstance(value, dict):
        return {name: _without_secrets(part, [*path, name], found) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_secrets(part, [*path, index], found) for index, part in enumerate(value)]
    return value
