"""1 accept: the provider's door. Webhook token -> raw request (exact bytes, limits) -> flow -> the provider's answer.

Nothing is acknowledged before its commit. After authentication no answer is a 4xx: to most providers that is final.
"""

from app.accept.endpoint import WebhookDoor

__all__ = ["WebhookDoor"]
