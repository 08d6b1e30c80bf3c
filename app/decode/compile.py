"""From a provider file and a webhook to the function that reads its requests."""

from collections.abc import Callable

from app.decode.conditions import condition_of
from app.decode.findings import Findings, Group, Rule, add_leftovers, problem, read_group
from app.decode.folding import fold_paths
from app.decode.handshake import greetings_of, refusal
from app.decode.mapping import reader
from app.decode.opening import opener
from app.decode.paths import Frame, fan_out
from app.decode.template import template_rules
from app.errors import BadInput, Unreadable
from app.events import Decoded, Reading
from app.provider import EventRule, Provider
from app.request import Request
from app.webhook import Webhook


def decoder(provider: Provider, webhook: Webhook) -> Callable[[Request], Decoded]:
    """The function that reads this webhook's requests: pure, and it raises nothing.

    Raises BadInput where the provider file or the webhook's payload cannot be used.
    """
    rules = rules_of(provider, webhook)
    try:
        file = fold_paths(provider.model_copy(update={"events": rules}))
        groups, greetings, open_body = groups_of(file, webhook), greetings_of(file), opener(provider)
    except BadInput as error:
        raise BadInput(f"provider file {provider.slug}: {error}") from None
    teller = "the provider file" if provider.events else "the payload"
    otherwise = "receipt" if webhook.type == "feedback" else "inbound"

    def decode(request: Request) -> Decoded:
        try:
            root = Frame(open_body(request), None, request)
        except Unreadable as error:
            return Decoded(Reading.UNDECODED, problem=str(error), answer=otherwise)
        findings = Findings()
        for group in groups:
            read_group(group, root, findings)
        refused = refusal(greetings, root) if greetings and not findings.answer else ""
        if refused or not findings.read:
            return Decoded(Reading.UNDECODED, problem=refused or problem(groups, root, teller), answer=otherwise)
        if findings.unread:
            add_leftovers(findings, teller)
        return _decoded(findings)

    return decode


def _decoded(findings: Findings) -> Decoded:
    """The answer is that of the first event; to a mixture of the ignored and the unknown it is that for the ignored."""
    answer = findings.answer or findings.answer_ignored
    if not findings.events and not findings.troubles:
        return Decoded(Reading.IGNORED, answer=answer)
    return Decoded(Reading.EVENTS, tuple(findings.events), tuple(findings.troubles), answer=answer)


def rules_of(provider: Provider, webhook: Webhook) -> list[EventRule]:
    """A provider file's own, or those of the webhook's payload where the file tells no events. Raises BadInput."""
    try:
        if not provider.events:
            return template_rules(webhook)
    except BadInput as error:
        raise BadInput(f"webhook {webhook.name}: {error}") from None
    if webhook.payload or webhook.feedback_payload:
        raise BadInput(
            f"webhook {webhook.name}: {provider.name} needs no payload, its provider file tells it; remove it"
        )
    return provider.events


def groups_of(provider: Provider, webhook: Webhook) -> list[Group]:
    """Compiles the rules of a provider file. Raises BadInput."""
    groups: dict[str, Group] = {}
    for rule in provider.events:
        group = groups.setdefault(rule.each, Group(rule.each, fan_out(rule.each), []))
        answer = rule.answer or rule.kind
        group.rules.append(Rule(rule.kind, condition_of(rule.when), reader(rule, provider, webhook), answer))
    return list(groups.values())
