"""What can be registered, and what a registered webhook would do with a text."""

from datetime import UTC, datetime

from pydantic import BaseModel, Field

from app.events import NOBODY, Category, ConsentState, Standing
from app.interpret import effective, explain
from app.provider import Provider
from app.record import queries
from app.record.tokens import Scope
from app.serve.fields import Listing, Name, RawAddress, person, whole
from app.serve.operation import Call, Operation, Params
from app.serve.parts import Parts
from app.serve.problems import Problem, not_found
from app.spec import Spec
from app.switchboard import Line


class ShownProvider(BaseModel):
    """A provider file."""

    slug: str
    name: str
    page: str = Field(description="The documentation that the file follows.")
    notes: list[str]
    sends: list[str] = Field(description="The channels that it sends through.")


class Question(Spec):
    """A text that somebody might send."""

    text: str = Field(max_length=10_000)
    webhook: Name
    address: RawAddress | None = Field(None, description="Who sends it; null: somebody unknown.")


class Explained(BaseModel):
    """What would happen, and why. Nothing is written."""

    category: Category
    rule: str
    keyword: str
    normal: str
    list_version: str
    old_state: ConsentState
    new_state: ConsentState
    reply: str = Field(description="The text that would be queued; empty: silence.")
    reason: str = Field(description="queued, or why there is no reply")


async def providers(call: Call[Params, None]) -> Listing[ShownProvider]:
    """All provider files."""
    return whole([_provider(provider) for provider in call.parts.providers.values()])


async def explanation(call: Call[Params, Question]) -> Explained:
    """What the webhook would do with the text."""
    line = _line(call.parts, call.body.webhook)
    standing = await _standing(call.parts, line, call.body.address)
    found = explain(call.body.text, line.rules, standing, datetime.now(UTC))
    return Explained.model_validate(found, from_attributes=True)


def _provider(provider: Provider) -> ShownProvider:
    return ShownProvider(
        slug=provider.slug, name=provider.name, page=provider.page, notes=provider.notes, sends=sorted(provider.send)
    )


def _line(parts: Parts, name: str) -> Line:
    if name in parts.switchboard.broken:
        raise Problem(409, f"The webhook cannot hear: {parts.switchboard.broken[name]}")
    line = parts.switchboard.by_name.get(name)
    if line is None:
        raise not_found("webhook of this name")
    return line


async def _standing(parts: Parts, line: Line, given: str | None) -> Standing:
    if given is None:
        return NOBODY
    address = person(given, line.webhook.region)
    program = line.webhook.program
    return effective(*(await parts.database.read(lambda conn: queries.standings(conn, program, [address])))[address])


OPERATIONS = (
    Operation("GET", "/v1/providers", "The provider files", providers, Scope.ADMIN, Listing[ShownProvider]),
    Operation(
        method="POST",
        path="/v1/explain",
        summary="What a webhook would do with a text; nothing is written",
        handler=explanation,
        scope=Scope.ADMIN,
        body=Question,
        answer=Explained,
        problems={404: "There is no such webhook.", 409: "The webhook cannot hear; the sentence says why."},
    ),
)
