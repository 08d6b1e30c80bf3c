"""`textback token`: bearer tokens of the API."""

from datetime import UTC, datetime

import click

from app import settings as configured
from app.errors import BadInput
from app.record import tokens
from app.record.tokens import Scope
from app.serve.terminal import open_database, show


@click.group()
def token() -> None:
    """Make, list and revoke the API's bearer tokens.

    \b
    Example: textback token create crm --scope consent:read
    """


@token.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it may do; repeatable.",
)
def create(name: str, scopes: tuple[str, ...]) -> None:
    """Make a token and print it, once: it is stored as a hash.

    \b
    Example: textback token create crm --scope consent:read --scope consent:write
    """
    with open_database(configured.load()) as database:
        click.echo(database.write_now(lambda conn: tokens.create(conn, name, scopes, datetime.now(UTC))))


@token.command("list")
def every() -> None:
    """List the tokens' names and scopes.

    \b
    Example: textback token list
    """
    with open_database(configured.load()) as database:
        found = database.read_now(tokens.listed)
    rows = [(entry.name, " ".join(entry.scopes), entry.created_at, entry.revoked_at) for entry in found]
    show("", ("name", "scopes", "created", "revoked"), rows)


@token.command()
@click.argument("name")
def revoke(name: str) -> None:
    """Revoke a token: from now on it opens nothing.

    \b
    Example: textback token revoke crm
    """
    with open_database(configured.load()) as database:
        if not database.write_now(lambda conn: tokens.revoke(conn, name, datetime.now(UTC))):
            raise BadInput(f"There is no live token named '{name}'; textback token list shows them.")
    click.echo(f"{name} is revoked")
