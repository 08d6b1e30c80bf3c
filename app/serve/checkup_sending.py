"""What `textback check` foresees of what leaves, without calling anybody, the DNS included.

Destinations that are not allowed, receipts that could not come back, and replies with words that nothing fills in.
"""

from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

from app.action import Action
from app.credential import Credential, OAuthAuth
from app.provider import Provider
from app.record.registry import Registered
from app.send import Destinations
from app.send.render import mentions, send_rules
from app.send.template import Known, text_parts
from app.sending import Send
from app.serve.apply import check_words, faults, given_replies
from app.serve.finding import Finding, note, problem, warning
from app.settings import Settings


def check_leaving(
    credential: Credential,
    provider: Provider | None,
    registered: Registered,
    settings: Settings,
    destinations: Destinations | None,
) -> Iterator[Finding]:
    """What keeps a credential's messages or their receipts away. Raises BadInput where none could ever be sent.

    `destinations`: None where the setting is no list of them, so that nothing can be said.
    """
    rules = send_rules(credential, provider)
    refusals = (destinations.refusal(url) for url in _urls(credential, rules)) if destinations else ()
    for refusal in filter(None, dict.fromkeys(refusals)):
        yield warning(f"credential '{credential.name}' cannot send: {refusal}")
    if mentions("feedbackUrl", rules, credential):
        yield from _receipts(credential, registered, settings)


def _urls(credential: Credential, rules: Send) -> Iterator[str]:
    """Where it calls, with a digit wherever something of a message stands; that is never in the host."""
    known = Known(credential.app_id, "", credential.parameters)
    parts = text_parts(rules.url, known, lambda value: quote(value, safe=""))
    yield "".join(part if isinstance(part, str) else "0" for part in parts)
    if isinstance(credential.auth, OAuthAuth):
        yield credential.auth.url


def check_calling(action: Action, destinations: Destinations) -> Iterator[Finding]:
    """What keeps an action from its third party. Raises BadInput for a URL that is none."""
    urls = [action.url, *([action.auth.url] if isinstance(action.auth, OAuthAuth) else [])]
    for refusal in filter(None, dict.fromkeys(map(destinations.refusal, urls))):
        yield warning(f"action '{action.name}' cannot be called: {refusal}")


def _receipts(credential: Credential, registered: Registered, settings: Settings) -> Iterator[Finding]:
    if credential.feedback is not None and settings.public_url is None:
        yield warning(
            f"credential '{credential.name}' tells its provider where receipts go, and TEXTBACK_PUBLIC_URL is not set,"
            f" so the provider would be told {settings.base_url}/…; set it to what the provider can call"
        )
    account = credential.ids_account
    takers = [w for w in (entry.webhook for entry in registered.webhooks) if w.type != "inbound"]
    if credential.feedback is None and all(webhook.ids_account != account for webhook in takers):
        yield note(
            f"credential '{credential.name}' has no feedback, and account '{account}' has no webhook of type feedback"
            " or both, so no receipt will ever come; make one, and name it as the credential's feedback"
        )


def check_replies(registered: Registered) -> Iterator[Finding]:
    """Replies with a place that nothing is known for, from before such were refused: people would miss words."""
    for name, reply in registered.replies.items():
        yield from map(problem, faults("reply", name, partial(check_words, [reply])))
    for webhook in (entry.webhook for entry in registered.webhooks):
        yield from map(problem, faults("webhook", webhook.name, partial(check_words, given_replies(webhook))))
