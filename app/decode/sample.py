"""Trying an operator's payload on a real request, before the webhook is saved."""

from datetime import UTC, datetime

from app.decode.compile import decoder
from app.errors import BadInput
from app.events import Decoded
from app.provider import Provider
from app.request import Request
from app.webhook import Webhook

_FORM = "application/x-www-form-urlencoded"
_KINDS = {"{": "application/json", "[": "application/json", "<": "application/xml"}


def check_sample(provider: Provider, webhook: Webhook) -> Decoded | None:
    """What the webhook makes of its sample, a request's body or query string; None where it has none.

    Raises BadInput where the payload is unusable, or reads no event out of the sample.
    """
    decode = decoder(provider, webhook)
    if webhook.sample is None:
        return None
    body = webhook.sample.strip()
    headers = {"content-type": _KINDS.get(body[:1], _FORM)}
    decoded = decode(Request("POST", "", headers, body.encode("utf-8", "replace"), datetime.now(UTC)))
    if not decoded.events:
        reasons = [decoded.problem, *(trouble.reason for trouble in decoded.troubles)]
        reason = next(filter(None, reasons), "the sample is an event that is ignored")
        raise BadInput(f"webhook {webhook.name}: the sample gives no event. {reason}")
    return decoded
