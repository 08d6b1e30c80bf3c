"""`textback erase`: erase a person on request."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime

import click
import orjson

from app import settings as configured
from app.address import mask
from app.errors import BadInput
from app.record import people
from app.record.erasure import Asked
from app.serve.commands.consent import login
from app.serve.erasure import erase, preview
from app.serve.fields import person
from app.serve.terminal import open_database, show_facts, write

_NAMES = {
    "consent": "consent",
    "evidence": "evidence of ledger entries",
    "inbound": "inbound messages",
    "parts": "parts of long messages",
    "replies": "replies",
    "calls": "calls of custom actions",
    "messages": "messages that were sent",
    "receipts": "receipts",
    "attributes": "attributes",
    "guards": "reply guards",
    "audiences": "rows kept for audiences",
    "browsers": "linked browsers",
    "requests": "raw requests, to be emptied",
    "struck": "raw requests not understood, number struck out",
    "work_list": "entries of the work list",
    "refused": "refused requests",
    "refusals": "refusals of events by the receivers of streams",
    "keys": "unique keys of events",
    "suppressed": "programs in which they stay suppressed",
}


@click.command("erase")
@click.argument("address")
@click.option("--reason", required=True, help="Why; it is kept, without the person.")
@click.option("--actor", default=login, help="Who asks; your login name unless said otherwise.")
@click.option("--region", help="ISO 3166, such as US, for a number in national form.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def erase_person(*, address: str, reason: str, actor: str, region: str | None, yes: bool, as_json: bool) -> None:
    """Erase a person: all that was said by them and about them goes, and an opt-out stays effective.

    The ledger keeps its entries without the person. Who texts START afterwards begins anew.

    \b
    Example: textback erase +14155550100 --reason "asked by letter, 27 November" --actor dora
    """
    if not reason.strip() or not actor.strip():
        raise BadInput("An erasure needs a --reason and an --actor; say both in a few words.")
    settings, whose = configured.load(), person(address, region)
    with open_database(settings) as database:
        database.read_now(people.require_key)
        if not yes:
            _confirm(whose, asyncio.run(preview(database, whose)))
        asked = Asked(whose, actor.strip(), reason.strip(), datetime.now(UTC))
        erased = asdict(write(database, lambda writer: erase(database, writer, asked)))
    if as_json:
        click.echo(orjson.dumps(erased).decode())
        return
    click.echo(f"{mask(whose)} is erased.")
    _show(erased)
    _tell_what_is_left(erased)


def _confirm(whose: str, there: Counter[str]) -> None:
    click.echo(f"What there is of {mask(whose)}:", err=True)
    for name, words in _NAMES.items():
        if there[name]:
            click.echo(f"  {there[name]} {words}", err=True)
    if not there["suppressed"]:
        click.echo(
            "They have not opted out, so afterwards they are unknown, as who never texted. Where they want no more"
            " messages either, record that first: textback consent set … opted_out",
            err=True,
        )
    if there["work_list"]:
        click.echo("Look at the work list first: a STOP that could not be read may wait on it.", err=True)
    click.confirm("Erase it all? It cannot be undone.", abort=True, err=True)


def _show(counts: Mapping[str, int]) -> None:
    show_facts((words, counts[name]) for name, words in _NAMES.items() if counts[name])


def _tell_what_is_left(counts: Mapping[str, int]) -> None:
    if counts["struck"]:
        click.echo(
            "What could not be understood may be somebody else's STOP, so the rest of it is kept: mend the provider"
            " file and run textback replay, or delete it."
        )
    click.echo("Backups, the provider and your own systems hold copies that textback cannot reach.")
