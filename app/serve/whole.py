"""All that is registered, as it stands or as it would be after a change: what checks look at."""

from collections.abc import Mapping
from typing import NamedTuple

from app.record.registry import Registered
from app.registration import Registrations
from app.reply import Reply
from app.webhook import Webhook


class Whole(NamedTuple):
    """All that is registered, as it would be after a change."""

    webhooks: Mapping[str, Webhook]
    replies: Mapping[str, str | Reply]
    others: Registrations


def whole(registered: Registered) -> Whole:
    """As it stands."""
    webhooks = {entry.webhook.name: entry.webhook for entry in registered.webhooks}
    return Whole(webhooks, registered.replies, registered.others)
