"""7 serve: everyone else's door. The JSON API: consent, readouts, registry, tokens, health, metrics.

Each operation is declared once (`operation.Operation`), beside its handler; routes and OpenAPI document are both built
from the declarations. What is written goes through record's writer. Errors are problems in sentences, never secrets.
"""

from starlette.routing import BaseRoute

from app.serve import (
    access,
    actions,
    audiences,
    calls,
    catalogue,
    consent,
    credentials,
    dead_letters,
    decoding,
    erasure,
    evidence,
    health,
    heard,
    kinds,
    ledger,
    ledger_head,
    lookup,
    messages,
    metrics,
    openapi,
    policies,
    profiles,
    replies,
    streams,
    verify,
    webhooks,
)
from app.serve.documents import actions as document_actions
from app.serve.door import routes_of
from app.serve.operation import Operation
from app.serve.parts import Parts
from app.serve.problems import HANDLERS

__all__ = ["HANDLERS", "Parts", "operations", "routes"]


def operations() -> list[Operation]:
    """Every operation, in the order of the document."""
    rooms = (
        consent, profiles, ledger, ledger_head, evidence, erasure, messages, heard, dead_letters, credentials, verify,
        webhooks, replies, policies, audiences, kinds, actions, calls, streams, lookup, document_actions,
        catalogue, decoding, access, health, metrics,
    )  # fmt: skip
    listed = [operation for room in rooms for operation in room.OPERATIONS]
    return [*listed, openapi.operation_for(listed)]


def routes() -> list[BaseRoute]:
    """For the Starlette application, whose `state.parts` holds the Parts."""
    ours = [operation for operation in operations() if operation.failure is None]
    return [*routes_of(ours), *document_actions.routes()]
