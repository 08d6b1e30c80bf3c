"""The webhook URL that a credential tells its provider with each message, where it wants to know where receipts go."""

from app.credential import Credential
from app.errors import BadInput
from app.record.registry import Registered
from app.settings import Settings


def feedback_url(settings: Settings, registered: Registered, credential: Credential) -> str:
    """The URL; empty where the credential names no webhook.

    Raises BadInput where there is none of that name, or none that can be used.
    """
    if credential.feedback is None:
        return ""
    for entry in registered.webhooks:
        if entry.webhook.name == credential.feedback:
            return f"{settings.base_url}/in/{entry.token}"
    broken = dict(registered.broken.values()).get(credential.feedback)
    missing = f"there is no webhook '{credential.feedback}' for its feedback"
    raise BadInput(f"credential {credential.name}: {broken or missing}")
