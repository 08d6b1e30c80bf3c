"""`textback audiences` and `textback lookup`: who is in which audience, why, and what pages would be told."""

from functools import partial

import click
import orjson

from app import settings as configured
from app.record import membership_counts
from app.serve.audiences import SAMPLE, AudienceStatus, Tried, progress_now, registered, status_of, tried
from app.serve.door import as_json as json_of
from app.serve.fields import person
from app.serve.lookup import Looked, looked
from app.serve.terminal import open_database, open_vault, printable, show, show_facts

_region = click.option("--region", help="ISO 3166, such as US, for a number in national form.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("audiences")
def audiences() -> None:
    """Show the audiences, how far they are, and try a condition.

    \b
    Example: textback audiences list
    """


@audiences.command("list")
@_json
def every(*, as_json: bool) -> None:
    """Show every audience with its members, and how far a rebuild is.

    \b
    Example: textback audiences list
    """
    settings = configured.load()
    vault = open_vault(settings)
    with open_database(settings) as database:
        found = database.read_now(partial(registered, vault=vault))
        progress = database.read_now(progress_now)
    rows = [status_of(audience, progress) for audience in found.values()]
    if as_json:
        click.echo(orjson.dumps([row.model_dump(mode="json") for row in rows]).decode())
        return
    show("Audiences", ("name", "members", "id", "condition"), [_row(row) for row in rows])
    if rows:
        click.echo(_told(progress))


def _row(row: AudienceStatus) -> tuple[object, ...]:
    return row.name, f"{row.members:,}", row.id, printable(row.condition)


def _told(progress: membership_counts.Progress) -> str:
    people = f"{progress.reached:,} people are worked out"
    if progress.state == "gathering":
        return "Which messages people were sent is being noted; until then nobody is in any audience."
    if progress.state == "rebuilding":
        return f"{people}, {progress.waiting:,} wait, and others are looked for; a look-up of them works it out itself."
    return f"{people}, {progress.waiting:,} wait."


@audiences.command("try")
@click.argument("condition")
@click.option("--address", help="One person; else the first people by address.")
@click.option("--people", type=click.IntRange(1, 100_000), default=SAMPLE, show_default=True, help="How many of them.")
@_region
@_json
def try_out(condition: str, address: str | None, people: int, region: str | None, *, as_json: bool) -> None:
    """Try a condition on one person, or on some; nothing is stored.

    \b
    Example: textback audiences try 'consent.default.state = "opted_in" and messages.read > 2' --address +14155550100
    """
    settings = configured.load()
    whose = person(address, region) if address is not None else None
    question = partial(
        tried, condition=condition, address=whose, people=people, unknown_consent=settings.unknown_consent
    )
    with open_database(settings) as database:
        found = database.read_now(question)
    click.echo(json_of(found).decode() if as_json else _shown(found, is_one=whose is not None))


def _shown(found: Tried, *, is_one: bool) -> str:
    said = f"It is true of {found.members:,} of {found.people:,} people."
    if is_one:
        said = "It is true of this person." if found.members else "It is not true of this person."
    failed = f"\nIt fails for {found.failed:,}: {found.problem}" if found.failed else ""
    seen = f"\n{orjson.dumps(found.sees, option=orjson.OPT_INDENT_2).decode()}" if found.sees else ""
    note = f"\n{found.note}" if found.note else ""
    return f"{said}{failed}{note}{seen}"


@click.command("lookup")
@click.argument("address")
@_region
@_json
def lookup(address: str, region: str | None, *, as_json: bool) -> None:
    """Look up one subscriber: audiences, why, and what each destination's pages would be told.

    \b
    Example: textback lookup +14155550100
    """
    settings, whose = configured.load(), person(address, region)
    vault = open_vault(settings)
    with open_database(settings) as database:
        found = database.read_now(partial(looked, vault=vault, settings=settings, address=whose))
    if as_json:
        click.echo(json_of(found).decode())
    else:
        _tell(found)


def _tell(found: Looked) -> None:
    show_facts([("address", found.address), ("browsers", ", ".join(found.browsers) or "none"), ("answer", _why(found))])
    rows = [(a.name, "in" if a.is_member else "not in", printable(a.condition), a.problem) for a in found.audiences]
    show("\nAudiences", ("name", "they are", "condition", "why it fails"), rows)
    told = [
        (each.datastream, each.alias, ", ".join(segment.name for segment in each.segments),
         ", ".join(f"{name}={printable(value)}" for name, value in each.attributes.items()))
        for each in found.destinations
    ]  # fmt: skip
    show("\nDestinations", ("datastream", "alias", "audiences", "attributes, for servers alone"), told)
    click.echo("\nThe conditions see:")
    click.echo(orjson.dumps(found.sees, option=orjson.OPT_INDENT_2).decode())


def _why(found: Looked) -> str:
    if not found.is_known:
        return "nothing is recorded of this person, so they are in no audience"
    if found.audiences and not found.gathered:
        return "nobody is in any audience yet: which messages people were sent is being noted"
    return "ready" if found.is_ready else "worked out for this look-up; a running textback will have it ready soon"
