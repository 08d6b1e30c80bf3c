"""`textback evidence`: everything known about a person, as JSON and as a page."""

import os
from functools import partial

import click

from app import settings as configured
from app.address import mask
from app.errors import BadInput
from app.record import dossier
from app.serve.consent_file import checked_program
from app.serve.door import as_json
from app.serve.evidence import evidence as document
from app.serve.evidence_page import page
from app.serve.fields import person
from app.serve.terminal import open_database


@click.command("evidence")
@click.argument("address")
@click.option("--json", "json_file", help="Where the JSON goes; - is the console, and the default without --html.")
@click.option("--html", "html_file", help="Where the page goes, to read and to print; - is the console.")
@click.option("--program", help="This program, and what holds for all of them (*).")
@click.option("--region", help="ISO 3166, such as US, for a number in national form.")
def evidence(
    address: str, json_file: str | None, html_file: str | None, program: str | None, region: str | None
) -> None:
    """Export everything known about a person: consent, messages, replies, receipts, raw requests, and their proof.

    \b
    Example: textback evidence +14155550100 --json alice.json --html alice.html
    """
    whose, named = person(address, region), checked_program(program) if program else None
    if json_file == html_file == "-":
        raise BadInput("Only one of --json and --html can go to the console.")
    with open_database(configured.load()) as database:
        found = document(whose, named, database.read_now(partial(dossier.read, address=whose, program=named)))
    if json_file or not html_file:
        _write(json_file or "-", as_json(found))
    if html_file:
        _write(html_file, page(found).encode())
    if found.is_empty:
        click.echo(f"Nothing is known about {mask(whose)}; the export says so.", err=True)


def _write(name: str, content: bytes) -> None:
    if name == "-":
        click.echo(content.decode())
        return
    try:
        # it holds personal data, so nobody else reads it; a file that is there keeps its own permissions
        with os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
    except OSError as error:
        raise BadInput(f"{name} cannot be written: {error.strerror}") from None
    click.echo(f"{name}: {len(content):,} bytes", err=True)
