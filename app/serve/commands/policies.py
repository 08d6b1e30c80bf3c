"""`textback policies`: what the policies would do, before anything happens."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import click
from pydantic import ValidationError

from app import settings as configured
from app.errors import BadInput
from app.events import ConsentState
from app.record.database import Database
from app.serve.policy_trial import MOST, Counted, Trial, WantedTrial, summed, tried
from app.serve.terminal import open_database, open_vault, printable
from app.settings import Settings

_pairs = partial(click.option, multiple=True, metavar="NAME=VALUE")


@click.group("policies")
def policies() -> None:
    """Try what the policies would do.

    \b
    Example: textback policies try --action crm --address +14155550100
    """


@policies.command("try")
@click.option("--action", help="Through this action.")
@click.option("--stream", help="Into this stream.")
@click.option("--destination", help="To whoever asks for this destination.")
@click.option("--marketing-action", "marketing_actions", multiple=True, help="For this use; repeatable.")
@click.option("--address", help="About this stored person; without it, somebody unknown.")
@click.option("--region", help="ISO 3166, such as US, for a number in national form.")
@click.option("--program", default="default", show_default=True, help="The program whose consent counts.")
@_pairs("--profile", help="An attribute, instead of the stored one; repeatable.")
@click.option(
    "--state",
    type=click.Choice([state.value for state in ConsentState]),
    help="The consent, instead of the stored one.",
)
@_pairs("--event", help="A field of the event; repeatable.")
@click.option("--all", "every", is_flag=True, help="Count how many of the stored people would be left out.")
@click.option("--most", type=click.IntRange(1), default=100_000, show_default=True, help="With --all: how many to ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def try_policies(*, every: bool, most: int, as_json: bool, **given: Any) -> None:
    """Tell which fields would be left out and why, and which policy would leave the person out. Nothing is sent.

    \b
    Example: textback policies try --action crm --profile country=CH --state opted_in
    """
    settings = configured.load()
    wanted = _wanted(given | {"people": min(most, MOST) if every else 0})
    with open_database(settings) as database:
        found = _tried(settings, database, wanted)
        if found.people:
            pages = _pages(settings, database, wanted, found.people, most)
            found = found.model_copy(update={"people": summed(pages)})
    click.echo(found.model_dump_json() if as_json else "\n".join(map(printable, _told(found, wanted))))


def _wanted(given: dict[str, Any]) -> WantedTrial:
    pairs = {name: dict(map(_pair, given.pop(name))) for name in ("profile", "event")}
    given["marketing_actions"] = list(given["marketing_actions"]) or None
    try:
        return WantedTrial(**given, **pairs)
    except ValidationError as error:
        names = ", ".join(f"--{e['loc'][0]}: {e['msg']}".replace("_", "-") for e in error.errors())
        raise BadInput(f"What is given cannot be used: {names}") from None


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise BadInput("A value has no name before a =; write NAME=VALUE.")
    return name, value


def _tried(settings: Settings, database: Database, wanted: WantedTrial) -> Trial:
    vault, unknown = open_vault(settings), settings.unknown_consent
    return database.read_now(lambda conn: tried(conn, vault, unknown, wanted))


def _pages(settings: Settings, database: Database, wanted: WantedTrial, first: Counted, most: int) -> Iterator[Counted]:
    """The count, a page at a time, so that no reading lasts long."""
    page: Counted | None = first
    looked_at = 0
    while page is not None:
        yield page
        looked_at += page.looked_at
        if page.next is None or looked_at >= most:
            return
        people = min(MOST, most - looked_at)
        page = _tried(settings, database, wanted.model_copy(update={"after": page.next, "people": people})).people


# --- in sentences -------------------------------------------------------------------------------------------------


def _told(found: Trial, wanted: WantedTrial) -> Iterator[str]:
    yield f"For {found.use}{_of_what(found, wanted)}:"
    yield from (f"  left out: {each.reason}" for each in found.left_out)
    if not found.left_out:
        yield "  no field would be left out"
    who = "the person" if wanted.address or wanted.profile or wanted.state else "somebody unknown"
    for each in found.policies:
        fate = "stays" if each.is_met else f"would be left out{each.problem and ', since ' + each.problem}"
        yield f"  policy '{each.policy}': {who} {fate}"
    if not found.policies:
        yield "  no policy would leave anybody out"
    if found.people:
        yield from _counts(found.people)


def _of_what(found: Trial, wanted: WantedTrial) -> str:
    if wanted.marketing_actions is not None:
        return ""
    actions = ", ".join(found.marketing_actions)
    return f" ({actions})" if actions else ", which names no marketing action"


def _counts(people: Counted) -> Iterator[str]:
    if not people.looked_at:
        yield "  nobody is stored yet who could be left out"
        return
    more = "; there are more, see --most" if people.next else ", which is everybody"
    yield f"  {people.excluded:,} of {people.looked_at:,} stored people would be left out{more}"
    yield from (f"    {count:,} first by policy '{policy}'" for policy, count in people.by_policy.items())
