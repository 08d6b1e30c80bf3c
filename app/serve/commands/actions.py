"""`textback actions`: a test request of an action."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

import click
import orjson
import sqlalchemy as sa
from pydantic import ValidationError

from app import settings as configured
from app.errors import BadInput
from app.record import profiles, registry
from app.record.registry import Registered
from app.send import Actions, Client, Destinations
from app.send.actions.fields import field_named
from app.send.actions.trial import DRY_RUN, ActionTrial, try_action
from app.serve.actions import WantedTest, fields_of
from app.serve.commands.verify import shown_request
from app.serve.consent import look
from app.serve.fields import person
from app.serve.problems import invalid
from app.serve.terminal import open_database, open_vault, printable, show_facts
from app.settings import Settings

#: with these the third party was not at fault, nor was the action
_CALM = frozenset({"success", "excluded", DRY_RUN})


@click.group("actions")
def actions() -> None:
    """Try out custom actions.

    \b
    Example: textback actions test crm-note --field event.text=Hello --dry-run
    """


@actions.command("test")
@click.argument("name")
@click.option("--field", "fields", multiple=True, metavar="NAME=VALUE", help="Such as event.text=Hello.")
@click.option("--profile", "profile", multiple=True, metavar="NAME=VALUE", help="An attribute of the person.")
@click.option("--address", help="Of a person, whose attributes and consent are read.")
@click.option("--program", default="default", show_default=True, help="The program that consent is asked for.")
@click.option("--region", help="ISO 3166, such as US, for a number in national form.")
@click.option("--dry-run", is_flag=True, help="Show the request, and send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def test(
    *,
    name: str,
    fields: tuple[str, ...],
    profile: tuple[str, ...],
    address: str | None,
    program: str,
    region: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Call an action once, or with --dry-run only show the request, without secrets. Nothing is recorded.

    Policies and caps hold as ever. The exit code is 1 where the call came to nothing.

    \b
    Example: textback actions test crm-note --address +14155550100 --field event.text=Hello
    """
    given = {"address": address, "program": program, "region": region, "dry_run": dry_run}
    try:
        wanted = WantedTest.model_validate({**_trees(fields, profile), **given})
    except ValidationError as error:
        raise BadInput(invalid(error).detail) from None
    trial = _tried(configured.load(), name, wanted)
    if as_json:
        click.echo(orjson.dumps(trial).decode())
    else:
        _tell(trial)
    if trial.outcome not in _CALM:
        raise SystemExit(1)


def _trees(fields: Iterable[str], profile: Iterable[str]) -> dict[str, dict[str, str | bool]]:
    found: dict[str, dict[str, str | bool]] = {"event": {}, "profile": {}, "consent": {}}
    for text in (*fields, *(f"profile.{each}" for each in profile)):
        name, equals, value = text.partition("=")
        root, _, rest = ("event._id" if name == "_id" else name).partition(".")
        if not equals:
            raise BadInput(f"'{text}' has no value; write NAME=VALUE, such as event.text=Hello")
        if root not in found or not rest:
            raise BadInput(f"'{name}' is no field; write event.text=Hello, profile.name=Ann or consent.state=opted_in")
        field_named(f"{root}.{rest}")
        found[root][rest] = value == "true" if name == "consent.may_send" else value
    return found


def _tried(settings: Settings, name: str, wanted: WantedTest) -> ActionTrial:
    vault = open_vault(settings)
    with open_database(settings) as database:
        registered = database.read_now(lambda conn: registry.load(conn, vault))
        fields = database.read_now(lambda conn: _fields(conn, settings, wanted))
    return asyncio.run(_try(settings, registered, name, fields, dry_run=wanted.dry_run))


def _fields(conn: sa.Connection, settings: Settings, wanted: WantedTest) -> dict[str, Any]:
    if wanted.address is None:
        return fields_of(wanted, None, {}, None)
    address = person(wanted.address, wanted.region)
    consent = look(conn, wanted.program, [address], settings.unknown_consent)[address]
    return fields_of(wanted, address, profiles.read(conn, [address])[address], consent)


async def _try(
    settings: Settings, registered: Registered, name: str, fields: dict[str, Any], *, dry_run: bool
) -> ActionTrial:
    client = Client(Destinations(settings.allowed_private_destinations))
    found = Actions(client)
    found.follow(registered)
    try:
        return await try_action(found, name, fields, dry_run=dry_run)
    finally:
        client.close()


def _tell(trial: ActionTrial) -> None:
    if trial.request:
        heading = "would be sent" if trial.outcome == DRY_RUN else "sent" if trial.tries else "not sent"
        click.echo(printable("\n".join([f"--- request: {heading}", *shown_request(trial.request)])) + "\n")
    if trial.answer:
        click.echo(printable(f"--- answer: {trial.status}\n\n{trial.answer}") + "\n")
    show_facts(_facts(trial))


def _facts(trial: ActionTrial) -> Iterator[tuple[str, object]]:
    yield "outcome", trial.outcome
    for name in ("status", "tries", "policy", "problem"):
        if value := getattr(trial, name):
            yield name, printable(str(value))
