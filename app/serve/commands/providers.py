"""`textback providers`: which providers there are, and the page of one."""

from pathlib import Path

import click

from app.errors import BadInput
from app.provider import load_providers
from app.serve.guide import page
from app.serve.terminal import show
from app.settings import CONFIG_DIR


@click.command("providers")
@click.argument("slug", required=False)
@click.option("--write", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write all pages there.")
def providers(slug: str | None, folder: Path | None) -> None:
    """List the providers, or print the page of one: what to enter where, which secret, what works.

    \b
    Example: textback providers twilio
    """
    known = load_providers(CONFIG_DIR)
    if folder is not None:
        for name, provider in known.items():
            (folder / f"{name}.md").write_text(page(provider), "utf-8")
        click.echo(f"{len(known)} pages written to {folder}.")
    elif slug is None:
        rows = [(name, provider.name, ", ".join(provider.channels)) for name, provider in known.items()]
        show("providers", ("provider", "name", "channels"), rows)
    elif slug in known:
        click.echo(page(known[slug]), nl=False)
    else:
        raise BadInput(f"There is no provider '{slug}'; there are: {', '.join(known)}. Or use provider = \"custom\".")
